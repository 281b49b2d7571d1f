"""Which methods together a user must log in by, and receipts for those already proven.

Source: Identity API v3, "Multi-factor authentication". A receipt is to a login what a ticket is to the next
counter: encrypted like a token, good for a few minutes, for one user, and once.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from gateway.auth import unauthorized
from gateway.identity import option
from gateway.identity.document import timestamp
from gateway.identity.option import UserOptions
from gateway.identity.token import audit_id
from gateway.request import Request, Response
from store import identity, spent
from store.identity import User
from store.pool import Connection

RECEIPT_HEADER: Final = "Openstack-Auth-Receipt"
RECEIPT_LIFETIME_S: Final = 300.0
RECEIPT_LENGTH_MAX: Final = 2048
METHODS: Final = frozenset({"password", "token", "totp", "application_credential"})
"""Those a rule may ask for; others in it do not count."""
_FORMAT: Final = "receipt 1"


class Receipt(Struct, frozen=True, array_like=True):
    """Who has proven what; void once the user's epoch is another."""

    format: str
    user_id: str
    epoch: int
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    audit: str

    @property
    def subject(self) -> str:
        """What is used up with it."""
        return f"receipt {self.audit}"


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Receipt)


def presented(request: Request) -> Receipt | None:
    """The receipt that came with the request. Raises Problem 401 for one that is none, or over."""
    text = request.headers.get(RECEIPT_HEADER)
    if text is None:
        return None
    receipt = _read(request.services.tokens.unseal(text) if len(text) <= RECEIPT_LENGTH_MAX else None)
    if receipt is None or request.services.clock.now() >= receipt.expires_at:
        raise unauthorized(request.base_url)
    return receipt


def _read(plain: bytes | None) -> Receipt | None:
    if plain is None:
        return None
    try:
        receipt = _decoder.decode(plain)
    except msgspec.MsgspecError:
        return None  # a token, or of another release
    return receipt if receipt.format == _FORMAT else None


async def check(request: Request, c: Connection, receipt: Receipt, user_id: str) -> None:
    """Refuse a receipt of another user, of an earlier password, or one that was used. Raises Problem 401."""
    snapshot = await identity.snapshot(c, user_id, "unscoped", "")
    if (
        receipt.user_id != user_id
        or snapshot is None
        or snapshot.epoch != receipt.epoch
        or await spent.is_spent(c, receipt.subject)
    ):
        raise unauthorized(request.base_url)


async def spend(request: Request, c: Connection, receipt: Receipt) -> None:
    """Use a receipt up. Raises Problem 401 when it was."""
    if not await spent.spend(c, receipt.subject, receipt.expires_at):
        raise unauthorized(request.base_url)


def missing(stored: str, methods: Iterable[str]) -> list[list[str]]:
    """The rules of a user's options none of which these methods meet; empty: they are enough."""
    options = option.read(UserOptions, stored)
    rules = options.multi_factor_auth_rules
    if options.multi_factor_auth_enabled is False or rules is UNSET or not rules:
        return []
    known = [[method for method in rule if method in METHODS] for rule in rules]
    asked = [rule for rule in known if rule]
    proven = frozenset(methods)
    return [] if any(proven.issuperset(rule) for rule in asked) else asked


async def receipt_for(
    request: Request, c: Connection, user: User, methods: Sequence[str], asked: list[list[str]], until: float
) -> Response:
    """401 with a receipt for these methods, and what is asked for."""
    snapshot = await identity.snapshot(c, user.id, "unscoped", "")
    if snapshot is None:
        raise unauthorized(request.base_url)
    tokens, clock = request.services.tokens, request.services.clock
    receipt = Receipt(_FORMAT, user.id, snapshot.epoch, tuple(methods), clock.now(), until, audit_id(clock))
    body: dict[str, Any] = {
        "receipt": {
            "methods": list(methods),
            "user": {
                "id": snapshot.user_id,
                "name": snapshot.user_name,
                "domain": {"id": snapshot.user_domain_id, "name": snapshot.user_domain_name},
            },
            "issued_at": timestamp(receipt.issued_at),
            "expires_at": timestamp(until),
        },
        "required_auth_methods": asked,
    }
    headers = {**unauthorized(request.base_url).headers, RECEIPT_HEADER: tokens.seal(_encode(receipt))}
    return Response(body, status=401, headers=headers)
