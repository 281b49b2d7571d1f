"""The drivers of image stores: one module each, all behind gateway/image/store.py."""
