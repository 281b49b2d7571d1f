"""Tokens on their own: time, keys, notices, and a process that cannot hear."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.identity.authority import Bearer, authority
from gateway.identity.bootstrap import Bootstrapped, bootstrap
from gateway.identity.password import Passwords
from gateway.identity.token import CALLER_AGE_MAX_S, NOTICE_CLEANUP_S, NOTICE_SILENCE_S, Tokens
from process.clock import SystemClock
from store import identity
from store.pool import Pool, is_outage, open_pool
from tests.gateway.cloud import KEY

LIFETIME_S = 3600.0


@dataclass
class HandClock:
    """A clock that moves when it is told to."""

    seconds: float = 1_800_000_000.0
    random: Random = field(default_factory=lambda: Random(1))

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def uuid(self) -> str:
        return SystemClock().uuid()


@dataclass
class Bench:
    pool: Pool
    clock: HandClock
    tokens: Tokens
    ids: Bootstrapped

    async def issue(self) -> str:
        async with self.pool.acquire() as c:
            bearer = Bearer(user_id=self.ids.demo_user, scope="project", scope_id=self.ids.demo_project)
            found = await authority(c, bearer, self.clock.now())
        assert found is not None
        expires_at = self.clock.now() + LIFETIME_S
        token, _ = self.tokens.issue(found, ("password",), expires_at=expires_at)
        return token

    def another(self, *keys: bytes) -> Tokens:
        return Tokens(self.pool, self.clock, keys or (KEY,))


@pytest.fixture
async def bench(database: str) -> AsyncIterator[Bench]:
    pool = await open_pool(database, connections_max=3)
    clock = HandClock()
    passwords = Passwords(memory_kib=8, passes=1)
    ids = await bootstrap(pool, passwords, admin_password="a", demo_password="d", region="r", clock=clock)
    yield Bench(pool, clock, Tokens(pool, clock, [KEY]), ids)
    passwords.close()
    await pool.close()


async def test_first_sight_asks_the_database_then_memory_answers(bench: Bench) -> None:
    token = await bench.issue()
    assert bench.tokens.cached(token) is None
    seen = await bench.tokens.verify(token)
    assert seen is not None
    assert seen.roles == {"member", "reader"}
    assert not seen.is_admin
    assert bench.tokens.cached(token) is seen


async def test_a_token_ends_with_its_time(bench: Bench) -> None:
    token = await bench.issue()
    assert await bench.tokens.verify(token) is not None
    bench.clock.seconds += LIFETIME_S
    assert bench.tokens.cached(token) is None
    assert await bench.tokens.verify(token) is None


async def test_memory_is_read_again_after_a_while(bench: Bench) -> None:
    token = await bench.issue()
    await bench.tokens.verify(token)
    for _ in range(int(CALLER_AGE_MAX_S / NOTICE_SILENCE_S) + 1):
        bench.clock.seconds += NOTICE_SILENCE_S - 1
        await bench.tokens.refresh()
    bench.clock.seconds += NOTICE_SILENCE_S
    assert bench.tokens.cached(token) is None
    assert await bench.tokens.verify(token) is not None


async def test_keys_are_rotated_without_ending_tokens(bench: Bench) -> None:
    token = await bench.issue()
    new = bytes(32)
    assert await bench.another(new, KEY).verify(token) is not None
    assert await bench.another(new).verify(token) is None


@pytest.mark.parametrize(
    "change", [lambda t: t[:-2], lambda t: "A" + t[1:], lambda t: t[:60] + "AAAA" + t[64:], lambda t: t + "x"]
)
async def test_a_tampered_token_is_nothing(bench: Bench, change: Any) -> None:
    token = await bench.issue()
    assert await bench.tokens.verify(change(token)) is None


async def test_a_deaf_process_asks_before_it_trusts_its_memory(bench: Bench) -> None:
    here, there = bench.tokens, bench.another()
    token = await bench.issue()
    caller = await there.verify(token)
    assert caller is not None
    await here.revoke(caller)
    assert there.cached(token) is not None  # within the second it takes to hear
    bench.clock.seconds += NOTICE_SILENCE_S
    assert there.cached(token) is None
    assert await there.verify(token) is None


async def test_another_process_hears_within_a_second(bench: Bench) -> None:
    here, there = bench.tokens, bench.another()
    listening = asyncio.create_task(there.listen())
    try:
        token = await bench.issue()
        caller = await there.verify(token)
        assert caller is not None
        assert there.cached(token) is not None
        await here.revoke(caller)
        async with asyncio.timeout(1.0):
            while there.cached(token) is not None:
                await asyncio.sleep(0.01)
        assert await there.verify(token) is None
    finally:
        listening.cancel()


async def test_a_deaf_process_without_a_database_says_so(bench: Bench) -> None:
    token = await bench.issue()
    await bench.tokens.verify(token)
    bench.clock.seconds += NOTICE_SILENCE_S
    await bench.pool.close()
    with pytest.raises(asyncpg.InterfaceError) as caught:
        await bench.tokens.verify(token)
    assert is_outage(caught.value)


async def test_a_notice_of_a_transaction_that_commits_late_is_heard(bench: Bench) -> None:
    token = await bench.issue()
    caller = await bench.tokens.verify(token)
    assert caller is not None
    async with bench.pool.acquire() as slow, bench.pool.acquire() as fast:
        transaction = slow.transaction()
        await transaction.start()
        await identity.revoke(slow, "token", caller.audit_id, caller.expires_at)
        await identity.revoke(fast, "user", "somebody else", bench.clock.now() + 60)
        await bench.tokens.refresh()
        assert bench.tokens.cached(token) is not None
        await transaction.commit()
    await bench.tokens.refresh()
    assert bench.tokens.cached(token) is None
    assert await bench.tokens.verify(token) is None


async def test_what_was_read_before_a_notice_is_not_remembered_after_it(bench: Bench) -> None:
    token = await bench.issue()
    await bench.tokens.refresh()
    original = identity.snapshot

    async def overtaken(c: Any, *args: Any) -> identity.Snapshot | None:
        found = await original(c, *args)
        async with bench.pool.acquire() as other:
            await identity.revoke(other, "user", bench.ids.demo_user, bench.clock.now() + 60)
        await bench.tokens.refresh()
        return found

    identity.snapshot = overtaken  # type: ignore[assignment]
    try:
        await bench.tokens.verify(token)
    finally:
        identity.snapshot = original
    assert bench.tokens.cached(token) is None


async def test_expired_notices_are_removed(bench: Bench) -> None:
    caller = await bench.tokens.verify(await bench.issue())
    assert caller is not None
    await bench.tokens.revoke(caller)
    bench.clock.seconds += LIFETIME_S + NOTICE_CLEANUP_S
    await bench.tokens._clean()
    async with bench.pool.acquire() as c:
        assert await c.fetchval("SELECT count(*) FROM identity.revocation") == 0
    assert bench.tokens._revoked == {}


async def test_memory_is_bounded(bench: Bench) -> None:
    small = Tokens(bench.pool, bench.clock, [KEY], callers_max=3)
    issued = [await bench.issue() for _ in range(5)]
    for token in issued:
        await small.verify(token)
    assert [small.cached(token) is not None for token in issued] == [False, False, True, True, True]


async def test_bootstrap_twice_changes_nothing(bench: Bench) -> None:
    passwords = Passwords(memory_kib=8, passes=1)
    again = await bootstrap(
        bench.pool, passwords, admin_password="x", demo_password="x", region="r", clock=bench.clock
    )
    passwords.close()
    assert again == bench.ids
    async with bench.pool.acquire() as c:
        counts = await c.fetchrow(
            'SELECT (SELECT count(*) FROM identity."user"), (SELECT count(*) FROM identity.endpoint),'
            " (SELECT count(*) FROM identity.assignment), (SELECT count(*) FROM identity.implied_role)"
        )
    assert tuple(counts or ()) == (2, 12, 3, 3)
