"""Servers: what is shown of them, and what can be asked of them."""
