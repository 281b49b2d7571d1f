"""The libvirt driver: guests as QEMU domains. The only package that imports libvirt.

Nothing is imported here, so that looking for drivers needs no libvirt library.
"""
