"""Who may do what: the sentences, and every route of every API against every sort of caller."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import msgspec
import pytest
from aiohttp import ClientSession
from msgspec import structs

from gateway.apis import APIS
from gateway.auth import Caller
from gateway.policy import ROLES, Policy, Target
from gateway.request import Request, Response
from gateway.route import Api, Route
from tests.gateway.fakes import KnownTokens, caller, services, serving


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


def test_operators_may_replace_sentences_of_known_rules() -> None:
    policy = Policy({"r": "admin", "o": "public"}, {"r": "authenticated"})
    assert policy.allows("r", caller("", "unscoped"))
    assert policy.is_public("o")
    with pytest.raises(ValueError, match="unknown rule 'x'"):
        Policy({"r": "admin"}, {"x": "admin"})
    with pytest.raises(ValueError, match="'project boss'"):
        Policy({"r": "admin or project boss"})


CALLERS: dict[str, Caller] = {
    "unscoped": caller("", "unscoped"),
    **{
        f"{scope}-{role}": caller(role, scope)
        for scope, role in product(("project", "domain", "system"), ROLES)
    },
}


def is_allowed(sentence: str, who: Caller) -> bool:
    """The sentence read a second time, independently of gateway.policy, for a target that suits."""
    for words in (alternative.split() for alternative in sentence.split(" or ")):
        match words:
            case ["public" | "authenticated" | "self"]:
                return True
            case ["admin"] if "admin" in who.roles:
                return True
            case [scope, role] if scope == who.scope and role in who.roles:
                return True
    return False


async def reached(_: Request) -> Response:
    return Response(status=299)


def stubbed(api: Api) -> Api:
    """The same API, its handlers and their bodies out of the way."""
    routes = tuple(structs.replace(route, handler=reached, request=None, query=None) for route in api.routes)
    return structs.replace(api, routes=routes)


def path_of(api: Api, route: Route) -> str:
    return api.prefix + "/".join("x" if part.startswith("{") else part for part in route.path.split("/"))


async def status_of(session: ClientSession, api: Api, route: Route, token: str) -> int:
    headers = {"X-Auth-Token": token} if token else {}
    if api.versions is not None and route.microversions is not None:
        major, minor = route.microversions[0]
        headers["OpenStack-API-Version"] = f"{api.versions.service} {major}.{minor}"
    async with session.request(route.method, path_of(api, route), headers=headers) as response:
        return response.status


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_every_route_lets_in_whom_its_rule_says(api: Api) -> None:
    given = stubbed(api)
    tokens: Any = KnownTokens(**CALLERS)
    wrong = []
    async with serving(services([given], tokens), [given]) as (session, _):
        for route in given.routes:
            sentence = given.rules[route.policy]
            expected = {"": 299 if sentence == "public" else 401}
            expected |= {name: 299 if is_allowed(sentence, who) else 403 for name, who in CALLERS.items()}
            for name, status in expected.items():
                got = await status_of(session, given, route, name)
                if got != status:
                    wrong.append(f"{route.method} {route.path} as {name or 'nobody'}: {got}, not {status}")
    assert not wrong, "\n".join(wrong)


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
