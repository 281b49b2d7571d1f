"""Paging and sorting as every API here does them: parse, bound, and link to the next page.

Fetching a page is store's business; the names of the link members are each API's own.
"""

from collections.abc import Collection
from typing import Final
from urllib.parse import urlencode

from msgspec import Struct
from multidict import MultiMapping

from gateway.problem import Problem
from gateway.request import Request

LIMIT_MAX: Final = 1000  # rows in one page, whatever was asked for. Source: Nova's max_limit
SORT_KEYS_MAX: Final = 8
MARKER_LENGTH_MAX: Final = 255
_INT_DIGITS_MAX: Final = 9


class SortKey(Struct, frozen=True):
    """One key to sort by."""

    name: str
    descending: bool


class Page(Struct, frozen=True):
    """Which part of a list: at most ``limit`` rows after the row ``marker`` (empty: from the start)."""

    limit: int
    marker: str
    sort: tuple[SortKey, ...]


def limit_in(query: MultiMapping[str], *, limit_max: int = LIMIT_MAX, zero: int = LIMIT_MAX) -> int:
    """The page's length; absent: ``limit_max``. ``zero`` is what 0 means (Glance: 0, others: all).

    More than ``limit_max`` is cut silently. Raises Problem 400 for what is not a whole number ≥ 0.
    """
    text = query.get("limit")
    if text is None:
        return limit_max
    if not (text.isascii() and text.isdigit()):
        raise Problem(400, f"limit must be a whole number not below 0, not {text[:64]!r}.")
    if len(text) > _INT_DIGITS_MAX:
        return limit_max
    return min(int(text) or zero, limit_max)


def _direction(text: str) -> bool:
    if text not in ("asc", "desc"):
        raise Problem(400, f"A sort direction is asc or desc, not {text[:64]!r}.")
    return text == "desc"


def _sort_asked(query: MultiMapping[str], *, descending: bool) -> list[SortKey]:
    compact = [part for value in query.getall("sort", []) for part in value.split(",") if part]
    if compact:
        pairs = [part.strip().partition(":") for part in compact]
        return [SortKey(name, _direction(word) if word else descending) for name, _, word in pairs]
    names = query.getall("sort_key", [])
    words = query.getall("sort_dir", [])
    if len(words) > max(len(names), 1):
        raise Problem(400, "There are more sort directions than sort keys.")
    return [
        SortKey(name, _direction(words[i]) if i < len(words) else descending) for i, name in enumerate(names)
    ]


def sort_in(
    query: MultiMapping[str],
    allowed: Collection[str],
    default: tuple[SortKey, ...],
    *,
    ignore_unknown: bool = False,
) -> tuple[SortKey, ...]:
    """The keys to sort by, in both notations. Raises Problem 400 for keys that are not ``allowed``.

    With ``ignore_unknown`` they are dropped instead (Nova before 2.75). A direction without a key is that of
    the default.
    """
    asked = _sort_asked(query, descending=default[0].descending if default else False)
    if len(asked) > SORT_KEYS_MAX:
        raise Problem(400, f"There are more than {SORT_KEYS_MAX} sort keys.")
    known = [key for key in asked if key.name in allowed]
    if len(known) < len(asked) and not ignore_unknown:
        bad = next(key.name for key in asked if key.name not in allowed)
        raise Problem(400, f"Cannot sort by {bad[:64]!r}.")
    if asked or not default or "sort_dir" not in query:
        return tuple(known) or default
    descending = _direction(query["sort_dir"])
    return tuple(SortKey(key.name, descending) for key in default)


def page_in(
    query: MultiMapping[str],
    allowed: Collection[str],
    default: tuple[SortKey, ...],
    *,
    limit_max: int = LIMIT_MAX,
    ignore_unknown: bool = False,
) -> Page:
    """limit, marker and sort keys of a list request. Raises Problem 400."""
    marker = query.get("marker", "")
    if len(marker) > MARKER_LENGTH_MAX:
        raise Problem(400, "The marker is not the id of a resource.")
    sort = sort_in(query, allowed, default, ignore_unknown=ignore_unknown)
    return Page(limit_in(query, limit_max=limit_max, zero=limit_max), marker, sort)


def query_after(query: MultiMapping[str], marker: str, **changed: str) -> str:
    """The query of the page after ``marker``: the same, with marker (and ``changed``) replaced."""
    replaced = {"marker": marker, **changed}
    kept = [(name, value) for name, value in query.items() if name not in replaced]
    return urlencode([*kept, *replaced.items()])


def next_href(request: Request, marker: str, **changed: str) -> str:
    """The absolute URL of the page after ``marker``, as this client sees us."""
    return f"{request.base_url}{request.path}?{query_after(request.raw.query, marker, **changed)}"
