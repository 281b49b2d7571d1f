"""What two projects have: the first (alpha) one of everything, the second (beta) only people.

``things`` are found by the path segment before their id. Victims are things of nobody in particular that
hostile bodies may spoil.
"""

from typing import Any, Final

from tests.gateway.cloud import project
from tests.gateway.hostile.cloud import PASSWORD, Cloud, until
from tests.gateway.hostile.sample import SSH_KEY

MARK: Final = "zq7alpha"
"""In the name of everything alpha has: where a stranger reads it, something leaked."""
NOWHERE: Final = "00000000-0000-4000-8000-000000000000"
COMPUTE: Final = "/compute/v2.1"
RESOURCE_TYPE: Final = "OS::Nova::Server"
"""Of all that metadata definitions have, resource types alone are everybody's."""
PEOPLE: Final = (
    ("alice", "alpha", "member"),
    ("rita", "alpha", "reader"),
    ("bob", "beta", "manager"),
    ("bess", "beta", "member"),
    ("gus", "gamma", "member"),
)


async def furnish(cloud: Cloud) -> None:
    """Make it all through the APIs."""
    await _people(cloud)
    await _outsiders(cloud)
    await _credentials(cloud, cloud.things)
    await _network(cloud)
    await _image(cloud)
    await _metadef(cloud)
    await _compute(cloud)
    await _server(cloud)
    await _victims(cloud)


async def _named(cloud: Cloud, plural: str, name: str) -> str:
    found = await cloud.must("GET", f"/identity/v3/{plural}?name={name}")
    return str(found[plural][0]["id"])


async def _people(cloud: Cloud) -> None:
    things = cloud.things
    cloud.tokens["admin"] = await cloud.login("admin", project("admin"), cloud.admin_password)
    for name in ("alpha", "beta", "gamma"):
        body: dict[str, Any] = {"project": {"name": name, "domain_id": "default"}}
        if name == "alpha":
            body["project"] |= {"description": MARK, "tags": [f"{MARK}-tag"]}
        made = await cloud.must("POST", "/identity/v3/projects", body)
        cloud.projects[name] = made["project"]["id"]
    for user, where, role in PEOPLE:
        body = {"user": {"name": user, "domain_id": "default", "password": PASSWORD}}
        made = await cloud.must("POST", "/identity/v3/users", body)
        ident = cloud.users[user] = made["user"]["id"]
        role_id = await _named(cloud, "roles", role)
        path = f"/identity/v3/projects/{cloud.projects[where]}/users/{ident}/roles/{role_id}"
        await cloud.must("PUT", path)
        token = cloud.tokens[user] = await cloud.login(user, project(where))
        caller = await cloud.gateway.services.tokens.verify(token)
        assert caller is not None
        cloud.callers[user] = caller
    cloud.tokens["unscoped"] = await cloud.login("bob", "unscoped")
    group = await cloud.must("POST", "/identity/v3/groups", {"group": {"name": f"{MARK}-group"}})
    things |= {
        "identity:projects": cloud.projects["alpha"],
        "identity:users": cloud.users["alice"],
        "identity:groups": group["group"]["id"],
        "identity:domains": "default",
        "identity:roles": await _named(cloud, "roles", "member"),
        "identity:implies": await _named(cloud, "roles", "reader"),
        "identity:regions": "RegionOne",
        "identity:services": await _named(cloud, "services", "nova"),
        "identity:tags": f"{MARK}-tag",
        "compute:v2.1": cloud.projects["alpha"],
        "compute:os-quota-sets": cloud.projects["alpha"],
        "compute:os-simple-tenant-usage": cloud.projects["alpha"],
        "compute:os-quota-class-sets": "default",
        "network:quotas": cloud.projects["alpha"],
    }
    endpoints = await cloud.must("GET", "/identity/v3/endpoints")
    things["identity:endpoints"] = endpoints["endpoints"][0]["id"]
    things |= await _kept(cloud, things["identity:services"], cloud.projects["alpha"], "default")


