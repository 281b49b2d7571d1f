"""The image service with callers who administer, belong to p1, or belong to p2."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.image.routes import API
from store.pool import open_pool
from tests.gateway.fakes import KnownTokens, caller, services, serving

NAMESPACES = "/v2/metadefs/namespaces"
ONE = f"{NAMESPACES}/Acme"
PROPERTY = {"title": "Colour", "type": "string", "enum": ["red", "blue"], "default": "red"}
PAINT = {
    "name": "paint",
    "description": "how it is painted",
    "required": ["colour"],
    "properties": {"colour": PROPERTY},
}
WHOLE = {
    "namespace": "Acme",
    "display_name": "Acme's",
    "description": "of Acme",
    "visibility": "private",
    "resource_type_associations": [
        {"name": "OS::Glance::Image", "prefix": "acme:"},
        {"name": "OS::Nova::Flavor"},
    ],
    "properties": {"colour": PROPERTY},
    "objects": [PAINT],
    "tags": [{"name": "bright"}],
}

Call = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
async def call(database: str, tmp_path: Path) -> AsyncIterator[Call]:
    """(method, path, who=…, **sent) → (status, body). ``root`` has p1's namespaces made for ``ann``."""
    pool = await open_pool(database, connections_max=4)
    tokens = KnownTokens(
        root=caller("admin", project_id="p0"),
        ann=caller(),
        eve=caller("reader"),
        bob=caller(user_id="u2", project_id="p2"),
    )
    async with serving(services([API], tokens, pool), [API]) as (session, _):

        async def ask(method: str, path: str, *, who: str = "root", **sent: Any) -> tuple[int, Any]:
            headers = {"X-Auth-Token": who, **sent.pop("headers", {})}
            async with session.request(method, "/image" + path, headers=headers, **sent) as response:
                body = await response.read()
                is_json = response.content_type == "application/json" and body
                return response.status, await response.json() if is_json else body

        yield ask
    await pool.close()


@pytest.fixture
async def acme(call: Call) -> Call:
    """There is a private namespace of p1 that holds one of each kind."""
    status, body = await call("POST", NAMESPACES, json={**WHOLE, "owner": "p1"})
    assert status == 201, body
    return call
