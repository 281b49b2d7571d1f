"""Sealing what users keep here and must get back as it was. No passwords: nobody reads those."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, MultiFernet


class Vault:
    """``keys`` have 32 bytes each: the first seals, all open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])

    def seal(self, text: str) -> str:
        """What the database may hold of it."""
        return self._fernet.encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """What was sealed. Raises cryptography.fernet.InvalidToken when the key is gone."""
        return self._fernet.decrypt(sealed).decode()
