"""Compute services: one per host; enabling, disabling and forcing them down is the host actor's doing.

Source: Compute API reference, "Compute services (os-services)".
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.compute.host import BINARY, host_key, host_of, is_up, reason_of
from gateway.compute.query import minor, pool, refuse_unknown
from gateway.compute.schema import Body, Boolean, Fqdn, check, since, truth, until
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.host import HostView, RemoveHost, SetHostService
from protocol.ids import address
from protocol.view import stamp
from store.server import HostRow, hosts

_Reason = Annotated[str, Meta(min_length=1, max_length=255)]
_ACTIONS = ("enable", "disable", "disable-log-reason", "force-down")


class ServiceBody(Body, frozen=True):
    """PUT /os-services/{id}: by the service's id from 2.53 on, by host and binary before."""

    host: Annotated[Fqdn | UnsetType, until(52)] = UNSET
    binary: Annotated[Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType, until(52)] = UNSET
    status: Annotated[Literal["enabled", "disabled"] | UnsetType, since(53)] = UNSET
    disabled_reason: _Reason | UnsetType = UNSET
    forced_down: Annotated[Boolean | UnsetType, since(11)] = UNSET


def _shown(row: HostRow, at: int) -> dict[str, Any]:
    reason = reason_of(msgspec.json.decode(row.view, type=HostView))
    shown = {
        "id": host_key(row, at),
        "binary": BINARY,
        "host": row.hostname,
        "zone": row.availability_zone,
        "status": "disabled" if row.disabled else "enabled",
        "state": "up" if is_up(row) else "down",
        "updated_at": stamp(row.heard_at, zone=".000000") if row.heard_at else None,
        "disabled_reason": reason or None,
    }
    return {**shown, "forced_down": row.forced_down} if at >= 11 else shown


async def list_services(request: Request) -> Response:
    """``GET /os-services``; filters: host, binary."""
    refuse_unknown(request, {"host", "binary"})
    query, at = request.query, minor(request)
    async with pool(request).acquire() as connection:
        rows = await hosts(connection)
    if query.get("host"):
        rows = [row for row in rows if row.hostname == query["host"]]
    if query.get("binary", BINARY) not in ("", BINARY):
        rows = []
    return Response({"services": [_shown(row, at) for row in rows]})


async def update_service(request: Request) -> Response:
    """``PUT /os-services/{id}`` from 2.53 on, ``PUT /os-services/{action}`` before."""
    body: ServiceBody = request.body
    at = minor(request)
    check(body, at)
    return await (_update(request, body) if at >= 53 else _act(request, body))


async def _say(request: Request, row: HostRow, **changes: Any) -> None:
    message = SetHostService(by=request.said_by(), **changes)
    await request.command(address("host", row.id), message)


async def _update(request: Request, body: ServiceBody) -> Response:
    if body.status is UNSET and body.forced_down is UNSET:
        raise Problem(400, "No updates were requested. Fields 'status' or 'forced_down' should be specified.")
    if body.disabled_reason is not UNSET and body.status != "disabled":
        raise Problem(400, "Specifying 'disabled_reason' requires that 'status' is 'disabled'.")
    ident = request.params["service_id"]
    row = await host_of(request, ident, f"Service {ident} could not be found.")
    await _say(
        request,
        row,
        duty=None if body.status is UNSET else "service" if body.status == "enabled" else "disabled",
        reason=None if body.disabled_reason is UNSET else body.disabled_reason,
        forced_down=None if body.forced_down is UNSET else truth(body.forced_down),
    )
    async with request.services.pool.acquire() as connection:
        row = next((one for one in await hosts(connection) if one.id == row.id), row)
    return Response({"service": _shown(row, minor(request))})


async def _act(request: Request, body: ServiceBody) -> Response:
    action = request.params["service_id"]
    if action not in _ACTIONS or (action == "force-down" and minor(request) < 11):
        raise Problem(404, "Unknown action")
    if body.host is UNSET or body.binary is UNSET:
        raise Problem(400, "Invalid request body: 'host' and 'binary' are required properties.")
    if body.binary != BINARY:
        raise Problem(
            400, f"Updating a {body.binary} service is not supported. Only nova-compute services can be."
        )
    changes, told = _changes(action, body)
    async with pool(request).acquire() as connection:
        row = next((one for one in await hosts(connection) if one.hostname == body.host), None)
    if row is None:
        raise Problem(404, f"Could not find binary {BINARY} on host {body.host}.")
    await _say(request, row, **changes)
    return Response({"service": {"host": body.host, "binary": BINARY, **told}})


def _changes(action: str, body: ServiceBody) -> tuple[dict[str, Any], dict[str, Any]]:
    """What to say to the host, and what to answer. Raises Problem 400."""
    if action == "enable":
        return {"duty": "service"}, {"status": "enabled"}
    if action == "disable":
        return {"duty": "disabled"}, {"status": "disabled"}
    if action == "disable-log-reason":
        if body.disabled_reason is UNSET:
            raise Problem(400, "Missing disabled reason field")
        told = {"status": "disabled", "disabled_reason": body.disabled_reason}
        return {"duty": "disabled", "reason": body.disabled_reason}, told
    if body.forced_down is UNSET:
        raise Problem(400, "Missing forced_down field")
    down = truth(body.forced_down)
    return {"forced_down": down}, {"forced_down": down}


async def delete_service(request: Request) -> Response:
    """``DELETE /os-services/{id}``: the host is forgotten, unless an instance is on it (409).

    Its agent's user and queue on the bus are taken away by ``starling agent retire``.
    """
    ident = request.params["service_id"]
    row = await host_of(request, ident, f"Service {ident} not found.")
    await request.command(address("host", row.id), RemoveHost(by=request.said_by()))
    return Response()