async def _credentials(cloud: Cloud, things: dict[str, str]) -> None:
    """What alice keeps here: a certificate and an EC2 pair."""
    user = cloud.users["alice"]
    body: dict[str, Any] = {"credential": {"type": "cert", "blob": MARK, "user_id": user}}
    made = await cloud.must("POST", "/identity/v3/credentials", body, who="alice")
    things["identity:credentials"] = made["credential"]["id"]
    body = {"tenant_id": cloud.projects["alpha"]}
    made = await cloud.must("POST", f"/identity/v3/users/{user}/credentials/OS-EC2", body, who="alice")
    things["identity:OS-EC2"] = made["credential"]["access"]
    rule = {"service": "image", "method": "GET", "path": f"/v2/{len(things)}"}
    body = {"application_credential": {"name": f"{MARK}-{len(things)}", "access_rules": [rule]}}
    path = f"/identity/v3/users/{user}/application_credentials"
    made = await cloud.must("POST", path, body, who="alice")
    trust = {
        "trustor_user_id": user,
        "trustee_user_id": cloud.users["rita"],
        "project_id": cloud.projects["alpha"],
        "impersonation": False,
        "roles": [{"name": "reader"}],
    }
    lent = await cloud.must("POST", "/identity/v3/OS-TRUST/trusts", {"trust": trust}, who="alice")
    things["identity:trusts"] = lent["trust"]["id"]
    things["identity:application_credentials"] = made["application_credential"]["id"]
    things["identity:access_rules"] = made["application_credential"]["access_rules"][0]["id"]


async def _outsiders(cloud: Cloud) -> None:
    """People of another domain, one who looks after the system, and one whose role means nothing here."""
    body: dict[str, Any] = {"domain": {"name": "elsewhere"}}
    domain = (await cloud.must("POST", "/identity/v3/domains", body))["domain"]["id"]
    await cloud.must("POST", "/identity/v3/roles", {"role": {"name": "visitor"}})
    for user, role, where, scope in (
        ("dora", "manager", f"domains/{domain}", {"domain": {"id": domain}}),
        ("dan", "reader", f"domains/{domain}", {"domain": {"id": domain}}),
        ("sid", "reader", "system", {"system": {"all": True}}),
        ("nick", "visitor", f"projects/{cloud.projects['beta']}", project("beta")),
    ):
        body = {"user": {"name": user, "domain_id": "default", "password": PASSWORD}}
        made = await cloud.must("POST", "/identity/v3/users", body)
        ident = cloud.users[user] = made["user"]["id"]
        role_id = await _named(cloud, "roles", role)
        await cloud.must("PUT", f"/identity/v3/{where}/users/{ident}/roles/{role_id}")
        cloud.tokens[user] = await cloud.login(user, scope)


async def _network(cloud: Cloud) -> None:
    """A network of alpha's own: by the API where it writes, else as a row."""
    things = cloud.things
    network, subnet = "a1fa0000-0000-4000-8000-000000000001", "a1fa0000-0000-4000-8000-000000000002"
    answer = await cloud.call(
        "POST", "/network/v2.0/networks", {"network": {"name": f"{MARK}-net"}}, who="alice"
    )
    if answer.status == 501:
        await cloud.rows.execute(
            "INSERT INTO network.network (id, project_id, name, mtu, created_at, updated_at)"
            " VALUES ($1, $2, $3, 1450, 1, 1)",
            *(network, cloud.projects["alpha"], f"{MARK}-net"),
        )
        await cloud.rows.execute(
            "INSERT INTO network.subnet (id, network_id, project_id, name, cidr, created_at, updated_at)"
            " VALUES ($1, $2, $3, $4, '10.99.0.0/24', 1, 1)",
            *(subnet, network, cloud.projects["alpha"], f"{MARK}-subnet"),
        )
        await cloud.rows.execute(
            "INSERT INTO network.pool (subnet_id, first_ip, size) VALUES ($1, '10.99.0.10', 200)", subnet
        )
    else:
        network = answer.json["network"]["id"]
        body = {"network_id": network, "cidr": "10.99.0.0/24", "ip_version": 4, "name": f"{MARK}-subnet"}
        made = await cloud.must("POST", "/network/v2.0/subnets", {"subnet": body}, who="alice")
        subnet = made["subnet"]["id"]
    groups = await cloud.must("GET", "/network/v2.0/security-groups", who="alice")
    group = groups["security_groups"][0]
    things |= {
        "network:networks": network,
        "network:subnets": subnet,
        "network:security-groups": group["id"],
        "network:security-group-rules": group["security_group_rules"][0]["id"],
        "network:extensions": "quotas",
        "network:routers": NOWHERE,
        "network:floatingips": NOWHERE,
        "network:agents": NOWHERE,
    }


async def _active_image(cloud: Cloud, name: str) -> str:
    """An image with data, of alpha's."""
    body = {
        "name": name,
        "disk_format": "raw",
        "container_format": "bare",
        "visibility": "shared",
        "tags": [f"{MARK}-tag"],
        "os_distro": f"{MARK}-distro",
    }
    made = await cloud.must("POST", "/image/v2/images", body, who="alice")
    async with cloud.wire() as wire:
        headers = {"X-Auth-Token": cloud.tokens["alice"], "Content-Type": "application/octet-stream"}
        path = f"/image/v2/images/{made['id']}/file"
        answer = await wire.call("PUT", path, headers, raw=f"{MARK} data".encode() * 100)
    assert answer.status == 204, answer
    return str(made["id"])


