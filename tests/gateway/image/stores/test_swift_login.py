"""Logging in to Swift by Keystone v3: ours is the Keystone."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from gateway.image.store import StoreFailed
from gateway.image.stores.swift_login import SwiftLogin, log_in
from process.clock import SystemClock
from tests.gateway.cloud import PASSWORDS, Cloud, open_cloud

URL = "http://swift.example.org:8080/v1/AUTH_x"


@pytest.fixture
async def cloud(database: str) -> AsyncIterator[Cloud]:
    async with open_cloud(database) as made:
        token = await made.login()
        body = {"service": {"type": "object-store", "name": "swift"}}
        status, service = await made.call("POST", "/identity/v3/services", token, body)
        assert status == 201, service
        endpoint = {
            "service_id": service["service"]["id"],
            "interface": "public",
            "region_id": "RegionOne",
            "url": URL + "/",
        }
        status, said = await made.call("POST", "/identity/v3/endpoints", token, {"endpoint": endpoint})
        assert status == 201, said
        yield made


def login(cloud: Cloud, **changed: Any) -> SwiftLogin:
    given = {"username": "demo", "password": PASSWORDS["demo"], "project_name": "demo", **changed}
    return SwiftLogin(auth_url=f"{cloud.url}/identity/v3", **given)


async def test_a_password_gives_a_token_and_the_accounts_url(cloud: Cloud) -> None:
    clock = SystemClock()
    async with aiohttp.ClientSession() as http:
        grant = await log_in(http, login(cloud, region="RegionOne"), clock)
    assert grant.url == URL
    assert grant.renew_at > clock.now() + 3600
    assert grant.token not in repr(grant)
    status, _ = await cloud.call("GET", "/identity/v3/auth/tokens", grant.token, X_Subject_Token=grant.token)
    assert status == 200


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"password": "hunter2"}, "status 401"),
        ({"region": "Elsewhere"}, "in region Elsewhere"),
        ({"interface": "internal"}, "no internal endpoint"),
    ],
)
async def test_what_does_not_lead_to_an_account_is_told(
    cloud: Cloud, changed: dict[str, Any], says: str
) -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(StoreFailed, match=says) as failed:
            await log_in(http, login(cloud, **changed), SystemClock())
    assert "hunter2" not in str(failed.value)
