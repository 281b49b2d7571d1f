"""Access rules: which paths a pattern means, and that no pattern makes matching slow."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import permits
from gateway.apis import APIS
from gateway.auth import AppCredential
from gateway.route import Api
from store.application_credential import AccessRule
from tests.gateway.fakes import KnownTokens, caller, services, serving

SERVERS = "/v2.1/servers"


def matches(pattern: str, path: str) -> bool:
    rule = AccessRule(id="r", service="compute", method="GET", path=pattern)
    return permits([rule], ("compute",), "GET", (path,))


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (SERVERS, SERVERS, True),
        (SERVERS, SERVERS + "/", True),
        (SERVERS + "/", SERVERS, True),
        (SERVERS, SERVERS + "/x", False),
        (SERVERS, "/v2.1/server", False),
        (SERVERS, "/v2_1/servers", False),
        ("/v2.1/servers/*", SERVERS, False),
        ("/v2.1/servers/*", SERVERS + "/x", True),
        ("/v2.1/servers/*", SERVERS + "/x/y", False),
        ("/v2.1/servers/*", SERVERS + "/..", True),
        ("/v2.1/servers/{id}", SERVERS + "/x", True),
        ("/v2.1/servers/{id}/ips", SERVERS + "/x/ips", True),
        ("/v2.1/servers/{id}/ips", SERVERS + "/x/y/ips", False),
        ("/v2.1/servers/a*z", SERVERS + "/abz", True),
        ("/v2.1/servers/a*z", SERVERS + "/az", False),
        ("/v2.1/**", SERVERS + "/x/y", True),
        ("/v2.1/**", "/v2.1/", False),
        ("/**", "/v2.1", True),
        ("**", "/", True),
        ("/**/ips", SERVERS + "/x/ips", True),
        ("/**/ips", "/v2.1/ips/x", False),
        ("/v2.1/***", SERVERS, True),
        ("/v2.1/{open", "/v2.1/{open", True),
        ("/", "/", True),
        ("/(a|b)+", "/a", False),
    ],
)
def test_what_a_pattern_means(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


PIECES = st.sampled_from(["/", "a", "b", "*", "**", "{x}"])


def expression(pieces: list[str]) -> str:
    """The same pattern as a regular expression."""
    text = "".join("*" if piece == "{x}" else piece for piece in pieces).removesuffix("/") or "/"
    tokens = re.findall(r"\*\*|.", text)
    return "".join({"**": ".*", "*": "[^/]+"}.get(token, re.escape(token)) for token in tokens)


@given(st.lists(PIECES, max_size=8), st.text("/ab", max_size=8))
def test_it_means_what_the_regular_expression_means(pieces: list[str], path: str) -> None:
    plain = path.removesuffix("/") or "/"
    expected = re.fullmatch(expression(pieces), plain) is not None
    assert matches("".join("*" if piece == "{x}" else piece for piece in pieces), path) is expected


def test_service_and_method_count() -> None:
    rule = AccessRule(id="r", service="compute", method="GET", path=SERVERS)
    assert permits([rule], ("volumev3", "compute"), "GET", ("/compute/v2.1/servers", SERVERS))
    assert not permits([rule], ("compute",), "HEAD", (SERVERS,))
    assert not permits([rule], ("image",), "GET", (SERVERS,))
    assert not permits([], ("compute",), "GET", (SERVERS,))


def test_no_pattern_takes_long() -> None:
    began = time.monotonic()
    assert not matches("/" + "**a*" * 55 + "b", "/" + "a" * 8000)
    assert time.monotonic() - began < 1.0


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.name)
async def test_no_route_forgets_the_rules(api: Api) -> None:
    rule = AccessRule(id="r", service=api.name, method="GET", path="/nowhere")
    granted = AppCredential(id="a", name="a", restricted=True, access_rules=(rule,))
    tokens = KnownTokens(
        ruled=caller("admin", app_credential=granted), signed=caller("admin", methods=("ec2credential",))
    )
    given_services = services([api], tokens)
    let_in = []
    async with serving(given_services, [api]) as (session, _):
        for route in api.routes:
            asks = not given_services.policy.is_public(route.policy) or route.path in ASKING
            path = api.prefix + "/".join(
                "x" if part.startswith("{") else part for part in route.path.split("/")
            )
            for token, refusal in (("ruled", 401), ("signed", 403 if api.barred_methods else 0)):
                if not asks or not refusal:
                    continue
                async with session.request(route.method, path, headers={"X-Auth-Token": token}) as answer:
                    if answer.status != refusal:
                        let_in.append(f"{route.method} {route.path} with {token}: {answer.status}")
    assert not let_in, "\n".join(let_in)


ASKING = frozenset({"/v2/images/{image_id}/file"})
"""Routes whose policy is public and that ask for a token all the same, unless a signature is given."""
