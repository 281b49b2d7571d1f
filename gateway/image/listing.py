"""The list of images: its filters, its order, its pages. Source: Image API v2, "List images"."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, get_args
from urllib.parse import urlencode

import msgspec
from multidict import MultiMapping

from gateway.image.access import viewer
from gateway.image.record import VISIBILITIES
from gateway.pages import MARKER_LENGTH_MAX, SortKey, limit_in, query_after, sort_in
from gateway.problem import Problem
from gateway.request import Request, Response
from store.image import COLUMNS, SORT, Compare, ImageFilter, MemberStatus, images
from store.keyset import Key

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 100
"""Rows in a page of a client that does not say."""
IN_MAX: Final = 500
"""Values after ``in:``."""
PROPERTY_FILTERS_MAX: Final = 16
_NOT_FILTERS: Final = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
_IN: Final = "in:"
_DEFAULT_SORT: Final = (SortKey("created_at", descending=True),)
_SIZE_DIGITS_MAX: Final = 18


async def list_images(request: Request) -> Response:
    """One page of the images that the caller sees."""
    query = request.query
    which = filters_in(query)
    sort = _sort(query)
    limit = limit_in(query, limit_max=LIMIT_MAX, zero=0) if "limit" in query else LIMIT_DEFAULT
    marker = query.get("marker", "")
    if len(marker) > MARKER_LENGTH_MAX:
        raise Problem(400, "The marker is not the id of an image.")
    async with request.services.read_pool.acquire() as c:
        rows = await images(c, which, viewer(request), sort=_keys(sort), marker=marker, limit=limit + 1)
    if rows is None:
        raise Problem(400, f"Image {marker} could not be found.")
    more = len(rows) > limit > 0
    rows = rows[:limit]
    first = urlencode([(name, value) for name, value in query.items() if name != "marker"])
    links = {"first": "/v2/images" + (f"?{first}" if first else ""), "schema": "/v2/schemas/images"}
    if more:
        links["next"] = f"/v2/images?{query_after(query, rows[-1].id)}"
    page = (
        '{"images": [' + ",".join(row.view for row in rows) + "]," + msgspec.json.encode(links).decode()[1:]
    )
    return Response(page.encode())


def _sort(query: MultiMapping[str]) -> tuple[SortKey, ...]:
    """The keys asked for, in one notation; a single direction holds for all of them. Raises Problem 400."""
    sort = sort_in(query, SORT.keys(), _DEFAULT_SORT)
    words = query.getall("sort_dir", [])
    if "sort" in query and ("sort_key" in query or words):
        raise Problem(400, "Old and new sorting syntax cannot be combined")
    if not set(words) <= {"asc", "desc"}:
        raise Problem(400, f"Invalid sort direction: {', '.join(words)[:64]}")
    if len(words) == 1:
        return tuple(SortKey(key.name, words[0] == "desc") for key in sort)
    if words and len(words) != len(query.getall("sort_key", [])):
        raise Problem(400, "Number of sort dirs does not match the number of sort keys")
    return sort


def _keys(sort: tuple[SortKey, ...]) -> list[Key]:
    """The order as SQL; the age, then the id decide between equals."""
    names = [*sort]
    for name in ("created_at", "id"):
        if all(key.name != name for key in names):
            names.append(SortKey(name, names[0].descending))
    return [Key(SORT[key.name], key.descending) for key in names]


def filters_in(query: Any) -> ImageFilter:
    """The filters of a list's query. Raises Problem 400."""
    made: dict[str, Any] = {"equal": {}, "times": [], "properties": {}, "tags": query.getall("tag", [])}
    if "changes-since" in query:
        raise Problem(400, 'The "changes-since" filter is no longer available on v2.')
    for name, value in query.items():
        if name in _NOT_FILTERS or name == "tag":
            continue
        reader = _READERS.get(name)
        if reader is not None:
            member, read = reader
            made[member] = read(name, value)
        elif name in COLUMNS:
            made["equal"][name] = _values(name, value)
        elif name in ("created_at", "updated_at"):
            made["times"].append((name, *_time(name, value)))
        else:
            made["properties"][name] = value
    if len(made["properties"]) > PROPERTY_FILTERS_MAX or len(made["tags"]) > PROPERTY_FILTERS_MAX:
        raise Problem(400, f"There are more than {PROPERTY_FILTERS_MAX} filters by property or tag.")
    return ImageFilter(**made)


def _values(name: str, value: str) -> list[str]:
    """One value, or those of ``in:a,b``, where quotes keep commas."""
    if not value.startswith(_IN):
        return [value]
    values: list[str] = []
    rest = value[len(_IN) :]
    while rest:
        if rest.startswith('"'):
            word, quote, rest = rest[1:].partition('"')
            comma = rest[:1] in ("", ",")
            rest = rest[1:]
            if not quote or not comma:
                raise Problem(400, f"The filter value of {name} has an unbalanced quote.")
        else:
            word, _, rest = rest.partition(",")
        values.append(word)
    if len(values) > IN_MAX:
        raise Problem(400, f"A filter by {name} may name {IN_MAX} values.")
    return values


def _time(name: str, value: str) -> tuple[Compare, float]:
    """``gte:2026-11-22T11:00:00Z``; without an operator the time must be equal."""
    word, colon, rest = value.partition(":")
    named = bool(colon) and word in get_args(Compare)
    text = rest if named else value
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Problem(400, f"Invalid time value {text[:64]!r} for {name}.") from error
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    compare: Compare = "eq"
    for known in get_args(Compare):
        if named and word == known:
            compare = known
    return compare, float(int(at.timestamp()))


def _flag(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise Problem(400, f"Invalid value {value[:64]!r} for {name}: true or false.")
    return value.lower() == "true"


def _size(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= _SIZE_DIGITS_MAX):
        raise Problem(400, f"Invalid value {value[:64]!r} for {name}: a whole number not below 0.")
    return int(value)


def _visibility(_: str, value: str) -> str:
    if value not in (*VISIBILITIES, "all"):
        raise Problem(400, f"Invalid visibility value: {value[:64]}")
    return value


def _member_status(_: str, value: str) -> str | None:
    if value not in (*get_args(MemberStatus), "all"):
        raise Problem(400, f"Invalid member status: {value[:64]}")
    return None if value == "all" else value


_READERS: Final[dict[str, tuple[str, Callable[[str, str], Any]]]] = {
    "visibility": ("visibility", _visibility),
    "member_status": ("member_status", _member_status),
    "os_hidden": ("hidden", _flag),
    "protected": ("protected", _flag),
    "size_min": ("size_min", _size),
    "size_max": ("size_max", _size),
}
