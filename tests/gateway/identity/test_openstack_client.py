"""The unmodified ``openstack`` command against the Identity API."""

import asyncio
import json
import os
from typing import Any

import pytest

from tests.clients.story import openstack_program
from tests.gateway.cloud import PASSWORDS, Cloud

OPENSTACK = openstack_program()

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(OPENSTACK is None, reason="the openstack client is not installed"),
]


async def openstack(cloud: Cloud, *words: str, user: str = "admin", path: str = "/identity") -> Any:
    """Run one command; its output as JSON, or as text when it prints none. Fails with its errors."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "OS_AUTH_URL": cloud.url + path,
        "OS_USERNAME": user,
        "OS_PASSWORD": PASSWORDS[user],
        "OS_PROJECT_NAME": user,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
    }
    process = await asyncio.create_subprocess_exec(
        str(OPENSTACK),
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    text = output.decode()
    return json.loads(text) if text.startswith(("{", "[")) else text


@pytest.mark.parametrize("path", ["/identity", "/identity/v3", ""])
async def test_login_from_any_auth_url(cloud: Cloud, path: str) -> None:
    token = await openstack(cloud, "token", "issue", "-f", "json", path=path)
    assert token["project_id"] == cloud.ids.admin_project


async def test_what_an_operator_lists_first(cloud: Cloud) -> None:
    catalog = await openstack(cloud, "catalog", "list", "-f", "json")
    assert {row["Type"] for row in catalog} == {"identity", "compute", "image", "network"}
    projects = await openstack(cloud, "project", "list", "-f", "json")
    assert {row["Name"] for row in projects} == {"admin", "demo"}
    users = await openstack(cloud, "user", "list", "-f", "json")
    assert {row["Name"] for row in users} == {"admin", "demo"}
    roles = await openstack(cloud, "role", "assignment", "list", "--names", "-f", "json")
    assert {(row["Role"], row["User"]) for row in roles} == {
        ("admin", "admin@Default"),
        ("member", "demo@Default"),
    }


async def test_a_tenant_is_made_and_removed(cloud: Cloud) -> None:
    made = await openstack(cloud, "project", "create", "acme", "--property", "colour=blue", "-f", "json")
    assert made["colour"] == "blue"
    await openstack(cloud, "user", "create", "ann", "--project", "acme", "--password", "pw", "-f", "json")
    await openstack(cloud, "role", "add", "--user", "ann", "--project", "acme", "member")
    roles = await openstack(
        cloud, "role", "assignment", "list", "--user", "ann", "--effective", "--names", "-f", "json"
    )
    assert {row["Role"] for row in roles} == {"member", "reader"}
    await openstack(cloud, "user", "delete", "ann")
    await openstack(cloud, "project", "delete", "acme")


async def test_what_users_keep_for_their_programs(cloud: Cloud) -> None:
    async def demo(*words: str) -> Any:
        found = await openstack(cloud, *words, "-f", "json", user="demo")
        rows = found if isinstance(found, list) else [found]
        plain = [{name.lower().replace(" ", "_"): value for name, value in row.items()} for row in rows]
        return plain if isinstance(found, list) else plain[0]

    async def delete(*words: str) -> None:
        await openstack(cloud, *words, user="demo")

    program = ("application", "credential")
    rule = '[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}]'
    made = await demo(
        *(*program, "create", "robot", "--role", "member", "--secret", "chosen"),
        *("--expiration", "2100-01-01T00:00:00", "--access-rules", rule),
    )
    assert (made["secret"], made["project_id"]) == ("chosen", cloud.ids.demo_project)
    assert [row["name"] for row in await demo(*program, "list")] == ["robot"]
    assert (await demo(*program, "show", "robot"))["id"] == made["id"]
    rules = await demo("access", "rule", "list")
    assert rules[0]["path"] == "/v2.1/servers"
    assert (await demo("access", "rule", "show", rules[0]["id"]))["method"] == "GET"
    await delete(*program, "delete", "robot")
    await delete("access", "rule", "delete", rules[0]["id"])
    pair = await demo("ec2", "credentials", "create")
    assert (await demo("ec2", "credentials", "show", pair["access"]))["secret"] == pair["secret"]
    assert [row["access"] for row in await demo("ec2", "credentials", "list")] == [pair["access"]]
    await delete("ec2", "credentials", "delete", pair["access"])


async def test_credentials_and_trusts(cloud: Cloud) -> None:
    made = await openstack(
        cloud, "credential", "create", "--type", "cert", "demo", "a certificate", "-f", "json"
    )
    listed = await openstack(cloud, "credential", "list", "--user", "demo", "-f", "json")
    assert [row["ID"] for row in listed] == [made["id"]]
    await openstack(
        *(cloud, "credential", "set", made["id"], "--user", "demo", "--type", "cert", "--data", "another")
    )
    shown = await openstack(cloud, "credential", "show", made["id"], "-f", "json")
    assert shown["blob"] == "another"
    await openstack(cloud, "credential", "delete", made["id"])
    lent = await openstack(
        *(cloud, "trust", "create", "--project", "admin", "--role", "reader", "--impersonate"),
        *("admin", "demo", "-f", "json"),
    )
    assert lent["trustee_user_id"] == cloud.ids.demo_user
    listed = await openstack(cloud, "trust", "list", "-f", "json")
    assert [row["ID"] for row in listed] == [lent["id"]]
    shown = await openstack(cloud, "trust", "show", lent["id"], "-f", "json", user="demo")
    assert shown["id"] == lent["id"]
    await openstack(cloud, "trust", "delete", lent["id"])
    assert await openstack(cloud, "trust", "list", "-f", "json") == []
