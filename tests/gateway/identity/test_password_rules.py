"""Rules for passwords and accounts over HTTP: expiry, history, age, form, inactivity, lockout, throttle."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from gateway.identity.password_rules import DAY_S, PasswordRules
from gateway.identity.throttle import Throttle, WhoLogsIn
from gateway.problem import Problem
from process.clock import SystemClock
from tests.gateway.cloud import PASSWORDS, Cloud, body_for, open_cloud

V3 = "/identity/v3"
TOKENS = f"{V3}/auth/tokens"
DEMO = PASSWORDS["demo"]


@dataclass
class Later:
    """The system's clock, as far ahead as it is told."""

    ahead_s: float = 0.0
    system: SystemClock = field(default_factory=SystemClock)
    random: Random = field(default_factory=lambda: Random(1))

    def now(self) -> float:
        return self.system.now() + self.ahead_s

    def monotonic(self) -> float:
        return self.system.monotonic()

    def uuid(self) -> str:
        return self.system.uuid()


@dataclass
class Ruled:
    cloud: Cloud
    clock: Later
    admin: str

    @property
    def user(self) -> str:
        return f"{V3}/users/{self.cloud.ids.demo_user}"

    async def try_in(self, password: str = DEMO) -> tuple[int, str]:
        """Log in; status and message."""
        status, body = await self.cloud.call("POST", TOKENS, json=body_for("demo", password))
        return status, body["error"]["message"] if status >= 400 else ""

    async def set(self, **members: Any) -> None:
        status, body = await self.cloud.call("PATCH", self.user, self.admin, json={"user": members})
        assert status == 200, body

    async def change(self, old: str, new: str) -> tuple[int, str]:
        body = {"user": {"original_password": old, "password": new}}
        status, answer = await self.cloud.call("POST", f"{self.user}/password", json=body)
        return status, answer["error"]["message"] if status >= 400 else ""


@asynccontextmanager
async def ruled(database: str, **rules: Any) -> AsyncIterator[Ruled]:
    clock = Later()
    async with open_cloud(database, clock=clock, password_rules=PasswordRules(**rules)) as cloud:
        yield Ruled(cloud, clock, await cloud.login())


UNAUTHORIZED = "The request you have made requires authentication."


async def test_an_expired_password_must_be_changed_and_needs_no_token_for_it(database: str) -> None:
    async with ruled(database, expires_days=30) as here:
        await here.set(password=DEMO)
        _, shown = await here.cloud.call("GET", here.user, here.admin)
        assert shown["user"]["password_expires_at"] is not None
        status, token = await here.cloud.call("POST", TOKENS, json=body_for("demo", DEMO))
        assert token["token"]["user"]["password_expires_at"] == shown["user"]["password_expires_at"]
        here.clock.ahead_s = 31 * DAY_S
        assert await here.try_in("wrong") == (401, UNAUTHORIZED)
        status, message = await here.try_in()
        assert status == 401
        assert message == (
            f"The password is expired and needs to be changed for user: {here.cloud.ids.demo_user}."
        )
        assert (await here.change("wrong", "new"))[0] == 401
        assert (await here.change(DEMO, "new"))[0] == 204
        assert await here.try_in("new") == (201, "")


async def test_expiry_may_be_ignored_for_a_user(database: str) -> None:
    async with ruled(database, expires_days=30) as here:
        await here.set(password=DEMO)
        here.clock.ahead_s = 31 * DAY_S
        here.admin = await here.cloud.login()
        await here.set(options={"ignore_password_expiry": True})
        assert (await here.try_in())[0] == 201
        await here.set(options={"ignore_password_expiry": None})
        assert (await here.try_in())[0] == 401


async def test_a_password_by_an_administrator_is_changed_upon_first_use(database: str) -> None:
    async with ruled(database, change_upon_first_use=True) as here:
        await here.set(password="given")
        assert (await here.try_in("given"))[0] == 401
        assert (await here.change("given", "own"))[0] == 204
        assert (await here.try_in("own"))[0] == 201
        await here.set(password="given", options={"ignore_change_password_upon_first_use": True})
        assert (await here.try_in("given"))[0] == 201


async def test_the_last_passwords_cannot_be_had_again(database: str) -> None:
    async with ruled(database, unique_last=3) as here:
        assert (await here.change(DEMO, "one"))[0] == 204
        assert (await here.change("one", "two"))[0] == 204
        for former in (DEMO, "one", "two"):
            status, message = await here.change("two", former)
            assert status == 400
            assert "cannot be identical to a previous password" in message
        assert (await here.change("two", "three"))[0] == 204
        assert (await here.change("three", DEMO))[0] == 204
        await here.set(password="three")  # an administrator may
        assert (await here.try_in("three"))[0] == 201


