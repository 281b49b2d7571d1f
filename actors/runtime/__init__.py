"""The loop around the pure turns: the only actor code that does I/O."""
