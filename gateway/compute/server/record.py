"""A server's actions: its operations' rows, told as Nova tells them.

Source: Compute API reference, "Servers actions". Events are the steps of an operation; those of deleted
servers are shown from 2.21 on, to the owner from 2.51 on.
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.compute.query import bad_marker, minor, next_link, page_of, period_in, pool, refuse_unknown
from gateway.compute.server.find import server_of
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.view import stamp
from store.server import OperationRow, operation, operations

_EVENTS_RULE: Final = "compute:instance_actions:events"
_LIST: Final = frozenset({"limit", "marker", "changes-since", "changes-before"})


class _Step(Struct, frozen=True):
    name: str
    began_at: float
    finished_at: float = 0.0
    result: str = ""
    reason: str = ""


def _time(at: float) -> str | None:
    return stamp(at, zone=".000000") if at else None


def _shown(row: OperationRow, server_id: str, at: int) -> dict[str, Any]:
    shown = {
        "action": row.name,
        "instance_uuid": server_id,
        "request_id": row.request_id,
        "user_id": row.user_id,
        "project_id": row.project_id,
        "start_time": _time(row.began_at),
        "message": "Error" if row.outcome == "error" else None,
    }
    if at >= 58:
        shown["updated_at"] = _time(row.updated_at)
    return shown


def _event(step: _Step, host: tuple[str, str], at: int, *, admin: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "event": f"compute_{step.name.replace('-', '_')}",
        "start_time": _time(step.began_at),
        "finish_time": _time(step.finished_at),
        "result": step.result or None,
    }
    if admin:
        shown["traceback"] = None
    if at >= 62:
        shown["hostId"] = host[1]
        if admin:
            shown["host"] = host[0]
    if at >= 84:
        shown["details"] = step.reason or None
    return shown


class _Place(Struct, frozen=True):
    """Where the server is, from its view."""

    host_id: str = msgspec.field(name="hostId", default="")
    host: str | None = msgspec.field(name="OS-EXT-SRV-ATTR:host", default=None)


async def list_actions(request: Request) -> Response:
    """``GET …/os-instance-actions``, newest first; in pages and by time from 2.58 on."""
    at = minor(request)
    refuse_unknown(request, _LIST if at >= 66 else _LIST - {"changes-before"}, from_minor=58)
    row = await server_of(request, gone=at >= 21)
    limit, marker = page_of(request, from_minor=58)
    since, before = period_in(request) if at >= 58 else (None, None)
    async with pool(request).acquire() as connection:
        rows = await operations(
            connection, row.id, since=since, before=before, marker=marker, limit=limit + 1
        )
    if rows is None:
        raise bad_marker(marker)
    page = rows[:limit]
    found: dict[str, Any] = {"instanceActions": [_shown(one, row.id, at) for one in page]}
    if at >= 58 and len(rows) > limit and page:
        found["links"] = next_link(request, page[-1].request_id)
    return Response(found)


async def show_action(request: Request) -> Response:
    """``GET …/os-instance-actions/{request_id}``, with its events for whom they are."""
    at = minor(request)
    row = await server_of(request, gone=at >= 21)
    ident = request.params["request_id"]
    async with pool(request).acquire() as connection:
        found = await operation(connection, row.id, ident)
    if found is None:
        raise Problem(404, f"Action {ident} not found")
    shown = _shown(found, row.id, at)
    admin = request.allows(_EVENTS_RULE)
    if admin or at >= 51:
        place = msgspec.json.decode(row.view, type=_Place)
        steps = msgspec.json.decode(found.steps, type=list[_Step])
        host = (place.host or "", place.host_id)
        shown["events"] = [_event(step, host, at, admin=admin) for step in steps]
    return Response({"instanceAction": shown})
