"""Passwords: whose hash to check, how often it was tried in vain, what it was before.

Checking hashes and the rules for new passwords do not belong here.
"""

from typing import Final

import asyncpg
from msgspec import Struct

from store.pool import Connection

OLD_PASSWORDS_MAX: Final = 24  # hashes kept of one user's former passwords

_LOGIN: Final = """
SELECT u.id AS user_id, u.domain_id, u.enabled AND d.enabled AS enabled, u.default_project_id, u.options,
       u.password_expires_at, u.active_at, p.hash, coalesce(p.changed_at, 0) AS changed_at,
       coalesce(p.self_service, false) AS self_service
FROM identity."user" u JOIN identity.domain d ON d.id = u.domain_id
LEFT JOIN identity.password p ON p.user_id = u.id
"""


class Login(Struct, frozen=True, kw_only=True):
    """What a password login needs to know of a user. ``hash`` None: this user has no password."""

    user_id: str
    domain_id: str
    enabled: bool
    default_project_id: str | None
    options: str
    password_expires_at: float | None
    active_at: float | None
    hash: str | None
    changed_at: float
    self_service: bool


def _login(record: asyncpg.Record | None) -> Login | None:
    return None if record is None else Login(**dict(record.items()))


async def login_by_id(c: Connection, user_id: str) -> Login | None:
    """The login of a user id."""
    return _login(await c.fetchrow(f"{_LOGIN} WHERE u.id = $1", user_id))


async def login_by_name(
    c: Connection, name: str, domain_id: str | None, domain_name: str | None
) -> Login | None:
    """The login of a user name in a domain given by id or by name."""
    where = "u.name = $1 AND (d.id = $2 OR d.name = $3)"
    return _login(await c.fetchrow(f"{_LOGIN} WHERE {where}", name, domain_id, domain_name))


async def put(c: Connection, user_id: str, hashed: str, now: float, *, self_service: bool = False) -> None:
    """Set the user's password; the one before is remembered. Failures are forgotten.

    Ending the user's tokens (``User.epoch``) is the caller's.
    """
    await c.execute(
        "INSERT INTO identity.old_password (user_id, hash)"
        " SELECT user_id, hash FROM identity.password WHERE user_id = $1",
        user_id,
    )
    await c.execute(
        "DELETE FROM identity.old_password WHERE user_id = $1 AND id <="
        " (SELECT id FROM identity.old_password WHERE user_id = $1 ORDER BY id DESC OFFSET $2 LIMIT 1)",
        user_id,
        OLD_PASSWORDS_MAX,
    )
    await c.execute(
        "INSERT INTO identity.password (user_id, hash, changed_at, self_service) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at,"
        " self_service = excluded.self_service, failures = 0",
        user_id,
        hashed,
        now,
        self_service,
    )


async def clear(c: Connection, user_id: str) -> None:
    """Leave the user without a password."""
    await c.execute("DELETE FROM identity.password WHERE user_id = $1", user_id)


async def last(c: Connection, user_id: str, count: int) -> list[str]:
    """The hashes of the user's last passwords, the present one first, at most ``count``."""
    records = await c.fetch(
        "SELECT hash FROM (SELECT hash, 1::bigint << 62 AS id FROM identity.password WHERE user_id = $1"
        " UNION ALL SELECT hash, id FROM identity.old_password WHERE user_id = $1) AS kept"
        " ORDER BY id DESC LIMIT $2",
        user_id,
        count,
    )
    return [record["hash"] for record in records]


# --- failures ------------------------------------------------------------------------------------


async def begin_attempt(c: Connection, user_id: str, failures_max: int, lock_s: float, now: float) -> bool:
    """Count one more failure before the password is looked at; False: the account is locked.

    A right password takes it back (``succeeded``). So however many try at once, no more than
    ``failures_max`` wrong ones are looked at. ``lock_s`` 0: locked until an administrator enables the user.
    """
    async with c.transaction():
        # A crash of the database may forget the last of these; waiting for its disk would tell by time
        # which users there are.
        await c.execute("SET LOCAL synchronous_commit = off")
        found = await c.fetchval(
            "UPDATE identity.password SET failures = CASE WHEN failures < $2 THEN failures + 1 ELSE 1 END,"
            " failed_at = $4 WHERE user_id = $1"
            " AND (failures < $2 OR ($3::float8 > 0 AND failed_at + $3 <= $4)) RETURNING true",
            user_id,
            failures_max,
            lock_s,
            now,
        )
    return bool(found)


async def succeeded(c: Connection, user_id: str) -> None:
    """Forget the failures."""
    await c.execute("UPDATE identity.password SET failures = 0 WHERE user_id = $1 AND failures > 0", user_id)


async def seen_active(c: Connection, user_id: str, now: float) -> None:
    """Remember that the user logged in."""
    await c.execute('UPDATE identity."user" SET active_at = $2 WHERE id = $1', user_id, now)
