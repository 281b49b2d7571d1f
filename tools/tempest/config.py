"""tempest.conf, made from the running cloud; what cannot be read from it stands in features.conf."""

from configparser import ConfigParser
from pathlib import Path
from typing import Any, Final

from tools.tempest.client import Client
from tools.tempest.prepare import Prepared

FEATURES: Final = Path(__file__).with_name("features.conf")
SERVICES: Final = {
    "nova": "compute",
    "neutron": "network",
    "glance": "image",
    "cinder": "block-storage",
    "swift": "object-store",
}
ROLES: Final = ("admin", "manager", "member", "reader")

Sections = dict[str, dict[str, str]]


def read_cloud(client: Client, prepared: Prepared, folder: Path) -> Sections:
    """Everything about this cloud that Tempest must be told; ``folder`` takes its log and locks."""
    cloud = client.cloud
    version = client.get("compute", "/")["version"]
    return {
        "DEFAULT": {"log_dir": str(folder), "log_file": "tempest.log", "debug": "false"},
        "oslo_concurrency": {"lock_path": str(folder / "locks")},
        "auth": {
            "admin_username": cloud.username,
            "admin_password": cloud.password,
            "admin_project_name": cloud.project,
            "admin_domain_name": cloud.domain,
        },
        "identity": {"uri_v3": cloud.auth_url, "region": cloud.region},
        "service_available": {
            name: str(service in client.endpoints).lower() for name, service in SERVICES.items()
        },
        "compute": {
            "image_ref": prepared.images[0],
            "image_ref_alt": prepared.images[1],
            "flavor_ref": prepared.flavors[0],
            "flavor_ref_alt": prepared.flavors[1],
            "fixed_network_name": prepared.shared_network,
            "min_compute_nodes": str(prepared.hosts),
            "min_microversion": version["min_version"],
            "max_microversion": version["version"],
        },
        "compute-feature-enabled": {"nova_policy_roles": ",".join(ROLES)},
        "network": {
            "public_network_id": prepared.public_network[0],
            "floating_network_name": prepared.public_network[1],
        },
        "network-feature-enabled": {"api_extensions": ",".join(_extensions(client))},
        "volume": _volume(client, prepared),
    }


def _extensions(client: Client) -> list[str]:
    if "network" not in client.endpoints:
        return []
    extensions: list[dict[str, Any]] = client.get("network", "/v2.0/extensions")["extensions"]
    return sorted(extension["alias"] for extension in extensions)


def _volume(client: Client, prepared: Prepared) -> dict[str, str]:
    if "block-storage" not in client.endpoints:
        return {}
    version = client.get("block-storage", "/")["versions"][0]
    return {
        "catalog_type": "block-storage",
        "min_microversion": version["min_version"],
        "max_microversion": version["version"],
        "volume_type": prepared.volume_type,
    }


def write_config(path: Path, sections: Sections) -> None:
    """Write both, the features last: what they say holds."""
    parser = ConfigParser(interpolation=None, default_section="")
    parser.read_dict(sections)
    parser.read(FEATURES, encoding="utf-8")
    with path.open("w", encoding="utf-8") as file:
        parser.write(file)
    path.chmod(0o600)
