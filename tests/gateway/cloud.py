"""A small cloud for tests: the Identity API on a migrated database, and a client that logs in."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientResponse, ClientSession

from gateway.identity.bootstrap import Bootstrapped, bootstrap
from gateway.identity.password import Passwords
from gateway.identity.routes import API
from gateway.identity.token import Tokens
from gateway.identity.vault import Vault
from gateway.policy import Policy
from gateway.route import Api, rules_of
from gateway.services import GatewaySettings, Services
from process.clock import Clock, SystemClock
from store.pool import open_pool
from tests.gateway.fakes import Answering, serving

KEY = bytes(range(32))
PASSWORDS = {"admin": "admin-secret", "demo": "demo-secret"}


def body_for(name: str, password: str, scope: Any = None) -> dict[str, Any]:
    """The login body of a user of the default domain."""
    user = {"name": name, "domain": {"id": "default"}, "password": password}
    auth: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope is not None:
        auth["scope"] = scope
    return {"auth": auth}


def project(name: str) -> dict[str, Any]:
    """The scope of a project of the default domain."""
    return {"project": {"name": name, "domain": {"name": "Default"}}}


@dataclass
class Cloud:
    """A running gateway and a session on it."""

    session: ClientSession
    url: str
    services: Services
    ids: Bootstrapped

    async def login(self, name: str = "admin", scope: Any = "own", password: str = "") -> str:
        """A token; ``scope`` "own" is the project named like the user."""
        wanted = project(name) if scope == "own" else scope
        body = body_for(name, password or PASSWORDS[name], wanted)
        async with self.session.post("/identity/v3/auth/tokens", json=body) as response:
            assert response.status == 201, await response.text()
            return response.headers["X-Subject-Token"]

    async def call(
        self, method: str, path: str, token: str = "", json: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Status and decoded body of one call; header names have underscores for dashes."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            sent["X-Auth-Token"] = token
        async with self.session.request(method, path, json=json, headers=sent) as response:
            return response.status, await _decoded(response)


async def _decoded(response: ClientResponse) -> Any:
    is_json = response.content_type == "application/json" and response.status != 204
    return await response.json() if is_json and await response.read() else await response.text()


@asynccontextmanager
async def open_cloud(
    database: str, apis: Iterable[Api] = (API,), clock: Clock | None = None, **settings: Any
) -> AsyncIterator[Cloud]:
    """Bootstrap and serve; passwords are hashed cheaply."""
    clock = clock or SystemClock()
    pool = await open_pool(database, connections_max=4, settings={"role": "starling_gateway"})
    passwords = Passwords(memory_kib=8, passes=1)
    tokens = Tokens(pool, clock, [KEY])
    apis = tuple(apis)
    services = Services(
        clock=clock,
        settings=GatewaySettings(**settings),
        pool=pool,
        read_pool=pool,
        commands=Answering(),
        tokens=tokens,
        passwords=passwords,
        vault=Vault([KEY]),
        policy=Policy(rules_of(apis)),
    )
    try:
        ids = await bootstrap(
            pool,
            passwords,
            admin_password=PASSWORDS["admin"],
            demo_password=PASSWORDS["demo"],
            region="RegionOne",
            clock=clock,
        )
        async with serving(services, apis) as (session, url):
            yield Cloud(session, url, services, ids)
    finally:
        passwords.close()
        await pool.close()
