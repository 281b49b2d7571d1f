"""A cloud's image service: the real actors behind the commands, files in a folder, two projects."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse, ClientSession

from gateway.image.routes import API
from gateway.image.store import NamedStore, Stores
from gateway.image.stores.file import FileStore
from gateway.services import GatewaySettings, Services
from process.clock import SystemClock
from store.pool import open_pool
from tests.gateway.fakes import KnownTokens, caller, services, serving
from tests.gateway.image.actors import Actors

URL_KEY = bytes(range(32))
OCTETS = {"Content-Type": "application/octet-stream"}
PATCH = {"Content-Type": "application/openstack-images-v2.1-json-patch"}


@dataclass
class Images:
    """The running service; ``call`` speaks as ``ann`` of p1; others: bob of p2, root, eve who reads."""

    session: ClientSession
    url: str
    actors: Actors
    folder: Path
    store: FileStore
    services: Services

    async def call(
        self,
        method: str,
        path: str,
        *,
        who: str = "ann",
        headers: Mapping[str, str] | None = None,
        **sent: Any,
    ) -> tuple[int, Any, ClientResponse]:
        joined = {"X-Auth-Token": who, **(headers or {})}
        async with self.session.request(method, "/image" + path, headers=joined, **sent) as response:
            body = await response.read()
            decoded = await response.json() if response.content_type == "application/json" and body else body
            return response.status, decoded, response

    async def make(self, *, who: str = "ann", **members: Any) -> str:
        body = {"name": "disk", "disk_format": "raw", "container_format": "bare", **members}
        status, image, _ = await self.call("POST", "/v2/images", who=who, json=body)
        assert status == 201, image
        return str(image["id"])

    async def fill(self, ident: str, data: Any = b"data", **given: Any) -> tuple[int, Any]:
        given.setdefault("headers", OCTETS)
        status, body, _ = await self.call("PUT", f"/v2/images/{ident}/file", data=data, **given)
        return status, body

    async def show(self, ident: str, who: str = "root") -> Any:
        status, image, _ = await self.call("GET", f"/v2/images/{ident}", who=who)
        assert status == 200, image
        return image

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
async def images(database: str, tmp_path: Path) -> AsyncIterator[Images]:
    pool = await open_pool(database, connections_max=6)
    actors = Actors(pool, SystemClock())
    await actors.start()
    folder = tmp_path / "images"
    store = FileStore(folder)
    tokens = KnownTokens(
        ann=caller(),
        bob=caller(user_id="u2", project_id="p2"),
        eve=caller("reader"),
        root=caller("admin", project_id="p0"),
    )
    given = services(
        [API],
        tokens,
        pool,
        commands=actors,
        images=Stores([NamedStore("file", "file", "A folder.", store)]),
        url_key=URL_KEY,
        settings=GatewaySettings(image_bytes_max=64 << 20),
    )
    async with serving(given, [API]) as (session, url):
        yield Images(session, url, actors, folder, store, given)
    await store.close()
    await pool.close()
