"""Application credentials: their life, what their tokens may do, when they end, and attempts to get more."""

import json
from typing import Any

import pytest

from gateway.compute.routes import API as COMPUTE
from gateway.identity.routes import API as IDENTITY
from gateway.identity.signature import s3_signature
from tests.gateway.cloud import Cloud, open_cloud, project
from tests.gateway.identity.people import V3, grant, log_in, new_user, role_id

AUTH = f"{V3}/auth/tokens"


def many(cloud: Cloud, user_id: str = "") -> str:
    return f"{V3}/users/{user_id or cloud.ids.demo_user}/application_credentials"


async def make(cloud: Cloud, token: str, user_id: str = "", **members: Any) -> dict[str, Any]:
    """A new application credential, of the demo user unless said."""
    body = {"application_credential": {"name": "robot", **members}}
    status, answer = await cloud.call("POST", many(cloud, user_id), token, json=body)
    assert status == 201, answer
    found: dict[str, Any] = answer["application_credential"]
    return found


def by(made: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """The auth part of a login with it."""
    program = {"id": made["id"], "secret": made["secret"], **changed}
    return {"identity": {"methods": ["application_credential"], "application_credential": program}}


async def test_an_application_credential_lives_and_ends(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    made = await make(cloud, demo, description="for CI", expires_at="2100-01-01T00:00:00.123456")
    secret = made.pop("secret")
    assert len(secret) == 86
    assert sorted(role["name"] for role in made["roles"]) == ["member", "reader"]
    path = f"{many(cloud)}/{made['id']}"
    assert {**made, "roles": []} == {
        "id": made["id"],
        "name": "robot",
        "description": "for CI",
        "user_id": cloud.ids.demo_user,
        "project_id": cloud.ids.demo_project,
        "roles": [],
        "expires_at": "2100-01-01T00:00:00.123456",
        "unrestricted": False,
        "links": {"self": f"{cloud.url}{path}"},
    }
    assert (await cloud.call("GET", path, demo))[1]["application_credential"] == made
    _, listed = await cloud.call("GET", f"{many(cloud)}?name=robot", demo)
    assert listed["application_credentials"] == [made]
    assert (await cloud.call("GET", f"{many(cloud)}?name=x", demo))[1]["application_credentials"] == []
    body = {"application_credential": {"name": "robot"}}
    assert (await cloud.call("POST", many(cloud), demo, json=body))[0] == 409
    assert (await cloud.call("DELETE", path, demo))[0] == 204
    assert (await cloud.call("GET", path, demo))[0] == 404
    assert secret not in str(listed)


@pytest.mark.parametrize(
    "members",
    [
        {"name": " "},
        {"name": "a\0b"},
        {"name": "x" * 256},
        {"name": 5},
        {"expires_at": "yesterday"},
        {"expires_at": "9999-12-31T23:59:59.999999-23:59"},
        {"expires_at": "2001-01-01T00:00:00"},
        {"roles": [{}]},
        {"roles": [{"id": "a", "name": "b"}]},
        {"roles": [{"name": "admin"}]},
        {"roles": [{"name": "manager"}]},
        {"access_rules": [{}]},
        {"access_rules": [{"service": "compute", "method": "STEAL", "path": "/"}]},
        {"access_rules": [{"service": "compute", "method": "GET", "path": "no slash"}]},
        {"access_rules": [{"service": "compute", "method": "GET"}]},
        {"unrestricted": "yes"},
        {"colour": "blue"},
        {"secret": "x" * 2000},
    ],
)
async def test_a_bad_application_credential_is_refused(cloud: Cloud, members: dict[str, Any]) -> None:
    body = {"application_credential": {"name": "robot", **members}}
    status, _ = await cloud.call("POST", many(cloud), await cloud.login("demo"), json=body)
    assert status == 400


@pytest.mark.parametrize("part", [{"roles": [{"name": "emperor"}]}, {"access_rules": [{"id": "none"}]}])
async def test_what_it_names_must_be_there(cloud: Cloud, part: dict[str, Any]) -> None:
    body = {"application_credential": {"name": "robot", **part}}
    assert (await cloud.call("POST", many(cloud), await cloud.login("demo"), json=body))[0] == 404


async def test_it_is_its_owners(cloud: Cloud) -> None:
    admin, demo = await cloud.login(), await cloud.login("demo")
    eve = await new_user(cloud, "eve", role="member")
    made = await make(cloud, demo)
    path = f"{many(cloud)}/{made['id']}"
    for method in ("GET", "DELETE"):
        assert (await cloud.call(method, path, eve.token))[0] == 403
        assert (await cloud.call(method, f"{many(cloud, eve.id)}/{made['id']}", eve.token))[0] == 404
    body = {"application_credential": {"name": "x"}}
    for token in (eve.token, admin):
        assert (await cloud.call("POST", many(cloud), token, json=body))[0] == 403
    assert (await cloud.call("GET", path, admin))[0] == 200
    assert (await cloud.call("DELETE", path, admin))[0] == 204
    assert (await cloud.call("POST", many(cloud), await cloud.login("demo", None), json=body))[0] == 403


@pytest.mark.parametrize("way", ["id", "name and user id", "name and user name"])
async def test_a_program_logs_in(cloud: Cloud, way: str) -> None:
    made = await make(cloud, await cloud.login("demo"), secret="chosen", roles=[{"name": "reader"}])
    assert made["secret"] == "chosen"
    user = {"id": cloud.ids.demo_user} if "user id" in way else {"name": "demo", "domain": {"id": "default"}}
    changed = {} if way == "id" else {"id": None, "name": "robot", "user": user}
    status, token, body = await log_in(cloud, by(made, **changed))
    document = body["token"]
    assert status == 201
    assert document["methods"] == ["application_credential"]
    assert document["application_credential"] == {"id": made["id"], "name": "robot", "restricted": True}
    assert document["project"]["id"] == cloud.ids.demo_project
    assert [role["name"] for role in document["roles"]] == ["reader"]
    assert (await cloud.call("GET", f"{V3}/users/{cloud.ids.demo_user}", token))[0] == 200
    shown = await cloud.call("GET", AUTH, token, X_Subject_Token=token)
    assert shown[1]["token"]["application_credential"]["id"] == made["id"]


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        ({"secret": "wrong"}, 401),
        ({"secret": ""}, 401),
        ({"id": "unknown"}, 401),
        ({"id": None, "name": "robot", "user": {"id": "unknown"}}, 401),
        ({"id": None, "name": "other", "user": {"name": "demo", "domain": {"id": "default"}}}, 401),
        ({"id": None, "name": "robot"}, 400),
        ({"id": None}, 400),
        ({"id": "../../x"}, 401),
        ({"id": "a\0b"}, 400),
        ({"secret": 5}, 400),
    ],
)
async def test_a_bad_login_gets_nothing(cloud: Cloud, auth: dict[str, Any], status: int) -> None:
    made = await make(cloud, await cloud.login("demo"))
    assert (await log_in(cloud, by(made, **auth)))[0] == status


