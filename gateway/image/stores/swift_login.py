"""Logging in to a Swift: a token and the account's URL, by Keystone v3 or by Swift's own v1.

Source: Identity API v3, "Password authentication" and "Authenticating with an Application Credential";
Swift, "Authentication v1" (X-Auth-User, X-Auth-Key).
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, Literal

import msgspec
from aiohttp import ClientSession
from msgspec import Struct

from gateway.image.store import StoreFailed
from process.clock import Clock
from process.plugin import DriverOptionsError

RENEW_S: Final = 600.0
"""A token is renewed so long before it expires, or at half its life: a stream must not outlive it."""
UNKNOWN_LIFE_S: Final = 3600.0
"""Taken for the life of a v1 token that does not say."""
ANSWER_BYTES_MAX: Final = 4 << 20


class SwiftLogin(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who logs in where. v1: ``user`` and ``key``; v3: a password or an application credential."""

    auth_url: str
    auth_version: Literal["1", "3"] = "3"
    user: str = ""
    key: str = ""
    username: str = ""
    password: str = ""
    user_domain_name: str = "Default"
    project_name: str = ""
    project_domain_name: str = "Default"
    application_credential_id: str = ""
    application_credential_secret: str = ""
    region: str = ""
    interface: Literal["public", "internal", "admin"] = "public"
    endpoint_url: str = ""

    def check(self, what: str) -> None:
        """Raises DriverOptionsError when what a way of logging in needs is not there."""
        needed: tuple[str, ...]
        if self.auth_version == "1":
            needed = ("user", "key")
        elif self.application_credential_id:
            needed = ("application_credential_secret",)
        else:
            needed = ("username", "password", "project_name")
        missing = [name for name in needed if not getattr(self, name)]
        if missing:
            raise DriverOptionsError(f"{what}: the options lack {', '.join(missing)}.")


class Grant(Struct, frozen=True):
    """A token for an account. ``url`` ends without a slash; ``renew_at`` is UTC epoch seconds."""

    token: str
    url: str
    renew_at: float

    def __repr__(self) -> str:
        """Without the token."""
        return f"Grant(url={self.url!r}, renew_at={self.renew_at})"


class _Endpoint(Struct):
    interface: str
    url: str
    region: str = ""


class _Service(Struct):
    type: str
    endpoints: list[_Endpoint] = []


class _Token(Struct):
    expires_at: datetime
    catalog: list[_Service] = []


class _Body(Struct):
    token: _Token


async def log_in(http: ClientSession, login: SwiftLogin, clock: Clock) -> Grant:
    """A fresh grant. Raises StoreFailed, and what the client raises."""
    return await (_v1 if login.auth_version == "1" else _v3)(http, login, clock)


async def _v1(http: ClientSession, login: SwiftLogin, clock: Clock) -> Grant:
    headers = {"X-Auth-User": login.user, "X-Auth-Key": login.key}
    async with http.get(login.auth_url, headers=headers, allow_redirects=False) as answer:
        token, url = answer.headers.get("X-Auth-Token"), answer.headers.get("X-Storage-Url")
        if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT} or not token or not url:
            raise StoreFailed(f"logging in to Swift was answered with status {answer.status}")
        life = answer.headers.get("X-Auth-Token-Expires", "")
        life_s = float(life) if life.isdigit() else UNKNOWN_LIFE_S
        return _grant(token, login.endpoint_url or url, clock.now(), life_s)


async def _v3(http: ClientSession, login: SwiftLogin, clock: Clock) -> Grant:
    url = login.auth_url.rstrip("/") + "/auth/tokens"
    async with http.post(url, json={"auth": _asked(login)}, allow_redirects=False) as answer:
        token = answer.headers.get("X-Subject-Token")
        if answer.status != HTTPStatus.CREATED or not token:
            raise StoreFailed(f"logging in to Keystone was answered with status {answer.status}")
        try:
            said = msgspec.json.decode(await answer.content.read(ANSWER_BYTES_MAX), type=_Body).token
        except msgspec.MsgspecError as error:
            raise StoreFailed("Keystone's token cannot be read") from error
    now = clock.now()
    life_s = said.expires_at.timestamp() - now
    return _grant(token, login.endpoint_url or _endpoint(said.catalog, login), now, life_s)


def _grant(token: str, url: str, now: float, life_s: float) -> Grant:
    return Grant(token, url.rstrip("/"), now + life_s - min(RENEW_S, life_s / 2))


def _asked(login: SwiftLogin) -> dict[str, Any]:
    if login.application_credential_id:
        given = {"id": login.application_credential_id, "secret": login.application_credential_secret}
        return {"identity": {"methods": ["application_credential"], "application_credential": given}}
    user = {
        "name": login.username,
        "password": login.password,
        "domain": {"name": login.user_domain_name},
    }
    project = {"name": login.project_name, "domain": {"name": login.project_domain_name}}
    return {
        "identity": {"methods": ["password"], "password": {"user": user}},
        "scope": {"project": project},
    }


def _endpoint(catalog: list[_Service], login: SwiftLogin) -> str:
    for service in catalog:
        for endpoint in service.endpoints if service.type == "object-store" else ():
            if endpoint.interface == login.interface and login.region in {"", endpoint.region}:
                return endpoint.url
    where = f" in region {login.region}" if login.region else ""
    raise StoreFailed(f"the catalog has no {login.interface} endpoint of object-store{where}")
