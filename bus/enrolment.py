"""Users with least rights on RabbitMQ: one for each host, one for each role of the controller.

A host's agent may read its own queue and publish to ``host.in`` with keys that begin with its own
UUID; nothing else, not even declaring. The topic permission is given before the right to write to
the exchange, because RabbitMQ lets a user without any topic permission use every key.

Two back ends: ``rabbitmqctl`` on the broker's machine, or the management HTTP API. What must not go
in: passwords' making and keeping. Source: RabbitMQ documentation, "Access Control" and "Validated
User-ID".
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol
from urllib.parse import quote, unquote, urlsplit

import aiohttp
from msgspec import Struct
from yarl import URL

from bus import topology
from bus.mailbox import BusUnavailable

NOTHING: Final = "^$"
HOST_CONNECTIONS_MAX: Final = 4
"""An agent needs one; the others allow for connections the broker has not yet given up on."""

HOST_CHANNELS_MAX: Final = 32
COMMAND_MAX_S: Final = 30.0

_ALREADY_EXISTS: Final = 70
_NO_SUCH_USER: Final = 67
_HTTP_NOT_FOUND: Final = 404
_HTTP_ERRORS: Final = 400

Role = Literal["worker", "scheduler", "gateway"]


class Rights(Struct, frozen=True):
    """What a user may do: regular expressions on names, as RabbitMQ understands them.

    ``topics`` are (exchange, write keys). 0 connections or channels means no limit.
    """

    configure: str = NOTHING
    write: str = NOTHING
    read: str = NOTHING
    topics: tuple[tuple[str, str], ...] = ()
    connections_max: int = 0
    channels_max: int = 0


_PARTITIONS: Final = r"partition\.[0-9]+"
_HOSTS: Final = r"host\.[0-9a-f-]{36}"
_FANOUT: Final = re.escape(topology.SCHEDULERS)
_HOST_IN: Final = re.escape(topology.HOST_IN)
_DEFAULT: Final = r"amq\.default"

ROLES: Final[Mapping[Role, Rights]] = {
    "worker": Rights(
        configure=rf"^({_PARTITIONS}|{_HOSTS}|{_HOST_IN}|{_FANOUT})$",
        write=rf"^({_DEFAULT}|{_FANOUT}|{_PARTITIONS})$",
        read=rf"^({_PARTITIONS}|{_HOST_IN})$",
    ),
    "scheduler": Rights(
        configure=rf"^(scheduler|schedulers\..+|{_FANOUT})$",
        write=rf"^({_DEFAULT}|schedulers\..+)$",
        read=rf"^(scheduler|schedulers\..+|{_FANOUT})$",
    ),
    "gateway": Rights(configure=r"^gateway\..+$", write=rf"^{_DEFAULT}$", read=r"^gateway\..+$"),
}


def rights_of_host(host_uuid: str) -> Rights:
    """What the agent of one host may do. Raises ValueError unless given a lower-case UUID."""
    return Rights(
        write=rf"^{_HOST_IN}$",
        read=f"^{re.escape(topology.host(host_uuid).name)}$",
        topics=((topology.HOST_IN, rf"^{host_uuid}\.[0-9]+$"),),
        connections_max=HOST_CONNECTIONS_MAX,
        channels_max=HOST_CHANNELS_MAX,
    )


class Admin(Protocol):
    """A way to manage the broker's users."""

    async def put_user(self, login: str, password: str, rights: Rights) -> None:
        """Make or change a user. Idempotent. Raises BusUnavailable."""
        ...

    async def delete_user(self, login: str) -> None:
        """Remove a user; the broker closes its connections. Idempotent. Raises BusUnavailable."""
        ...


async def enrol_host(admin: Admin, host_uuid: str, password: str) -> str:
    """Let a host's agent in. Returns its login. Its queue is declared by the host's worker."""
    login = topology.login_of(host_uuid)
    await admin.put_user(login, password, rights_of_host(host_uuid))
    return login


async def retire_host(admin: Admin, host_uuid: str) -> None:
    """Lock a host's agent out, now: its connections are closed. Its queue is deleted by its worker."""
    await admin.delete_user(topology.login_of(host_uuid))


async def enrol_role(admin: Admin, role: Role, login: str, password: str) -> None:
    """Make the user that processes of one controller role log in as."""
    await admin.put_user(login, password, ROLES[role])


def admin_of(setting: str, *, vhost: str = "/") -> Admin:
    """The back end a setting names: ``rabbitmqctl``, ``rabbitmqctl:<node>`` or ``http[s]://user:password@host``.

    Raises ValueError for anything else.
    """
    kind, _, rest = setting.partition(":")
    if kind == "rabbitmqctl":
        return Rabbitmqctl(node=rest, vhost=vhost)
    if kind in {"http", "https"}:
        return ManagementApi(setting, vhost=vhost)
    raise ValueError("the broker's administration is 'rabbitmqctl', 'rabbitmqctl:<node>' or an http(s) URL")


