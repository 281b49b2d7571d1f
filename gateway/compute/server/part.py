"""What belongs to a server: addresses, network cards, volumes, security groups. Read from its own view.

Source: Compute API reference, "Servers IPs", "Port interfaces", "Servers with volume attachments".
"""
# ruff: noqa: PLR2004  the numbers are microversions

from typing import Any

import msgspec
from msgspec import Struct

from gateway.compute.query import minor, pool
from gateway.compute.server.find import server_of
from gateway.compute.server.view import known
from gateway.problem import Problem
from gateway.request import Request, Response
from store.server import CardRow, GroupRow, cards, groups_of


def _plain(addresses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"version": address["version"], "addr": address["addr"]} for address in addresses]


async def list_addresses(request: Request) -> Response:
    """``GET …/ips``."""
    addresses = known(await server_of(request)).addresses
    return Response({"addresses": {name: _plain(found) for name, found in addresses.items()}})


async def show_addresses(request: Request) -> Response:
    """``GET …/ips/{network}``."""
    network = request.params["network"]
    addresses = known(await server_of(request)).addresses
    if network not in addresses:
        raise Problem(404, "Instance is not a member of specified network")
    return Response({network: _plain(addresses[network])})


def _interface(ports: list[CardRow], at: int) -> dict[str, Any]:
    """One port, of its rows (one per address)."""
    first = ports[0]
    shown: dict[str, Any] = {
        "port_id": first.port_id,
        "net_id": first.network_id,
        "mac_addr": first.mac,
        "port_state": "ACTIVE",
        "fixed_ips": [{"ip_address": row.ip, "subnet_id": row.subnet_id} for row in ports if row.ip],
    }
    return {**shown, "tag": None} if at >= 70 else shown


async def _interfaces(request: Request) -> list[dict[str, Any]]:
    row = await server_of(request)
    async with pool(request).acquire() as connection:
        found = await cards(connection, row.id)
    by_port: dict[str, list[CardRow]] = {}
    for card in found:
        by_port.setdefault(card.port_id, []).append(card)
    return [_interface(rows, minor(request)) for rows in by_port.values()]


async def list_interfaces(request: Request) -> Response:
    """``GET …/os-interface``."""
    return Response({"interfaceAttachments": await _interfaces(request)})


async def show_interface(request: Request) -> Response:
    """``GET …/os-interface/{port}``."""
    port = request.params["port_id"]
    found = next((one for one in await _interfaces(request) if one["port_id"] == port), None)
    if found is None:
        raise Problem(404, f"Port id {port} could not be found.")
    return Response({"interfaceAttachment": found})


async def list_volumes(request: Request) -> Response:
    """``GET …/os-volume_attachments``: there are none until volumes are served."""
    await server_of(request)
    return Response({"volumeAttachments": []})


async def show_volume(request: Request) -> Response:
    """``GET …/os-volume_attachments/{volume}``."""
    row = await server_of(request)
    raise Problem(404, f"Instance {row.id} is not attached to volume {request.params['volume_id']}.")


async def list_security_groups(request: Request) -> Response:
    """``GET …/os-security-groups``: those the server was made with."""
    row = await server_of(request)
    async with pool(request).acquire() as connection:
        found = await groups_of(connection, row.project_id, [g["name"] for g in known(row).security_groups])
    return Response({"security_groups": [_group(one) for one in found]})


async def show_password(request: Request) -> Response:
    """``GET …/os-server-password``: empty, since guests have no way to set one."""
    await server_of(request)
    return Response({"password": ""})


async def clear_password(request: Request) -> Response:
    """``DELETE …/os-server-password``."""
    await server_of(request)
    return Response()


class _Rule(Struct, frozen=True):
    id: str
    remote: str | None


def _group(row: GroupRow) -> dict[str, Any]:
    rules = [
        {
            "id": rule.id,
            "parent_group_id": row.id,
            "ip_protocol": None,
            "from_port": None,
            "to_port": None,
            "ip_range": {} if rule.remote else {"cidr": "0.0.0.0/0"},
            "group": {"name": rule.remote, "tenant_id": row.project_id} if rule.remote else {},
        }
        for rule in msgspec.json.decode(row.rules, type=list[_Rule])
    ]
    shown = {"id": row.id, "name": row.name, "description": row.description, "tenant_id": row.project_id}
    return {**shown, "rules": rules}
