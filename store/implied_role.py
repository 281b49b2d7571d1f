"""Which role implies which others, one step at a time; tokens follow all steps (store.identity.snapshot)."""

from collections.abc import Sequence

from msgspec import Struct

from store.identity import constraints
from store.pool import Connection


class Inference(Struct, frozen=True):
    """Who has the prior role has the implied one too."""

    prior_id: str
    prior_name: str
    implied_id: str
    implied_name: str


async def imply(c: Connection, prior_id: str, implied_id: str) -> None:
    """Let one role imply another; repeating it changes nothing. Raises Dangling."""
    with constraints():
        await c.execute(
            "INSERT INTO identity.implied_role (prior_id, implied_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            prior_id,
            implied_id,
        )


async def imply_no_more(c: Connection, prior_id: str, implied_id: str) -> bool:
    """End an implication; False: there was none."""
    status = await c.execute(
        "DELETE FROM identity.implied_role WHERE prior_id = $1 AND implied_id = $2", prior_id, implied_id
    )
    return bool(status != "DELETE 0")


async def inferences(c: Connection, prior_id: str | None = None) -> list[Inference]:
    """What one role implies, or what all do, by name."""
    records = await c.fetch(
        "SELECT i.prior_id, p.name, i.implied_id, r.name FROM identity.implied_role i"
        " JOIN identity.role p ON p.id = i.prior_id JOIN identity.role r ON r.id = i.implied_id"
        " WHERE $1::text IS NULL OR i.prior_id = $1 ORDER BY p.name, r.name",
        prior_id,
    )
    return [Inference(*record) for record in records]


async def closure(c: Connection, role_ids: Sequence[str]) -> set[str]:
    """These roles and all they imply, by any number of steps."""
    records = await c.fetch(
        "WITH RECURSIVE held AS (SELECT unnest($1::text[]) AS role_id UNION"
        " SELECT i.implied_id FROM held JOIN identity.implied_role i ON i.prior_id = held.role_id)"
        " SELECT role_id FROM held",
        role_ids,
    )
    return {record["role_id"] for record in records}
