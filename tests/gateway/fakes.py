"""Stand-ins for what the framework is given: a verifier of made-up tokens, a bus that answers at once."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientSession, web

from gateway.app import make_app
from gateway.auth import Caller
from gateway.policy import ROLES, Policy
from gateway.route import Api, rules_of
from gateway.services import GatewaySettings, Services
from process.clock import SystemClock
from protocol.command import Accepted
from protocol.message import Message


def caller(role: str = "member", scope: Any = "project", **changed: Any) -> Caller:
    """A caller with one role (and what it implies) in project ``p1`` or domain ``d1``."""
    implied = ROLES[ROLES.index(role) :] if role else ()
    fields: dict[str, Any] = {
        "user_id": "u1",
        "user_name": "ann",
        "user_domain_id": "default",
        "user_domain_name": "Default",
        "scope": scope,
        "project_id": "p1" if scope == "project" else "",
        "domain_id": "d1" if scope == "domain" else "",
        "roles": frozenset(implied),
        "is_admin": role == "admin",
        **changed,
    }
    return Caller(**fields)


class KnownTokens:
    """A verifier that knows the tokens it was given."""

    def __init__(self, **callers: Caller) -> None:
        self.callers = callers

    def cached(self, token: str) -> Caller | None:
        return self.callers.get(token)

    async def verify(self, token: str) -> Caller | None:
        return self.callers.get(token)


class Answering:
    """A command client that answers with what ``reply`` makes of the message, and remembers it."""

    address = "gateway/test"

    def __init__(self, reply: Callable[[Message], Message] = lambda _: Accepted()) -> None:
        self.reply = reply
        self.sent: list[tuple[str, Message, str]] = []

    async def send(
        self, to: str, message: Message, *, operation: str, timeout_s: float, trace: str = ""
    ) -> Message:
        self.sent.append((to, message, operation))
        return self.reply(message)


def services(apis: Iterable[Api], tokens: Any, pool: Any = None, **changed: Any) -> Services:
    """Services on fakes; ``pool`` serves for reading too."""
    fields: dict[str, Any] = {
        "clock": SystemClock(),
        "settings": GatewaySettings(),
        "pool": pool,
        "read_pool": pool,
        "commands": Answering(),
        "tokens": tokens,
        "passwords": None,
        "vault": None,
        "policy": Policy(rules_of(apis)),
        **changed,
    }
    return Services(**fields)


@asynccontextmanager
async def serving(given: Services, apis: Iterable[Api]) -> AsyncIterator[tuple[ClientSession, str]]:
    """The application on a free port of the loopback: a client session on it and its URL."""
    runner = web.AppRunner(make_app(given, apis), shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        url = f"http://{host}:{port}"
        async with ClientSession(url) as session:
            yield session, url
    finally:
        await runner.cleanup()
