"""``/extensions``: what old clients ask before they use a part of the API. All of it is built in.

Source: Compute API reference, "Extensions".
"""

from typing import Any, Final

from gateway.problem import Problem
from gateway.request import Request, Response

_UPDATED: Final = "2014-12-03T00:00:00Z"
_NAMESPACE: Final = "http://docs.openstack.org/compute/ext/fake_xml"
_SERVED: Final = {
    "NMN": "Multinic",
    "OS-DCF": "DiskConfig",
    "OS-EXT-AZ": "ExtendedAvailabilityZone",
    "OS-EXT-IPS": "ExtendedIps",
    "OS-EXT-IPS-MAC": "ExtendedIpsMac",
    "OS-EXT-SRV-ATTR": "ExtendedServerAttributes",
    "OS-EXT-STS": "ExtendedStatus",
    "OS-FLV-DISABLED": "FlavorDisabled",
    "OS-FLV-EXT-DATA": "FlavorExtraData",
    "OS-SCH-HNT": "SchedulerHints",
    "OS-SRV-USG": "ServerUsage",
    "os-availability-zone": "AvailabilityZone",
    "os-config-drive": "ConfigDrive",
    "os-console-output": "ConsoleOutput",
    "os-flavor-access": "FlavorAccess",
    "os-flavor-extra-specs": "FlavorExtraSpecs",
    "os-flavor-manage": "FlavorManage",
    "os-flavor-rxtx": "FlavorRxtx",
    "os-flavor-swap": "FlavorSwap",
    "os-hypervisors": "Hypervisors",
    "os-instance-actions": "InstanceActions",
    "os-keypairs": "Keypairs",
    "os-quota-class-sets": "QuotaClasses",
    "os-quota-sets": "Quotas",
    "os-server-groups": "ServerGroups",
    "os-services": "Services",
    "os-simple-tenant-usage": "SimpleTenantUsage",
    "os-used-limits": "UsedLimits",
    "os-user-data": "UserData",
}


def _shown(alias: str) -> dict[str, Any]:
    name = _SERVED[alias]
    return {
        "alias": alias,
        "name": name,
        "description": f"{name} support.",
        "links": [],
        "namespace": _NAMESPACE,
        "updated": _UPDATED,
    }


async def list_extensions(_: Request) -> Response:
    """``GET /extensions``."""
    return Response({"extensions": [_shown(alias) for alias in _SERVED]})


async def show_extension(request: Request) -> Response:
    """``GET /extensions/{alias}``."""
    alias = request.params["alias"]
    if alias not in _SERVED:
        raise Problem(404, f"There is no extension {alias[:64]!r}.")
    return Response({"extension": _shown(alias)})
