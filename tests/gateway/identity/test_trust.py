"""Trusts: their life, what their tokens may do, when they end, passing them on, and attempts to get more."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.identity.signature import s3_signature
from tests.gateway.cloud import Cloud, open_cloud, project
from tests.gateway.identity.people import V3, Person, grant, log_in, new_user, role_id

TRUSTS = f"{V3}/OS-TRUST/trusts"
LATER = "2100-01-01T00:00:00.000000Z"


@dataclass
class Pair:
    """Tom lends, Eve borrows; both are users of the cloud, Tom is a member of the demo project."""

    cloud: Cloud
    tom: Person
    eve: Person

    def members(self, **changed: Any) -> dict[str, Any]:
        return {
            "trustor_user_id": self.tom.id,
            "trustee_user_id": self.eve.id,
            "project_id": self.cloud.ids.demo_project,
            "impersonation": False,
            "roles": [{"name": "member"}],
            **changed,
        }

    async def lend(self, token: str = "", **changed: Any) -> dict[str, Any]:
        body = {"trust": self.members(**changed)}
        status, answer = await self.cloud.call("POST", TRUSTS, token or self.tom.token, json=body)
        assert status == 201, answer
        found: dict[str, Any] = answer["trust"]
        return found

    async def refused(self, token: str = "", **changed: Any) -> int:
        body = {"trust": self.members(**changed)}
        return (await self.cloud.call("POST", TRUSTS, token or self.tom.token, json=body))[0]

    async def borrow(self, trust: dict[str, Any], who: Person | None = None) -> tuple[int, str, Any]:
        user = {"id": (who or self.eve).id, "password": (who or self.eve).password}
        identity = {"methods": ["password"], "password": {"user": user}}
        return await log_in(
            self.cloud, {"identity": identity, "scope": {"OS-TRUST:trust": {"id": trust["id"]}}}
        )


@pytest.fixture
async def pair(cloud: Cloud) -> Pair:
    return Pair(cloud, await new_user(cloud, "tom", role="member"), await new_user(cloud, "eve"))


async def test_a_trust_lives_and_ends(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(expires_at=LATER, remaining_uses=3, colour="blue")
    path = f"{TRUSTS}/{made['id']}"
    assert [role["name"] for role in made["roles"]] == ["member"]
    assert made["roles_links"]["self"] == f"{cloud.url}{path}/roles"
    plain = {key: value for key, value in made.items() if not key.startswith("roles")}
    assert plain == {
        "id": made["id"],
        "trustor_user_id": pair.tom.id,
        "trustee_user_id": pair.eve.id,
        "project_id": cloud.ids.demo_project,
        "impersonation": False,
        "expires_at": LATER,
        "remaining_uses": 3,
        "redelegation_count": 0,
        "redelegated_trust_id": None,
        "deleted_at": None,
        "colour": "blue",
        "links": {"self": f"{cloud.url}{path}"},
    }
    for person in (pair.tom, pair.eve):
        assert (await cloud.call("GET", path, person.token))[1]["trust"] == made
    tom, eve = (f"{TRUSTS}?trustor_user_id={pair.tom.id}", f"{TRUSTS}?trustee_user_id={pair.eve.id}")
    assert (await cloud.call("GET", tom, pair.tom.token))[1]["trusts"] == [plain]
    assert (await cloud.call("GET", eve, pair.eve.token))[1]["trusts"] == [plain]
    role = made["roles"][0]
    assert (await cloud.call("GET", f"{path}/roles", pair.eve.token))[1]["roles"] == [role]
    one = f"{path}/roles/{role['id']}"
    assert (await cloud.call("GET", one, pair.eve.token))[1]["role"] == role
    assert (await cloud.call("HEAD", one, pair.eve.token))[0] == 200
    other = f"{path}/roles/{await role_id(cloud, 'admin')}"
    assert (await cloud.call("HEAD", other, pair.eve.token))[0] == 404
    assert (await cloud.call("DELETE", path, pair.eve.token))[0] == 403
    assert (await cloud.call("DELETE", path, pair.tom.token))[0] == 204
    assert (await cloud.call("GET", path, pair.tom.token))[0] == 404
    assert (await cloud.call("DELETE", path, pair.tom.token))[0] == 404


async def test_a_trust_is_its_parties_business(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend()
    admin, demo = await cloud.login(), await cloud.login("demo")
    path = f"{TRUSTS}/{made['id']}"
    for method, target in (
        ("GET", path),
        ("DELETE", path),
        ("GET", f"{path}/roles"),
        ("GET", f"{path}/roles/x"),
        ("GET", TRUSTS),
        ("GET", f"{TRUSTS}?trustor_user_id={pair.tom.id}"),
        ("GET", f"{TRUSTS}?trustee_user_id={pair.eve.id}"),
    ):
        assert (await cloud.call(method, target, demo))[0] == 403, target
    assert [row["id"] for row in (await cloud.call("GET", TRUSTS, admin))[1]["trusts"]] == [made["id"]]
    for token in (demo, admin, pair.eve.token):
        assert await pair.refused(token) == 403
    assert (await cloud.call("DELETE", path, admin))[0] == 204


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"impersonation": None}, 400),
        ({"impersonation": "yes"}, 400),
        ({"trustee_user_id": "unknown"}, 404),
        ({"trustee_user_id": "a\0b"}, 400),
        ({"trustee_user_id": "../x"}, 404),
        ({"project_id": "unknown"}, 404),
        ({"roles": []}, 403),
        ({"roles": [{}]}, 400),
        ({"roles": [{"id": "x", "name": "y"}]}, 400),
        ({"roles": [{"name": "emperor"}]}, 404),
        ({"roles": [{"name": "admin"}]}, 404),
        ({"roles": [{"name": "member"}, {"name": "manager"}]}, 404),
        ({"roles": "member"}, 400),
        ({"expires_at": "soon"}, 400),
        ({"expires_at": "9999-12-31T23:59:59.999999Z"}, 400),
        ({"expires_at": "2001-01-01T00:00:00.000000Z"}, 400),
        ({"remaining_uses": 0}, 400),
        ({"remaining_uses": -1}, 400),
        ({"remaining_uses": "2"}, 400),
        ({"remaining_uses": 1 << 40}, 400),
        ({"allow_redelegation": True, "remaining_uses": 1}, 400),
        ({"allow_redelegation": True, "redelegation_count": 4}, 403),
        ({"allow_redelegation": True, "redelegation_count": -1}, 400),
        ({"x": "y" * 20_000}, 400),
    ],
)
async def test_a_bad_trust_is_refused(pair: Pair, changed: dict[str, Any], status: int) -> None:
    assert await pair.refused(**changed) == status


@pytest.mark.parametrize("impersonation", [False, True])
async def test_a_trustee_acts_with_what_was_lent(cloud: Cloud, pair: Pair, impersonation: bool) -> None:
    made = await pair.lend(impersonation=impersonation, roles=[{"name": "reader"}], expires_at=LATER)
    status, token, body = await pair.borrow(made)
    document = body["token"]
    assert status == 201
    assert document["OS-TRUST:trust"] == {
        "id": made["id"],
        "trustor_user": {"id": pair.tom.id},
        "trustee_user": {"id": pair.eve.id},
        "impersonation": impersonation,
    }
    who = pair.tom if impersonation else pair.eve
    assert (document["user"]["id"], document["user"]["name"]) == (who.id, who.name)
    assert document["project"]["id"] == cloud.ids.demo_project
    assert [role["name"] for role in document["roles"]] == ["reader"]
    assert (await cloud.call("GET", f"{V3}/users/{who.id}", token))[0] == 200
    _, again = await cloud.call("GET", f"{V3}/auth/tokens", token, X_Subject_Token=token)
    assert again["token"]["OS-TRUST:trust"] == document["OS-TRUST:trust"]


async def test_only_the_trustee_may_use_it(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend()
    assert (await pair.borrow(made, pair.tom))[0] == 403
    assert (await pair.borrow({"id": "unknown"}))[0] == 401
    unscoped = {"identity": {"methods": ["token"], "token": {"id": pair.eve.token}}}
    scope = {"OS-TRUST:trust": {"id": made["id"]}}
    assert (await log_in(cloud, {**unscoped, "scope": scope}))[0] == 201
    both = {**scope, **project("demo")}
    assert (await log_in(cloud, {**unscoped, "scope": both}))[0] == 400
    for bad in ({}, {"id": ""}, {"id": 5}):
        assert (await log_in(cloud, {**unscoped, "scope": {"OS-TRUST:trust": bad}}))[0] == 400


async def test_its_token_gets_nothing_more(cloud: Cloud, pair: Pair) -> None:
    await grant(cloud, pair.tom.id, "admin", cloud.ids.admin_project)
    tom = await cloud.login("tom", project("demo"), pair.tom.password)
    made = await pair.lend(tom, impersonation=True)
    _, token, _ = await pair.borrow(made)
    again = {"identity": {"methods": ["token"], "token": {"id": token}}}
    for scope in ({}, {"scope": project("admin")}, {"scope": {"OS-TRUST:trust": {"id": made["id"]}}}):
        assert (await log_in(cloud, {**again, **scope}))[0] == 403
    for path in ("application_credentials", "access_rules"):
        assert (await cloud.call("GET", f"{V3}/users/{pair.tom.id}/{path}", token))[0] == 403
    body = {"application_credential": {"name": "x"}}
    own = f"{V3}/users/{pair.tom.id}/application_credentials"
    assert (await cloud.call("POST", own, token, json=body))[0] == 403
    seed = {"credential": {"type": "totp", "blob": "x", "user_id": pair.tom.id}}
    assert (await cloud.call("POST", f"{V3}/credentials", token, json=seed))[0] == 403
    pairs = f"{V3}/users/{pair.tom.id}/credentials/OS-EC2"
    assert (await cloud.call("POST", pairs, token, json={"tenant_id": cloud.ids.admin_project}))[0] == 403
    assert await pair.refused(token, impersonation=True) == 403
    assert (await cloud.call("GET", f"{V3}/users", token))[0] == 403


async def test_a_program_has_no_business_with_trusts(cloud: Cloud, pair: Pair) -> None:
    path = f"{V3}/users/{pair.tom.id}/application_credentials"
    body = {"application_credential": {"name": "robot", "unrestricted": True}}
    _, answer = await cloud.call("POST", path, pair.tom.token, json=body)
    program = {key: answer["application_credential"][key] for key in ("id", "secret")}
    login = {"methods": ["application_credential"], "application_credential": program}
    _, token, _ = await log_in(cloud, {"identity": login})
    made = await pair.lend()
    assert await pair.refused(token) == 403
    for target in (f"{TRUSTS}/{made['id']}", f"{TRUSTS}?trustor_user_id={pair.tom.id}"):
        assert (await cloud.call("GET", target, token))[0] == 403


@pytest.mark.parametrize(
    "end",
    [
        "trust deleted", "role taken", "trustor disabled", "trustor deleted", "trustee disabled",
        "trustee deleted", "project disabled", "trustor's password", "trustee's password",
    ],
)  # fmt: skip
@pytest.mark.parametrize("impersonation", [False, True])
async def test_its_tokens_end_with_what_they_are_made_of(
    cloud: Cloud, pair: Pair, database: str, end: str, impersonation: bool
) -> None:  # fmt: skip
    made = await pair.lend(impersonation=impersonation)
    _, token, _ = await pair.borrow(made)
    admin, there = await cloud.login(), f"{V3}/projects/{cloud.ids.demo_project}"
    tom, eve, me = f"{V3}/users/{pair.tom.id}", f"{V3}/users/{pair.eve.id}", f"{V3}/auth/projects"
    async with open_cloud(database) as second:
        for place in (cloud, second):
            assert (await place.call("GET", me, token))[0] == 200
        role = await role_id(cloud, "member")
        off, password = {"user": {"enabled": False}}, {"user": {"password": "another"}}
        method, path, json_ = {
            "trust deleted": ("DELETE", f"{TRUSTS}/{made['id']}", None),
            "role taken": ("DELETE", f"{there}/users/{pair.tom.id}/roles/{role}", None),
            "trustor disabled": ("PATCH", tom, off),
            "trustor deleted": ("DELETE", tom, None),
            "trustee disabled": ("PATCH", eve, off),
            "trustee deleted": ("DELETE", eve, None),
            "project disabled": ("PATCH", there, {"project": {"enabled": False}}),
            "trustor's password": ("PATCH", tom, password),
            "trustee's password": ("PATCH", eve, password),
        }[end]
        assert (await cloud.call(method, path, admin, json=json_))[0] in (200, 204)
        assert (await cloud.call("GET", me, token))[0] == 401
        await second.services.tokens.refresh()
        assert (await second.call("GET", me, token))[0] == 401
    if end != "trustor's password":
        assert (await pair.borrow(made))[0] in (401, 403)


async def test_an_expired_one_is_gone_and_ends_its_tokens(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(expires_at=LATER)
    soon = cloud.services.clock.now() + 100
    async with cloud.services.pool.acquire() as c:
        await c.execute("UPDATE identity.trust SET expires_at = $1", soon)
    _, token, _ = await pair.borrow(made)
    caller = await cloud.services.tokens.verify(token)
    assert caller is not None
    assert caller.expires_at == soon
    async with cloud.services.pool.acquire() as c:
        await c.execute("UPDATE identity.trust SET expires_at = 1")
    assert (await pair.borrow(made))[0] == 401
    assert (await cloud.call("GET", f"{TRUSTS}/{made['id']}", pair.tom.token))[0] == 404


async def test_uses_are_counted_exactly(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(remaining_uses=3)
    codes = sorted(code for code, _, _ in await asyncio.gather(*(pair.borrow(made) for _ in range(8))))
    assert codes == [201] * 3 + [401] * 5
    assert (await cloud.call("GET", f"{TRUSTS}/{made['id']}", pair.tom.token))[0] == 404
    second = await pair.lend(remaining_uses=1)
    _, token, _ = await pair.borrow(second)
    assert (await cloud.call("GET", f"{V3}/auth/projects", token))[0] == 200


async def test_a_trust_without_a_project_has_no_roles(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(project_id=None, roles=[], impersonation=True)
    status, token, body = await pair.borrow(made)
    assert (status, body["token"]["user"]["id"]) == (201, pair.tom.id)
    assert "roles" not in body["token"]
    assert (await cloud.call("GET", f"{V3}/users", token))[0] == 403


# --- passing on ----------------------------------------------------------------------------------


async def next_one(cloud: Cloud, pair: Pair, name: str, depth: int) -> tuple[Person, dict[str, Any]]:
    """One more person down the chain, and the members that are special to the trust for her."""
    who = await new_user(cloud, name)
    return who, {"trustee_user_id": who.id, "impersonation": True, "allow_redelegation": depth > 0}


async def test_a_trust_is_passed_on_as_far_as_it_allows(cloud: Cloud, pair: Pair) -> None:
    trusts = [await pair.lend(impersonation=True, allow_redelegation=True, expires_at=LATER)]
    assert trusts[0]["redelegation_count"] == 3
    holder, held = pair.eve, []
    for n in range(4):
        status, token, _ = await pair.borrow(trusts[-1], holder)
        assert status == 201
        held.append(token)
        who, members = await next_one(cloud, pair, f"u{n}", 2 - n)
        if n == 3:
            assert await pair.refused(token, **members) == 403
            break
        trusts.append(await pair.lend(token, **members))
        assert trusts[-1]["redelegated_trust_id"] == trusts[-2]["id"]
        assert trusts[-1]["redelegation_count"] == 2 - n
        assert trusts[-1]["expires_at"] == LATER
        holder = who
    assert (await cloud.call("DELETE", f"{TRUSTS}/{trusts[1]['id']}", pair.tom.token))[0] == 204
    states = [(await cloud.call("GET", f"{V3}/auth/projects", token))[0] for token in held]
    assert states == [200, 401, 401, 401]
    shown = [(await cloud.call("GET", f"{TRUSTS}/{row['id']}", pair.tom.token))[0] for row in trusts]
    assert shown == [200, 404, 404, 404]


@pytest.mark.parametrize(
    "changed",
    [
        {"roles": [{"name": "member"}, {"name": "reader"}]},
        {"roles": [{"name": "reader"}]},
        {"expires_at": "2100-01-01T00:00:01.000000Z"},
        {"remaining_uses": 1},
        {"impersonation": True},
        {"project_id": "ADMIN"},
        {"allow_redelegation": True, "redelegation_count": 3},
        {"allow_redelegation": True, "redelegation_count": 1},
    ],
)
async def test_nothing_is_added_on_the_way(cloud: Cloud, pair: Pair, changed: dict[str, Any]) -> None:
    await grant(cloud, pair.tom.id, "member", cloud.ids.admin_project)
    made = await pair.lend(allow_redelegation=True, expires_at=LATER)
    _, token, _ = await pair.borrow(made)
    zoe = await new_user(cloud, "zoe")
    if changed.get("project_id"):
        changed = {"project_id": cloud.ids.admin_project}
    members = {"trustor_user_id": pair.eve.id, "trustee_user_id": zoe.id, **changed}
    assert await pair.refused(token, **members) == 403


async def test_a_chain_without_impersonation_ends_with_its_first_lender(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(allow_redelegation=True)
    _, token, _ = await pair.borrow(made)
    zoe = await new_user(cloud, "zoe")
    second = await pair.lend(token, trustor_user_id=pair.eve.id, trustee_user_id=zoe.id)
    status, held, body = await pair.borrow(second, zoe)
    assert (status, body["token"]["user"]["id"]) == (201, zoe.id)
    assert sorted(role["name"] for role in body["token"]["roles"]) == ["member", "reader"]
    await grant(cloud, pair.tom.id, "member", cloud.ids.demo_project, method="DELETE")
    assert (await cloud.call("GET", f"{V3}/auth/projects", held))[0] == 401
    assert (await pair.borrow(second, zoe))[0] == 403


async def test_one_that_may_not_be_passed_on_is_not(pair: Pair, cloud: Cloud) -> None:
    made = await pair.lend(impersonation=True)
    _, token, _ = await pair.borrow(made)
    zoe = await new_user(cloud, "zoe")
    assert await pair.refused(token, trustee_user_id=zoe.id, impersonation=True) == 403


async def test_an_ec2_pair_made_with_a_trust_is_good_for_no_more(cloud: Cloud, pair: Pair) -> None:
    made = await pair.lend(impersonation=True)
    _, token, _ = await pair.borrow(made)
    pairs = f"{V3}/users/{pair.tom.id}/credentials/OS-EC2"
    status, body = await cloud.call("POST", pairs, token, json={"tenant_id": cloud.ids.demo_project})
    key = body["credential"]
    assert (status, key["trust_id"]) == (201, made["id"])
    signed = {"access": key["access"], "signature": s3_signature(key["secret"], b"x"), "token": "eA=="}
    admin = await cloud.login()
    status, body = await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed})
    assert (status, body["token"]["OS-TRUST:trust"]["id"]) == (200, made["id"])
    assert (await cloud.call("DELETE", f"{TRUSTS}/{made['id']}", pair.tom.token))[0] == 204
    assert (await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed}))[0] == 401
