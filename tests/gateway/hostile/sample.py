"""A good body for every route that takes one: what hostile bodies are made from.

A route with a body and no sample fails the suite with a text that says so. Samples name as many members as
the API has: each of them is attacked.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from gateway.compute.server.action import ACTIONS
from tests.gateway.hostile.route import Place

Things = Mapping[str, str]
Sample = Callable[[Things], Any]

SSH_KEY: Final = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl sample"


def _always(body: Any) -> Sample:
    return lambda _: body


def new_server(things: Things) -> Any:
    return {
        "server": {
            "name": "sample",
            "flavorRef": things["compute:flavors"],
            "imageRef": things["image:images"],
            "networks": [{"uuid": things["network:networks"], "fixed_ip": "10.99.0.77", "tag": "nic"}],
            "metadata": {"role": "web"},
            "availability_zone": "nova",
            "config_drive": True,
            "key_name": things["compute:os-keypairs"],
            "min_count": 1,
            "max_count": 1,
            "security_groups": [{"name": "default"}],
            "user_data": "IyEvYmluL3NoCg==",
            "description": "a sample",
            "tags": ["one", "two"],
            "hostname": "sample-host",
            "adminPass": "s4mple",
            "accessIPv4": "192.0.2.1",
            "accessIPv6": "2001:db8::1",
            "OS-DCF:diskConfig": "AUTO",
            "return_reservation_id": False,
            "block_device_mapping_v2": [
                {
                    "uuid": things["image:images"],
                    "source_type": "image",
                    "destination_type": "local",
                    "boot_index": 0,
                    "delete_on_termination": True,
                    "volume_size": 1,
                }
            ],
        },
        "os:scheduler_hints": {"same_host": [things["compute:servers"]], "x": {"deep": [1, None]}},
    }


COMPUTE: Final[dict[str, Sample]] = {
    "POST /v2.1/servers": new_server,
    "PUT /v2.1/servers/{server_id}": _always(
        {
            "server": {
                "name": "renamed",
                "description": "changed",
                "hostname": "renamed",
                "accessIPv4": "192.0.2.2",
                "accessIPv6": "2001:db8::2",
                "OS-DCF:diskConfig": "MANUAL",
            }
        }
    ),
    "POST /v2.1/servers/{server_id}/metadata": _always({"metadata": {"a": "b", "c": "d"}}),
    "PUT /v2.1/servers/{server_id}/metadata": _always({"metadata": {"a": "b"}}),
    "PUT /v2.1/servers/{server_id}/metadata/{key}": lambda things: {
        "meta": {things["compute:metadata"]: "changed"}
    },
    "PUT /v2.1/servers/{server_id}/tags": _always({"tags": ["one", "two"]}),
    "POST /v2.1/servers/{server_id}/os-interface": lambda things: {
        "interfaceAttachment": {
            "net_id": things["network:networks"],
            "fixed_ips": [{"ip_address": "10.99.0.78"}],
            "tag": "nic",
        }
    },
    "POST /v2.1/servers/{server_id}/os-volume_attachments": lambda things: {
        "volumeAttachment": {"volumeId": things["compute:os-volume_attachments"], "device": "/dev/vdb"}
    },
    "PUT /v2.1/servers/{server_id}/os-volume_attachments/{volume_id}": lambda things: {
        "volumeAttachment": {"volumeId": things["compute:os-volume_attachments"]}
    },
    "POST /v2.1/servers/{server_id}/remote-consoles": _always(
        {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    ),
    "POST /v2.1/os-server-groups": _always(
        {"server_group": {"name": "group", "policy": "anti-affinity", "rules": {"max_server_per_host": 2}}}
    ),
    "POST /v2.1/os-aggregates": _always({"aggregate": {"name": "racks", "availability_zone": "nova"}}),
    "POST /v2.1/flavors": _always(
        {
            "flavor": {
                "name": "sample",
                "ram": 64,
                "vcpus": 1,
                "disk": 1,
                "id": "sample-flavor",
                "swap": 0,
                "OS-FLV-EXT-DATA:ephemeral": 0,
                "rxtx_factor": 1.0,
                "os-flavor-access:is_public": True,
                "description": "a sample",
            }
        }
    ),
    "PUT /v2.1/flavors/{flavor_id}": _always({"flavor": {"description": "changed"}}),
    "POST /v2.1/flavors/{flavor_id}/action": lambda things: {
        "addTenantAccess": {"tenant": things["identity:projects"]}
    },
    "POST /v2.1/flavors/{flavor_id}/os-extra_specs": _always({"extra_specs": {"hw:x": "1", "y": "z"}}),
    "PUT /v2.1/flavors/{flavor_id}/os-extra_specs/{key}": lambda things: {
        things["compute:os-extra_specs"]: "changed"
    },
    "POST /v2.1/os-keypairs": _always({"keypair": {"name": "sample", "public_key": SSH_KEY, "type": "ssh"}}),
    "PUT /v2.1/os-quota-sets/{project}": _always(
        {"quota_set": {"instances": 11, "cores": "40", "ram": -1, "key_pairs": 100, "force": True}}
    ),
    "PUT /v2.1/os-quota-class-sets/{class_name}": _always({"quota_class_set": {"server_groups": 12}}),
    "PUT /v2.1/os-services/{service_id}": _always(
        {"status": "enabled", "forced_down": False, "disabled_reason": "none"}
    ),
}

# What an action is given. Actions without an argument are given null.
ACTION_ARGUMENTS: Final[dict[str, Any]] = {
    "os-start": None,
    "os-stop": None,
    "reboot": {"type": "SOFT"},
    "pause": None,
    "unpause": None,
    "suspend": None,
    "resume": None,
    "rescue": {"adminPass": "secret"},
    "unrescue": None,
    "restore": None,
    "os-resetState": {"state": "active"},
    "lock": {"locked_reason": "for a while"},
    "unlock": None,
    "os-getConsoleOutput": {"length": 3},
    "forceDelete": None,
}

IDENTITY: Final[dict[str, Sample]] = {
    "POST /v3/auth/tokens": lambda things: {
        "auth": {
            "identity": {
                "methods": ["password", "token"],
                "password": {
                    "user": {
                        "id": things["identity:users"],
                        "name": "nobody",
                        "domain": {"id": "default", "name": "Default"},
                        "password": "wrong",
                    }
                },
                "token": {"id": "no-token"},
            },
            "scope": {"project": {"name": "nothing", "domain": {"id": "default"}}},
        }
    },
    "POST /v3/domains": _always({"domain": {"name": "sample", "description": "d", "enabled": False, "x": 1}}),
    "PATCH /v3/domains/{id}": _always({"domain": {"name": "changed", "description": "d", "x": {"y": [1]}}}),
    "POST /v3/projects": lambda things: {
        "project": {
            "name": "sample",
            "domain_id": "default",
            "parent_id": things["identity:projects"],
            "description": "d",
            "enabled": True,
            "is_domain": False,
            "tags": ["a", "b"],
            "options": {"immutable": False},
            "x": "y",
        }
    },
    "PATCH /v3/projects/{id}": _always(
        {"project": {"name": "changed", "description": "d", "tags": ["a"], "enabled": True, "x": "y"}}
    ),
    "PUT /v3/projects/{id}/tags": _always({"tags": ["a", "b"]}),
    "POST /v3/users": lambda things: {
        "user": {
            "name": "sample",
            "domain_id": "default",
            "password": "s4mple",
            "enabled": True,
            "default_project_id": things["identity:projects"],
            "options": {
                "lock_password": True,
                "ignore_password_expiry": False,
                "multi_factor_auth_enabled": False,
                "multi_factor_auth_rules": [["password", "totp"]],
            },
            "email": "sample@example.com",
        }
    },
    "PATCH /v3/users/{id}": _always({"user": {"name": "changed", "enabled": True, "email": "x@example.com"}}),
    "POST /v3/users/{id}/password": _always({"user": {"original_password": "wrong", "password": "n3w"}}),
    "POST /v3/credentials": lambda things: {
        "credential": {
            "type": "ec2",
            "blob": '{"access": "sample", "secret": "sample"}',
            "user_id": things["identity:users"],
            "project_id": things["identity:projects"],
            "x": "y",
        }
    },
    "PATCH /v3/credentials/{id}": _always({"credential": {"type": "cert", "blob": "changed", "x": "y"}}),
    "POST /v3/users/{user_id}/credentials/OS-EC2": lambda things: {"tenant_id": things["identity:projects"]},
    "POST /v3/users/{user_id}/application_credentials": _always(
        {
            "application_credential": {
                "name": "sample",
                "description": "d",
                "secret": "s4mple",
                "expires_at": "2100-01-01T00:00:00Z",
                "roles": [{"name": "reader"}],
                "unrestricted": False,
                "access_rules": [{"service": "compute", "method": "GET", "path": "/v2.1/servers"}],
            }
        }
    ),
    "POST /v3/OS-TRUST/trusts": lambda things: {
        "trust": {
            "trustor_user_id": things["identity:users"],
            "trustee_user_id": things["identity:users"],
            "project_id": things["identity:projects"],
            "impersonation": False,
            "roles": [{"name": "reader"}],
            "expires_at": "2100-01-01T00:00:00Z",
            "remaining_uses": None,
            "allow_redelegation": True,
            "redelegation_count": 1,
            "x": "y",
        }
    },
    "POST /v3/ec2tokens": lambda things: {
        "credentials": {
            "access": things["identity:OS-EC2"],
            "signature": "wrong",
            "host": "example.com",
            "verb": "GET",
            "path": "/",
            "params": {"SignatureVersion": "2"},
            "headers": {},
            "body_hash": "",
        }
    },
    "POST /v3/s3tokens": lambda things: {
        "credentials": {"access": things["identity:OS-EC2"], "signature": "wrong", "token": "R0VUCg=="}
    },
    "POST /v3/groups": _always({"group": {"name": "sample", "domain_id": "default", "description": "d"}}),
    "PATCH /v3/groups/{id}": _always({"group": {"name": "changed", "description": "d"}}),
    "POST /v3/roles": _always(
        {
            "role": {
                "name": "sample",
                "description": "d",
                "domain_id": "default",
                "options": {"immutable": None},
            }
        }
    ),
    "PATCH /v3/roles/{id}": _always({"role": {"name": "changed", "description": "d"}}),
    "POST /v3/regions": _always({"region": {"id": "sample", "description": "d", "parent_region_id": None}}),
    "PATCH /v3/regions/{id}": _always({"region": {"description": "d", "parent_region_id": None}}),
    "PUT /v3/regions/{id}": _always({"region": {"description": "d"}}),
    "POST /v3/services": _always(
        {"service": {"type": "sample", "name": "n", "description": "d", "enabled": True}}
    ),
    "PATCH /v3/services/{id}": _always({"service": {"type": "changed", "name": "n", "enabled": True}}),
    "POST /v3/endpoints": lambda things: {
        "endpoint": {
            "service_id": things["identity:services"],
            "interface": "public",
            "url": "https://example.com/",
            "region_id": things["identity:regions"],
            "enabled": False,
            "name": "n",
        }
    },
    "PATCH /v3/endpoints/{id}": _always(
        {"endpoint": {"url": "/changed", "interface": "admin", "enabled": False}}
    ),
    "POST /v3/OS-EP-FILTER/endpoint_groups": lambda things: {
        "endpoint_group": {
            "name": "sample",
            "description": "d",
            "filters": {
                "interface": "public",
                "service_id": things["identity:services"],
                "region_id": things["identity:regions"],
                "enabled": True,
            },
        }
    },
    "PATCH /v3/OS-EP-FILTER/endpoint_groups/{id}": _always(
        {"endpoint_group": {"name": "changed", "description": "d", "filters": {"interface": "admin"}}}
    ),
    "POST /v3/registered_limits": lambda things: {
        "registered_limits": [
            {
                "service_id": things["identity:services"],
                "region_id": things["identity:regions"],
                "resource_name": "sample",
                "default_limit": 1,
                "description": "d",
            }
        ]
    },
    "PATCH /v3/registered_limits/{id}": _always(
        {"registered_limit": {"resource_name": "changed", "default_limit": 2, "description": "d"}}
    ),
    "POST /v3/limits": lambda things: {
        "limits": [
            {
                "service_id": things["identity:services"],
                "region_id": None,
                "resource_name": "sample",
                "resource_limit": 1,
                "project_id": things["identity:projects"],
                "domain_id": None,
                "description": "d",
            }
        ]
    },
    "PATCH /v3/limits/{id}": _always({"limit": {"resource_limit": 2, "description": "d"}}),
    "POST /v3/policies": _always({"policy": {"type": "application/json", "blob": "{}", "x": "y"}}),
    "PATCH /v3/policies/{id}": _always({"policy": {"type": "text/plain", "blob": "changed", "x": "y"}}),
    "PUT /v3/domains/{id}/config": _always(
        {
            "config": {
                "identity": {"driver": "sql"},
                "ldap": {"url": "ldap://x", "password": "p", "user": None},
            }
        }
    ),
    "PATCH /v3/domains/{id}/config": _always({"config": {"ldap": {"url": "ldap://y", "page_size": 3}}}),
    "PATCH /v3/domains/{id}/config/{group}": _always({"config": {"ldap": {"url": "ldap://y"}}}),
    "PATCH /v3/domains/{id}/config/{group}/{option}": _always({"config": {"url": "ldap://z"}}),
    "POST /v3/OS-OAUTH1/consumers": _always({"consumer": {"description": "d"}}),
    "PATCH /v3/OS-OAUTH1/consumers/{id}": _always({"consumer": {"description": "changed"}}),
}

PROPERTY: Final = {
    "title": "sample",
    "type": "array",
    "description": "d",
    "operators": ["<in>"],
    "required": ["a"],
    "minimum": 0,
    "maximum": 9,
    "minLength": 0,
    "maxLength": 9,
    "pattern": "^a",
    "enum": ["a", "b"],
    "readonly": False,
    "default": "a",
    "items": {"type": "string", "enum": ["a"]},
    "minItems": 0,
    "maxItems": 9,
    "uniqueItems": True,
    "additionalItems": False,
}
OBJECT: Final = {"name": "sample", "description": "d", "required": ["a"], "properties": {"a": PROPERTY}}
ASSOCIATION: Final = {"name": "OS::Glance::Image", "prefix": "hw:", "properties_target": "image"}
NAMESPACE: Final = {
    "namespace": "sample",
    "display_name": "Sample",
    "description": "d",
    "visibility": "private",
    "protected": False,
    "owner": "somebody",
    "resource_type_associations": [ASSOCIATION],
    "properties": {"a": PROPERTY},
    "objects": [OBJECT],
    "tags": [{"name": "a"}],
}
_NAMESPACES: Final = "/v2/metadefs/namespaces"
_IN_NAMESPACE: Final = _NAMESPACES + "/{namespace}"
METADEF: Final[dict[str, Sample]] = {
    f"POST {_NAMESPACES}": _always(NAMESPACE),
    f"PUT {_IN_NAMESPACE}": lambda things: {**NAMESPACE, "namespace": things["image:namespaces"]},
    f"POST {_IN_NAMESPACE}/objects": _always(OBJECT),
    f"PUT {_IN_NAMESPACE}/objects/{{name}}": _always(OBJECT),
    f"POST {_IN_NAMESPACE}/properties": _always({**PROPERTY, "name": "sample"}),
    f"PUT {_IN_NAMESPACE}/properties/{{name}}": _always({**PROPERTY, "name": "sample"}),
    f"POST {_IN_NAMESPACE}/tags": _always({"tags": [{"name": "a"}, {"name": "b"}]}),
    f"PUT {_IN_NAMESPACE}/tags/{{name}}": _always({"name": "sample"}),
    f"POST {_IN_NAMESPACE}/resource_types": _always(ASSOCIATION),
}

IMAGE: Final[dict[str, Sample]] = {
    **METADEF,
    "POST /v2/images": _always(
        {
            "name": "sample",
            "disk_format": "raw",
            "container_format": "bare",
            "visibility": "private",
            "min_disk": 0,
            "min_ram": 0,
            "protected": False,
            "os_hidden": False,
            "tags": ["a", "b"],
            "os_distro": "sample",
        }
    ),
    "PATCH /v2/images/{image_id}": _always(
        [
            {"op": "replace", "path": "/name", "value": "changed"},
            {"op": "add", "path": "/colour", "value": "red"},
        ]
    ),
    "POST /v2/images/{image_id}/members": _always({"member": "somebody"}),
    "PUT /v2/images/{image_id}/members/{member_id}": _always({"status": "accepted"}),
}

NETWORK: Final[dict[str, Sample]] = {
    "POST /v2.0/networks": _always(
        {
            "network": {
                "name": "sample",
                "description": "d",
                "admin_state_up": True,
                "mtu": 1400,
                "shared": False,
                "router:external": False,
                "port_security_enabled": True,
            }
        }
    ),
    "PUT /v2.0/networks/{id}": _always(
        {"network": {"name": "changed", "description": "d", "admin_state_up": True}}
    ),
    "POST /v2.0/subnets": lambda things: {
        "subnet": {
            "network_id": things["network:networks"],
            "name": "sample",
            "description": "d",
            "ip_version": 4,
            "cidr": "10.98.0.0/24",
            "gateway_ip": "10.98.0.1",
            "enable_dhcp": True,
            "dns_nameservers": ["192.0.2.53"],
            "allocation_pools": [{"start": "10.98.0.10", "end": "10.98.0.20"}],
            "host_routes": [{"destination": "10.97.0.0/24", "nexthop": "10.98.0.2"}],
        }
    },
    "PUT /v2.0/subnets/{id}": _always({"subnet": {"name": "changed", "dns_nameservers": ["192.0.2.54"]}}),
    "POST /v2.0/ports": lambda things: {
        "port": {
            "network_id": things["network:networks"],
            "name": "sample",
            "description": "d",
            "admin_state_up": True,
            "mac_address": "fa:16:3e:00:00:99",
            "fixed_ips": [{"subnet_id": things["network:subnets"], "ip_address": "10.99.0.79"}],
            "security_groups": [things["network:security-groups"]],
            "device_id": "",
            "device_owner": "",
        }
    },
    "PUT /v2.0/ports/{id}": _always({"port": {"name": "changed", "admin_state_up": True}}),
    "POST /v2.0/security-groups": _always({"security_group": {"name": "sample", "description": "d"}}),
    "PUT /v2.0/security-groups/{id}": _always({"security_group": {"description": "changed"}}),
    "POST /v2.0/security-group-rules": lambda things: {
        "security_group_rule": {
            "security_group_id": things["network:security-groups"],
            "direction": "ingress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_range_min": 22,
            "port_range_max": 22,
            "remote_ip_prefix": "192.0.2.0/24",
            "description": "d",
        }
    },
}

STARLING: Final[dict[str, Sample]] = {}

SAMPLES: Final[dict[str, Sample]] = {
    f"{name.partition(' ')[0]} {prefix}{name.partition(' ')[2]}": sample
    for prefix, samples in (
        ("/compute", COMPUTE),
        ("/identity", IDENTITY),
        ("/image", IMAGE),
        ("/network", NETWORK),
        ("/v1", STARLING),
    )
    for name, sample in samples.items()
}
ACTION: Final = "POST /compute/v2.1/servers/{server_id}/action"


def takes_json(place: Place) -> bool:
    """Whether the route reads a JSON body."""
    return place.route.request is not None and not getattr(place.route.request, "is_stream", False)


def samples(place: Place, things: Things) -> list[Any]:
    """The good bodies of a route: none for one without a body, one, or one per action."""
    if not takes_json(place):
        return []
    if place.name == ACTION:
        missing = ACTIONS.keys() - ACTION_ARGUMENTS.keys()
        if missing:
            pytest.fail(
                f"say in tests/gateway/hostile/sample.py what the actions {sorted(missing)} are given"
            )
        return [{name: ACTION_ARGUMENTS[name]} for name in ACTIONS]
    if place.name not in SAMPLES:
        pytest.fail(f"{place.name} takes a body: write a good one down in tests/gateway/hostile/sample.py")
    return [SAMPLES[place.name](things)]
