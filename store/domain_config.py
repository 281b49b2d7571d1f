"""Settings of domains: options in groups, their values as JSON text (sealed where that was said)."""

from collections.abc import Mapping

from store.pool import Connection

Options = dict[tuple[str, str], str]
"""Values by group and option."""


async def read(c: Connection, domain_id: str, group: str | None = None, option: str | None = None) -> Options:
    """A domain's options, of one group or just one if that is asked for."""
    records = await c.fetch(
        'SELECT "group", option, value FROM identity.domain_config WHERE domain_id = $1'
        ' AND ($2::text IS NULL OR "group" = $2) AND ($3::text IS NULL OR option = $3)'
        ' ORDER BY "group", option',
        domain_id,
        group,
        option,
    )
    return {(record["group"], record["option"]): record["value"] for record in records}


async def write(c: Connection, domain_id: str, options: Mapping[tuple[str, str], str]) -> None:
    """Set these options, leave the others."""
    await c.executemany(
        'INSERT INTO identity.domain_config (domain_id, "group", option, value) VALUES ($1, $2, $3, $4)'
        ' ON CONFLICT (domain_id, "group", option) DO UPDATE SET value = excluded.value',
        [(domain_id, group, option, value) for (group, option), value in sorted(options.items())],
    )


async def remove(c: Connection, domain_id: str, group: str | None = None, option: str | None = None) -> bool:
    """Forget a domain's options, or those of a group, or just one; False: there were none."""
    status = await c.execute(
        "DELETE FROM identity.domain_config WHERE domain_id = $1"
        ' AND ($2::text IS NULL OR "group" = $2) AND ($3::text IS NULL OR option = $3)',
        domain_id,
        group,
        option,
    )
    return bool(status != "DELETE 0")
