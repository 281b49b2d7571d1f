"""One server: show it, change what has no effect on its guest, delete it."""

from typing import Any

from msgspec import UNSET

from gateway.compute.query import minor
from gateway.compute.schema import address_text, check
from gateway.compute.server.body import ServerChange, UpdateBody
from gateway.compute.server.find import no_such_server, server_of
from gateway.compute.server.hostname import check_hostname
from gateway.compute.server.view import Purpose, known, shape
from gateway.request import Request, Response
from protocol.command import Command
from protocol.ids import address
from protocol.instance import DeleteInstance, SoftDeleteInstance, UpdateInstance
from store.server import ServerRow, server


async def show_server(request: Request) -> Response:
    """``GET /servers/{id}``."""
    return _shown(request, await server_of(request), "show")


def _shown(request: Request, row: ServerRow, purpose: Purpose) -> Response:
    chosen = shape(minor(request), purpose, admin=request.caller.is_admin)
    return Response(chosen.one(row, request.base_url))


async def written(request: Request, ident: str) -> ServerRow:
    """The server as a command just left it: read where it was written, not from a replica."""
    async with request.services.pool.acquire() as connection:
        row = await server(connection, ident)
    if row is None:
        raise no_such_server(ident)
    return row


async def update_server(request: Request) -> Response:
    """``PUT /servers/{id}``: allowed in any state, and for a locked server too."""
    body: UpdateBody = request.body
    check(body, minor(request))
    row = await server_of(request)
    changes = _changes(body.server, minor(request))
    if changes:
        message = UpdateInstance(by=request.said_by(), **changes)
        await request.command(address("instance", row.id), message)
        row = await written(request, row.id)
    return _shown(request, row, "update")


def _changes(wish: ServerChange, at: int) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if wish.name is not UNSET:
        changes["name"] = wish.name.strip()
    if wish.hostname is not UNSET:
        changes["hostname"] = check_hostname(wish.hostname, at)
    if wish.description is not UNSET:
        changes["description"] = wish.description
        changes["clear_description"] = wish.description is None
    if wish.access_ipv4 is not UNSET:
        changes["access_ipv4"] = address_text(wish.access_ipv4)
    if wish.access_ipv6 is not UNSET:
        changes["access_ipv6"] = address_text(wish.access_ipv6)
    if wish.disk_config is not UNSET:
        changes["disk_config"] = wish.disk_config
    return changes


async def delete_server(request: Request) -> Response:
    """``DELETE /servers/{id}``: 204 once the deletion is durable; it goes on by itself.

    Where servers are kept for a while, one that ever ran is only put aside.
    """
    row = await server_of(request)
    keep_s = request.services.settings.reclaim_instance_s
    if keep_s and row.vm_state == "soft-delete":
        return Response()
    command: Command = DeleteInstance(by=request.said_by())
    if keep_s and known(row).launched_at:
        command = SoftDeleteInstance(by=request.said_by(), keep_s=keep_s)
    await request.command(address("instance", row.id), command)
    return Response()
