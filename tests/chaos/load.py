"""Tenants that create and delete servers through the gateways, and never take no answer for an answer.

Each request carries an idempotency key and is repeated until some gateway answers it. ``Tenants.asked``
says what every accepted server should be in the end: ``active`` or ``gone``.
"""

import asyncio
import itertools
import random
import time
from typing import Any

import aiohttp

RETRY_S = 0.3
GIVE_UP_S = 90.0
POLL_S = 1.0
FLAVOR = {"name": "chaos", "vcpus": 1, "ram": 64, "disk": 1}


class Client:
    """A client of one project that goes round the gateways."""

    def __init__(self, ports: list[int], user: str, password: str, project: str) -> None:
        self._gateways = ports
        self._ports = itertools.cycle(ports)
        self._auth = (user, password, project)
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=15), connector=aiohttp.TCPConnector(limit=0)
        )
        self._others: list[Client] = []
        self._open: set[int] = set()
        self._numbers = itertools.count()
        self._retries = 0
        self.token = self.project = self.user = ""

    async def of_project(self, name: str) -> "Client":
        """The same user in a project made for it."""
        _, answer = await self.call("POST", "/identity/v3/projects", {"project": {"name": name}})
        _, roles = await self.call("GET", "/identity/v3/roles?name=admin")
        project, role = answer["project"]["id"], roles["roles"][0]["id"]
        await self.call("PUT", f"/identity/v3/projects/{project}/users/{self.user}/roles/{role}")
        user, password, _ = self._auth
        other = Client(self._gateways, user, password, name)
        other._open, other._numbers = self._open, self._numbers
        self._others.append(other)
        await other.log_in()
        return other

    async def close(self) -> None:
        for client in (*self._others, self):
            await client._session.close()

    @property
    def retries(self) -> int:
        """Requests said again, those of the projects made here included."""
        return self._retries + sum(other.retries for other in self._others)

    def port(self) -> int:
        """The next gateway's."""
        return next(self._ports)

    async def log_in(self) -> None:
        user, password, project = self._auth
        domain = {"name": "Default"}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": domain, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": domain}},
            }
        }
        async with self._session.post(
            f"http://127.0.0.1:{self.port()}/identity/v3/auth/tokens", json=body
        ) as answer:
            answer.raise_for_status()
            self.token = answer.headers["X-Subject-Token"]
            token = (await answer.json())["token"]
            self.project, self.user = token["project"]["id"], token["user"]["id"]

    def open_calls(self) -> set[int]:
        """The calls that have no answer yet, of all projects."""
        return set(self._open)

    async def call(self, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
        """Status and body; repeated on 5xx and broken connections until GIVE_UP_S."""
        number = next(self._numbers)
        self._open.add(number)
        try:
            return await self._call(method, path, body, key)
        finally:
            self._open.discard(number)

    async def _call(self, method: str, path: str, body: Any, key: str) -> tuple[int, Any]:
        until = time.monotonic() + GIVE_UP_S
        headers = {"X-Auth-Token": self.token, "OpenStack-API-Version": "compute 2.90"}
        if key:
            headers["Idempotency-Key"] = key
        while True:
            try:
                async with self._session.request(
                    method, f"http://127.0.0.1:{self.port()}{path}", json=body, headers=headers
                ) as answer:
                    if answer.status < 500:
                        text = await answer.json() if answer.content_type == "application/json" else None
                        return answer.status, text
                    why = f"{answer.status} {(await answer.text())[:200]}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = repr(error)
            if time.monotonic() > until:
                raise TimeoutError(f"{method} {path}: {why}")
            self._retries += 1
            await asyncio.sleep(RETRY_S)


class Tenants:
    """Sustained creates and deletes."""

    def __init__(self, client: Client, projects: list[Client], image: str, flavor: str, seed: int) -> None:
        self.client = client
        self._projects = projects
        self._image, self._flavor = image, flavor
        self._chance = random.Random(seed)
        self.asked: dict[str, str] = {}
        self.created = self.deleted = 0
        self.refused: list[str] = []
        self.stopping = False

    async def one(self, number: int) -> None:
        """Create servers, wait for most of them, delete most of them, until told to stop."""
        client = self._projects[number % len(self._projects)]
        for turn in itertools.count():
            if self.stopping:
                return
            server = await self._create(client, f"c{number}-{turn}")
            if server and self._chance.random() < 0.8:  # the others are deleted while they build
                await self._wait(client, server)
            if server and self._chance.random() < 0.9:
                await self._delete(client, server)

    async def _create(self, client: Client, name: str) -> str:
        body = {
            "server": {
                "name": name, "flavorRef": self._flavor, "imageRef": self._image, "networks": "none",
            }
        }  # fmt: skip
        status, answer = await client.call("POST", "/compute/v2.1/servers", body, key=f"create {name}")
        if status != 202:
            self.refused.append(f"create {name}: {status} {answer}")
            await asyncio.sleep(1)
            return ""
        server: str = answer["server"]["id"]
        self.asked[server] = "active"
        self.created += 1
        return server

    async def _wait(self, client: Client, server: str) -> None:
        until = time.monotonic() + GIVE_UP_S
        while time.monotonic() < until:
            status, answer = await client.call("GET", f"/compute/v2.1/servers/{server}")
            if status == 200 and answer["server"]["status"] in {"ACTIVE", "ERROR"}:
                return
            await asyncio.sleep(POLL_S)

    async def _delete(self, client: Client, server: str) -> None:
        self.asked[server] = "gone"
        repeated = client.retries
        status, answer = await client.call("DELETE", f"/compute/v2.1/servers/{server}")
        # A delete whose answer was cut off may have been carried out when it is said again.
        if status != 204 and not (status == 404 and client.retries > repeated):
            self.refused.append(f"delete {server}: {status} {answer}")
        self.deleted += 1
