"""keystoneauth's plugins, unmodified: programs, second factors and trusts as the clients log in with them."""

import asyncio
import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from gateway.identity.totp import PERIOD_S
from tests.gateway.cloud import PASSWORDS, Cloud, project
from tests.gateway.identity.people import V3, made, new_user

v3 = pytest.importorskip("keystoneauth1.identity.v3", reason="keystoneauth is not installed")
session = pytest.importorskip("keystoneauth1.session")
exceptions = pytest.importorskip("keystoneauth1.exceptions")

pytestmark = [pytest.mark.clients, pytest.mark.filterwarnings("ignore")]  # the client's own

KEY = b"12345678901234567890"


async def access_of(plugin: Any) -> Any:
    """What the plugin learns by logging in."""
    return await asyncio.to_thread(lambda: plugin.get_access(session.Session()))


def code(cloud: Cloud) -> str:
    made = TOTP(KEY, 6, SHA1(), PERIOD_S)  # noqa: S303  as the RFC says
    return made.generate(cloud.services.clock.now()).decode()


async def ask_for_both(cloud: Cloud) -> None:
    """A seed and a rule for the demo user."""
    blob, user = base64.b32encode(KEY).decode(), cloud.ids.demo_user
    await made(cloud, await cloud.login("demo"), "credential", type="totp", blob=blob, user_id=user)
    options = {"multi_factor_auth_enabled": True, "multi_factor_auth_rules": [["password", "totp"]]}
    body = {"user": {"options": options}}
    assert (await cloud.call("PATCH", f"{V3}/users/{user}", await cloud.login(), json=body))[0] == 200


@pytest.mark.parametrize("by_name", [False, True])
async def test_an_application_credential(cloud: Cloud, *, by_name: bool) -> None:
    body = {"application_credential": {"name": "robot"}}
    path = f"{V3}/users/{cloud.ids.demo_user}/application_credentials"
    _, answer = await cloud.call("POST", path, await cloud.login("demo"), json=body)
    program = answer["application_credential"]
    named = {
        "application_credential_name": "robot",
        "username": "demo",
        "user_domain_name": "Default",
    }
    plugin = v3.ApplicationCredential(
        f"{cloud.url}{V3}",
        program["secret"],
        **(named if by_name else {"application_credential_id": program["id"]}),
    )
    found = await access_of(plugin)
    assert found.project_id == cloud.ids.demo_project
    assert found.application_credential_id == program["id"]


async def test_a_passcode_alone(cloud: Cloud) -> None:
    await ask_for_both(cloud)
    plugin = v3.TOTP(f"{cloud.url}{V3}", code(cloud), username="demo", user_domain_name="Default")
    with pytest.raises(exceptions.MissingAuthMethods) as asked:
        await access_of(plugin)
    assert asked.value.required_auth_methods == [["password", "totp"]]
    assert asked.value.methods == ["totp"]


async def test_several_factors_at_once(cloud: Cloud) -> None:
    await ask_for_both(cloud)
    plugin = v3.MultiFactor(
        f"{cloud.url}{V3}",
        auth_methods=["v3password", "v3totp"],
        username="demo",
        user_domain_name="Default",
        password=PASSWORDS["demo"],
        passcode=code(cloud),
        project_name="demo",
        project_domain_name="Default",
    )
    assert (await access_of(plugin)).project_id == cloud.ids.demo_project


async def test_one_factor_after_the_other(cloud: Cloud) -> None:
    await ask_for_both(cloud)
    plugin = v3.Password(
        f"{cloud.url}{V3}",
        username="demo",
        user_domain_name="Default",
        password=PASSWORDS["demo"],
        project_name="demo",
        project_domain_name="Default",
    )
    with pytest.raises(exceptions.MissingAuthMethods) as asked:
        await access_of(plugin)
    plugin.add_method(v3.TOTPMethod(username="demo", user_domain_name="Default", passcode=code(cloud)))
    plugin.auth_methods = plugin.auth_methods[1:]
    plugin.receipt = asked.value.receipt
    header = {"Openstack-Auth-Receipt": asked.value.receipt}

    def with_receipt() -> Any:
        return plugin.get_access(session.Session(additional_headers=header))

    assert (await asyncio.to_thread(with_receipt)).project_id == cloud.ids.demo_project


async def test_a_trust(cloud: Cloud) -> None:
    tom = await new_user(cloud, "tom", role="member")
    eve = await new_user(cloud, "eve")
    token = await cloud.login("tom", project("demo"), tom.password)
    body = {
        "trustor_user_id": tom.id,
        "trustee_user_id": eve.id,
        "impersonation": True,
        "project_id": cloud.ids.demo_project,
        "roles": [{"name": "member"}],
    }
    _, answer = await cloud.call("POST", f"{V3}/OS-TRUST/trusts", token, json={"trust": body})
    ident = answer["trust"]["id"]
    plugin = v3.Password(f"{cloud.url}{V3}", user_id=eve.id, password=eve.password, trust_id=ident)
    found = await access_of(plugin)
    assert (found.trust_id, found.user_id) == (ident, tom.id)
    assert found.trustee_user_id == eve.id