async def test_a_password_of_ones_own_is_kept_for_a_while(database: str) -> None:
    async with ruled(database, age_min_days=2) as here:
        assert (await here.change(DEMO, "one"))[0] == 204
        status, message = await here.change("one", "two")
        assert (status, "must be used for 2 day(s)" in message) == (400, True)
        here.clock.ahead_s = 2 * DAY_S + 1
        assert (await here.change("one", "two"))[0] == 204


async def test_a_password_has_the_form_asked_for(database: str) -> None:
    async with ruled(database, regex=r"^(?=.*\d).{7,}$", regex_description="7 characters, a digit") as here:
        says = "The password does not match the requirements: 7 characters, a digit."
        assert await here.change(DEMO, "short1") == (400, says)
        for method, path, word in (("PATCH", here.user, "user"), ("POST", f"{V3}/users", "user")):
            members = {"password": "nodigits"} | ({"name": "x"} if method == "POST" else {})
            status, body = await here.cloud.call(method, path, here.admin, json={word: members})
            assert (status, body["error"]["message"]) == (400, says)
        assert (await here.change(DEMO, "longer1"))[0] == 204


async def test_a_locked_password_is_changed_by_administrators_only(database: str) -> None:
    async with ruled(database) as here:
        await here.set(options={"lock_password": True})
        assert (await here.change(DEMO, "new"))[0] == 400
        await here.set(password="given")
        assert (await here.try_in("given"))[0] == 201


async def test_two_changes_at_once_do_not_both_succeed(database: str) -> None:
    async with ruled(database) as here:
        answers = await asyncio.gather(*(here.change(DEMO, f"new{n}") for n in range(6)))
        assert sorted(status for status, _ in answers) == [204, 401, 401, 401, 401, 401]


async def test_who_stays_away_is_disabled(database: str) -> None:
    async with ruled(database, inactive_days_max=10) as here:
        assert (await here.try_in())[0] == 201
        for day in (8, 17):
            here.clock.ahead_s = day * DAY_S
            assert (await here.try_in())[0] == 201
            await here.cloud.login()
        here.clock.ahead_s = 18 * DAY_S
        here.admin = await here.cloud.login()
        await here.set(options={"ignore_user_inactivity": False})
        here.clock.ahead_s = 27.5 * DAY_S
        assert await here.try_in() == (401, UNAUTHORIZED)
        here.admin = await here.cloud.login()  # was seen a day later
        _, shown = await here.cloud.call("GET", here.user, here.admin)
        assert shown["user"]["enabled"] is False
        await here.set(enabled=True)
        assert (await here.try_in())[0] == 201


async def test_wrong_passwords_lock_an_account(database: str) -> None:
    async with ruled(database, lockout_failures_max=3, lockout_s=60.0) as here:
        for _ in range(2):
            assert (await here.try_in("wrong"))[0] == 401
        assert (await here.try_in())[0] == 201  # forgets the failures
        for _ in range(3):
            assert (await here.try_in("wrong"))[0] == 401
        assert await here.try_in() == (401, UNAUTHORIZED)
        assert (await here.change(DEMO, "new"))[0] == 401
        here.clock.ahead_s = 61.0
        assert (await here.try_in("wrong"))[0] == 401  # counts from one again
        assert (await here.try_in())[0] == 201


async def test_an_administrator_ends_a_lockout(database: str) -> None:
    async with ruled(database, lockout_failures_max=2, lockout_s=0.0) as here:
        for _ in range(2):
            await here.try_in("wrong")
        here.clock.ahead_s = 1e6
        assert (await here.try_in())[0] == 401
        here.clock.ahead_s = 0.0
        await here.set(enabled=True)
        assert (await here.try_in())[0] == 201


async def test_a_lockout_may_be_ignored_for_a_user(database: str) -> None:
    async with ruled(database, lockout_failures_max=2) as here:
        await here.set(options={"ignore_lockout_failure_attempts": True})
        for _ in range(4):
            await here.try_in("wrong")
        assert (await here.try_in())[0] == 201


async def test_guessing_in_parallel_gains_nothing(database: str) -> None:
    async with ruled(database, lockout_failures_max=5) as here:
        looked_at: list[str] = []
        passwords = here.cloud.services.passwords
        verify = passwords.verify

        async def counted(hashed: str | None, secret: str) -> bool:
            if hashed is not None:
                looked_at.append(secret)
            return await verify(hashed, secret)

        with patch.object(passwords, "verify", counted):
            guesses = [f"guess{n}" for n in range(50)]
            guesses[40] = DEMO
            answers = await asyncio.gather(*(here.try_in(guess) for guess in guesses))
        assert len(looked_at) == 5
        assert {status for status, _ in answers} <= {401, 201}
        assert sum(status == 201 for status, _ in answers) <= 1


