"""From rows to a running server: the chain every request passes, in order, and the root document.

request id → path → base URL → token → access rules → microversion → policy → query and body →
handler → answer, access log and metrics around all of it. Each step's rules live in the module it is
named after; this one only calls them in order and turns whatever is raised into an answer in the API's
format.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Final

import msgspec
import structlog
from aiohttp import web
from multidict import CIMultiDict, MultiDict, MultiDictProxy

from bus.mailbox import BusUnavailable
from gateway.access import admit
from gateway.body import BodyStream, check_query, decode_json, query_struct, read_limited
from gateway.commands import Unavailable
from gateway.origin import Origins
from gateway.problem import Problem
from gateway.request import Request, Response, forbidden
from gateway.route import Api, Router, Row, unquoted
from gateway.server_log import server_log
from gateway.services import Services
from process.access import AccessEntry, utc
from store.pool import is_outage

HEADER_BYTES_MAX: Final = 8190  # one header, and the request line
HEADERS_MAX: Final = 100
KEEPALIVE_TIMEOUT_S: Final = 75.0
_NO_QUERY: Final[MultiDictProxy[str]] = MultiDictProxy(MultiDict())
_NOT_FOUND: Final = "The resource could not be found."

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY"})
_log = structlog.get_logger()
_encode = msgspec.json.Encoder().encode


class Front:
    """The chain. One instance per application."""

    def __init__(self, services: Services, apis: Iterable[Api]) -> None:
        """Raise ValueError for a route whose policy rule is not in the table."""
        self._services = services
        self._origins = Origins(trust_forwarded=services.settings.trust_forwarded)
        self.routers = {api.prefix.strip("/"): Router(api) for api in apis}
        for router in self.routers.values():
            for route in router.api.routes:
                for rule in (route.policy, route.sight or route.policy):
                    if rule not in services.policy.sentences:
                        msg = f"{route.method} {router.api.prefix}{route.path}: no policy rule {rule!r}"
                        raise ValueError(msg)

    async def handle(self, raw: web.Request) -> web.StreamResponse:
        """Answer one request, whatever happens on the way."""
        clock = self._services.clock
        began = clock.monotonic()
        request = Request(raw, self._services, f"req-{clock.uuid()}")
        try:
            response = await self._answered(request)
        except Problem as problem:
            response = _failed(request, problem)
        except Exception as error:  # noqa: BLE001  the last line of defence; a bug is logged as one
            response = _failed(request, _fault(request, error))
        self._record(request, response.status, clock.monotonic() - began)
        return response

    async def _answered(self, request: Request) -> web.StreamResponse:
        raw = request.raw
        prefix = request.path[1:].partition("/")[0]
        router = self.routers.get(prefix)
        if router is not None:
            request.api = router.api
            request.service = router.api.name
            request.envelope = router.api.envelope
            request.answer_headers = dict.fromkeys(router.api.request_id_headers, request.request_id)
        request.base_url = self._origins.base_url(raw.scheme, raw.headers)
        if router is None:
            return self._root(request)
        row = await self._admitted(request, router, request.path[len(prefix) + 1 :])
        await _load(request, row)
        response = await row.route.handler(request)
        if isinstance(response, web.StreamResponse):
            return response
        return await _sent(request, response)

    async def _admitted(self, request: Request, router: Router, path: str) -> Row:
        """Find the row to run, once token, microversion and policy allow it."""
        policy = self._services.policy
        rows, values = _rows_for(request, router, path)
        request.template = rows[0].template
        if not policy.is_public(rows[0].route.policy):
            await admit(request)
        if router.negotiator is not None:
            request.version = router.negotiator.version_of(request.headers)
            request.answer_headers.update(router.negotiator.response_headers(request.version))
        row = next((row for row in rows if row.serves(request.version)), None)
        if row is None:
            raise Problem(404, _NOT_FOUND)
        request.route = row.route
        if values:
            request.params = dict(zip(row.names, map(unquoted, values), strict=True))
        rule = row.route.sight or row.route.policy
        if not policy.is_public(rule) and not policy.allows(rule, request.caller):
            raise forbidden(rule)
        return row

    def _root(self, request: Request) -> web.StreamResponse:
        """Answer ``/``, the one document of no API."""
        if request.path != "/":
            raise Problem(404, "There is no API at this path.")
        if request.raw.method not in ("GET", "HEAD"):
            raise Problem(405, "This document can only be read.", headers={"Allow": "GET, HEAD"})
        request.template = "/"
        headers = CIMultiDict(request.answer_headers)
        headers["Content-Type"] = "application/json"
        return web.Response(body=_encode(self._directory(request)), headers=headers)

    def _directory(self, request: Request) -> dict[str, object]:
        services = [
            {"name": router.api.name, "href": request.base_url + router.api.prefix}
            for router in self.routers.values()
        ]
        document: dict[str, object] = {"services": services}
        for router in self.routers.values():
            if router.api.directory is not None:
                document.update(router.api.directory(request))
        return document

    def _record(self, request: Request, status: int, duration_s: float) -> None:
        method, template = request.raw.method, request.template
        caller = request.caller_if_any
        self._services.access(
            AccessEntry(
                service=request.service,
                timestamp=utc(self._services.clock.now()),
                method=method,
                path=template,
                status=status,
                duration_ms=round(duration_s * 1000, 2),
                request_id=request.request_id,
                peer=request.peer,
                user=caller.user_id if caller is not None else "",
                project=caller.project_id if caller is not None else "",
                global_id=request.global_id,
            )
        )
        counted = method if method in _METHODS else "other"  # a client must not make figures without end
        self._services.metrics(request.service, template, counted, status, duration_s)


def _rows_for(request: Request, router: Router, path: str) -> tuple[list[Row], list[str]]:
    found = router.find(path)
    if found is None:
        if router.api.unknown_url is not None:
            request.envelope = router.api.unknown_url
        raise Problem(404, _NOT_FOUND)
    methods, values = found
    rows = methods.get(request.raw.method)
    if rows is None:
        headers = {"Allow": ", ".join(sorted(methods))}
        raise Problem(405, "The method specified is not allowed for this resource.", headers=headers)
    return rows, values


async def _load(request: Request, row: Row) -> None:
    """Decode query and body. Raises Problem 400, 413 or 415."""
    raw, route = request.raw, row.route
    raw_query = raw.rel_url.raw_query_string
    query = raw.query if raw_query else _NO_QUERY
    if raw_query:
        check_query(query, raw_query)
    request.query = query if route.query is None else query_struct(query, route.query, row.repeated)
    if route.request is None:
        return
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media_type and media_type not in route.media_types:
        raise Problem(415, f"Content-Type must be {' or '.join(route.media_types)}, not {media_type[:64]!r}.")
    if row.decoder is None:
        request.body = BodyStream(raw, route.body_bytes_max)
        return
    request.body = decode_json(row.decoder, await read_limited(raw, route.body_bytes_max))


async def _sent(request: Request, response: Response) -> web.StreamResponse:
    status = response.status or request.route.success
    body = response.body
    if isinstance(body, AsyncIterator):
        stream = await request.stream(status, response.headers, response.content_type)
        async for chunk in body:
            await stream.write(chunk)
        await stream.write_eof()
        return stream
    headers = CIMultiDict(request.answer_headers)
    if response.headers:
        headers.update(response.headers)
    if body is None:
        return web.Response(status=status, headers=headers)
    headers["Content-Type"] = response.content_type
    return web.Response(
        status=status, headers=headers, body=body if isinstance(body, bytes) else _encode(body)
    )


def _fault(request: Request, error: Exception) -> Problem:
    """Turn an unexpected exception into a problem. The client learns the request id, no more."""
    if isinstance(error, (Unavailable, BusUnavailable)) or is_outage(error):
        _log.warning("unavailable", service=request.service, request_id=request.request_id, error=repr(error))
        message = "The service is temporarily unable to answer. Please try again."
        return Problem(503, message, headers={"Retry-After": "1"})
    _log.error(
        "bug",
        service=request.service,
        request_id=request.request_id,
        path=request.template,
        exc_info=error,
    )
    return Problem(500, f"Unexpected error. Please report request {request.request_id} to the operator.")


def _failed(request: Request, problem: Problem) -> web.StreamResponse:
    """Render the problem, or cut the connection when part of an answer has left already."""
    if request.streaming is not None:
        _log.warning(
            "stream.cut", service=request.service, request_id=request.request_id, reason=problem.message
        )
        if request.raw.transport is not None:
            request.raw.transport.abort()
        return request.streaming
    body, content_type = request.envelope(problem, request.request_id)
    headers = CIMultiDict(request.answer_headers)
    headers.update(problem.headers)
    headers["Content-Type"] = content_type
    return web.Response(status=problem.status, headers=headers, body=body)


async def _no_early_continue(_: web.Request) -> web.StreamResponse | None:
    """Leave Expect: 100-continue unanswered until the body is wanted (gateway/body.py)."""
    return None


def make_app(services: Services, apis: Iterable[Api]) -> web.Application:
    """Make the application: one catch-all resource in front of the route tables of ``apis``.

    The limits on headers hold whatever runs it; our own access log replaces aiohttp's.
    """
    front = Front(services, apis)
    app = web.Application(
        handler_args={
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": KEEPALIVE_TIMEOUT_S,
            "logger": server_log(),
            "max_field_size": HEADER_BYTES_MAX,
            "max_headers": HEADERS_MAX,
            "max_line_size": HEADER_BYTES_MAX,
        }
    )
    app.router.add_route("*", r"/{path:[\s\S]*}", front.handle, expect_handler=_no_early_continue)
    return app
