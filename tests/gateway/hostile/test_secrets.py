"""What nobody may read in a log: passwords, tokens, credentials, user data, private keys, signatures."""

import base64
import json
from typing import Any, Final

import pytest

from gateway.apis import APIS
from process.signed_url import signed_query
from tests.gateway.cloud import body_for, project
from tests.gateway.hostile.cloud import Cloud, until
from tests.gateway.hostile.furnish import COMPUTE, server_body
from tests.gateway.hostile.walk import encoded

pytestmark = pytest.mark.asyncio(loop_scope="package")

LOGIN: Final = "/identity/v3/auth/tokens"
PIECE_LENGTH: Final = 20
"""A secret's beginning of this length tells enough of it."""


class Keeper:
    """Makes secrets and remembers them."""

    def __init__(self) -> None:
        self.known: list[str] = []
        self.kept: list[str] = []

    def new(self, name: str, *, stored: bool = False) -> str:
        """A secret with this name in it; ``stored``: rows may hold it."""
        return self.add(f"{len(self.known):03}-not-for-a-log-{name.replace(' ', '-')}", stored=stored)

    def add(self, secret: str, *, stored: bool = False) -> str:
        """This is one."""
        assert len(secret) >= PIECE_LENGTH
        self.known.append(secret)
        if not stored:
            self.kept.append(secret)
        return secret


async def log_in(cloud: Cloud, keeper: Keeper) -> str:
    """Passwords, right and wrong, in good and in bad bodies. A token of a new user."""
    old, new = keeper.new("old password"), keeper.new("new password")
    user = {"name": "secretive", "domain_id": "default", "password": old}
    made = await cloud.must("POST", "/identity/v3/users", {"user": user})
    ident = made["user"]["id"]
    await cloud.call("POST", "/identity/v3/users", {"user": user})  # a conflict
    await cloud.call("PATCH", f"/identity/v3/users/{ident}", {"user": {"password": [keeper.new("list")]}})
    await cloud.call("PATCH", f"/identity/v3/users/{ident}", {"user": {"password": keeper.new("set") * 200}})
    token = keeper.add(await cloud.login("secretive", "unscoped", old))
    cloud.tokens["secretive"] = token
    change = {"user": {"original_password": keeper.new("guess"), "password": new}}
    await cloud.call("POST", f"/identity/v3/users/{ident}/password", change, who="secretive")
    change = {"user": {"original_password": old, "password": new}}
    await cloud.must("POST", f"/identity/v3/users/{ident}/password", change, who="secretive")
    for body in (
        body_for("secretive", keeper.new("wrong password")),
        body_for("nobody", keeper.new("password of nobody")),
        body_for("admin", keeper.new("wrong scope"), project("nowhere")),
        {"auth": {"identity": {"methods": ["password"], "password": keeper.new("misplaced password")}}},
        {"auth": {"identity": {"methods": [keeper.new("method")], "password": {}}}},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": keeper.new("no token")}}}},
        {"auth": {"identity": {"methods": ["token"], "token": {"id": token}}, "scope": keeper.new("scope")}},
    ):
        await cloud.call("POST", LOGIN, body, who="")
    async with cloud.wire() as wire:
        broken = encoded(body_for("secretive", keeper.new("broken body")))[:-3]
        await wire.call("POST", LOGIN, {"Content-Type": "application/json"}, raw=broken)
        await wire.call("POST", LOGIN, {"Content-Type": keeper.new("media type")}, raw=broken)
    return token


async def keep_credentials(cloud: Cloud, keeper: Keeper) -> None:
    """Blobs and EC2 pairs in good and in bad bodies, and signatures made with them."""
    blob, user = keeper.new("blob"), cloud.users["alice"]
    kept = {"type": "cert", "blob": blob, "user_id": user}
    await cloud.must("POST", "/identity/v3/credentials", {"credential": kept}, who="alice")
    bad = {**kept, "type": "ec2", "blob": keeper.new("no pair")}
    await cloud.call("POST", "/identity/v3/credentials", {"credential": bad}, who="alice")
    tenant = {"tenant_id": cloud.projects["alpha"]}
    made = await cloud.must("POST", f"/identity/v3/users/{user}/credentials/OS-EC2", tenant, who="alice")
    keeper.add(made["credential"]["secret"])
    signed = {"access": made["credential"]["access"], "signature": keeper.new("signature"), "token": "eA=="}
    await cloud.call("POST", "/identity/v3/s3tokens", {"credentials": signed})
    program = {"name": "secretive", "secret": keeper.new("program")}
    path = f"/identity/v3/users/{user}/application_credentials"
    made = await cloud.must("POST", path, {"application_credential": program}, who="alice")
    ident = made["application_credential"]["id"]
    for secret in (program["secret"], keeper.new("wrong program")):
        login = {
            "methods": ["application_credential"],
            "application_credential": {"id": ident, "secret": secret},
        }
        await cloud.call("POST", LOGIN, {"auth": {"identity": login}}, who="")


