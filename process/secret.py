"""A cloud's secrets: made once, kept in one file that only its owner may read, shared by all gateways."""

import contextlib
import hashlib
import os
import secrets
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

FILE_NAME: Final = "secrets.json"
_KEY_BYTES: Final = 32


class SecretsError(Exception):
    """The secrets' file is missing where it must exist, readable by others, or damaged."""


class Secrets(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys as hexadecimal text. ``token_keys``: newest first; the older ones are still accepted.

    ``vault_keys`` seal what users keep in the database, newest first; one that is lost takes it along.
    """

    token_keys: tuple[str, ...]
    vault_keys: tuple[str, ...] = ()
    url_key: str
    admin_password: str
    demo_password: str

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Secrets(***)"

    def vault(self) -> list[bytes]:
        """The keys of the vault. A file from before there were any: one made of the key of URLs."""
        keys = [bytes.fromhex(key) for key in self.vault_keys]
        return keys or [
            hashlib.blake2b(key=bytes.fromhex(self.url_key), digest_size=32, person=b"vault").digest()
        ]


def password() -> str:
    """A password nobody guesses, without characters that need quoting."""
    return secrets.token_urlsafe(18)


def long_secret() -> str:
    """86 characters of the same kind, for programs."""
    return secrets.token_urlsafe(64)


def load_or_make(path: Path, *, admin_password: str = "", demo_password: str = "") -> Secrets:
    """The cloud's secrets; made on first use. Raises SecretsError."""
    if not path.exists():
        made = Secrets(
            token_keys=(secrets.token_hex(_KEY_BYTES),),
            vault_keys=(secrets.token_hex(_KEY_BYTES),),
            url_key=secrets.token_hex(_KEY_BYTES),
            admin_password=admin_password or password(),
            demo_password=demo_password or password(),
        )
        _write(path, msgspec.json.format(msgspec.json.encode(made)))
    return load(path)


def _write(path: Path, content: bytes) -> None:
    """Whole or not at all, and never over what another process has made meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> Secrets:
    """The secrets in this file. Raises SecretsError."""
    try:
        content = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        raise SecretsError(f"{path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise SecretsError(f"{path} is readable by others (mode {mode:o}); it must be 600")
    try:
        return msgspec.json.decode(content, type=Secrets)
    except msgspec.MsgspecError as error:
        raise SecretsError(f"{path} is damaged: {error}") from error
