"""Strange headers: an answer in the API's own format, and a plain 400 to what is no HTTP at all."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.envelope import wrong
from tests.gateway.hostile.furnish import COMPUTE, NOWHERE
from tests.gateway.hostile.route import Place, places
from tests.gateway.hostile.sample import samples
from tests.gateway.hostile.test_bodies import speaker
from tests.gateway.hostile.test_paths import soon
from tests.gateway.hostile.walk import Attack, encoded, walk
from tests.gateway.hostile.wire import Answer

pytestmark = pytest.mark.asyncio(loop_scope="package")

BYTES: Final = "\udcff\udcfe"
"""Bytes that are no UTF-8, as the wire sends them and Python reads them."""
TEXTS: Final = (
    "", " ", BYTES, "null", "\U0001f4a5", "a" * 300, "a" * 5000, "a\tb", "%00", "'; --", "{}", "-1",
    ",,,", "9" * 40,
)  # fmt: skip
VERSIONS: Final = (
    "compute", "compute ", "compute 2", "compute 2.", "compute 2.x", "compute 2.1.1", "compute -2.1",
    "compute 2.-1", "compute 2.01", "compute 2.1 2.2", "compute 3.1", "compute 1.1", "compute 0.0",
    "compute LATEST", "compute ٢.١", "compute 2." + "9" * 400, "compute " + "a" * 5000, "compute \udcff",
    "volume 3.1, compute x",
)  # fmt: skip
HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "X-Auth-Token": TEXTS,
    "X-Subject-Token": TEXTS,
    "X-Service-Token": (BYTES, "x"),
    "OpenStack-API-Version": (*TEXTS, *VERSIONS),
    "X-OpenStack-Nova-API-Version": (*TEXTS, "2", "2.x", "99.99", "2.01"),
    "X-OpenStack-Request-ID": (
        *TEXTS, "req-" + "x" * 36, "req-" + "a" * 36, f"req-{NOWHERE}", "req-" + BYTES * 18,
    ),
    "Idempotency-Key": TEXTS,
    "traceparent": TEXTS,
    "OpenStack-System-Scope": ("all", BYTES),
    "Range": (
        *TEXTS, "bytes=", "bytes=abc", "bytes=-", "bytes=5-1", "bytes=-0", "bytes=0-0,1-1,2-2",
        "bytes=999999999999-",
        "bytes=" + ",".join(["0-"] * 900), "bytes=-" + "9" * 40, "lines=1-2",
    ),
    "If-Range": TEXTS,
    "If-Match": (*TEXTS, "revision_number=x", "revision_number=" + "9" * 40),
    "If-None-Match": (*TEXTS, "*"),
    "If-Modified-Since": (*TEXTS, "Mon, 99 Foo 99999 99:99:99 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"),
    "If-Unmodified-Since": (BYTES, "Mon, 99 Foo 99999 99:99:99 GMT"),
    "Accept": (BYTES, "a" * 5000, "text/html", "application/xml"),
    "Accept-Encoding": (BYTES, "gzip;q=9", "a" * 5000),
    "Accept-Language": (BYTES, "../../etc"),
    "X-Forwarded-For": (BYTES, "a" * 5000, "127.0.0.1, ::1"),
    "X-Forwarded-Proto": (*TEXTS, "javascript", "http, https", "file"),
    "X-Forwarded-Host": (
        *TEXTS, "evil.example/path", "evil.example:99999999", "[::1", "user:pw@evil.example", "a b",
        "evil\\x", "..",
    ),

    "X-Forwarded-Prefix": (*TEXTS, "//evil.example", "/../..", "javascript:", "/a b", "/" * 3000, "/%2e%2e"),
    "Forwarded": ("for=evil;host=evil", BYTES),
    "Cookie": (BYTES, "a=b; " * 1000),
    "Last-Event-ID": TEXTS,
    "Upgrade": ("websocket", "h2c", BYTES),
    "Content-Encoding": ("gzip", "nonsense", BYTES),
    "OpenStack-image-import-methods": (BYTES,),
    "x-image-meta-store": (BYTES, "nowhere"),
    "x-openstack-image-size": ("-1", "x"),
}  # fmt: skip


def harmless(place: Place, cloud: Cloud) -> tuple[str, bytes | None]:
    """(target, body) of a call that changes nothing that is needed: what would delete leads nowhere."""
    things = cloud.victims
    if place.route.method == "DELETE":
        things = dict.fromkeys(things, NOWHERE)
    good = next(iter(samples(place, things)), None)
    body = encoded(good) if good is not None else b"data" if place.route.request is not None else None
    return place.target(things), body


THOROUGH: Final = (
    "/servers", "/servers/{server_id}/metadata", "/images/{image_id}/file", "/auth/tokens",
)  # fmt: skip
"""Paths that get every header; the others get one in twelve, not all the same ones."""
FEW: Final = 12


def headed(cloud: Cloud) -> Iterator[Attack]:
    """Routes with one strange header each."""
    pairs = [(name, value) for name, values in HEADERS.items() for value in values]
    for n, place in enumerate(places()):
        target, body = harmless(place, cloud)
        who = speaker(cloud, place)
        for name, value in pairs if place.route.path.endswith(THOROUGH) else pairs[n % FEW :: FEW]:
            yield Attack(place, f"{name}: {value[:40]!r}", target, who, {name: value}, body)


async def test_no_header_is_too_strange(cloud: Cloud) -> None:
    def judge(attack: Attack, answer: Answer) -> str:
        return "an evil link" if answer.status < 400 and "evil\\" in answer.text else soon(attack, answer)

    assert await walk(cloud, headed(cloud), judge) > 3000


async def test_a_trace_that_is_no_text_stops_no_commands(cloud: Cloud) -> None:
    """It goes into the bundle of all commands of that moment; what cannot be encoded would end them all."""
    path = f"{COMPUTE}/servers/{cloud.victims['compute:servers']}/metadata"
    async with cloud.wire() as wire:
        for trace in (BYTES, "a" * 5000, f"00-{'a' * 32}-{'b' * 16}-01"):
            headers = {"X-Auth-Token": cloud.tokens["alice"], "traceparent": trace}
            answer = await wire.call("POST", path, headers, {"metadata": {"a": "b"}})
            assert answer.status == 200, answer
    assert not cloud.ended()


async def test_a_strange_token_is_401_everywhere(cloud: Cloud) -> None:
    """Ours with a flipped, a missing, a doubled or a foreign part among them."""
    token, policy = cloud.tokens["alice"], cloud.gateway.services.policy
    flipped = token[:60] + ("A" if token[60] != "A" else "B") + token[61:]
    strange = ("", " ", "x", BYTES, flipped, token[:-4], token[1:], token * 2, token.swapcase(), "a" * 8000)
    work = (
        Attack(place, tried[:20], *harmless_with(place, cloud, {"X-Auth-Token": tried}))
        for place in places()
        for tried in strange
        if not policy.is_public(place.route.policy)
    )

    def judge(attack: Attack, answer: Answer) -> str:
        return (
            "" if answer.status == 401 and "Keystone uri=" in answer.headers["www-authenticate"] else "let in"
        )

    await walk(cloud, work, judge)


def harmless_with(
    place: Place, cloud: Cloud, headers: dict[str, str]
) -> tuple[str, str, dict[str, str], bytes | None]:
    """The rest of an Attack without a token of its own."""
    target, body = harmless(place, cloud)
    return target, "", headers, body


HEAD: Final = f"GET {COMPUTE}/servers HTTP/1.1\r\nHost: x\r\nX-Auth-Token: TOKEN\r\n"
NO_HTTP: Final = {
    "not HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown version": "GET / HTTP/9.9\r\n\r\n",
    "a bad method": f"G\x01T {COMPUTE}/servers HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space in the target": f"GET {COMPUTE}/ser vers HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long line": f"GET {COMPUTE}/servers/{'a' * 10_000} HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long token": HEAD.replace("TOKEN", "a" * 10_000) + "\r\n",
    "200 headers": HEAD + "".join(f"X-{n}: y\r\n" for n in range(200)) + "\r\n",
    "a header without a colon": HEAD + "nonsense\r\n\r\n",
    "a header with a NUL": HEAD + "X-A: a\0b\r\n\r\n",
    "a name with a space": HEAD + "X A: b\r\n\r\n",
    "a folded header": HEAD + "X-A: b\r\n folded\r\n\r\n",
    "a negative length": HEAD + "Content-Length: -1\r\n\r\n",
    "a length in words": HEAD + "Content-Length: ten\r\n\r\n",
    "two lengths": HEAD + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": HEAD + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": HEAD.replace("GET", "POST") + "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "two hosts": HEAD + "Host: y\r\n\r\n",
}


@pytest.mark.parametrize("what", NO_HTTP)
async def test_what_is_no_http_is_a_plain_no(cloud: Cloud, what: str) -> None:
    text = NO_HTTP[what].replace("TOKEN", cloud.tokens["alice"])
    async with cloud.wire() as wire:
        answer = await wire.exchange(text.encode("utf-8", "surrogateescape"))
    assert 400 <= answer.status < 500, answer
    assert "Traceback" not in answer.text
    assert not cloud.new_bugs()


@pytest.mark.parametrize("host", ["", "a b", "evil/path", "[::1", "a" * 300, "evil:port", "a\\b", BYTES])
async def test_a_strange_host_is_400(cloud: Cloud, host: str) -> None:
    async with cloud.wire() as wire:
        for path, api in ((f"{COMPUTE}/servers", "compute"), ("/image/v2/images", "image")):
            headers = {"Host": host, "X-Auth-Token": cloud.tokens["alice"]}
            answer = await wire.call("GET", path, headers)
            assert answer.status in (200, 400), answer
            assert answer.status == 400 or not host
            assert not wrong(api, answer)


async def test_every_method_is_answered_everywhere(cloud: Cloud) -> None:
    """Methods a path has not: 405 with what it has."""
    methods = (
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
        "OPTIONS",
        "TRACE",
        "COPY",
        "PROPFIND",
        "LOCK",
    )
    known: dict[str, set[str]] = {}
    for place in places():
        known.setdefault(place.api.prefix + place.route.path, set()).add(place.route.method)
    work = (
        Attack(place, method, place.target(cloud.victims), "alice", method=method)
        for place in places()
        for method in methods
        if method not in known[place.api.prefix + place.route.path]
        and not (method == "HEAD" and place.api.name == "identity")  # what can be read can be checked there
    )

    def judge(attack: Attack, answer: Answer) -> str:
        allowed = known[attack.place.api.prefix + attack.place.route.path]
        told = set(answer.headers.get("allow", "").split(", "))
        return "" if answer.status == 405 and allowed <= told else "not 405"

    await walk(cloud, work, judge)


async def test_clients_that_leave_are_no_bug(cloud: Cloud) -> None:
    """Half a head, half a body, a closed connection: nothing is left waiting, no fault is logged."""
    token = cloud.tokens["alice"]
    upload = f"PUT /image/v2/images/{cloud.victims['image:images']}/file HTTP/1.1"
    who = f"Host: x\r\nX-Auth-Token: {token}\r\n"
    octets = "Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n"
    begun = (
        "GET ",
        f"GET {COMPUTE}/servers HTTP/1.1\r\nHost: x\r\nX-Auth-",
        f"POST {COMPUTE}/servers HTTP/1.1\r\n{who}Content-Length: 100\r\n\r\n{{",
        f"{upload}\r\n{who}{octets}\r\n5\r\nab",
        f"GET /v1/events HTTP/1.1\r\n{who}\r\n",
    )
    for text in begun:
        _, writer = await asyncio.open_connection(cloud.host, cloud.port)
        writer.write(text.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    await cloud.must("GET", f"{COMPUTE}/servers", who="alice")
    assert not cloud.new_bugs()
