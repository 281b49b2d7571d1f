"""Hostnames: one living host each, whatever was begun and never finished."""

from collections.abc import AsyncIterator

import pytest

from store.host import HELD_S, find_host, hold_hostnames
from store.pool import Pool, open_pool

NOW = 1_700_000_000.0


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    opened = await open_pool(database, connections_max=2)
    yield opened
    await opened.close()


async def hold(pool: Pool, now: float = NOW, **wanted: str) -> set[str]:
    async with pool.acquire() as c:
        return await hold_hostnames(c, wanted, now)


async def make(pool: Pool, ident: str, name: str, *, gone: bool = False) -> None:
    await pool.execute(
        "INSERT INTO compute.host VALUES"
        " ($1, 0, 1, '{}', NULL, $2, $3, 'up', false, false, 'nova', 0, 0, 0, '')"
        " ON CONFLICT (id) DO UPDATE SET gone = $2, hostname = $3",
        *(ident, gone, name),
    )


async def test_a_name_is_its_hosts_alone(pool: Pool) -> None:
    assert await hold(pool, n1="a", n2="b") == set()
    assert await hold(pool, n1="a", n2="c", n3="c") == {"n2"}
    await make(pool, "a", "n1")
    assert await hold(pool, NOW + 2 * HELD_S, n1="d") == {"n1"}
    await make(pool, "a", "n1", gone=True)
    assert await hold(pool, n1="d") == set()
    assert await hold(pool, n1="a") == {"n1"}, "the dead do not take their names back at once"


async def test_an_enrolment_that_never_ended_holds_its_name_for_a_while(pool: Pool) -> None:
    assert await hold(pool, n1="a") == set()
    assert await hold(pool, NOW + HELD_S - 1, n1="b") == {"n1"}
    assert await hold(pool, NOW + HELD_S + 1, n1="b") == set()


async def test_a_name_in_use_since_before_names_were_held_is_held(pool: Pool) -> None:
    await make(pool, "a", "n1")
    assert await hold(pool, n1="b") == {"n1"}
    assert await hold(pool, n1="a") == set()


async def test_a_name_finds_the_living(pool: Pool) -> None:
    await make(pool, "a", "n1", gone=True)
    await make(pool, "b", "n1")
    async with pool.acquire() as c:
        found = [await find_host(c, name) for name in ("n1", "a", "n2")]
    assert [host and (host.id, host.gone) for host in found] == [("b", False), ("a", True), None]
