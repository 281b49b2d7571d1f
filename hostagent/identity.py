"""The host's identity: one TOML file made at enrolment, readable by its owner alone.

It holds the host's uuid, where the bus is and with what login, and the driver's settings. The
login's password is in it, so the file is refused when others can read it, and no text made from a
``HostIdentity`` shows it. What must not go in: enrolling (the command line's), the journal.
"""

import json
import os
import re
import stat
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from protocol.ids import HostId

FILE_NAME: Final = "host.toml"
_MODE: Final = 0o600
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

DriverValue = str | int | float | bool


class IdentityError(Exception):
    """The host's identity is missing, readable by others, or not understood."""


class HostIdentity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who this host is. ``amqp_url`` holds the password of the host's own bus user.

    ``driver`` names the hypervisor driver (an entry point), ``driver_settings`` is what it takes.
    """

    host: HostId
    hostname: str
    amqp_url: str
    partitions: int
    driver: str
    driver_settings: dict[str, DriverValue] = {}

    def __repr__(self) -> str:
        """Without the password."""
        place = urlsplit(self.amqp_url).hostname
        return f"HostIdentity(host={self.host!r}, hostname={self.hostname!r}, bus={place!r})"


def load_identity(directory: Path) -> HostIdentity:
    """Read ``<directory>/host.toml``. Raises IdentityError."""
    path = directory / FILE_NAME
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = tomllib.load(file)
    except FileNotFoundError as error:
        raise IdentityError(f"{path} is missing: this host is not enrolled") from error
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise IdentityError(f"{path} cannot be read: {error}") from error
    if mode & 0o077:
        raise IdentityError(f"{path} is readable by others (mode {mode:o}); it must be 600")
    try:
        identity = msgspec.convert(content, HostIdentity)
    except msgspec.ValidationError as error:
        raise IdentityError(f"{path}: {error}") from error
    if _UUID.fullmatch(identity.host) is None or identity.partitions < 1:
        raise IdentityError(f"{path}: host must be a lower-case UUID and partitions at least 1")
    return identity


def save_identity(directory: Path, identity: HostIdentity) -> None:
    """Write ``<directory>/host.toml``, whole or not at all, mode 0600. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = directory / (FILE_NAME + ".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(_toml(msgspec.to_builtins(identity)))
        file.flush()
        os.fsync(file.fileno())
    new.replace(directory / FILE_NAME)
    folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _toml(table: dict[str, Any]) -> str:
    """A table of scalars and of tables of scalars: all an identity has."""
    scalars = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in scalars.items()]
    for name, inner in table.items():
        if isinstance(inner, dict):
            lines += ["", f"[{_key(name)}]"]
            lines += [f"{_key(key)} = {_value(value)}" for key, value in inner.items()]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: DriverValue) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # TOML's basic strings are JSON's, but for surrogate pairs (not made here) and DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
