"""Who may do what: the sentences, and every route of every API against every sort of caller."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from msgspec import Struct, structs

from gateway.apis import APIS
from gateway.auth import Caller
from gateway.policy import ROLES, SCOPES, Policy, PolicyError, Target
from gateway.request import Request, Response
from gateway.route import Api, Route
from tests.gateway.fakes import KnownTokens, caller, services, serving

ROOT = Path(__file__).resolve().parents[2]


def test_roles_and_scopes() -> None:
    policy = Policy({"r": "admin or project member or system reader", "own": "self"})
    assert policy.allows("r", caller("admin", "domain"))
    assert policy.allows("r", caller("manager"))
    assert not policy.allows("r", caller("reader"))
    assert policy.allows("r", caller("reader", "system"))
    assert not policy.allows("r", caller("member", "domain"))
    assert policy.allows("r", caller("member"), Target(project_id="p1"))
    assert not policy.allows("r", caller("member"), Target(project_id="p2"))
    assert not policy.allows("r", caller("member"), Target())
    assert policy.allows("own", caller("", "unscoped"), Target(user_id="u1"))
    assert not policy.allows("own", caller("admin"), Target(user_id="u2"))


def test_conditions_may_be_joined() -> None:
    policy = Policy({"r": "role:auditor and system or self and project member", "n": "nobody"})
    auditor = caller("", "system", roles=frozenset({"auditor"}))
    assert policy.allows("r", auditor)
    assert not policy.allows("r", caller("admin", "system"))
    assert not policy.allows("r", caller("", "domain", roles=frozenset({"auditor"})))
    assert policy.allows("r", caller("member"), Target(project_id="p1", user_id="u1"))
    assert not policy.allows("r", caller("member"), Target(project_id="p1", user_id="u2"))
    assert not policy.allows("r", caller("reader"), Target(project_id="p1", user_id="u1"))
    assert not policy.allows("n", caller("admin", "system"))


def test_operators_may_replace_sentences_of_known_rules() -> None:
    policy = Policy({"r": "admin", "o": "public"}, {"r": "authenticated"})
    assert policy.allows("r", caller("", "unscoped"))
    assert policy.is_public("o")
    policy.override({"o": "admin"})
    assert not policy.allows("r", caller("", "unscoped"))
    assert not policy.is_public("o")


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            {"compute:server": "admin"},
            "there is no policy rule 'compute:server'; did you mean compute:servers?",
        ),
        ({"x": "admin"}, "there is no policy rule 'x'; 'starling policy show' lists them"),
        ({"compute:servers": "admin or project boss"}, "'project boss' is no condition"),
        ({"compute:servers": "admin or project membre"}, "did you mean 'project member'?"),
        ({"compute:servers": ""}, "'' is no condition; it must be one of public, authenticated"),
        ({"compute:servers": "role:"}, "'role:' is no condition"),
        ({"compute:servers": "admin or"}, "'admin or' is no condition"),
        ({"compute:servers": "public"}, "'compute:servers' needs a token: it cannot be made public"),
        ({"open": "public or admin"}, "'public' stands alone"),
    ],
)
def test_what_is_no_rule_is_refused_and_changes_nothing(overrides: dict[str, str], text: str) -> None:
    policy = Policy({"compute:servers": "admin", "open": "public"})
    with pytest.raises(PolicyError) as refused:
        policy.override({"open": "admin", **overrides})
    assert text in str(refused.value)
    assert policy.is_public("open")


class Persona(Struct, frozen=True):
    """Somebody with one role (empty: none) in a place, and which one word of a sentence suits that place."""

    caller: Caller
    suits: str


def personas() -> Iterator[tuple[str, Persona]]:
    """Every role in every sort of place; what is acted upon is u1's, in project p1 of domain d1."""
    for place, scope, fields in (
        ("own project", "project", {"project_id": "p1"}),
        ("other project", "project", {"project_id": "p2"}),
        ("own domain", "domain", {"domain_id": "d1"}),
        ("other domain", "domain", {"domain_id": "d2"}),
        ("system", "system", {}),
        ("unscoped", "unscoped", {}),
    ):
        for role in ("", *ROLES) if scope != "unscoped" else ("",):
            for user in ("u1", "u2"):
                who = caller(role, scope, user_id=user, **fields)
                name = f"{role or 'nothing'} in {place}{', the owner' if user == 'u1' else ''}"
                yield name, Persona(who, scope if not place.startswith("other") else "")


PERSONAS = dict(personas())
TARGET = Target(project_id="p1", domain_id="d1", user_id="u1")


