"""What the user of a token may do at this moment: the roles in the scope, less what a delegation keeps back.

Read from the database when a token is made and when a process first sees it. Nothing here knows of HTTP.
"""

from typing import Final

from msgspec import Struct, structs

from gateway.auth import AppCredential, Scope, TrustPart
from store import application_credential, identity, implied_role, trust
from store.identity import Snapshot
from store.pool import Connection
from store.trust import Trust

_OF_USER: Final = ("user_id", "user_name", "user_domain_id", "user_domain_name", "password_expires_at")


class Bearer(Struct, frozen=True, kw_only=True):
    """Whom a token names: a user in a scope, perhaps through a credential of a program or a trust."""

    user_id: str
    scope: Scope
    scope_id: str = ""
    app_credential_id: str = ""
    trust_id: str = ""


class Authority(Struct, frozen=True, kw_only=True):
    """The user within the scope as the delegation leaves it; ``ends_at``: when that is over, if ever."""

    bearer: Bearer
    snapshot: Snapshot
    app_credential: AppCredential | None = None
    trust: TrustPart | None = None
    ends_at: float | None = None

    @property
    def epoch(self) -> int:
        """Tokens of another one are void."""
        return self.snapshot.epoch


async def authority(c: Connection, bearer: Bearer, now: float) -> Authority | None:
    """What the bearer may do; None: nothing, or the delegation is over."""
    if bearer.trust_id:
        return await _through_trust(c, bearer, now)
    snapshot = await identity.snapshot(c, bearer.user_id, bearer.scope, bearer.scope_id)
    if snapshot is None:
        return None
    if bearer.app_credential_id:
        return await _through_credential(c, bearer, snapshot, now)
    return Authority(bearer=bearer, snapshot=snapshot)


def narrowed(snapshot: Snapshot, role_ids: set[str]) -> Snapshot | None:
    """The same with these roles at most; None: with none at all."""
    kept = [
        (ident, name)
        for ident, name in zip(snapshot.role_ids, snapshot.role_names, strict=True)
        if ident in role_ids
    ]
    if not kept:
        return None
    return structs.replace(
        snapshot, role_ids=[ident for ident, _ in kept], role_names=[name for _, name in kept]
    )


async def _through_credential(
    c: Connection, bearer: Bearer, snapshot: Snapshot, now: float
) -> Authority | None:
    row = await application_credential.get(c, bearer.app_credential_id)
    if (
        row is None
        or row.user_id != bearer.user_id
        or (bearer.scope, bearer.scope_id) != ("project", row.project_id)
    ):
        return None
    left = narrowed(snapshot, set(row.role_ids))
    if left is None or (row.expires_at is not None and row.expires_at <= now):
        return None
    granted = AppCredential(
        id=row.id, name=row.name, restricted=not row.unrestricted, access_rules=tuple(row.access_rules)
    )
    return Authority(bearer=bearer, snapshot=left, app_credential=granted, ends_at=row.expires_at)


async def _through_trust(c: Connection, bearer: Bearer, now: float) -> Authority | None:
    """What the first trustor of the chain still has of the roles lent, while all its users are there."""
    chain = await trust.chain(c, bearer.trust_id)
    if not chain or chain[0].trustee_user_id != bearer.user_id or any(link.is_over(now) for link in chain):
        return None
    lent = chain[0]
    if (bearer.scope, bearer.scope_id) != scope_of(lent):
        return None
    people = await _people(c, chain)
    if people is None:
        return None
    named = left = people[lent.trustor_user_id if lent.impersonation else lent.trustee_user_id]
    epoch = sum(person.epoch for person in people.values())
    if lent.project_id is not None:
        held = await identity.snapshot(c, chain[-1].trustor_user_id, "project", lent.project_id)
        if held is None or not set(lent.role_ids) <= set(held.role_ids):
            return None
        rest = narrowed(held, await implied_role.closure(c, lent.role_ids))
        if rest is None:
            return None
        left, epoch = rest, epoch + held.epoch
    names = {name: getattr(named, name) for name in _OF_USER}
    return Authority(
        bearer=bearer,
        snapshot=structs.replace(left, epoch=epoch, **names),
        trust=TrustPart(
            id=lent.id,
            trustor_user_id=lent.trustor_user_id,
            trustee_user_id=lent.trustee_user_id,
            impersonation=lent.impersonation,
            counts_uses=lent.remaining_uses is not None,
            user_ids=frozenset(people),
            domain_ids=frozenset(person.user_domain_id for person in people.values()),
        ),
        ends_at=min((link.expires_at for link in chain if link.expires_at is not None), default=None),
    )


async def take_use(c: Connection, found: Authority) -> bool:
    """Take a use of the trust of a token that is about to be made; False: none is left."""
    lent = found.trust
    return lent is None or not lent.counts_uses or await trust.consume(c, lent.id)


async def _people(c: Connection, chain: list[Trust]) -> dict[str, Snapshot] | None:
    """All users of a chain of trusts by id; None when one of them is gone or disabled."""
    people: dict[str, Snapshot] = {}
    for ident in {user for link in chain for user in (link.trustor_user_id, link.trustee_user_id)}:
        person = await identity.snapshot(c, ident, "unscoped", "")
        if person is None:
            return None
        people[ident] = person
    return people


def scope_of(lent: Trust) -> tuple[Scope, str]:
    """The one scope that tokens of a trust have."""
    return ("unscoped", "") if lent.project_id is None else ("project", lent.project_id)
