"""What Tempest expects to find in a cloud: two images, two flavors, a network that all projects share.

Made through the APIs where it is missing; a second run finds what the first one made.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tools.tempest.client import Client
from tools.tempest.cloud import CloudError

IMAGES: Final = ("tempest", "tempest-alt")
IMAGE_BYTES: Final = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Ids of what there is; a service that the cloud has not leaves its own empty."""

    images: tuple[str, str]
    flavors: tuple[str, str]
    hosts: int = 0
    shared_network: str = ""
    public_network: tuple[str, str] = ("", "")
    volume_type: str = ""


def prepare(client: Client) -> Prepared:
    """Make what is missing. Raises CloudError."""
    networks = client.get("network", "/v2.0/networks")["networks"] if "network" in client.endpoints else []
    hypervisors = client.get("compute", "/os-hypervisors")["hypervisors"]
    flavors = client.get("compute", "/flavors/detail")["flavors"]
    public = _first(networks, "router:external")
    return Prepared(
        images=(_image(client, IMAGES[0]), _image(client, IMAGES[1])),
        flavors=two_flavors(flavors),
        hosts=sum(1 for host in hypervisors if host["state"] == "up"),
        shared_network=_first(networks, "shared").get("name", ""),
        public_network=(public.get("id", ""), public.get("name", "")),
        volume_type=_volume_type(client),
    )


def two_flavors(flavors: Iterable[dict[str, Any]]) -> tuple[str, str]:
    """The ids of the smallest flavor and of the next one that is larger. Raises CloudError."""
    by_size = sorted(flavors, key=lambda flavor: (flavor["ram"], flavor["disk"], flavor["vcpus"]))
    larger = next((flavor for flavor in by_size if flavor["ram"] > by_size[0]["ram"]), None)
    if larger is None:
        raise CloudError("the cloud needs two flavors of different size")
    return by_size[0]["id"], larger["id"]


def _first(networks: Iterable[dict[str, Any]], flag: str) -> dict[str, Any]:
    return next((network for network in networks if network.get(flag)), {})


def _volume_type(client: Client) -> str:
    if "block-storage" not in client.endpoints:
        return ""
    types = client.get("block-storage", "/types")["volume_types"]
    return str(types[0]["name"]) if types else ""


def _image(client: Client, name: str) -> str:
    """A public, active image of this name, of bytes that no format claims."""
    found = client.get("image", f"/v2/images?name={name}&status=active")["images"]
    if found:
        return str(found[0]["id"])
    wish = {"name": name, "disk_format": "raw", "container_format": "bare", "visibility": "public"}
    made = str(client.post("image", "/v2/images", wish)["id"])
    client.upload("image", f"/v2/images/{made}/file", name.encode().ljust(IMAGE_BYTES, b"\x5a"))
    return made