async def _image(cloud: Cloud) -> None:
    ident = await _active_image(cloud, f"{MARK}-image")
    member = {"member": cloud.projects["gamma"]}
    await cloud.must("POST", f"/image/v2/images/{ident}/members", member, who="alice")
    cloud.things |= {
        "image:images": ident,
        "image:stores": "file",
        "image:{store_id}": ident,
        "image:tags": f"{MARK}-tag",
        "image:members": cloud.projects["gamma"],
    }


async def make_namespace(cloud: Cloud, name: str) -> str:
    """A namespace of metadata definitions, of alpha's, that holds one of each kind."""
    prop = {"title": f"{MARK}-title", "type": "string"}
    body = {
        "namespace": name,
        "owner": cloud.projects["alpha"],
        "resource_type_associations": [{"name": RESOURCE_TYPE, "prefix": f"{MARK}:"}],
        "properties": {f"{MARK}-property": prop},
        "objects": [{"name": f"{MARK}-object", "properties": {f"{MARK}-property": prop}}],
        "tags": [{"name": f"{MARK}-tag"}],
    }
    await cloud.must("POST", "/image/v2/metadefs/namespaces", body)
    return name


async def _metadef(cloud: Cloud) -> None:
    cloud.things |= {
        "image:namespaces": await make_namespace(cloud, f"{MARK}-namespace"),
        "image:resource_types": RESOURCE_TYPE,
        "image:properties": f"{MARK}-property",
        "image:objects": f"{MARK}-object",
    }


async def _compute(cloud: Cloud) -> None:
    flavor = {
        "flavor": {
            "name": f"{MARK}-flavor",
            "id": f"{MARK}-flavor",
            "ram": 64,
            "vcpus": 1,
            "disk": 1,
            "os-flavor-access:is_public": False,
        }
    }
    await cloud.must("POST", f"{COMPUTE}/flavors", flavor)
    access = {"addTenantAccess": {"tenant": cloud.projects["alpha"]}}
    await cloud.must("POST", f"{COMPUTE}/flavors/{MARK}-flavor/action", access)
    specs = {"extra_specs": {f"{MARK}-spec": "1"}}
    await cloud.must("POST", f"{COMPUTE}/flavors/{MARK}-flavor/os-extra_specs", specs)
    key = {"keypair": {"name": f"{MARK}-key", "public_key": SSH_KEY}}
    await cloud.must("POST", f"{COMPUTE}/os-keypairs", key, who="alice")
    hosts = await cloud.must("GET", f"{COMPUTE}/os-services", OpenStack_API_Version="compute 2.53")
    cloud.things |= {
        "compute:flavors": f"{MARK}-flavor",
        "compute:os-extra_specs": f"{MARK}-spec",
        "compute:os-keypairs": f"{MARK}-key",
        "compute:extensions": "os-keypairs",
        "compute:os-hypervisors": hosts["services"][0]["id"],
        "compute:os-services": hosts["services"][0]["id"],
        "compute:os-server-groups": NOWHERE,
        "compute:os-aggregates": NOWHERE,
        "compute:os-volume_attachments": NOWHERE,
    }


def server_body(cloud: Cloud, name: str) -> Any:
    """A server of alpha's."""
    things = cloud.things
    return {
        "server": {
            "name": f"{MARK}-{name}",
            "flavorRef": things["compute:flavors"],
            "imageRef": things["image:images"],
            "networks": [{"uuid": things["network:networks"]}],
            "key_name": things["compute:os-keypairs"],
            "metadata": {f"{MARK}-item": f"{MARK}-value"},
            "tags": [f"{MARK}-tag"],
        }
    }


async def boot(cloud: Cloud, name: str) -> str:
    """An active server of alpha's."""
    version = {"OpenStack_API_Version": "compute 2.90"}
    made = await cloud.must("POST", f"{COMPUTE}/servers", server_body(cloud, name), who="alice", **version)
    ident = str(made["server"]["id"])

    async def active() -> bool:
        found = await cloud.must("GET", f"{COMPUTE}/servers/{ident}", who="alice")
        assert found["server"]["status"] != "ERROR", found
        return bool(found["server"]["status"] == "ACTIVE")

    await until(active, f"server {name} is active")
    return ident


