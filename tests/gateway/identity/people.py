"""Users and grants for tests of the Identity API, made through it."""

from dataclasses import dataclass
from typing import Any

from tests.gateway.cloud import Cloud

V3 = "/identity/v3"


@dataclass(frozen=True)
class Person:
    """A user, the password, and a token for the project (unscoped without one)."""

    id: str
    name: str
    password: str
    token: str


async def made(cloud: Cloud, token: str, word: str, **members: Any) -> dict[str, Any]:
    """Create one resource and return it."""
    status, body = await cloud.call("POST", f"{V3}/{word}s", token, json={word: members})
    assert status == 201, body
    found: dict[str, Any] = body[word]
    return found


async def role_id(cloud: Cloud, name: str) -> str:
    """The id of a role."""
    _, body = await cloud.call("GET", f"{V3}/roles?name={name}", await cloud.login())
    found: str = body["roles"][0]["id"]
    return found


async def grant(cloud: Cloud, user_id: str, role: str, project_id: str, *, method: str = "PUT") -> None:
    """Give a role on a project, or with DELETE take it."""
    path = f"{V3}/projects/{project_id}/users/{user_id}/roles/{await role_id(cloud, role)}"
    status, body = await cloud.call(method, path, await cloud.login())
    assert status == 204, body


async def log_in(cloud: Cloud, auth: dict[str, Any], **headers: str) -> tuple[int, str, Any]:
    """Status, token and document of a login."""
    async with cloud.session.post(f"{V3}/auth/tokens", json={"auth": auth}, headers=headers) as response:
        return response.status, response.headers.get("X-Subject-Token", ""), await response.json()


async def new_user(cloud: Cloud, name: str, *, role: str = "", project_id: str = "") -> Person:
    """A user of the default domain, with a role on the demo project (or another) if one is named."""
    admin, password = await cloud.login(), f"{name}-secret"
    user = await made(cloud, admin, "user", name=name, password=password)
    scope: Any = "unscoped"
    if role:
        project_id = project_id or cloud.ids.demo_project
        await grant(cloud, user["id"], role, project_id)
        scope = {"project": {"id": project_id}}
    token = await cloud.login(name, scope, password)
    return Person(user["id"], name, password, token)
