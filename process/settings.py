"""A process's settings: one frozen Struct, read once at start.

Defaults in code, then one TOML file, then ``STARLING_*`` variables. Unknown keys and wrong types are
refused with the key, where it came from and what would be right. Values are passed on, not this object.
"""

import re
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

PREFIX: Final = "STARLING_"
_PASSWORD_IN_QUERY: Final = re.compile(r"([?&]password=)[^&]*")
_AMQP: Final = ("amqp", "amqps")
_POSTGRESQL: Final = ("postgresql", "postgres")
_NOT_SETTINGS: Final = frozenset({"CONFIG"})


class SettingsError(Exception):
    """A setting is not known or not valid; the text says which, where from and what would be right."""


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator may turn. Times in seconds; empty URLs choose the embedded twin.

    ``amqp_url`` empty: the in-process bus. ``database_url`` empty: the embedded PostgreSQL; the three
    more special ones fall back to it. ``workers`` and ``schedulers`` count those of ``starling up``.
    ``image_stores`` empty: one store named ``file`` at ``image_path``; as a variable it is JSON.
    """

    state: str = ".starling"
    listen: str = "127.0.0.1"
    port: int = 8774
    public_url: str = ""
    trust_forwarded: bool = True
    region: str = "RegionOne"
    policy_file: str = ""
    log_format: Literal["console", "json"] = "console"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    service_log: str = ""
    access_log: str = ""
    amqp_url: str = ""
    amqp_admin: str = "rabbitmqctl"
    queue_type: Literal["classic", "quorum"] = "classic"
    database_url: str = ""
    database_url_gateway: str = ""
    database_url_worker: str = ""
    database_url_scheduler: str = ""
    secrets_file: str = ""
    partitions: int = 16
    lease_s: float = 4.0
    workers: int = 1
    schedulers: int = 1
    hypervisor: Literal["auto", "libvirt", "simulated"] = "auto"
    simulated_hosts: int = 3
    simulated_latency: float = 1.0
    libvirt_uri: str = "qemu:///system"
    instances_path: str = ""
    bridge: str = ""
    host_ip: str = "127.0.0.1"
    availability_zone: str = "nova"
    image_path: str = ""
    image_stores: dict[str, dict[str, Any]] = {}
    image_store_default: str = ""
    image_size_max_gib: int = 1024
    image_size_total_mib: int = -1
    image_stage_total_mib: int = -1
    image_count_total: int = -1
    image_count_uploading: int = -1
    admin_password: str = ""
    demo_password: str = ""
    token_lifetime_s: float = 86_400.0
    password_regex: str = ""
    password_regex_description: str = ""
    password_expires_days: int = 0
    password_age_min_days: int = 0
    password_unique_last: int = 0
    password_change_upon_first_use: bool = False
    user_inactive_days_max: int = 0
    lockout_failures_max: int = 0
    lockout_s: float = 1800.0
    login_failures_per_minute_user: int = 120
    login_failures_per_minute_address: int = 1200
    reclaim_instance_s: float = 0.0
    metrics_port: int = 0

    def __repr__(self) -> str:
        """Without passwords."""
        shown = {name: _redacted(name, getattr(self, name)) for name in self.__struct_fields__}
        return f"Settings({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def state_path(self) -> Path:
        """The state folder, absolute."""
        return Path(self.state).absolute()

    def database_for(self, role: Literal["gateway", "worker", "scheduler"]) -> str:
        """The database's URL for a role."""
        return str(getattr(self, f"database_url_{role}")) or self.database_url


def _redacted(name: str, value: object) -> object:
    if "password" in name and not name.startswith("password_"):
        return "***" if value else ""
    if isinstance(value, dict):
        return dict.fromkeys(value, "***")  # the options of drivers hold secrets
    if not isinstance(value, str) or "://" not in value:
        return value
    secret = urlsplit(value).password
    shown = value.replace(f":{secret}@", ":***@") if secret else value
    return _PASSWORD_IN_QUERY.sub(r"\1***", shown)


def load_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of this process. Raises SettingsError."""
    given: dict[str, Any] = {}
    sources: dict[str, str] = {}
    file = environment.get(PREFIX + "CONFIG")
    state = Path(environment.get(PREFIX + "STATE", ".starling"))
    path = Path(file) if file else state / "starling.toml"
    if file or path.exists():
        for key, value in _read(path).items():
            given[key], sources[key] = value, str(path)
    for variable, text in sorted(environment.items()):
        key = variable.removeprefix(PREFIX)
        if variable.startswith(PREFIX) and key not in _NOT_SETTINGS and not key.startswith("TEST_"):
            given[key.lower()], sources[key.lower()] = text, variable
    return _checked(given, sources)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error


def _checked(given: dict[str, Any], sources: Mapping[str, str]) -> Settings:
    hints = get_type_hints(Settings)
    known = set(Settings.__struct_fields__)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            close = ", ".join(get_close_matches(key, sorted(known)))
            hint = f"did you mean {close}?" if close else "docs/operations.md lists them."
            raise SettingsError(f"{sources[key]}: there is no setting {key!r}; {hint}")
        try:
            if get_origin(hints[key]) is dict and isinstance(value, str):
                values[key] = msgspec.json.decode(value, type=hints[key])
            else:
                values[key] = msgspec.convert(value, hints[key], strict=False)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            wanted = getattr(hints[key], "__name__", str(hints[key]).replace("typing.", ""))
            raise SettingsError(f"{sources[key]}: {key} must be {wanted}: {error}") from error
    settings = Settings(**values)
    _check_limits(settings, sources)
    _check_urls(settings, sources)
    _check_regex(settings, sources)
    return settings


def _check_urls(settings: Settings, sources: Mapping[str, str]) -> None:
    for prefix, schemes in (("amqp_url", _AMQP), ("database_url", _POSTGRESQL)):
        for name in Settings.__struct_fields__:
            value = getattr(settings, name)
            if name.startswith(prefix) and value and urlsplit(value).scheme not in schemes:
                raise SettingsError(f"{sources[name]}: {name} must begin with {schemes[0]}://")


def _check_regex(settings: Settings, sources: Mapping[str, str]) -> None:
    try:
        re.compile(settings.password_regex)
    except re.error as error:
        source = sources["password_regex"]
        raise SettingsError(f"{source}: password_regex is not a regular expression: {error}") from error


def _check_limits(settings: Settings, sources: Mapping[str, str]) -> None:
    for name, low, high in (
        ("port", 1, 65535),
        ("partitions", 1, 1024),
        ("workers", 1, 64),
        ("schedulers", 1, 16),
        ("simulated_hosts", 0, 10_000),
        ("lease_s", 1.0, 60.0),
        ("token_lifetime_s", 60.0, 30 * 86_400.0),
        ("simulated_latency", 0.0, 100.0),
        ("password_expires_days", 0, 3650),
        ("password_age_min_days", 0, 3650),
        ("password_unique_last", 0, 24),
        ("user_inactive_days_max", 0, 3650),
        ("lockout_failures_max", 0, 1000),
        ("lockout_s", 0.0, 365 * 86_400.0),
        ("reclaim_instance_s", 0.0, 365 * 86_400.0),
        ("login_failures_per_minute_user", 0, 1_000_000),
        ("login_failures_per_minute_address", 0, 1_000_000),
    ):
        value = getattr(settings, name)
        if not low <= value <= high:
            raise SettingsError(f"{sources[name]}: {name} must be between {low:g} and {high:g}, not {value}")