async def _server(cloud: Cloud) -> None:
    things = cloud.things
    server = await boot(cloud, "server")
    actions = await cloud.must("GET", f"{COMPUTE}/servers/{server}/os-instance-actions", who="alice")
    cards = await cloud.must("GET", f"{COMPUTE}/servers/{server}/os-interface", who="alice")
    operation = await cloud.rows.fetchval(
        "SELECT id FROM runtime.operation WHERE subject LIKE '%' || $1", server
    )
    port = cards["interfaceAttachments"][0]["port_id"]
    things |= {
        "compute:servers": server,
        "compute:metadata": f"{MARK}-item",
        "compute:tags": f"{MARK}-tag",
        "compute:ips": f"{MARK}-net",
        "compute:os-interface": port,
        "compute:os-instance-actions": actions["instanceActions"][0]["request_id"],
        "network:ports": port,
        "starling:operations": operation,
    }


async def _kept(cloud: Cloud, service_id: str, project_id: str, domain_id: str) -> dict[str, str]:
    """What the Identity API keeps for others: limits, groups of endpoints, policies, settings."""
    found: dict[str, str] = {"identity:config": "ldap", "identity:{group}": "url", "identity:default": "ldap"}
    amount = {"service_id": service_id, "resource_name": "kept"}
    for word, more in (
        ("registered_limit", {"default_limit": 1}),
        ("limit", {"resource_limit": 1, "project_id": project_id}),
    ):
        made = await cloud.must("POST", f"/identity/v3/{word}s", {f"{word}s": [{**amount, **more}]})
        found[f"identity:{word}s"] = made[f"{word}s"][0]["id"]
    for plural, path, body in (
        (
            "endpoint_groups",
            "OS-EP-FILTER/endpoint_groups",
            {"endpoint_group": {"name": "kept", "filters": {"interface": "admin"}}},
        ),
        ("policies", "policies", {"policy": {"type": "text/plain", "blob": "kept"}}),
        ("consumers", "OS-OAUTH1/consumers", {"consumer": {}}),
    ):
        made = await cloud.must("POST", f"/identity/v3/{path}", body)
        found[f"identity:{plural}"] = next(iter(made.values()))["id"]
    config = {"config": {"ldap": {"url": "ldap://kept"}}}
    await cloud.must("PUT", f"/identity/v3/domains/{domain_id}/config", config)
    return found


async def _victims(cloud: Cloud) -> None:
    """Rows that may be spoiled without ending anybody's token."""
    made: dict[str, str] = {}
    for word, more in (
        ("domain", {"enabled": True}),
        ("project", {}),
        ("user", {"password": PASSWORD}),
        ("group", {}),
        ("role", {}),
        ("service", {"type": "victim"}),
        ("region", {}),
    ):
        body = {word: {"name": "victim", **more}} if word != "region" else {"region": {"id": "victim"}}
        answer = await cloud.must("POST", f"/identity/v3/{word}s", body)
        made[f"identity:{word}s"] = answer[word]["id"]
    await _credentials(cloud, made)
    made |= await _kept(cloud, made["identity:services"], made["identity:projects"], made["identity:domains"])
    endpoint = {"service_id": made["identity:services"], "interface": "public", "url": "/victim"}
    answer = await cloud.must("POST", "/identity/v3/endpoints", {"endpoint": endpoint})
    made["identity:endpoints"] = answer["endpoint"]["id"]
    hosts = await cloud.must("GET", f"{COMPUTE}/os-services", OpenStack_API_Version="compute 2.53")
    image = await _active_image(cloud, "victim")
    member = {"member": cloud.projects["alpha"]}
    await cloud.must("POST", f"/image/v2/images/{image}/members", member, who="alice")
    flavor = {"name": "victim", "ram": 64, "vcpus": 1, "disk": 1, "os-flavor-access:is_public": False}
    size = await cloud.must("POST", f"{COMPUTE}/flavors", {"flavor": flavor})
    access = {"addTenantAccess": {"tenant": cloud.projects["alpha"]}}
    await cloud.must("POST", f"{COMPUTE}/flavors/{size['flavor']['id']}/action", access)
    made |= {
        "compute:servers": await boot(cloud, "victim"),
        "doomed": await boot(cloud, "doomed"),
        "compute:flavors": size["flavor"]["id"],
        "compute:os-quota-sets": made["identity:projects"],
        "compute:os-services": hosts["services"][-1]["id"],
        "image:images": image,
        "image:{store_id}": image,
        "image:members": cloud.projects["alpha"],
        "image:namespaces": await make_namespace(cloud, "victim"),
    }
    cloud.victims = {**cloud.things, **made}
