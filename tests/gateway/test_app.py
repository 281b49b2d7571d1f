"""The chain: order of the checks, the shape of every refusal, and limits against hostile input."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog
from aiohttp import ClientPayloadError, ClientSession
from msgspec import Struct

from gateway.app import make_app
from gateway.body import BodyStream
from gateway.commands import Unavailable
from gateway.envelope import glance, keystone, neutron, nova
from gateway.microversion import VersionRange
from gateway.problem import Problem, neutron_refusal
from gateway.request import Request, Response
from gateway.route import Api, Route
from process.access import AccessEntry
from protocol.errors import Refused
from protocol.instance import StopInstance
from tests.gateway.fakes import Answering, KnownTokens, caller, services, serving

READ, WRITE, PUBLIC = "test:read", "test:write", "test:open"
RULES = {READ: "admin or project reader", WRITE: "admin or project member", PUBLIC: "public"}


class Thing(Struct, forbid_unknown_fields=True):
    name: str
    size: int = 0


class ThingBody(Struct, forbid_unknown_fields=True):
    thing: Thing


class ThingQuery(Struct, forbid_unknown_fields=True):
    limit: int = 10
    tag: list[str] = []


async def show(request: Request) -> Response:
    return Response({"id": request.params["id"], "version": request.version, "url": request.api_url})


async def show_newer(request: Request) -> Response:
    return Response({"newer": request.params["id"]})


async def make(request: Request) -> Response:
    return Response({"thing": request.body.thing})


async def find(request: Request) -> Response:
    return Response({"limit": request.query.limit, "tag": request.query.tag})


async def stop(request: Request) -> Response:
    await request.command("instance/i1", StopInstance(by=request.said_by()))
    return Response()


async def upload(request: Request) -> Response:
    return Response({"bytes": sum([len(chunk) async for chunk in request.body])})


async def download(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"
        if "cut" in request.query:
            raise Problem(409, "too late for an answer")

    return Response(chunks(), content_type="application/octet-stream")


async def fail(request: Request) -> Response:
    kinds: dict[str, Exception] = {
        "bug": RuntimeError("the secret detail"),
        "database": ConnectionRefusedError("no database"),
        "bus": Unavailable("no bus"),
        "gone": Problem(410, "it is gone"),
        "denied": Problem(403, "not <you>"),
    }
    raise kinds[request.params["kind"]]


ROUTES = (
    Route("GET", "/v2.1/things/{id}", show, READ, microversions=((2, 1), (2, 9))),
    Route("GET", "/v2.1/things/{id}", show_newer, READ, microversions=((2, 10), (2, 15))),
    Route("GET", "/v2.1/things/detail", find, READ, query=ThingQuery),
    Route("POST", "/v2.1/things", make, WRITE, 201, request=ThingBody, body_bytes_max=4096),
    Route("POST", "/v2.1/stop", stop, WRITE, 202, keyed=True),
    Route(
        "PUT",
        "/v2.1/file",
        upload,
        WRITE,
        request=BodyStream,
        body_bytes_max=10_000,
        media_types=("application/octet-stream",),
    ),
    Route("GET", "/v2.1/file", download, READ),
    Route("GET", "/v2.1/fail/{kind}", fail, READ),
    Route("GET", "/", show_newer, PUBLIC),
)
VERSIONS = VersionRange("compute", (2, 1), (2, 20), "X-OpenStack-Nova-API-Version")
COMPUTE = Api(
    name="compute",
    prefix="/compute",
    routes=ROUTES,
    rules=RULES,
    envelope=nova,
    versions=VERSIONS,
    request_id_headers=("x-openstack-request-id", "x-compute-request-id"),
)
NETWORK = Api(
    name="network", prefix="/network", routes=ROUTES, rules=RULES, envelope=neutron, refusal=neutron_refusal
)
IMAGE = Api(name="image", prefix="/image", routes=ROUTES, rules=RULES, envelope=glance)
IDENTITY = Api(name="identity", prefix="/identity", routes=ROUTES, rules=RULES, envelope=keystone)
APIS = (COMPUTE, NETWORK, IMAGE, IDENTITY)
TOKENS = KnownTokens(t=caller("member"), reader=caller("reader"))
T = {"X-Auth-Token": "t"}


@pytest.fixture
def entries() -> list[AccessEntry]:
    """What the access log was given."""
    return []


@pytest.fixture
def counted() -> list[tuple[Any, ...]]:
    """What the metrics were given."""
    return []


@pytest.fixture
async def session(entries: list[AccessEntry], counted: list[tuple[Any, ...]]) -> AsyncIterator[ClientSession]:
    given = services(APIS, TOKENS, access=entries.append, metrics=lambda *figure: counted.append(figure))
    async with serving(given, APIS) as (opened, _):
        yield opened


async def answer(session: ClientSession, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    options.setdefault("headers", T)
    async with session.request(method, path, **options) as response:
        text = await response.text()
        return response.status, await response.json() if response.content_type == "application/json" else text


async def test_a_route_is_found_and_its_parameters_decoded(session: ClientSession) -> None:
    status, body = await answer(session, "/compute/v2.1/things/a%20b")
    assert status == 200
    assert body["id"] == "a b"
    assert body["version"] == [2, 1]
    assert body["url"] == f"http://127.0.0.1:{session._base_url.port}/compute"  # type: ignore[union-attr]


async def test_static_words_win_over_parameters(session: ClientSession) -> None:
    status, body = await answer(session, "/compute/v2.1/things/detail?tag=a&tag=b&limit=3")
    assert (status, body) == (200, {"limit": 3, "tag": ["a", "b"]})


@pytest.mark.parametrize(
    "query", ["limit=x", "unknown=1", "limit=3%00", "&".join(f"a{i}=1" for i in range(300))]
)
async def test_a_bad_query_is_a_bad_request(session: ClientSession, query: str) -> None:
    status, body = await answer(session, f"/compute/v2.1/things/detail?{query}")
    assert (status, body["badRequest"]["code"]) == (400, 400)


async def test_the_version_chooses_the_row_and_is_echoed(session: ClientSession) -> None:
    headers = {**T, "OpenStack-API-Version": "compute 2.10"}
    async with session.get("/compute/v2.1/things/x", headers=headers) as response:
        assert await response.json() == {"newer": "x"}
        assert response.headers["OpenStack-API-Version"] == "compute 2.10"
        assert response.headers["X-OpenStack-Nova-API-Version"] == "2.10"
        assert "X-OpenStack-Nova-API-Version" in response.headers["Vary"]
    headers = {**T, "X-OpenStack-Nova-API-Version": "latest"}
    status, body = await answer(session, "/compute/v2.1/things/x", headers=headers)
    assert (status, list(body)) == (404, ["itemNotFound"])


@pytest.mark.parametrize(
    ("version", "status", "key"),
    [
        ("2.99", 406, "computeFault"),
        ("1.0", 406, "computeFault"),
        ("x", 400, "badRequest"),
        ("2.01", 400, "badRequest"),
    ],
)
async def test_versions_out_of_range_and_malformed(
    session: ClientSession, version: str, status: int, key: str
) -> None:
    headers = {**T, "X-OpenStack-Nova-API-Version": version}
    got, body = await answer(session, "/compute/v2.1/things/x", headers=headers)
    assert (got, list(body)) == (status, [key])


@pytest.mark.parametrize(
    ("prefix", "find"),
    [
        ("/compute", lambda body: body["itemNotFound"]["message"]),
        ("/network", lambda body: body["NeutronError"]["message"]),
        ("/identity", lambda body: body["error"]["message"]),
    ],
)
async def test_an_unknown_url_is_refused_in_each_apis_words(
    session: ClientSession, prefix: str, find: Any
) -> None:
    status, body = await answer(session, f"{prefix}/v2.1/nothing")
    assert status == 404
    assert find(body) == "The resource could not be found."


async def test_glance_errors_are_html_and_escaped(session: ClientSession) -> None:
    async with session.get("/image/v2.1/fail/denied", headers=T) as response:
        assert response.status == 403
        assert response.content_type == "text/html"
        text = await response.text()
    assert "403 Forbidden" in text
    assert "not &lt;you&gt;" in text


async def test_a_known_url_with_another_method_says_which(session: ClientSession) -> None:
    async with session.delete("/compute/v2.1/things", headers=T) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "POST"
        assert (await response.json())["badMethod"]["code"] == 405


@pytest.mark.parametrize("prefix", ["/compute", "/network", "/identity"])
async def test_without_a_token_nothing_else_is_looked_at(session: ClientSession, prefix: str) -> None:
    async with session.post(f"{prefix}/v2.1/things", data=b"{", headers={"X-Auth-Token": "no"}) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith('Keystone uri="http://127.0.0.1:')
        assert (await response.json())["error"]["code"] == 401


async def test_policy_comes_before_the_body(session: ClientSession) -> None:
    headers = {"X-Auth-Token": "reader"}
    status, body = await answer(session, "/compute/v2.1/things", "POST", data=b"{", headers=headers)
    assert status == 403
    assert body["forbidden"]["message"] == "Policy doesn't allow test:write to be performed."


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"thing": {"name": 5}}', "$.thing.name"),
        (b'{"thing": {"name": "x", "colour": "red"}}', "colour"),
        (b'{"thing": {}}', "name"),
        (b'{"thing": {"name": "a\\u0000b"}}', "NUL"),
        (b'{"thing": ' + b"[" * 200 + b"]" * 200 + b"}", "$.thing"),
        (b'{"thing": {"name": "\\ud800"}}', "JSON"),
        (b'\xff\xfe{"thing"', "JSON"),
    ],
)
async def test_a_bad_body_names_what_is_wrong(session: ClientSession, body: bytes, word: str) -> None:
    status, answered = await answer(
        session, "/compute/v2.1/things", "POST", data=body, headers={**T, "Content-Type": "application/json"}
    )
    assert status == 400
    assert word in answered["badRequest"]["message"]


async def test_quotes_and_escapes_do_not_count_as_nesting(session: ClientSession) -> None:
    name = '[{"\\' * 100
    status, body = await answer(session, "/compute/v2.1/things", "POST", json={"thing": {"name": name}})
    assert (status, body["thing"]["name"]) == (201, name)


async def test_content_types(session: ClientSession) -> None:
    data = b'{"thing": {"name": "x"}}'
    for kind, wanted in [("application/json; charset=utf-8", 201), ("", 201), ("text/xml", 415)]:
        status, _ = await answer(
            session, "/compute/v2.1/things", "POST", data=data, headers={**T, "Content-Type": kind}
        )
        assert status == wanted


async def test_a_body_over_the_limit_is_refused_announced_or_not(session: ClientSession) -> None:
    data = b'{"thing": {"name": "' + b"x" * 5000 + b'"}}'
    status, body = await answer(
        session, "/compute/v2.1/things", "POST", data=data, headers={**T, "Content-Type": "application/json"}
    )
    assert (status, list(body)) == (413, ["overLimit"])

    async def chunks() -> AsyncIterator[bytes]:
        yield data[:3000]
        yield data[3000:]

    status, _ = await answer(
        session,
        "/compute/v2.1/things",
        "POST",
        data=chunks(),
        headers={**T, "Content-Type": "application/json"},
    )
    assert status == 413


async def test_an_upload_is_streamed_within_its_limit(session: ClientSession) -> None:
    headers = {**T, "Content-Type": "application/octet-stream"}
    assert await answer(session, "/compute/v2.1/file", "PUT", data=b"x" * 9999, headers=headers) == (
        200,
        {"bytes": 9999},
    )
    assert (await answer(session, "/compute/v2.1/file", "PUT", data=b"x" * 10_001, headers=headers))[0] == 413


async def test_a_client_that_expects_a_continue_gets_it_only_when_wanted(session: ClientSession) -> None:
    port = session._base_url.port  # type: ignore[union-attr]
    for token, first in [("t", b"HTTP/1.1 100 Continue"), ("no", b"HTTP/1.1 401")]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"PUT /compute/v2.1/file HTTP/1.1\r\nHost: h\r\nX-Auth-Token: {token}\r\n"
            "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(first)
        writer.close()


async def test_a_download_is_streamed_and_cut_when_it_fails(session: ClientSession) -> None:
    async with session.get("/compute/v2.1/file", headers=T) as response:
        assert await response.read() == b"onetwo"
        assert response.headers["x-compute-request-id"].startswith("req-")
    with pytest.raises((ClientPayloadError, ConnectionError)):
        async with session.get("/compute/v2.1/file?cut=1", headers=T) as response:
            await response.read()


@pytest.mark.parametrize(
    "path",
    [
        "/compute/v2.1/things/%00",
        "/compute/v2.1/things/a%0Ab",
        "/compute/v2.1/things/%ff",
        "/compute/%2e%2e/x",
        "/compute//",
        "/compute/v2.1//things",
        "/nothing",
        "/compute" + "/x" * 40,
    ],
)
async def test_a_strange_path_is_not_found(session: ClientSession, path: str) -> None:
    port = session._base_url.port  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: h\r\nX-Auth-Token: t\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"404"
    writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: <script>\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: gopher\r\n\r\n",
        b'GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Prefix: /a"b\r\n\r\n',
        b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n" + b"".join(b"X-%d: x\r\n" % i for i in range(200)) + b"\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ],
)
async def test_a_hostile_head_is_a_bad_request(session: ClientSession, head: bytes) -> None:
    port = session._base_url.port  # type: ignore[union-attr]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    assert (await reader.readline()).split()[1] in (b"400", b"431")
    writer.close()


@pytest.mark.parametrize(
    "text", [b"", b"GET /compute/v2.1/things HTTP/1.1\r\nX-Auth-", b"GET / HTTP/1.1\r\n"]
)
async def test_a_head_that_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    """Neither the first one of a connection nor one after a request."""
    monkeypatch.setattr("gateway.app.KEEPALIVE_TIMEOUT_S", 0.3)
    async with serving(services(APIS, TOKENS), APIS) as (_, url):
        place = url.removeprefix("http://").split(":")
        for before in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            reader, writer = await asyncio.open_connection(*place)
            writer.write(before)
            if before:
                await reader.readuntil(b"}")
            writer.write(text)
            async with asyncio.timeout(5):
                assert b"HTTP" not in await reader.read()
            writer.close()


async def test_a_bug_is_500_without_details(session: ClientSession) -> None:
    with structlog.testing.capture_logs() as logs:
        async with session.get("/compute/v2.1/fail/bug", headers=T) as response:
            assert response.status == 500
            text = await response.text()
            request_id = response.headers["x-openstack-request-id"]
    assert "secret detail" not in text
    assert request_id in text
    assert [entry["log_level"] for entry in logs if entry["event"] == "bug"] == ["error"]


@pytest.mark.parametrize("kind", ["database", "bus"])
async def test_an_outage_is_503(session: ClientSession, kind: str) -> None:
    async with session.get(f"/compute/v2.1/fail/{kind}", headers=T) as response:
        assert response.status == 503
        assert response.headers["Retry-After"] == "1"
        assert "serviceUnavailable" in await response.json()


@pytest.mark.parametrize(
    ("prefix", "code", "status"),
    [
        ("/compute", "conflict", 409),
        ("/compute", "quota", 403),
        ("/network", "quota", 409),
        ("/compute", "not_found", 404),
        ("/compute", "invalid", 400),
        ("/compute", "late", 503),
    ],
)
async def test_an_actors_no_becomes_the_apis_status(prefix: str, code: Any, status: int) -> None:
    given = services(APIS, TOKENS, commands=Answering(lambda _: Refused(code=code, reason="because")))
    async with serving(given, APIS) as (session, _):
        got, body = await answer(session, f"{prefix}/v2.1/stop", "POST")
    assert got == status
    assert "because" in str(body)


async def test_an_idempotency_key_is_the_operation() -> None:
    commands = Answering()
    async with serving(services(APIS, TOKENS, commands=commands), APIS) as (session, _):
        for key in ("a", "a", "b"):
            headers = {**T, "Idempotency-Key": key}
            assert (await answer(session, "/compute/v2.1/stop", "POST", headers=headers))[0] == 202
        assert (await answer(session, "/compute/v2.1/stop", "POST"))[0] == 202
        headers = {**T, "Idempotency-Key": "x" * 300}
        assert (await answer(session, "/compute/v2.1/stop", "POST", headers=headers))[0] == 400
    first, second, third, fourth = (operation for _, _, operation in commands.sent)
    assert first == second
    assert len({second, third, fourth}) == 3


async def test_every_request_leaves_one_line_without_secrets(
    session: ClientSession, entries: list[AccessEntry]
) -> None:
    global_id = "req-6f0cd4f5-0000-4000-8000-000000000000"
    headers = {**T, "X-OpenStack-Request-ID": global_id}
    await answer(session, "/compute/v2.1/things/x?password=hidden", headers=headers)
    (entry,) = entries
    assert (entry.service, entry.method, entry.path) == ("compute", "GET", "/compute/v2.1/things/{id}")
    assert (entry.status, entry.user, entry.project, entry.peer) == (200, "u1", "p1", "127.0.0.1")
    assert entry.global_id == global_id
    assert "hidden" not in str(entry)
    assert entry.duration_ms >= 0


async def test_what_leads_nowhere_leaves_a_line_without_its_path(
    session: ClientSession, entries: list[AccessEntry]
) -> None:
    for path in ("/image/hidden", "/hidden", "/"):
        await answer(session, path)
    told = [(entry.service, entry.path, entry.status) for entry in entries]
    assert told == [("image", "", 404), ("gateway", "", 404), ("gateway", "/", 200)]


async def test_methods_nobody_knows_make_no_figures_of_their_own(
    session: ClientSession, counted: list[tuple[Any, ...]]
) -> None:
    for method in ("PROPFIND", "MKCOL", "LOCK"):
        assert (await answer(session, "/compute/v2.1/things", method))[0] == 405
    assert {figure[2] for figure in counted} == {"other"}


async def test_the_root_lists_the_apis(session: ClientSession) -> None:
    status, body = await answer(session, "/", headers={})
    assert status == 200
    assert [entry["name"] for entry in body["services"]] == ["compute", "network", "image", "identity"]
    assert (await answer(session, "/", "POST", headers={}))[0] == 405


def test_a_route_without_a_rule_is_refused_at_start() -> None:
    broken = Api(
        name="x", prefix="/x", routes=(Route("GET", "/", show, "test:none"),), rules={}, envelope=nova
    )
    with pytest.raises(ValueError, match="test:none"):
        make_app(services([broken], TOKENS), [broken])
