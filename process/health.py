"""What every role answers to its operators: ``/healthz``, ``/readyz`` and ``/metrics``.

A check is an awaitable that returns what it found; one that raises makes the process not ready. Only the
kind of error is shown: its text goes to the log.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from process.metrics import Metrics

CHECK_MAX_S: Final = 3.0
BACKLOG: Final = 1024
UNREAD_MAX_S: Final = 120.0
"""Who reads nothing of an answer for so long, or is no longer there, loses the connection."""

Check = Callable[[], Awaitable[dict[str, Any]]]


def add_health(
    app: web.Application, checks: Mapping[str, Check], metrics: Metrics, log: FilteringBoundLogger
) -> None:
    """Add the three documents to an application."""

    async def alive(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        found: dict[str, Any] = {}
        good = True
        for name, check in checks.items():
            try:
                async with asyncio.timeout(CHECK_MAX_S):
                    found[name] = {"ok": True, **await check()}
            except Exception as error:  # noqa: BLE001  whatever is wrong, the process is not ready
                log.warning("check.failed", check=name, error=str(error))
                found[name] = {"ok": False, "error": type(error).__name__}
                good = False
        return web.json_response({"ready": good, "checks": found}, status=200 if good else 503)

    async def figures(_: web.Request) -> web.Response:
        return web.Response(body=metrics.page(), headers={"Content-Type": metrics.content_type})

    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", figures)


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen; the runner is closed by the caller. Raises OSError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(UNREAD_MAX_S * 1000))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner
