"""The host: its service's life, its capacity ledger, its view for schedulers."""