async def test_an_expired_one_gets_nothing_and_its_tokens_end_with_it(cloud: Cloud) -> None:
    soon = cloud.services.clock.now() + 3600
    demo = await cloud.login("demo")
    made = await make(cloud, demo, expires_at="2100-01-01T00:00:00Z")
    async with cloud.services.pool.acquire() as c:
        await c.execute("UPDATE identity.application_credential SET expires_at = $1", soon)
    _, token, _ = await log_in(cloud, by(made))
    caller = await cloud.services.tokens.verify(token)
    assert caller is not None
    assert caller.expires_at == soon
    async with cloud.services.pool.acquire() as c:
        await c.execute("UPDATE identity.application_credential SET expires_at = 1")
    assert (await log_in(cloud, by(made)))[0] == 401


async def test_neither_scope_nor_roles_can_be_widened(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    await grant(cloud, cloud.ids.demo_user, "admin", cloud.ids.admin_project)
    demo = await cloud.login("demo")
    made = await make(cloud, demo, roles=[{"name": "reader"}])
    scopes = (
        project("admin"),
        project("demo"),
        {"system": {"all": True}},
        "unscoped",
        {"domain": {"id": "x"}},
    )
    for scope in scopes:
        assert (await log_in(cloud, {**by(made), "scope": scope}))[0] == 401
    _, token, _ = await log_in(cloud, by(made))
    again = {"identity": {"methods": ["token"], "token": {"id": token}}}
    for scope in scopes:
        assert (await log_in(cloud, {**again, "scope": scope}))[0] == 403
    status, second, body = await log_in(cloud, again)
    assert status == 201
    assert body["token"]["application_credential"]["id"] == made["id"]
    assert [role["name"] for role in body["token"]["roles"]] == ["reader"]
    user = {"id": cloud.ids.demo_user, "password": "demo-secret"}
    both = by(made)["identity"] | {
        "methods": ["application_credential", "password"],
        "password": {"user": user},
    }
    status, _, body = await log_in(cloud, {"identity": both})
    assert (status, body["token"]["application_credential"]["id"]) == (201, made["id"])
    body = {"application_credential": {"name": "more"}}
    for held in (token, second):
        assert (await cloud.call("POST", many(cloud), held, json=body))[0] == 403
        assert (await cloud.call("DELETE", f"{many(cloud)}/{made['id']}", held))[0] == 403


async def test_an_unrestricted_one_makes_others_with_its_own_roles(cloud: Cloud) -> None:
    made = await make(cloud, await cloud.login("demo"), unrestricted=True, roles=[{"name": "reader"}])
    _, token, document = await log_in(cloud, by(made))
    assert document["token"]["application_credential"]["restricted"] is False
    second = await make(cloud, token, name="second")
    assert [role["name"] for role in second["roles"]] == ["reader"]
    body = {"application_credential": {"name": "third", "roles": [{"name": "member"}]}}
    assert (await cloud.call("POST", many(cloud), token, json=body))[0] == 400


@pytest.mark.parametrize(
    "end", ["deleted", "role taken", "user disabled", "user deleted", "project disabled", "password changed"]
)
async def test_its_tokens_end_with_what_they_are_made_of(cloud: Cloud, database: str, end: str) -> None:
    ann = await new_user(cloud, "ann", role="member")
    made = await make(cloud, ann.token, ann.id)
    _, token, _ = await log_in(cloud, by(made))
    admin, user, there = (
        await cloud.login(),
        f"{V3}/users/{ann.id}",
        f"{V3}/projects/{cloud.ids.demo_project}",
    )
    async with open_cloud(database) as second:
        for place in (cloud, second):
            assert (await place.call("GET", user, token))[0] == 200
        role = await role_id(cloud, "member")
        method, path, json_ = {
            "deleted": ("DELETE", f"{many(cloud, ann.id)}/{made['id']}", None),
            "role taken": ("DELETE", f"{there}/users/{ann.id}/roles/{role}", None),
            "user disabled": ("PATCH", user, {"user": {"enabled": False}}),
            "user deleted": ("DELETE", user, None),
            "project disabled": ("PATCH", there, {"project": {"enabled": False}}),
            "password changed": ("PATCH", user, {"user": {"password": "another"}}),
        }[end]
        assert (await cloud.call(method, path, admin, json=json_))[0] in (200, 204)
        assert (await cloud.call("GET", user, token))[0] == 401
        await second.services.tokens.refresh()
        assert (await second.call("GET", user, token))[0] == 401
    assert (await log_in(cloud, by(made)))[0] == (201 if end == "password changed" else 401)


async def test_disabling_a_user_ends_the_credentials_for_good(cloud: Cloud) -> None:
    ann = await new_user(cloud, "ann", role="member")
    made = await make(cloud, ann.token, ann.id)
    for enabled in (False, True):
        body = {"user": {"enabled": enabled}}
        assert (await cloud.call("PATCH", f"{V3}/users/{ann.id}", await cloud.login(), json=body))[0] == 200
    assert (await log_in(cloud, by(made)))[0] == 401


RULES = [
    {"service": "compute", "method": "GET", "path": "/v2.1/flavors/*"},
    {"service": "compute", "method": "GET", "path": "/v2.1/flavors"},
    {"service": "identity", "method": "GET", "path": "/v3/users/{user_id}"},
]


async def test_access_rules_are_held_by_every_service(database: str) -> None:
    async with open_cloud(database, (IDENTITY, COMPUTE)) as cloud:
        made = await make(cloud, await cloud.login("demo"), access_rules=RULES)
        _, token, document = await log_in(cloud, by(made))
        shown = document["token"]["application_credential"]["access_rules"]
        assert sorted(rule["path"] for rule in shown) == sorted(rule["path"] for rule in RULES)
        for path, expected in (
            ("/compute/v2.1/flavors", 200),
            ("/compute/v2.1/flavors/", 200),
            ("/compute/v2.1/flavors/detail", 200),
            ("/compute/v2.1/flavors/x", 404),
            ("/compute/v2.1/servers", 401),
            ("/compute/v2.1/flavors/x/os-extra_specs", 401),
            ("/compute/v2.1/flavors/../servers", 401),
            (f"{V3}/users/{cloud.ids.demo_user}", 200),
            (f"{V3}/users/{cloud.ids.demo_user}/projects", 401),
            (many(cloud), 401),
        ):
            assert (await cloud.call("GET", path, token))[0] == expected, path
        assert (await cloud.call("POST", "/compute/v2.1/flavors", token, json={}))[0] == 401


async def test_rules_are_hidden_from_services_that_do_not_know_them(cloud: Cloud) -> None:
    made = await make(cloud, await cloud.login("demo"), access_rules=RULES[2:])
    _, token, _ = await log_in(cloud, by(made))
    admin = await cloud.login()
    for version, expected in (("", 404), ("0.9", 404), ("nan", 404), ("x", 404), ("1.0", 200)):
        headers = {"X_Subject_Token": token, "OpenStack_Identity_Access_Rules": version}
        assert (await cloud.call("GET", AUTH, admin, **headers))[0] == expected


async def test_access_rules_are_kept_and_shared(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    rules = f"{V3}/users/{cloud.ids.demo_user}/access_rules"
    made = await make(cloud, demo, access_rules=[RULES[0]])
    rule = made["access_rules"][0]
    second = await make(cloud, demo, name="second", access_rules=[RULES[0], {"id": rule["id"]}])
    assert second["access_rules"] == [rule, rule]
    _, listed = await cloud.call("GET", f"{rules}?service=compute&method=GET", demo)
    assert listed["access_rules"] == [{**rule, "links": {"self": f"{cloud.url}{rules}/{rule['id']}"}}]
    assert (await cloud.call("GET", f"{rules}?service=image", demo))[1]["access_rules"] == []
    assert (await cloud.call("GET", f"{rules}/{rule['id']}", demo))[1]["access_rule"]["path"] == rule["path"]
    assert (await cloud.call("DELETE", f"{rules}/{rule['id']}", demo))[0] == 403
    for ident in (made["id"], second["id"]):
        assert (await cloud.call("DELETE", f"{many(cloud)}/{ident}", demo))[0] == 204
    eve = await new_user(cloud, "eve", role="member")
    stolen = {"application_credential": {"name": "x", "access_rules": [{"id": rule["id"]}]}}
    assert (await cloud.call("POST", many(cloud, eve.id), eve.token, json=stolen))[0] == 404
    assert (await cloud.call("GET", f"{rules}/{rule['id']}", eve.token))[0] == 403
    own = f"{V3}/users/{eve.id}/access_rules/{rule['id']}"
    assert [(await cloud.call(method, own, eve.token))[0] for method in ("GET", "DELETE")] == [404, 404]
    assert (await cloud.call("DELETE", f"{rules}/{rule['id']}", demo))[0] == 204
    assert (await cloud.call("GET", f"{rules}/{rule['id']}", demo))[0] == 404


async def test_a_user_goes_with_rules_in_use(cloud: Cloud) -> None:
    ann = await new_user(cloud, "ann", role="member")
    await make(cloud, ann.token, ann.id, access_rules=RULES)
    assert (await cloud.call("DELETE", f"{V3}/users/{ann.id}", await cloud.login()))[0] == 204


async def test_secrets_are_kept_as_hashes(cloud: Cloud) -> None:
    await make(cloud, await cloud.login("demo"), secret="easily found")
    async with cloud.services.pool.acquire() as c:
        row = await c.fetchrow("SELECT * FROM identity.application_credential")
    assert "easily found" not in str(row)
    assert "$argon2id$" in str(row)


async def test_an_ec2_pair_made_by_a_program_is_good_for_no_more(cloud: Cloud) -> None:
    demo, pairs = await cloud.login("demo"), f"{V3}/users/{cloud.ids.demo_user}/credentials/OS-EC2"
    own = {"tenant_id": cloud.ids.demo_project}
    made = await make(cloud, demo)
    _, restricted, _ = await log_in(cloud, by(made))
    assert (await cloud.call("POST", pairs, restricted, json=own))[0] == 403
    seed = {"credential": {"type": "totp", "blob": "x", "user_id": cloud.ids.demo_user}}
    kept = (await cloud.call("POST", f"{V3}/credentials", demo, json=seed))[1]["credential"]["id"]
    free = await make(cloud, demo, name="free", unrestricted=True, roles=[{"name": "member"}])
    _, token, _ = await log_in(cloud, by(free))
    assert (await cloud.call("POST", pairs, token, json={"tenant_id": cloud.ids.admin_project}))[0] == 403
    assert (await cloud.call("POST", f"{V3}/credentials", token, json=seed))[0] == 403
    for method in ("GET", "DELETE"):
        assert (await cloud.call(method, f"{V3}/credentials/{kept}", token))[0] == 403
    status, body = await cloud.call("POST", pairs, token, json=own)
    pair = body["credential"]
    assert status == 201
    _, listed = await cloud.call("GET", f"{V3}/credentials", token)
    assert [json.loads(row["blob"])["app_cred_id"] for row in listed["credentials"]] == [free["id"]]
    signed = {"access": pair["access"], "signature": s3_signature(pair["secret"], b"x"), "token": "eA=="}
    admin = await cloud.login()
    status, body = await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed})
    assert (status, body["token"]["application_credential"]["id"]) == (200, free["id"])
    assert (await cloud.call("DELETE", f"{many(cloud)}/{free['id']}", demo))[0] == 204
    assert (await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed}))[0] == 401
