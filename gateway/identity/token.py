"""Tokens: encrypted, self-describing, checked from memory.

A token holds who, which scope, through which delegation, until when, and the user's epoch; roles are read
from the database when a process first sees it and kept with it. Every process hears of revocations within
a second, asking every NOTICE_INTERVAL_S; one that cannot hear for NOTICE_SILENCE_S seconds trusts nothing it
remembers.
Answering HTTP does not belong here.
"""

import asyncio
import base64
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from msgspec import Struct

from gateway.auth import Caller, Scope
from gateway.identity.authority import Authority, Bearer, authority
from process.clock import Clock
from store import identity, spent, trust
from store.pool import Pool, is_outage

NOTICE_INTERVAL_S: Final = 0.5  # so that with the time to ask, all have heard within a second
NOTICE_SILENCE_S: Final = 10.0
NOTICE_CLEANUP_S: Final = 600.0
CALLERS_MAX: Final = 20_000  # tokens remembered per process, about 1.5 kB each
CALLER_AGE_MAX_S: Final = 300.0  # read roles again after this, in case somebody edited tables by hand

_PLAIN: Final = 1
_DELEGATED: Final = 2  # a release that knows nothing of delegations must not take it for a plain one
_HEX_LENGTH: Final = 32
_log = structlog.get_logger(service="identity")


class _Claims(Struct, frozen=True, array_like=True):
    format: int
    user: bytes
    epoch: int
    scope: Scope
    scope_id: bytes
    methods: tuple[str, ...]
    issued_at: float
    expires_at: float
    audit: str
    chain: str
    app_credential: bytes = b""
    trust: bytes = b""

    @property
    def bearer(self) -> Bearer:
        return Bearer(
            user_id=_unpacked(self.user),
            scope=self.scope,
            scope_id=_unpacked(self.scope_id),
            app_credential_id=_unpacked(self.app_credential) if self.app_credential else "",
            trust_id=_unpacked(self.trust) if self.trust else "",
        )


class _Known(Struct, frozen=True):
    caller: Caller
    until: float
    """On the UTC clock: the token's end or the age limit, whichever is first."""


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(_Claims)


def _packed(ident: str) -> bytes:
    """An id marked as text, or at half the length the usual kind: 32 hexadecimal digits."""
    if len(ident) == _HEX_LENGTH:
        try:
            raw = bytes.fromhex(ident)
        except ValueError:
            raw = b""
        if raw.hex() == ident:
            return b"h" + raw
    return b"t" + ident.encode()


def _unpacked(packed: bytes) -> str:
    return packed[1:].hex() if packed[:1] == b"h" else packed[1:].decode()


def audit_id(clock: Clock) -> str:
    """A fresh name for a token, 22 characters."""
    return base64.urlsafe_b64encode(uuid.UUID(clock.uuid()).bytes).rstrip(b"=").decode()


def _caller(found: Authority, claims: _Claims) -> Caller:
    snapshot = found.snapshot
    roles = frozenset(snapshot.role_names)
    in_project, in_domain = claims.scope == "project", claims.scope == "domain"
    return Caller(
        user_id=snapshot.user_id,
        user_name=snapshot.user_name,
        user_domain_id=snapshot.user_domain_id,
        user_domain_name=snapshot.user_domain_name,
        password_expires_at=snapshot.password_expires_at,
        scope=claims.scope,
        project_id=(snapshot.scope_id or "") if in_project else "",
        project_name=(snapshot.scope_name or "") if in_project else "",
        project_domain_id=(snapshot.scope_domain_id or "") if in_project else "",
        project_domain_name=(snapshot.scope_domain_name or "") if in_project else "",
        domain_id=(snapshot.scope_id or "") if in_domain else "",
        domain_name=(snapshot.scope_name or "") if in_domain else "",
        roles=roles,
        role_list=tuple(zip(snapshot.role_ids, snapshot.role_names, strict=True)),
        is_admin="admin" in roles,
        methods=claims.methods,
        audit_id=claims.audit,
        audit_chain=claims.chain,
        issued_at=claims.issued_at,
        expires_at=claims.expires_at,
        app_credential=found.app_credential,
        trust=found.trust,
    )