def is_met(condition: list[str], who: Persona) -> bool:
    match condition:
        case ["public" | "authenticated"]:
            return True
        case ["self"]:
            return who.caller.user_id == TARGET.user_id
        case [role] if role == "admin" or role.startswith("role:"):
            return role.removeprefix("role:") in who.caller.roles
        case [scope] if scope in SCOPES:
            return scope == who.suits
        case [scope, role]:
            return scope == who.suits and role in who.caller.roles
    return False


def is_allowed(sentence: str, who: Persona) -> bool:
    """The sentence read a second time, independently of gateway.policy, for the one target of these tests."""
    return any(
        all(is_met(condition.split(), who) for condition in alternative.split(" and "))
        for alternative in sentence.split(" or ")
    )


def is_thinkable(sentence: str, who: Persona) -> bool:
    """Whether the caller could be allowed for a target of its own choice: what the chain asks first."""
    owner = structs.replace(who.caller, user_id=TARGET.user_id)
    return is_allowed(sentence, Persona(owner, who.caller.scope))


async def reached(request: Request) -> Response:
    """In place of every handler: what a handler does first once it knows whose the thing is."""
    if request.caller_if_any is not None:
        request.answer_headers["x-reached"] = "yes"
        request.authorize(TARGET)
    return Response(status=299)


def stubbed(api: Api) -> Api:
    """The same API, its handlers and their bodies out of the way."""
    routes = tuple(structs.replace(route, handler=reached, request=None, query=None) for route in api.routes)
    return structs.replace(api, routes=routes)


def path_of(api: Api, route: Route) -> str:
    return api.prefix + "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))


async def outcome_of(session: ClientSession, api: Api, route: Route, token: str) -> tuple[int, bool]:
    """The status, and whether the handler was reached."""
    headers = {"X-Auth-Token": token} if token else {}
    if api.versions is not None and route.microversions is not None:
        major, minor = route.microversions[0]
        headers["OpenStack-API-Version"] = f"{api.versions.service} {major}.{minor}"
    async with session.request(route.method, path_of(api, route), headers=headers) as response:
        return response.status, "x-reached" in response.headers


def expected(sentence: str, sight: str, who: Persona | None) -> tuple[int, bool]:
    """``sight``: the sentence of looking, asked first; where a call has none, it is its own."""
    if sentence == "public":
        return 299, False
    if who is None:
        return 401, False
    return 299 if is_allowed(sentence, who) else 403, is_thinkable(sight, who)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_every_route_lets_in_whom_its_rule_says(api: Api) -> None:
    """Each route with nobody's token and with each persona's, on a thing that is not every persona's."""
    given = stubbed(api)
    known = {f"t{n}": name for n, name in enumerate(PERSONAS)}
    tokens: Any = KnownTokens(**{token: PERSONAS[name].caller for token, name in known.items()})
    wrong = []
    async with serving(services([given], tokens), [given]) as (session, _):
        for route in given.routes:
            sight = given.rules[route.sight or route.policy]
            for token, name in {"": "nobody", **known}.items():
                should = expected(given.rules[route.policy], sight, PERSONAS.get(name))
                got = await outcome_of(session, given, route, token)
                if got != should:
                    wrong.append(f"{route.method} {route.path} as {name}: {got}, not {should}")
    assert not wrong, "\n".join(wrong)


def test_every_rule_is_asked_somewhere() -> None:
    """By a route, or by name in a handler: no sentence is there for nothing."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "gateway").rglob("*.py"))
    for api in APIS:
        routed = {route.policy for route in api.routes}
        idle = [name for name in api.rules.keys() - routed if code.count(f'"{name}"') < 2]
        assert not idle, idle


def test_every_route_has_its_rule_in_its_own_table() -> None:
    for api in APIS:
        assert not [
            route for route in api.routes if {route.policy, route.sight or route.policy} - set(api.rules)
        ]
        assert all(name.partition(":")[0] in (api.name, "own") for name in api.rules)


def structs_in(info: Any) -> Iterator[msgspec.inspect.StructType]:
    """All Structs a type is made of."""
    match info:
        case msgspec.inspect.StructType():
            yield info
            for field in info.fields:
                yield from structs_in(field.type)
        case msgspec.inspect.UnionType():
            for part in info.types:
                yield from structs_in(part)
        case msgspec.inspect.ListType() | msgspec.inspect.VarTupleType():
            yield from structs_in(info.item_type)
        case msgspec.inspect.DictType():
            yield from structs_in(info.value_type)


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
def test_every_body_refuses_unknown_members(api: Api) -> None:
    for route in api.routes:
        kind = None if getattr(route.request, "is_stream", False) else route.request
        for struct in structs_in(msgspec.inspect.type_info(kind)):
            assert struct.forbid_unknown_fields, f"{route.method} {route.path}: {struct.cls}"