async def test_ones_own_logins_at_once_lock_nobody_out(database: str) -> None:
    async with ruled(database, lockout_failures_max=2) as here:
        answers = await asyncio.gather(*(here.try_in() for _ in range(12)))
        assert [status for status, _ in answers] == [201] * 12


async def test_no_user_or_no_password_costs_as_much_as_a_wrong_one(database: str) -> None:
    async with ruled(database, lockout_failures_max=3) as here:
        passwords = here.cloud.services.passwords
        verify = passwords.verify
        asked: list[bool] = []

        async def noted(hashed: str | None, secret: str) -> bool:
            asked.append(hashed is not None)
            return await verify(hashed, secret)

        with patch.object(passwords, "verify", noted):
            status, _ = await here.cloud.call("POST", TOKENS, json=body_for("nobody", "x"))
            assert (status, asked) == (401, [False])
            await here.set(password=None)
            assert await here.try_in() == (401, UNAUTHORIZED)
            assert asked == [False, False]


async def test_too_many_failures_are_slowed_down(database: str) -> None:
    async with ruled(database) as here:
        object.__setattr__(here.cloud.services, "throttle", Throttle(user_per_minute=3))
        assert [(await here.try_in("wrong"))[0] for _ in range(4)] == [401, 401, 401, 429]
        async with here.cloud.session.post(TOKENS, json=body_for("demo", DEMO)) as response:
            assert response.status == 429
            assert 1 <= int(response.headers["Retry-After"]) <= 20
        here.clock.ahead_s = 20.0
        assert (await here.try_in())[0] == 201


def test_the_throttle_counts_users_and_addresses() -> None:
    throttle = Throttle(user_per_minute=2, address_per_minute=3)
    ann, bob = WhoLogsIn(None, "ann", "default"), WhoLogsIn("b0b")

    def refused(who: WhoLogsIn, address: str, now: float) -> bool:
        try:
            throttle.count(who, address, now)
        except Problem as problem:
            return problem.status == 429
        return False

    assert [refused(ann, "1", 0.0) for _ in range(3)] == [False, False, True]
    assert [refused(bob, "1", 0.0) for _ in range(2)] == [False, True]
    assert not refused(bob, "2", 0.0)
    throttle.take_back(bob, "2", 0.0)
    assert not refused(bob, "2", 0.0)
    assert refused(ann, "3", 29.0)
    assert not refused(ann, "3", 31.0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("lt:2100-01-01T00:00:00Z", True),
        ("lt:2020-01-01T00:00:00Z", False),
        ("gte:2020-01-01T00:00:00Z", True),
        ("neq:2020-01-01T00:00:00Z", True),
        ("2020-01-01T00:00:00Z", False),
    ],
)
async def test_users_by_their_passwords_end(database: str, query: str, found: bool) -> None:
    async with ruled(database, expires_days=30) as here:
        await here.set(password=DEMO)
        _, body = await here.cloud.call("GET", f"{V3}/users?password_expires_at={query}", here.admin)
        assert [row["name"] for row in body["users"]] == (["demo"] if found else [])


@pytest.mark.parametrize("query", ["soon", "le:2020-01-01T00:00:00Z", "lt:2020-99-01T00:00:00Z", "lt:"])
async def test_a_filter_that_is_no_time_is_refused(database: str, query: str) -> None:
    async with ruled(database) as here:
        assert (await here.cloud.call("GET", f"{V3}/users?password_expires_at={query}", here.admin))[0] == 400


async def test_options_are_shown_kept_and_unset(database: str) -> None:
    async with ruled(database) as here:
        rules = [["password", "totp"], ["password", "custom"]]
        await here.set(options={"lock_password": True, "multi_factor_auth_rules": rules})
        await here.set(options={"lock_password": None, "ignore_user_inactivity": False})
        _, body = await here.cloud.call("GET", here.user, here.admin)
        assert body["user"]["options"] == {"multi_factor_auth_rules": rules, "ignore_user_inactivity": False}


async def test_names_are_found_by_a_part(database: str) -> None:
    async with ruled(database) as here:
        for query, names in (
            ("name__contains=em", ["demo"]),
            ("name__istartswith=AD", ["admin"]),
            ("name__endswith=o", ["demo"]),
            ("name__contains=%25", []),
        ):
            _, body = await here.cloud.call("GET", f"{V3}/users?{query}", here.admin)
            assert [row["name"] for row in body["users"]] == names, query
