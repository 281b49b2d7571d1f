"""Query parameters as the Compute API takes them: unknown ones, times, whole numbers, paging."""
# ruff: noqa: PLR2004  the numbers are microversions

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from gateway.compute.schema import INT_MAX
from gateway.pages import LIMIT_MAX, MARKER_LENGTH_MAX, limit_in, next_href
from gateway.problem import Problem
from gateway.request import Request
from store.pool import Pool

_TIME_LENGTH_MAX: Final = 64
_DIGITS_MAX: Final = 10


def minor(request: Request) -> int:
    """The 75 of microversion 2.75."""
    return request.version[1]


def pool(request: Request) -> Pool:
    """Where this API reads."""
    return request.services.read_pool


def refuse_unknown(request: Request, known: Collection[str], *, from_minor: int = 75) -> None:
    """From 2.``from_minor`` on a query parameter that is not ``known`` is refused. Raises Problem 400."""
    if minor(request) < from_minor:
        return
    for name in request.query:
        if name not in known:
            message = f"Additional properties are not allowed ({name[:64]!r} was unexpected)"
            raise Problem(400, f"Invalid query parameters: {message}.")


def time_in(text: str, name: str) -> float:
    """An ISO 8601 time as epoch seconds, not before 1970; UTC when it names no zone. Raises Problem 400."""
    plain = text.strip().replace(" ", "+") if "T" in text else text  # a plus sign arrives as a space
    try:
        found = datetime.fromisoformat(plain[:_TIME_LENGTH_MAX])
    except ValueError as error:
        raise Problem(400, f"Invalid input for query parameter {name}: {text[:64]!r} is no time.") from error
    return max((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp(), 0.0)


def period_in(request: Request) -> tuple[float | None, float | None]:
    """``changes-since`` and ``changes-before`` (from 2.66). Raises Problem 400."""
    query = request.query
    since = time_in(query["changes-since"], "changes-since") if "changes-since" in query else None
    before = None
    if minor(request) >= 66 and "changes-before" in query:
        before = time_in(query["changes-before"], "changes-before")
    if since is not None and before is not None and before < since:
        raise Problem(400, "The value of changes-since must be less than or equal to changes-before.")
    return since, before


def whole_in(text: str, name: str) -> int:
    """A whole number, not negative; more than INT_MAX is INT_MAX. Raises Problem 400."""
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX):
        raise Problem(400, f"Invalid {name} filter [{text[:64]}]")
    return min(int(text), INT_MAX)


def page_of(request: Request, *, from_minor: int = 1) -> tuple[int, str]:
    """(limit, marker) of a list that has pages from 2.``from_minor`` on. Raises Problem 400."""
    if minor(request) < from_minor:
        return LIMIT_MAX, ""
    marker = request.query.get("marker", "")
    if len(marker) > MARKER_LENGTH_MAX:
        raise Problem(400, f"marker [{marker[:64]}…] not found")
    return limit_in(request.query, zero=0), marker


def bad_marker(marker: str) -> Problem:
    """400 for a marker that is not in the list."""
    return Problem(400, f"marker [{marker}] not found")


def next_link(request: Request, marker: str) -> list[dict[str, Any]]:
    """The ``…_links`` member that leads to the page after ``marker``."""
    return [{"rel": "next", "href": next_href(request, marker)}]
