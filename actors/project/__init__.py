"""The project: the ledger of what its quota is used for."""
