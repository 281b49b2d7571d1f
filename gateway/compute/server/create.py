"""POST /servers: begin one instance or several.

The quota is the project actor's to grant; it passes the creation on to the instance, whose first commit is
the answer. Ids derive from the operation, so a repetition under the same key creates nothing new.

Source: Compute API reference, "Create Server" and "Create Multiple Servers".
"""

import base64
import hashlib
from http import HTTPStatus
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from gateway.compute.idempotency import begun_of, keyed
from gateway.compute.query import minor
from gateway.compute.reference import allocate_ports
from gateway.compute.schema import check, truth
from gateway.compute.server.body import CreateBody, NewServer
from gateway.compute.server.hostname import hostname_from
from gateway.compute.server.list import links_of
from gateway.compute.server.plan import Plan, check_devices, counts_in, plan_for
from gateway.problem import Problem
from gateway.request import Request, Response
from protocol.guest import GuestNic
from protocol.ids import OperationId, address, derived
from protocol.instance import CreateInstance, DeleteInstance, ServerRequest
from protocol.project import ReserveQuota
from store.compute import operations_begun
from store.network import free_ports

_PASSWORD_LENGTH: Final = 12
_UNDONE: Final = (
    "The quota did not suffice for all servers of this request, and none was kept; use another key."
)


class Part(Struct, frozen=True):
    """One server of a request: its id, the operation that creates it, its place (None: it is alone)."""

    instance: str
    operation: str
    reservation: str
    index: int | None = None


def parts_of(operation: OperationId, count: int) -> list[Part]:
    """The servers of a request; a single one has the request's own operation."""
    reservation = f"r-{operation[:8]}"
    if count == 1:
        return [Part(derived(operation, "server"), operation, reservation)]
    return [
        Part(derived(operation, f"server/{n}"), derived(operation, f"create/{n}"), reservation, n)
        for n in range(count)
    ]


async def create_server(request: Request) -> Response:
    """Create one or several servers. 202 with the first one's id once it is durable."""
    body: CreateBody = request.body
    check(body, minor(request))
    least, most = counts_in(body.server)
    check_devices(body.server)
    operation = request.operation()
    parts = parts_of(operation, most)
    found = await begun_of(request, operation, [part.operation for part in parts], "instance")
    begun = [part for part in parts if part.operation in found]
    if begun and await _undone(request, begun):
        raise Problem(403, _UNDONE)
    if len(begun) < least:  # with a key, the rest of what an earlier request was cut off from
        left = [part for part in parts if part.operation not in found]
        async with keyed(request, operation):
            async with request.services.pool.acquire() as connection:
                plan = await plan_for(request, connection, body, least - len(begun), len(left))
            await _create_all(request, plan, left[: plan.count], begun, least)
    return _answer(request, operation, parts[0], body.server)


async def _undone(request: Request, begun: list[Part]) -> bool:
    """Whether an earlier request under this key ended its servers again for want of quota."""
    async with request.services.pool.acquire() as connection:
        return bool(await operations_begun(connection, [_undoing(part) for part in begun]))


def _undoing(part: Part) -> str:
    return derived(part.operation, "undo")


async def _create_all(request: Request, plan: Plan, parts: list[Part], begun: list[Part], least: int) -> None:
    """Begin these too, one after the other. Fewer than ``least`` in all: end them again and raise Problem."""
    for part in parts:
        try:
            await _create(request, plan, part)
        except Problem as problem:
            if len(begun) >= least and problem.status == HTTPStatus.FORBIDDEN:
                return  # others took the rest of the quota meanwhile
            for other in begun:
                await request.command(
                    address("instance", other.instance),
                    DeleteInstance(by=request.said_by()),
                    _undoing(other),
                )
            raise
        begun.append(part)


async def _create(request: Request, plan: Plan, part: Part) -> None:
    """Begin one server; its ports are given back when it is refused. Raises Problem or Unavailable."""
    by = request.said_by()
    try:
        wanted = await _request_of(request, plan, part)
        create = CreateInstance(by=by, instance=part.instance, request=wanted)
        reserve = ReserveQuota(by=by, limits=plan.limits, then=create)
        await request.command(address("project", by.project), reserve, part.operation)
    except Problem:
        async with request.services.pool.acquire() as connection, connection.transaction():
            await free_ports(connection, part.instance)
        raise


async def _request_of(request: Request, plan: Plan, part: Part) -> ServerRequest:
    """The plan's request with what is this server's own: names, ports."""
    base, services = plan.request, request.services
    nics: tuple[GuestNic, ...] = ()
    names: dict[str, str] = {}
    if plan.networks:
        async with services.pool.acquire() as connection:
            nics, names = await allocate_ports(
                connection, request.caller.project_id, part.instance, plan.networks, services.clock
            )
    own: dict[str, Any] = {"nics": nics, "network_names": names, "reservation": part.reservation}
    if part.index is not None:
        own |= {"name": f"{base.name}-{part.index + 1}", "launch_index": part.index}
    hostname = base.hostname or hostname_from(own.get("name", base.name), part.instance)
    return replace(base, hostname=hostname, **own)


def _answer(request: Request, operation: OperationId, part: Part, wish: NewServer) -> Response:
    """What the client learns: the same for a repetition, since all of it derives from the request."""
    if truth(wish.return_reservation_id):
        return Response({"reservation_id": part.reservation})
    links = links_of(part.instance, request.api_url)
    groups = ["default"]
    if wish.security_groups is not UNSET:
        groups = [group.name for group in wish.security_groups if group.name is not UNSET]
    server = {
        "id": part.instance,
        "links": links,
        "OS-DCF:diskConfig": "MANUAL" if wish.disk_config is UNSET else wish.disk_config,
        "security_groups": [{"name": name} for name in groups],
        "adminPass": wish.admin_pass if wish.admin_pass is not UNSET else password_for(operation),
    }
    return Response({"server": server}, headers={"Location": links[0]["href"]})


def password_for(operation: str) -> str:
    """The password that clients expect in the answer.

    It is the same in every repetition and opens nothing: guests get keys and user data, never a password.
    """
    digest = hashlib.sha256(f"admin password of {operation}".encode()).digest()
    return base64.b32encode(digest).decode()[:_PASSWORD_LENGTH]