class Rabbitmqctl:
    """The command line tool, on the broker's machine. About half a second of CPU for each step."""

    def __init__(
        self,
        *,
        node: str = "",
        vhost: str = "/",
        program: str = "rabbitmqctl",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [program, "--quiet", *(["--node", node] if node else [])]
        self._vhost = vhost
        self._environment = dict(environment) if environment is not None else None

    async def put_user(self, login: str, password: str, rights: Rights) -> None:
        if not password or not password.isprintable():
            raise ValueError("a password is one line of printable characters")
        # Passwords go through standard input: arguments are visible to every user of the machine.
        if await self._run("add_user", login, stdin=password, allow=_ALREADY_EXISTS):
            await self._run("change_password", login, stdin=password)
        await self._run("set_user_limits", login, _limits_text(rights))
        for exchange, keys in rights.topics:
            await self._run("set_topic_permissions", "-p", self._vhost, login, exchange, keys, NOTHING)
        names = (rights.configure, rights.write, rights.read)
        await self._run("set_permissions", "-p", self._vhost, login, *names)

    async def delete_user(self, login: str) -> None:
        await self._run("delete_user", login, allow=_NO_SUCH_USER)

    async def _run(self, *arguments: str, stdin: str = "", allow: int = 0) -> int:
        doing = f"rabbitmqctl {arguments[0]}"
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
            )
        except OSError as error:
            raise BusUnavailable(f"{doing}: {error}") from error
        try:
            async with asyncio.timeout(COMMAND_MAX_S):
                _, complaint = await process.communicate(stdin.encode())
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise BusUnavailable(f"{doing}: no answer in {COMMAND_MAX_S:g} s") from error
            raise
        code = process.returncode or 0
        if code not in {0, allow}:
            said = " ".join(complaint.decode(errors="replace").split())
            raise BusUnavailable(f"{doing}: exit {code}: {said[:300]}")
        return code


class ManagementApi:
    """The HTTP API of the management plugin. ``url`` carries the administrator's credentials."""

    def __init__(self, url: str, *, vhost: str = "/") -> None:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        self._base = f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}/api"
        credentials = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._headers = {"Authorization": f"Basic {b64encode(credentials.encode()).decode()}"}
        self._vhost = quote(vhost, safe="")

    async def put_user(self, login: str, password: str, rights: Rights) -> None:
        user = quote(login, safe="")
        async with self._session() as http:
            await self._put(http, f"users/{user}", {"password": password, "tags": ""})
            for name, limit in _limits(rights).items():
                await self._put(http, f"user-limits/{user}/{name}", {"value": limit})
            for exchange, keys in rights.topics:
                topic: dict[str, str | int] = {"exchange": exchange, "write": keys, "read": NOTHING}
                await self._put(http, f"topic-permissions/{self._vhost}/{user}", topic)
            names = {"configure": rights.configure, "write": rights.write, "read": rights.read}
            await self._put(http, f"permissions/{self._vhost}/{user}", {**names})

    async def delete_user(self, login: str) -> None:
        async with self._session() as http:
            await self._call(http, "DELETE", f"users/{quote(login, safe='')}", None, allow=_HTTP_NOT_FOUND)

    def _session(self) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
        timeout = aiohttp.ClientTimeout(total=COMMAND_MAX_S)
        return aiohttp.ClientSession(headers=self._headers, timeout=timeout)

    async def _put(self, http: aiohttp.ClientSession, path: str, body: Mapping[str, str | int]) -> None:
        await self._call(http, "PUT", path, body)

    async def _call(
        self,
        http: aiohttp.ClientSession,
        method: str,
        path: str,
        body: Mapping[str, str | int] | None,
        allow: int = 0,
    ) -> None:
        doing = f"management API {method} {path.partition('/')[0]}"
        # Quoted already: "/" inside a virtual host's name must stay %2F.
        url = URL(f"{self._base}/{path}", encoded=True)
        try:
            async with http.request(method, url, json=body) as answer:
                if answer.status >= _HTTP_ERRORS and answer.status != allow:
                    raise BusUnavailable(f"{doing}: {answer.status} {answer.reason}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BusUnavailable(f"{doing}: {type(error).__name__}") from error


def _limits(rights: Rights) -> dict[str, int]:
    limits = {"max-connections": rights.connections_max, "max-channels": rights.channels_max}
    return {name: limit for name, limit in limits.items() if limit}


def _limits_text(rights: Rights) -> str:
    return "{" + ", ".join(f'"{name}": {limit}' for name, limit in _limits(rights).items()) + "}"
