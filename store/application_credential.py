"""Application credentials and their access rules: rows, and every statement about them.

What a token got with one may do is worked out when the token is first seen (gateway/identity/authority.py).
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from store.identity import constraints
from store.pool import Connection


class AccessRule(Struct, frozen=True, kw_only=True):
    """One sort of call: a service by its type, a method, and a pattern of paths."""

    id: str
    service: str
    method: str
    path: str


class ApplicationCredential(Struct, frozen=True, kw_only=True):
    """A login of a user's program, for one project. ``access_rules`` empty: every call."""

    id: str
    user_id: str
    project_id: str
    name: str
    description: str = ""
    expires_at: float | None = None
    unrestricted: bool = False
    role_ids: list[str]
    access_rules: list[AccessRule] = []


_SELECT: Final = """
SELECT a.id, a.user_id, a.project_id, a.name, a.description, a.expires_at, a.unrestricted,
       (SELECT coalesce(array_agg(r.role_id ORDER BY r.role_id), '{}')
        FROM identity.application_credential_role r WHERE r.application_credential_id = a.id) AS role_ids
FROM identity.application_credential a
"""
_RULE: Final = "u.id, u.service, u.method, u.path"


async def _with_rules(c: Connection, condition: str, *values: str) -> list[ApplicationCredential]:
    records = await c.fetch(f"{_SELECT} WHERE {condition} ORDER BY a.id", *values)
    if not records:
        return []
    rules: dict[str, list[AccessRule]] = {}
    for rule in await c.fetch(
        f"SELECT l.application_credential_id AS holder, {_RULE} FROM identity.application_credential_rule l"  # noqa: S608
        " JOIN identity.access_rule u ON u.id = l.access_rule_id"
        " WHERE l.application_credential_id = ANY($1) ORDER BY u.id",
        [record["id"] for record in records],
    ):
        fields = dict(rule.items())
        rules.setdefault(fields.pop("holder"), []).append(AccessRule(**fields))
    return [
        ApplicationCredential(**dict(record.items()), access_rules=rules.get(record["id"], []))
        for record in records
    ]


async def get(c: Connection, ident: str) -> ApplicationCredential | None:
    """The one with this id."""
    found = await _with_rules(c, "a.id = $1", ident)
    return found[0] if found else None


async def of_user(c: Connection, user_id: str) -> list[ApplicationCredential]:
    """All of a user, by id."""
    return await _with_rules(c, "a.user_id = $1", user_id)


async def named(c: Connection, user_id: str, name: str) -> ApplicationCredential | None:
    """The one of this name."""
    found = await _with_rules(c, "a.user_id = $1 AND a.name = $2", user_id, name)
    return found[0] if found else None


async def secret_hash(c: Connection, ident: str) -> str | None:
    """What its secret must match; None: there is no such credential."""
    found: str | None = await c.fetchval(
        "SELECT secret_hash FROM identity.application_credential WHERE id = $1", ident
    )
    return found


async def add(c: Connection, row: ApplicationCredential, hashed: str) -> None:
    """Insert, with the links to its roles and to rules that are there. Raises Taken or Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.application_credential (id, user_id, project_id, name, description,"
            " expires_at, unrestricted, secret_hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            *(row.id, row.user_id, row.project_id, row.name, row.description),
            *(row.expires_at, row.unrestricted, hashed),
        )
        await c.execute(
            "INSERT INTO identity.application_credential_role (application_credential_id, role_id)"
            " SELECT $1, unnest($2::text[])",
            row.id,
            row.role_ids,
        )
        await c.execute(
            "INSERT INTO identity.application_credential_rule (application_credential_id, access_rule_id)"
            " SELECT $1, unnest($2::text[]) ON CONFLICT DO NOTHING",
            row.id,
            [rule.id for rule in row.access_rules],
        )


async def remove(c: Connection, ident: str) -> bool:
    """Delete one; False: there was none. Its rules stay."""
    status = await c.execute("DELETE FROM identity.application_credential WHERE id = $1", ident)
    return bool(status != "DELETE 0")


async def forget_user(c: Connection, user_id: str) -> None:
    """Delete all of a user, and the rules."""
    await c.execute("DELETE FROM identity.application_credential WHERE user_id = $1", user_id)
    await c.execute("DELETE FROM identity.access_rule WHERE user_id = $1", user_id)


# --- access rules --------------------------------------------------------------------------------


async def rules_of(c: Connection, user_id: str, *, ids: Sequence[str] | None = None) -> list[AccessRule]:
    """A user's rules, by id; ``ids`` restricts to those."""
    records = await c.fetch(
        f"SELECT {_RULE} FROM identity.access_rule u"  # noqa: S608  constants only
        " WHERE u.user_id = $1 AND ($2::text[] IS NULL OR u.id = ANY($2)) ORDER BY u.id",
        user_id,
        ids,
    )
    return [AccessRule(**dict(record.items())) for record in records]


async def ensure_rule(c: Connection, user_id: str, rule: AccessRule) -> AccessRule:
    """The user's rule that says this; made under this rule's id when there is none. Raises Taken."""
    with constraints():
        ident = await c.fetchval(
            "INSERT INTO identity.access_rule (id, user_id, service, method, path)"
            " VALUES ($1, $2, $3, $4, $5)"
            " ON CONFLICT (user_id, service, method, path) DO UPDATE SET path = excluded.path RETURNING id",
            *(rule.id, user_id, rule.service, rule.method, rule.path),
        )
    return AccessRule(id=ident, service=rule.service, method=rule.method, path=rule.path)


async def remove_rule(c: Connection, user_id: str, ident: str) -> bool:
    """Delete a rule; False: there was none. Raises Dangling while a credential has it."""
    with constraints():
        status = await c.execute(
            "DELETE FROM identity.access_rule WHERE id = $1 AND user_id = $2", ident, user_id
        )
    return bool(status != "DELETE 0")
