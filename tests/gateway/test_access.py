"""Access rules: which paths a pattern means, and that no pattern makes matching slow."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import permits
from store.application_credential import AccessRule

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
