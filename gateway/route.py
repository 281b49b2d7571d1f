"""Routes as rows, APIs as lists of rows, and the tree that finds the row for a path.

A row says everything about a call but what it does. Paths are relative to the API's prefix;
``{name}`` is one segment, a final ``{name:path}`` the rest of the path. Rows of the same method
and path may differ in their microversions.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from aiohttp import web
from msgspec import Struct

from gateway.body import JSON_BYTES_MAX, repeated_in
from gateway.envelope import Envelope
from gateway.microversion import Negotiator, Version, VersionRange
from gateway.problem import Problem, refusal_as_problem
from gateway.request import Request, Response
from protocol.errors import Refused

PATH_SEGMENTS_MAX: Final = 16
_CONTROLS: Final = frozenset(map(chr, (*range(0x20), 0x7F)))

Handler = Callable[[Request], Awaitable[Response | web.StreamResponse]]


class Route(Struct, frozen=True):
    """One call. ``request`` is the body's type (``BodyStream`` for uploads), ``query`` the query's.

    ``microversions`` (oldest, newest) bounds the versions that have the call; None: all of them.
    ``media_types`` are accepted for the body; a request without Content-Type counts as the first.
    ``sight``: the rule of looking at what the path leads to, where a no must not tell that it is there: the
    chain asks this one, and the handler ``policy`` once it has found the thing (else 404).
    ``keyed``: the call begins an operation that a client's Idempotency-Key may name; elsewhere the header
    means nothing.
    """

    method: str
    path: str
    handler: Handler
    policy: str
    success: int = 200
    request: Any = None
    query: type[Struct] | None = None
    microversions: tuple[Version, Version] | None = None
    body_bytes_max: int = JSON_BYTES_MAX
    media_types: tuple[str, ...] = ("application/json",)
    sight: str = ""
    keyed: bool = False


class Api(Struct, frozen=True, kw_only=True):
    """One API under its prefix.

    ``refusal`` maps an actor's no to a status; ``rules`` are the policy sentences of its routes.
    """

    name: str
    prefix: str
    routes: tuple[Route, ...]
    rules: Mapping[str, str]
    envelope: Envelope
    versions: VersionRange | None = None
    refusal: Callable[[Refused], Problem] = refusal_as_problem
    request_id_headers: tuple[str, ...] = ("x-openstack-request-id",)
    unknown_url: Callable[[Problem, str], tuple[bytes, str]] | None = None
    """The envelope of a 404 for a URL no row has, where it differs."""
    final_slash: bool = True
    """Whether a path may end in a slash that means nothing; else only its root and its versions' may."""
    head_as_get: bool = False
    """Whether HEAD is GET without the body wherever no row says otherwise."""
    directory: Callable[[Request], dict[str, Any]] | None = None
    """What the API adds to the document at ``/``, for clients that look for it there."""
    aliases: tuple[str, ...] = ()
    """Other types of service it is known by; its name is the first."""

    barred_methods: frozenset[str] = frozenset()
    """Methods of login whose tokens it does not take."""

    @property
    def service_types(self) -> tuple[str, ...]:
        """Every type of service that access rules may mean it by."""
        return (self.name, *self.aliases)


def rules_of(apis: Iterable[Api]) -> dict[str, str]:
    """All rules of all APIs. Raises ValueError when two APIs give one name two sentences."""
    rules: dict[str, str] = {}
    for api in apis:
        for name, sentence in api.rules.items():
            if rules.setdefault(name, sentence) != sentence:
                msg = f"policy rule {name!r} is defined twice"
                raise ValueError(msg)
    return rules


class Row:
    """A route with what is worked out once: its decoder, its parameter names."""

    __slots__ = ("decoder", "names", "repeated", "route", "template")

    def __init__(self, api: Api, route: Route, names: tuple[str, ...]) -> None:
        self.route = route
        self.names = names
        self.template = api.prefix + route.path
        self.repeated = repeated_in(route.query) if route.query else frozenset()
        streams = route.request is None or getattr(route.request, "is_stream", False)
        self.decoder = None if streams else msgspec.json.Decoder(route.request)

    def serves(self, version: Version) -> bool:
        """Whether the call exists in this microversion."""
        bounds = self.route.microversions
        return bounds is None or bounds[0] <= version <= bounds[1]


class _Node:
    __slots__ = ("any", "rest", "rows", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.rest: dict[str, list[Row]] | None = None
        self.rows: dict[str, list[Row]] = {}


def _name_in(segment: str) -> str:
    return segment[1:-1] if segment.startswith("{") and segment.endswith("}") else ""


class Router:
    """Finds the rows of an API for a path: a walk along its segments, static ones first."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.negotiator = Negotiator(api.versions) if api.versions else None
        self._root = _Node()
        for route in api.routes:
            self._add(route)
        if api.head_as_get:
            for route in api.routes:  # after those that say what HEAD does
                if route.method == "GET":
                    self._add(msgspec.structs.replace(route, method="HEAD"))

    def _add(self, route: Route) -> None:
        node = self._root
        names: list[str] = []
        rest = False
        for segment in _segments(route.path):
            name = _name_in(segment)
            if name:
                names.append(name.removesuffix(":path"))
            if name.endswith(":path"):
                rest = True
                break
            if name:
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.words.setdefault(segment, _Node())
        if rest and node.rest is None:
            node.rest = {}
        table = node.rest if rest and node.rest is not None else node.rows
        table.setdefault(route.method, []).append(Row(self.api, route, tuple(names)))

    def find(self, path: str) -> tuple[Mapping[str, list[Row]], list[str]] | None:
        """The rows by method, and the path's parameters, still percent-encoded. None: unknown path."""
        segments = _segments(path)
        if len(segments) > PATH_SEGMENTS_MAX and not self._has_rest():
            return None
        if not self.api.final_slash and len(segments) > 1 and path.endswith("/"):
            return None
        return _walk(self._root, segments, 0, [])

    def _has_rest(self) -> bool:
        return any(route.path.endswith(":path}") for route in self.api.routes)


def _segments(path: str) -> list[str]:
    """``/v3/users/`` and ``/v3/users`` are the same."""
    return path[1:].removesuffix("/").split("/") if len(path) > 1 else []


def _walk(
    node: _Node, segments: list[str], at: int, values: list[str]
) -> tuple[Mapping[str, list[Row]], list[str]] | None:
    if at == len(segments):
        return (node.rows, values) if node.rows else None
    segment = segments[at]
    child = node.words.get(segment)
    if child is not None:
        found = _walk(child, segments, at + 1, values)
        if found is not None:
            return found
    if node.any is not None and segment:
        found = _walk(node.any, segments, at + 1, [*values, segment])
        if found is not None:
            return found
    if node.rest is not None:
        return node.rest, [*values, "/".join(segments[at:])]
    return None


def unquoted(segment: str) -> str:
    """A path segment decoded. Raises Problem 404 for bytes no resource's name can have."""
    if "%" not in segment and segment.isascii() and segment.isprintable():
        return segment
    try:
        text = unquote(segment, errors="strict")
        text.encode()  # bytes that are no UTF-8 arrive as surrogates
    except UnicodeError as error:
        raise Problem(404, "The resource could not be found.") from error
    if not text.isprintable() and not _CONTROLS.isdisjoint(text):
        raise Problem(404, "The resource could not be found.")
    return text