class Tokens:
    """Makes, verifies and revokes tokens. ``keys`` have 32 bytes each: the first encrypts, all decrypt."""

    def __init__(
        self, pool: Pool, clock: Clock, keys: Sequence[bytes], *, callers_max: int = CALLERS_MAX
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._fernet = MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
        self._callers_max = callers_max
        self._known: dict[str, _Known] = {}
        self._revoked: dict[str, float] = {}
        self._horizon = 0
        self._seen: set[int] = set()
        self._changes = 0
        self._heard_at = clock.monotonic() - NOTICE_SILENCE_S
        self._cleaned_at = clock.monotonic()
        self._hearing = asyncio.Lock()

    def issue(
        self, found: Authority, methods: tuple[str, ...], *, expires_at: float, chain: str = ""
    ) -> tuple[str, Caller]:
        """Make a token with this authority; it ends with the delegation, if that is sooner.

        ``chain`` is the audit id at the head of the tokens it was got with; empty: it begins one.
        """
        audit = audit_id(self._clock)
        bearer = found.bearer
        claims = _Claims(
            _DELEGATED if bearer.app_credential_id or bearer.trust_id else _PLAIN,
            _packed(bearer.user_id),
            found.epoch,
            bearer.scope,
            _packed(bearer.scope_id),
            methods,
            self._clock.now(),
            expires_at if found.ends_at is None else min(expires_at, found.ends_at),
            audit,
            chain or audit,
            _packed(bearer.app_credential_id) if bearer.app_credential_id else b"",
            _packed(bearer.trust_id) if bearer.trust_id else b"",
        )
        return self.seal(_encode(claims)), _caller(found, claims)

    def seal(self, plain: bytes) -> str:
        """Encrypt, as every gateway of this cloud can decrypt it."""
        return self._fernet.encrypt(plain).rstrip(b"=").decode()

    def unseal(self, text: str) -> bytes | None:
        """What was sealed; None: nothing was, or with a key that is no longer known."""
        try:
            return self._fernet.decrypt((text + "=" * (-len(text) % 4)).encode("ascii"))
        except (InvalidToken, UnicodeEncodeError):
            return None

    def cached(self, token: str) -> Caller | None:
        """The caller, if this process may vouch for the token without asking anybody."""
        known = self._known.get(token)
        if known is None or self._clock.now() >= known.until or self._is_deaf():
            return None
        return known.caller

    async def verify(self, token: str) -> Caller | None:
        """The caller, or None for a token that is invalid, expired or revoked.

        Raises what store.pool.is_outage knows when the database cannot be asked.
        """
        claims = self._claims(token)
        if claims is None:
            return None
        if self._is_deaf():
            await self._hear(only_if_deaf=True)
        known = self.cached(token)
        if known is not None:
            return known
        changes = self._changes
        async with self._pool.acquire() as c:
            found = await authority(c, claims.bearer, self._clock.now())
        if found is None or found.epoch != claims.epoch or claims.audit in self._revoked:
            return None
        caller = _caller(found, claims)
        if changes == self._changes:  # else what was just read may be what was just revoked
            self._remember(token, caller)
        return caller

    async def revoke(self, caller: Caller) -> None:
        """End the token of this caller, here at once and elsewhere within NOTICE_INTERVAL_S."""
        async with self._pool.acquire() as c:
            await identity.revoke(c, "token", caller.audit_id, caller.expires_at)
        await self.refresh()

    async def refresh(self) -> None:
        """Hear the notices since the last time. Called after every change that made one."""
        await self._hear(only_if_deaf=False)

    async def listen(self) -> None:
        """Hear notices until cancelled; an outage is logged once and ends by itself."""
        silent = False
        while True:
            try:
                await self.refresh()
                await self._clean()
                silent = False
            except Exception as error:
                if not is_outage(error):
                    raise
                if not silent:
                    _log.warning("notices.unheard", error=repr(error))
                silent = True
            await asyncio.sleep(NOTICE_INTERVAL_S)

    async def _hear(self, *, only_if_deaf: bool) -> None:
        async with self._hearing:
            if only_if_deaf and not self._is_deaf():
                return
            async with self._pool.acquire() as c:
                horizon, notices = await identity.notices_since(c, self._horizon, self._clock.now())
            if self._is_deaf():
                self._known.clear()
            self._apply([notice for notice in notices if notice.id not in self._seen])
            self._seen = {notice.id for notice in notices}
            self._horizon = horizon
            self._heard_at = self._clock.monotonic()

    async def _clean(self) -> None:
        if self._clock.monotonic() - self._cleaned_at < NOTICE_CLEANUP_S:
            return
        self._cleaned_at = self._clock.monotonic()
        now = self._clock.now()
        self._revoked = {audit: end for audit, end in self._revoked.items() if end > now}
        async with self._pool.acquire() as c:
            await identity.forget_notices(c, now)
            await trust.forget_over(c, now)
            await spent.forget_over(c, now)

    def _is_deaf(self) -> bool:
        return self._clock.monotonic() - self._heard_at >= NOTICE_SILENCE_S

    def _claims(self, token: str) -> _Claims | None:
        plain = self.unseal(token)
        if plain is None:
            return None
        try:
            claims = _decoder.decode(plain)
        except msgspec.MsgspecError:
            return None
        known = claims.format == (_DELEGATED if claims.app_credential or claims.trust else _PLAIN)
        return claims if known and self._clock.now() < claims.expires_at else None

    def _remember(self, token: str, caller: Caller) -> None:
        until = min(caller.expires_at, self._clock.now() + CALLER_AGE_MAX_S)
        self._known.pop(token, None)
        self._known[token] = _Known(caller, until)
        if len(self._known) > self._callers_max:
            del self._known[next(iter(self._known))]

    def _apply(self, notices: list[identity.Notice]) -> None:
        if not notices:
            return
        self._changes += 1
        gone: dict[str, set[str]] = {"token": set(), "user": set(), "project": set(), "domain": set()}
        for notice in notices:
            gone.setdefault(notice.kind, set()).add(notice.subject)
            if notice.kind == "token":
                self._revoked[notice.subject] = notice.expires_at
        if "all" in gone:
            self._known.clear()
            return
        self._known = {
            token: known for token, known in self._known.items() if not _is_touched(known.caller, gone)
        }


def _is_touched(caller: Caller, gone: Mapping[str, set[str]]) -> bool:
    trust = caller.trust
    if trust is not None and not (
        gone["user"].isdisjoint(trust.user_ids) and gone["domain"].isdisjoint(trust.domain_ids)
    ):
        return True
    return (
        caller.audit_id in gone["token"]
        or caller.user_id in gone["user"]
        or caller.project_id in gone["project"]
        or not gone["domain"].isdisjoint((caller.user_domain_id, caller.project_domain_id, caller.domain_id))
    )
