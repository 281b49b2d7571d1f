"""One file per lifecycle operation: its steps, then its table."""
