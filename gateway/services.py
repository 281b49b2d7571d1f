"""What handlers may use, put together once by the composition root. No logic belongs here."""

from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import Struct

from gateway.commands import CommandClient
from gateway.identity.password import Passwords
from gateway.identity.password_rules import PasswordRules
from gateway.identity.throttle import PASSCODES_PER_MINUTE, Throttle, Turns
from gateway.identity.token import Tokens
from gateway.identity.vault import Vault
from gateway.image.store import Stores
from gateway.own.tail import EventTail
from gateway.policy import Policy
from process.access import AccessEntry
from process.clock import Clock
from store.pool import Pool

Metrics = Callable[[str, str, str, int, float], None]
"""(api name, path template, method, status, duration in seconds)."""


Access = Callable[[AccessEntry], None]
"""Takes what is to be told of a request that was answered."""


def no_access(_: AccessEntry) -> None:
    """Used where nobody reads."""


def no_metrics(_api: str, _path: str, _method: str, _status: int, _duration_s: float) -> None:
    """Used where nobody counts."""


class ImageLimits(Struct, frozen=True, kw_only=True):
    """What a project's images may come to; sizes in MiB, each copy in a store counted; -1: no limit."""

    size_total: int = -1
    stage_total: int = -1
    count_total: int = -1
    count_uploading: int = -1


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """The settings handlers read. Times in seconds."""

    region: str = "RegionOne"
    token_lifetime_s: float = 86_400.0
    trust_forwarded: bool = True
    """Believe X-Forwarded-*; switch off when clients reach the gateway without a proxy."""
    password_rules: PasswordRules = PasswordRules()
    command_timeout_s: float = 10.0
    reclaim_instance_s: float = 0.0
    """How long a deleted server can be restored; 0: not at all."""
    image_bytes_max: int = 1 << 40
    """The largest image that may be uploaded."""
    image_limits: ImageLimits = ImageLimits()


@dataclass(frozen=True, kw_only=True)
class Services:
    """``pool`` reads and writes the gateway's own rows; ``read_pool`` only reads (perhaps a replica).

    ``url_key`` signs image URLs for hosts; empty: none is valid. ``events`` None: no event stream here.
    ``throttle`` and ``turns`` slow password attempts down, ``passcodes`` those of six digits.
    """

    clock: Clock
    settings: GatewaySettings
    pool: Pool
    read_pool: Pool
    commands: CommandClient
    tokens: Tokens
    passwords: Passwords
    vault: Vault = field(repr=False)
    policy: Policy
    throttle: Throttle = field(default_factory=Throttle)
    passcodes: Throttle = field(default_factory=lambda: Throttle(user_per_minute=PASSCODES_PER_MINUTE))
    turns: Turns = field(default_factory=Turns)
    metrics: Metrics = field(default=no_metrics)
    access: Access = field(default=no_access)
    images: Stores = field(default_factory=Stores)
    url_key: bytes = field(default=b"", repr=False)
    events: EventTail | None = None
