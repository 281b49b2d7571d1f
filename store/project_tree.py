"""The tree of projects below each domain: what is above one, what is below it."""

from typing import Final

import asyncpg

from store.identity import Project, columns
from store.pool import Connection

_OF_P: Final = ", ".join(f"p.{column}" for column in columns(Project))
_ABOVE: Final = f"""
WITH RECURSIVE above AS (
    SELECT p.parent_id AS id, 1 AS depth FROM identity.project p WHERE p.id = $1
    UNION ALL
    SELECT p.parent_id, above.depth + 1 FROM above JOIN identity.project p ON p.id = above.id
)
SELECT {_OF_P} FROM above JOIN identity.project p ON p.id = above.id ORDER BY above.depth
"""  # noqa: S608  constants only
_BELOW: Final = f"""
WITH RECURSIVE below AS (
    SELECT p.id FROM identity.project p WHERE p.parent_id = $1
    UNION ALL
    SELECT p.id FROM below JOIN identity.project p ON p.parent_id = below.id
)
SELECT {_OF_P} FROM below JOIN identity.project p ON p.id = below.id ORDER BY p.id
"""  # noqa: S608  constants only


async def lock(c: Connection, domain_id: str) -> None:
    """Let one transaction at a time change a domain's tree: what is above or below stays as it was read."""
    await c.execute("SELECT pg_advisory_xact_lock(hashtext('identity.project'), hashtext($1))", domain_id)


async def above(c: Connection, project_id: str) -> list[Project]:
    """The parent, its parent and so on up to the one right under the domain."""
    return _projects(await c.fetch(_ABOVE, project_id))


async def below(c: Connection, project_id: str) -> list[Project]:
    """The children, their children and so on."""
    return _projects(await c.fetch(_BELOW, project_id))


async def forget_default(c: Connection, project_id: str) -> None:
    """No user begins with this project any more."""
    await c.execute(
        'UPDATE identity."user" SET default_project_id = NULL WHERE default_project_id = $1', project_id
    )


def _projects(records: list[asyncpg.Record]) -> list[Project]:
    return [Project(**dict(record.items())) for record in records]
