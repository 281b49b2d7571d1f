"""Operations as they run and as they ended: each is a row, written with every step."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.problem import Problem
from gateway.request import Request, Response
from store.event import OperationView, operation, operations

LIMIT_MAX: Final = 1000
LIMIT_DEFAULT: Final = 100
SUBJECT_LENGTH_MAX: Final = 255
IDENT_LENGTH_MAX: Final = 64


class OperationsQuery(Struct, frozen=True, kw_only=True):
    """``subject`` as events name it, for example ``instance/6f0c…``; ``marker``: after this operation."""

    subject: str
    limit: int = LIMIT_DEFAULT
    marker: str = ""


def _time(at: float) -> str | None:
    if not at:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(row: OperationView) -> dict[str, Any]:
    return {
        "id": row.id,
        "subject": row.subject,
        "name": row.name,
        "project_id": row.project_id,
        "user_id": row.user_id,
        "request_id": row.request_id,
        "outcome": row.outcome or "running",
        "reason": row.reason or None,
        "began_at": _time(row.began_at),
        "updated_at": _time(row.updated_at),
        "deadline": _time(row.deadline),
        "finished_at": _time(row.finished_at),
        "steps": msgspec.Raw(row.steps.encode()),
    }


def _project(request: Request) -> str | None:
    """Whose operations the caller sees; None: everybody's."""
    return None if request.caller.is_admin else request.caller.project_id


async def show_operation(request: Request) -> Response:
    """One operation."""
    ident = request.params["operation_id"]
    async with request.services.read_pool.acquire() as c:
        found = await operation(c, ident, _project(request))
    if found is None:
        raise Problem(404, f"There is no operation {ident[:IDENT_LENGTH_MAX]}.")
    return Response({"operation": _shown(found)})


async def list_operations(request: Request) -> Response:
    """What was done to a subject, newest first."""
    query: OperationsQuery = request.query
    if not 0 < len(query.subject) <= SUBJECT_LENGTH_MAX or len(query.marker) > IDENT_LENGTH_MAX:
        raise Problem(400, "subject names what the operations were done to, for example instance/<id>.")
    if not 0 < query.limit <= LIMIT_MAX:
        raise Problem(400, f"limit is a whole number from 1 to {LIMIT_MAX}.")
    async with request.services.read_pool.acquire() as c:
        found = await operations(
            c, query.subject, _project(request), marker=query.marker, limit=query.limit + 1
        )
    body: dict[str, Any] = {"operations": [_shown(row) for row in found[: query.limit]]}
    if len(found) > query.limit:
        body["next_marker"] = found[query.limit - 1].id
    return Response(body)
