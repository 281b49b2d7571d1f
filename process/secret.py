"""A cloud's secrets: made once, kept in one file that only its owner may read, shared by all gateways."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

FILE_NAME: Final = "secrets.json"
_KEY_BYTES: Final = 32


class SecretsError(Exception):
    """The secrets' file is missing where it must exist, readable by others, or damaged."""


class Secrets(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Keys as hexadecimal text. ``token_keys``: newest first; the older ones are still accepted."""

    token_keys: tuple[str, ...]
    url_key: str
    admin_password: str
    demo_password: str

    def __repr__(self) -> str:
        """Nothing of it."""
        return "Secrets(***)"


def password() -> str:
    """A password nobody guesses, without characters that need quoting."""
    return secrets.token_urlsafe(18)


def load_or_make(path: Path, *, admin_password: str = "", demo_password: str = "") -> Secrets:
    """The cloud's secrets; made on first use. Raises SecretsError."""
    if not path.exists():
        made = Secrets(
            token_keys=(secrets.token_hex(_KEY_BYTES),),
            url_key=secrets.token_hex(_KEY_BYTES),
            admin_password=admin_password or password(),
            demo_password=demo_password or password(),
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return load(path)
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(made)))
            file.flush()
            os.fsync(file.fileno())
        return made
    return load(path)


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
