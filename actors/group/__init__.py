"""The ledger of a server group: which member sits on which host."""
