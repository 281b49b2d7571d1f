"""The instance: one virtual server from its creation to its tombstone."""
