"""A tenant of a benchmarked cloud: plain HTTP with keep-alive, no client library in the way."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import aiohttp

GONE = 404
FLAVOR = {"name": "bench", "vcpus": 1, "ram": 64, "disk": 1}


class Tenant:
    """One project's session over all gateways, in turns."""

    def __init__(self, urls: list[str], password: str) -> None:
        self._urls = itertools.cycle(urls)
        self._password = password
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        self._headers: dict[str, str] = {}
        self.project = ""
        self.image = ""
        self.flavor = ""

    async def close(self) -> None:
        await self._session.close()

    async def prepare(self, image: Path | None = None, memory_mib: int = 64) -> None:
        """Log in, lift the quota, make a flavor and an image (qcow2 from a file, or a little raw one).

        Raises aiohttp.ClientResponseError for any answer that is not a success.
        """
        domain = {"name": "Default"}
        user = {"name": "admin", "domain": domain, "password": self._password}
        scope = {"project": {"name": "admin", "domain": domain}}
        identity = {"methods": ["password"], "password": {"user": user}}
        url = f"{next(self._urls)}/identity/v3/auth/tokens"
        async with self._session.post(url, json={"auth": {"identity": identity, "scope": scope}}) as answer:
            answer.raise_for_status()
            self._headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
            self.project = (await answer.json())["token"]["project"]["id"]
        self._headers["OpenStack-API-Version"] = "compute 2.90"
        quota = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        await self.ask("PUT", f"/compute/v2.1/os-quota-sets/{self.project}", json=quota)
        flavors = await self.ask(
            "POST", "/compute/v2.1/flavors", json={"flavor": {**FLAVOR, "ram": memory_mib}}
        )
        self.flavor = flavors["flavor"]["id"]
        disk_format = "qcow2" if image else "raw"
        record = {"name": "bench", "disk_format": disk_format, "container_format": "bare"}
        self.image = (await self.ask("POST", "/image/v2/images", json=record))["id"]
        data = image.read_bytes() if image else b"\0" * 4096
        headers = {"Content-Type": "application/octet-stream"}
        await self.ask("PUT", f"/image/v2/images/{self.image}/file", data=data, headers=headers)

    async def ask(self, method: str, path: str, **more: Any) -> Any:
        """One request; its JSON. Raises aiohttp.ClientResponseError."""
        headers = {**self._headers, **more.pop("headers", {})}
        async with self._session.request(method, next(self._urls) + path, headers=headers, **more) as answer:
            answer.raise_for_status()
            return await answer.json() if answer.content_type == "application/json" else await answer.read()

    async def fetch(self, path: str) -> bytes:
        """One document as it is: what the client makes of it is not the cloud's time."""
        async with self._session.get(next(self._urls) + path, headers=self._headers) as answer:
            answer.raise_for_status()
            return await answer.read()

    async def boot(self, name: str, networks: Any = "none") -> str:
        """Ask for a server; its id."""
        wish = {"name": name, "flavorRef": self.flavor, "imageRef": self.image, "networks": networks}
        made = await self.ask("POST", "/compute/v2.1/servers", json={"server": wish})
        server: str = made["server"]["id"]
        return server

    async def end(self, server: str) -> None:
        """Delete a server and wait until it is gone."""
        await self.ask("DELETE", f"/compute/v2.1/servers/{server}")
        while True:
            try:
                await self.status(server)
            except aiohttp.ClientResponseError as error:
                if error.status == GONE:
                    return
                raise
            await asyncio.sleep(0.05)

    async def status(self, server: str) -> str:
        """The server's status."""
        shown: str = (await self.ask("GET", f"/compute/v2.1/servers/{server}"))["server"]["status"]
        return shown