async def show_tokens(cloud: Cloud, keeper: Keeper, token: str) -> None:
    """Tokens in every place, right and wrong ones, and in requests that are no HTTP."""
    async with cloud.wire() as wire:
        for path in (
            LOGIN,
            f"{COMPUTE}/servers",
            "/image/v2/images",
            "/network/v2.0/ports",
            "/v1/operations",
        ):
            await wire.call("GET", path, {"X-Auth-Token": keeper.new("unknown token")})
            await wire.call("GET", path, {"X-Auth-Token": token, "X-Subject-Token": token})
            await wire.call("GET", f"{path}?token={keeper.new('token in a query')}", {"X-Auth-Token": token})
            await wire.call("GET", f"{path}/{keeper.new('token in a path')}", {"X-Auth-Token": token})
            header = {"Authorization": f"Bearer {keeper.new('bearer')}", "Cookie": keeper.new("cookie")}
            await wire.call("GET", path, header)
    for line in (
        f"GET /x?token={keeper.new('query of no HTTP')}\xff HTTP/1.1\r\n\r\n",
        f"GET / HTTP/1.1\r\nX-Auth-Token: {keeper.new('header of no HTTP')}\0\r\n\r\n",
        f"GET / HTTP/1.1\r\nX-Auth-Token {keeper.new('no colon')}\r\n\r\n",
        f"{keeper.new('no method')} / HTTP/1.1\r\n\r\n",
    ):
        async with cloud.wire() as wire:
            answer = await wire.exchange(line.encode("latin-1"))
            assert answer.status == 400
    await cloud.call("DELETE", LOGIN, who="admin", X_Subject_Token=token)


async def make_servers(cloud: Cloud, keeper: Keeper) -> None:
    """User data, admin passwords and private keys, in servers that come to be and in refused ones."""
    plain = keeper.new("user data", stored=True)
    data = keeper.add(base64.b64encode(plain.encode() * 5).decode(), stored=True)
    server: dict[str, Any] = {
        **server_body(cloud, "secretive")["server"],
        "user_data": data,
        "adminPass": keeper.new("admin pass"),
        "config_drive": True,
    }
    version = {"OpenStack_API_Version": "compute 2.90"}
    made = await cloud.must("POST", f"{COMPUTE}/servers", {"server": server}, who="alice", **version)
    refused = {
        **server,
        "user_data": keeper.new("no base64"),
        "personality": [{"contents": keeper.new("file")}],
    }
    await cloud.call("POST", f"{COMPUTE}/servers", {"server": refused}, who="alice", **version)
    path = f"{COMPUTE}/servers/{made['server']['id']}"

    async def settled() -> bool:
        found = await cloud.must("GET", path, who="alice")
        return bool(found["server"]["status"] != "BUILD")

    await until(settled, "the server is settled")
    password = {"changePassword": {"adminPass": keeper.new("changed password")}}
    await cloud.call("POST", f"{path}/action", password, who="alice", **version)
    key = await cloud.must("POST", f"{COMPUTE}/os-keypairs", {"keypair": {"name": "made"}}, who="alice")
    lines = key["keypair"]["private_key"].splitlines()
    keeper.add(lines[len(lines) // 2])
    secret = {"keypair": {"name": "bad", "public_key": keeper.new("a private key by mistake")}}
    await cloud.call("POST", f"{COMPUTE}/os-keypairs", secret, who="alice")
    await cloud.must("DELETE", path, who="alice")


async def sign(cloud: Cloud, keeper: Keeper) -> None:
    """Signed URLs of images, good and bad."""
    image, services = cloud.things["image:images"], cloud.gateway.services
    expires = int(services.clock.now()) + 60
    query = signed_query(services.url_key, image=image, host="h", generation=1, expires=expires)
    keeper.add(query.rpartition("signature=")[2])
    keeper.add(services.url_key.hex())
    path = f"/image/v2/images/{image}/file?{query}"
    assert (await cloud.call("GET", path, who="")).status == 200
    assert (await cloud.call("GET", path[:-3], who="")).status == 403
    assert (await cloud.call("GET", f"{path}%00", who="")).status == 400


async def test_each_service_has_lines_of_its_own(cloud: Cloud) -> None:
    """In the access log every API; in the service log who had something to say."""
    for api in APIS:
        await cloud.call("GET", f"{api.prefix}/no-such-thing", who="")
    service, access = cloud.streams
    assert {api.name for api in APIS} <= access.services
    assert {"gateway", "agent"} <= service.services
    prefixes = {api.name: api.prefix for api in APIS} | {"gateway": "/"}
    for line in map(json.loads, cloud.access.getvalue().splitlines()):
        assert not line["path"] or line["path"].startswith(prefixes[line["service"]])


async def test_no_log_tells_a_secret(cloud: Cloud) -> None:
    keeper = Keeper()
    for token in cloud.tokens.values():
        keeper.add(token)
    token = await log_in(cloud, keeper)
    await keep_credentials(cloud, keeper)
    await show_tokens(cloud, keeper, token)
    await make_servers(cloud, keeper)
    await sign(cloud, keeper)
    service, access = cloud.log.getvalue(), cloud.access.getvalue()
    assert '"event":"request"' in access
    assert '"event": "http.malformed"' in service
    told = [secret for secret in keeper.known if secret[:PIECE_LENGTH] in service + access]
    assert not told
    rows = "\n".join(row for table in (await cloud.all_rows()).values() for row in table)
    assert not [secret for secret in keeper.kept if secret[:PIECE_LENGTH] in rows]
