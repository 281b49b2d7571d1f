"""Second factors: passcodes, rules that ask for several methods, receipts, and attempts to go round them."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from gateway.identity.factor import RECEIPT_HEADER, RECEIPT_LIFETIME_S
from gateway.identity.throttle import PASSCODES_PER_MINUTE
from gateway.identity.totp import PERIOD_S
from tests.gateway.cloud import PASSWORDS, Cloud, open_cloud, project
from tests.gateway.identity.people import V3, log_in, made, new_user
from tests.gateway.identity.test_token import HandClock

SEED = base64.b32encode(b"12345678901234567890").decode()
RULES = [["password", "totp"]]


@dataclass
class Stage:
    """A cloud on a clock of ours, and the demo user with a TOTP seed."""

    cloud: Cloud
    clock: HandClock

    def code(self, *, periods: int = 0, seed: bytes = b"12345678901234567890") -> str:
        made = TOTP(seed, 6, SHA1(), PERIOD_S, enforce_key_length=False)  # noqa: S303  as the RFC says
        return made.generate(self.clock.now() + periods * PERIOD_S).decode()

    def password(self, secret: str = "") -> dict[str, Any]:
        user = {"id": self.cloud.ids.demo_user, "password": secret or PASSWORDS["demo"]}
        return {"methods": ["password"], "password": {"user": user}}

    def totp(self, code: str) -> dict[str, Any]:
        return {"methods": ["totp"], "totp": {"user": {"id": self.cloud.ids.demo_user, "passcode": code}}}

    def both(self, code: str, secret: str = "") -> dict[str, Any]:
        return {**self.password(secret), **self.totp(code), "methods": ["totp", "password"]}

    async def login(self, identity: dict[str, Any], **headers: str) -> tuple[int, Any, Any]:
        """Status, document and headers of a login for the demo project."""
        auth = {"auth": {"identity": identity, "scope": project("demo")}}
        async with self.cloud.session.post(f"{V3}/auth/tokens", json=auth, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers

    async def rules(self, rules: Any, *, enabled: Any = True) -> None:
        options = {"multi_factor_auth_enabled": enabled, "multi_factor_auth_rules": rules}
        path = f"{V3}/users/{self.cloud.ids.demo_user}"
        body = {"user": {"options": options}}
        status, answer = await self.cloud.call("PATCH", path, await self.cloud.login(), json=body)
        assert status == 200, answer

    async def receipt(self) -> str:
        """The receipt for the right password."""
        status, body, headers = await self.login(self.password())
        assert (status, body["receipt"]["methods"]) == (401, ["password"])
        return str(headers[RECEIPT_HEADER])


@pytest.fixture
async def stage(database: str) -> AsyncIterator[Stage]:
    clock = HandClock()
    async with open_cloud(database, clock=clock) as cloud:
        user = cloud.ids.demo_user
        await made(cloud, await cloud.login("demo"), "credential", type="totp", blob=SEED, user_id=user)
        yield Stage(cloud, clock)


@pytest.mark.parametrize("periods", [-1, 0, 1])
async def test_a_passcode_logs_in_while_its_window_is_open(stage: Stage, periods: int) -> None:
    status, body, _ = await stage.login(stage.totp(stage.code(periods=periods)))
    assert (status, body["token"]["methods"]) == (201, ["totp"])
    assert body["token"]["user"]["id"] == stage.cloud.ids.demo_user


@pytest.mark.parametrize("periods", [-2, 2, 1000])
async def test_another_windows_passcode_gets_nothing(stage: Stage, periods: int) -> None:
    assert (await stage.login(stage.totp(stage.code(periods=periods))))[0] == 401


async def test_a_passcode_is_good_once(stage: Stage) -> None:
    tries = [stage.login(stage.totp(stage.code())) for _ in range(5)]
    codes = sorted(code for code, _, _ in await asyncio.gather(*tries))
    assert codes == [201, 401, 401, 401, 401]
    stage.clock.seconds += PERIOD_S
    assert (await stage.login(stage.totp(stage.code(periods=-1))))[0] == 401
    assert (await stage.login(stage.totp(stage.code())))[0] == 201


async def test_a_wrong_password_uses_no_passcode_up(stage: Stage) -> None:
    assert (await stage.login(stage.both(stage.code(), "wrong")))[0] == 401
    assert (await stage.login(stage.both(stage.code())))[0] == 201


@pytest.mark.parametrize(
    ("passcode", "status"), [("", 401), ("abcdef", 401), ("١٢٣٤٥٦", 401), ("0" * 65, 400), (123456, 400)]
)
async def test_what_is_no_passcode_gets_nothing(stage: Stage, passcode: Any, status: int) -> None:
    assert (await stage.login(stage.totp(passcode)))[0] == status


async def test_seeds_of_others_and_broken_ones_do_not_count(stage: Stage) -> None:
    cloud = stage.cloud
    eve = await new_user(cloud, "eve")
    for blob in ("not base32!", "", "a" * 500):
        await made(cloud, eve.token, "credential", type="totp", blob=blob, user_id=eve.id)
    auth = {"methods": ["totp"], "totp": {"user": {"id": eve.id, "passcode": stage.code()}}}
    assert (await log_in(cloud, {"identity": auth}))[0] == 401
    await made(cloud, eve.token, "credential", type="totp", blob="gezd gnbv gy3t qojq", user_id=eve.id)
    auth["totp"]["user"]["passcode"] = stage.code(seed=b"1234567890")  # type: ignore[index]
    assert (await log_in(cloud, {"identity": auth}))[0] == 201


async def test_by_name_and_of_nobody(stage: Stage) -> None:
    user = {"name": "demo", "domain": {"id": "default"}, "passcode": stage.code()}
    auth = {"methods": ["totp"], "totp": {"user": user}}
    assert (await log_in(stage.cloud, {"identity": auth}))[0] == 201
    user["name"] = "nobody"
    assert (await log_in(stage.cloud, {"identity": auth}))[0] == 401
    del user["domain"]
    assert (await log_in(stage.cloud, {"identity": auth}))[0] == 400


async def test_guessing_is_slowed_down_but_not_for_who_knows_the_password(stage: Stage) -> None:
    codes = [(await stage.login(stage.totp("000000")))[0] for _ in range(PASSCODES_PER_MINUTE + 1)]
    assert codes == [401] * PASSCODES_PER_MINUTE + [429]
    assert (await stage.login(stage.totp(stage.code())))[0] == 429
    assert (await stage.login(stage.both(stage.code())))[0] == 201
    stage.clock.seconds += PERIOD_S
    assert (await stage.login(stage.totp(stage.code())))[0] == 201


# --- rules and receipts --------------------------------------------------------------------------


async def test_a_rule_asks_for_all_its_methods(stage: Stage) -> None:
    await stage.rules(RULES)
    status, body, headers = await stage.login(stage.password())
    assert status == 401
    assert body["required_auth_methods"] == RULES
    assert body["receipt"]["user"]["id"] == stage.cloud.ids.demo_user
    assert "X-Subject-Token" not in headers
    status, body, _ = await stage.login(stage.both(stage.code()))
    assert (status, sorted(body["token"]["methods"])) == (201, ["password", "totp"])


@pytest.mark.parametrize(
    ("rules", "enabled", "status"),
    [
        (RULES, False, 201),
        (RULES, None, 401),
        ([], True, 201),
        ([["telepathy"]], True, 201),
        ([["telepathy", "password"]], True, 201),
        ([["totp"], ["password"]], True, 201),
        ([["totp"], ["token", "password"]], True, 401),
    ],
)
async def test_which_rules_count(stage: Stage, rules: Any, enabled: Any, status: int) -> None:
    await stage.rules(rules, enabled=enabled)
    assert (await stage.login(stage.password()))[0] == status


async def test_a_receipt_and_the_second_factor_get_a_token_once(stage: Stage) -> None:
    await stage.rules(RULES)
    receipt = await stage.receipt()
    assert (await stage.login(stage.totp("000000"), **{RECEIPT_HEADER: receipt}))[0] == 401
    status, body, _ = await stage.login(stage.totp(stage.code()), **{RECEIPT_HEADER: receipt})
    assert (status, body["token"]["methods"]) == (201, ["password", "totp"])
    stage.clock.seconds += PERIOD_S
    assert (await stage.login(stage.totp(stage.code()), **{RECEIPT_HEADER: receipt}))[0] == 401
    token = {"methods": ["token"], "token": {"id": await _token(stage)}}
    assert (await stage.login(token))[0] == 201


async def _token(stage: Stage) -> str:
    stage.clock.seconds += PERIOD_S
    _, _, headers = await stage.login(stage.both(stage.code()))
    return str(headers["X-Subject-Token"])


async def test_the_receipt_of_a_receipt_is_no_longer_good_than_that(stage: Stage) -> None:
    await stage.rules([["password", "totp", "application_credential"]])
    status, first, headers = await stage.login(stage.password())
    stage.clock.seconds += 100
    receipt = {RECEIPT_HEADER: headers[RECEIPT_HEADER]}
    status, second, _ = await stage.login(stage.totp(stage.code()), **receipt)
    assert status == 401
    assert second["receipt"]["methods"] == ["password", "totp"]
    assert second["receipt"]["expires_at"] == first["receipt"]["expires_at"]


async def test_a_receipt_is_over_soon(stage: Stage) -> None:
    await stage.rules(RULES)
    receipt = await stage.receipt()
    stage.clock.seconds += RECEIPT_LIFETIME_S
    assert (await stage.login(stage.totp(stage.code()), **{RECEIPT_HEADER: receipt}))[0] == 401


async def test_a_receipt_is_void_after_a_new_password(stage: Stage) -> None:
    await stage.rules(RULES)
    receipt = await stage.receipt()
    body = {"user": {"password": "another"}}
    path, admin = f"{V3}/users/{stage.cloud.ids.demo_user}", await stage.cloud.login()
    assert (await stage.cloud.call("PATCH", path, admin, json=body))[0] == 200
    assert (await stage.login(stage.totp(stage.code()), **{RECEIPT_HEADER: receipt}))[0] == 401


async def test_a_receipt_is_good_for_its_user_only(stage: Stage) -> None:
    await stage.rules(RULES)
    receipt = await stage.receipt()
    user = {"id": stage.cloud.ids.admin_user, "password": PASSWORDS["admin"]}
    admin = {"methods": ["password"], "password": {"user": user}}
    auth = {"identity": admin, "scope": project("admin")}
    assert (await log_in(stage.cloud, auth))[0] == 201
    assert (await log_in(stage.cloud, auth, **{RECEIPT_HEADER: receipt}))[0] == 401


async def test_what_is_no_receipt_is_refused(stage: Stage) -> None:
    token = await stage.cloud.login("demo")
    await stage.rules(RULES)
    receipt = await stage.receipt()
    for bad in ("", "x", token, receipt[:-4] + "AAAA", receipt + "A", "x" * 3000):
        assert (await stage.login(stage.totp(stage.code()), **{RECEIPT_HEADER: bad}))[0] == 401
    headers = {"X-Auth-Token": receipt}
    async with stage.cloud.session.get(f"{V3}/auth/projects", headers=headers) as answer:
        assert answer.status == 401


async def test_neither_programs_nor_tokens_go_round_a_rule(stage: Stage) -> None:
    cloud = stage.cloud
    demo = await cloud.login("demo")
    path = f"{V3}/users/{cloud.ids.demo_user}/application_credentials"
    body = {"application_credential": {"name": "robot"}}
    _, answer = await cloud.call("POST", path, demo, json=body)
    program = {key: answer["application_credential"][key] for key in ("id", "secret")}
    auth = {"methods": ["application_credential"], "application_credential": program}
    await stage.rules(RULES)
    assert (await log_in(cloud, {"identity": auth}))[0] == 401
    again = {"methods": ["token"], "token": {"id": demo}}
    assert (await log_in(cloud, {"identity": again}))[0] == 401
    await stage.rules([*RULES, ["application_credential"]])
    assert (await log_in(cloud, {"identity": auth}))[0] == 201
