"""Trusts: one user lends another some roles on a project. Rows, and every statement about them.

What a token got with one may do is worked out when the token is first seen (gateway/identity/authority.py).
"""

from typing import Final

from msgspec import Struct

from store.identity import constraints
from store.pool import Connection


class Trust(Struct, frozen=True, kw_only=True):
    """``remaining_uses`` None: no limit; ``redelegation_count``: how many may still follow in its chain."""

    id: str
    trustor_user_id: str
    trustee_user_id: str
    project_id: str | None = None
    impersonation: bool
    expires_at: float | None = None
    remaining_uses: int | None = None
    redelegation_count: int = 0
    redelegated_trust_id: str | None = None
    extra: str = "{}"
    role_ids: list[str] = []

    def is_over(self, now: float) -> bool:
        """Whether its time has come."""
        return self.expires_at is not None and self.expires_at <= now


_COLUMNS: Final = (
    "t.id, t.trustor_user_id, t.trustee_user_id, t.project_id, t.impersonation, t.expires_at,"
    " t.remaining_uses, t.redelegation_count, t.redelegated_trust_id, t.extra,"
    " (SELECT coalesce(array_agg(r.role_id ORDER BY r.role_id), '{}')"
    "  FROM identity.trust_role r WHERE r.trust_id = t.id) AS role_ids"
)


async def chain(c: Connection, ident: str) -> list[Trust]:
    """The trust, the one it was made with, and so on up to the first; empty: there is none."""
    records = await c.fetch(
        "WITH RECURSIVE up AS ("  # noqa: S608  constants only
        " SELECT id, redelegated_trust_id, 0 AS step FROM identity.trust WHERE id = $1 UNION ALL"
        " SELECT p.id, p.redelegated_trust_id, up.step + 1 FROM up"
        " JOIN identity.trust p ON p.id = up.redelegated_trust_id)"
        f" SELECT {_COLUMNS} FROM up JOIN identity.trust t ON t.id = up.id ORDER BY up.step",
        ident,
    )
    return [Trust(**dict(record.items())) for record in records]


async def get(c: Connection, ident: str) -> Trust | None:
    """The one with this id."""
    record = await c.fetchrow(f"SELECT {_COLUMNS} FROM identity.trust t WHERE t.id = $1", ident)  # noqa: S608
    return None if record is None else Trust(**dict(record.items()))


async def find(
    c: Connection, *, trustor_user_id: str | None, trustee_user_id: str | None, limit: int
) -> list[Trust]:
    """Those of this trustor and for this trustee (None: of anybody), by id."""
    records = await c.fetch(
        f"SELECT {_COLUMNS} FROM identity.trust t"  # noqa: S608  constants only
        " WHERE ($1::text IS NULL OR t.trustor_user_id = $1) AND ($2::text IS NULL OR t.trustee_user_id = $2)"
        " ORDER BY t.id LIMIT $3",
        trustor_user_id,
        trustee_user_id,
        limit,
    )
    return [Trust(**dict(record.items())) for record in records]


async def add(c: Connection, row: Trust) -> None:
    """Insert with its roles. Raises Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.trust (id, trustor_user_id, trustee_user_id, project_id, impersonation,"
            " expires_at, remaining_uses, redelegation_count, redelegated_trust_id, extra)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            *(row.id, row.trustor_user_id, row.trustee_user_id, row.project_id, row.impersonation),
            *(row.expires_at, row.remaining_uses, row.redelegation_count, row.redelegated_trust_id),
            row.extra,
        )
        await c.execute(
            "INSERT INTO identity.trust_role (trust_id, role_id) SELECT $1, unnest($2::text[])",
            row.id,
            row.role_ids,
        )


async def remove(c: Connection, ident: str) -> bool:
    """Delete it and all that were made with it; False: there was none."""
    status = await c.execute("DELETE FROM identity.trust WHERE id = $1", ident)
    return bool(status != "DELETE 0")


async def consume(c: Connection, ident: str) -> bool:
    """Take one of the uses it counts; False: none is left. However many try at once, none is shared."""
    left = await c.fetchval(
        "UPDATE identity.trust SET remaining_uses = remaining_uses - 1"
        " WHERE id = $1 AND remaining_uses > 0 RETURNING true",
        ident,
    )
    return bool(left)


async def forget_over(c: Connection, now: float) -> None:
    """Delete those whose time is over."""
    await c.execute("DELETE FROM identity.trust WHERE expires_at <= $1", now)
