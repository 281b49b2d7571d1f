"""How rows look in the Networking API. Pure functions: a row and whether an admin looks, to a dict."""

from collections.abc import Callable
from typing import Any

import msgspec

from protocol.view import stamp
from store.network_list import Row

Show = Callable[[Row, bool], dict[str, Any]]


def _common(row: Row) -> dict[str, Any]:
    """What every resource has; ``tenant_id`` is the old name of the project."""
    return {
        "id": row["id"],
        "project_id": row["project_id"],
        "tenant_id": row["project_id"],
        "revision_number": row["revision_number"],
        "created_at": stamp(row["created_at"]),
        "updated_at": stamp(row["updated_at"]),
    }


def network(row: Row, _: bool) -> dict[str, Any]:  # noqa: FBT001  the signature of Show
    return {
        **_common(row),
        "name": row["name"],
        "description": row["description"],
        "status": row["status"],
        "admin_state_up": row["admin_state_up"],
        "shared": row["shared"],
        "router:external": row["router:external"],
        "is_default": row["is_default"],
        "mtu": row["mtu"],
        "subnets": row["subnets"],
        "availability_zone_hints": [],
        "availability_zones": [],
        "ipv4_address_scope": None,
        "ipv6_address_scope": None,
        "tags": [],
    }


def subnet(row: Row, _: bool) -> dict[str, Any]:  # noqa: FBT001
    return {
        **_common(row),
        "name": row["name"],
        "description": row["description"],
        "network_id": row["network_id"],
        "ip_version": row["ip_version"],
        "cidr": row["cidr"],
        "gateway_ip": row["gateway_ip"],
        "allocation_pools": msgspec.Raw(row["allocation_pools"].encode()),
        "enable_dhcp": row["enable_dhcp"],
        "dns_nameservers": row["dns_nameservers"],
        "host_routes": [],
        "ipv6_address_mode": None,
        "ipv6_ra_mode": None,
        "subnetpool_id": None,
        "service_types": [],
        "tags": [],
    }


def port(row: Row, admin: bool) -> dict[str, Any]:  # noqa: FBT001
    shown = {
        **_common(row),
        "name": row["name"],
        "description": row["description"],
        "network_id": row["network_id"],
        "status": row["status"],
        "admin_state_up": row["admin_state_up"],
        "mac_address": row["mac_address"],
        "fixed_ips": msgspec.Raw(row["fixed_ips"].encode()),
        "device_id": row["device_id"],
        "device_owner": row["device_owner"],
        "security_groups": [],
        "allowed_address_pairs": [],
        "extra_dhcp_opts": [],
        "binding:vnic_type": "normal",
        "tags": [],
    }
    if admin:
        bound = bool(row["binding:host_id"])
        shown |= {
            "binding:host_id": row["binding:host_id"],
            "binding:profile": {},
            "binding:vif_type": "bridge" if bound else "unbound",
            "binding:vif_details": {},
        }
    return shown


def rule(row: Row, _: bool = False) -> dict[str, Any]:  # noqa: FBT001, FBT002
    return {
        **_common(row),
        "security_group_id": row["security_group_id"],
        "direction": row["direction"],
        "ethertype": row["ethertype"],
        "protocol": None,
        "port_range_min": None,
        "port_range_max": None,
        "remote_ip_prefix": None,
        "normalized_cidr": None,
        "remote_group_id": row["remote_group_id"],
        "remote_address_group_id": None,
        "belongs_to_default_sg": True,
        "description": "",
    }


def security_group(row: Row, _: bool) -> dict[str, Any]:  # noqa: FBT001
    return {
        **_common(row),
        "name": row["name"],
        "description": row["description"],
        "stateful": True,
        "shared": False,
        "security_group_rules": [rule(one) for one in row["rules"]],
        "tags": [],
    }
