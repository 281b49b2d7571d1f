"""What the user of a token may do at this moment: the roles in the scope, less what a delegation keeps back.

Read from the database when a token is made and when a process first sees it. Nothing here knows of HTTP.
"""

from msgspec import Struct, structs

from gateway.auth import AppCredential, Scope
from store import application_credential, identity
from store.identity import Snapshot
from store.pool import Connection


class Bearer(Struct, frozen=True, kw_only=True):
    """Whom a token names: a user in a scope, perhaps through an application credential."""

    user_id: str
    scope: Scope
    scope_id: str = ""
    app_credential_id: str = ""


class Authority(Struct, frozen=True, kw_only=True):
    """The user within the scope as the delegation leaves it; ``ends_at``: when that is over, if ever."""

    bearer: Bearer
    snapshot: Snapshot
    app_credential: AppCredential | None = None
    ends_at: float | None = None

    @property
    def epoch(self) -> int:
        """Tokens of another one are void."""
        return self.snapshot.epoch


async def authority(c: Connection, bearer: Bearer, now: float) -> Authority | None:
    """What the bearer may do; None: nothing, or the delegation is over."""
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
