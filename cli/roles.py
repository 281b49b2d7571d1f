"""The commands that run one role as a process of its own."""

import os
from pathlib import Path

from aiohttp import web

from cli.gateway import make_gateway
from cli.parts import agent_part, scheduler_part, worker_part
from cli.wiring import Wiring
from hostagent.identity import FILE_NAME, IdentityError, load_identity
from process.health import Check, add_health, serve
from process.run import Part, run_parts
from process.settings import SettingsError
from store.pool import Pool
from store.probe import clock_offset


async def run_gateway(wiring: Wiring) -> int:
    """A gateway until a signal."""
    wiring.require_production("gateway")
    gateway = await make_gateway(wiring)
    return await _serve(wiring, gateway.parts(), {})


async def run_worker(wiring: Wiring) -> int:
    """A worker until a signal."""
    wiring.require_production("worker")
    base_url = wiring.settings.public_url
    if not base_url:
        raise SettingsError("a worker needs STARLING_PUBLIC_URL: where hosts fetch images from the gateways")
    part = await worker_part(wiring, base_url)
    return await _serve(
        wiring, [part], {"database": _database(wiring, await wiring.pool("worker", connections_max=1))}
    )


async def run_scheduler(wiring: Wiring) -> int:
    """A scheduler until a signal."""
    wiring.require_production("scheduler")
    part = await scheduler_part(wiring)
    pool = await wiring.pool("scheduler", connections_max=1)
    return await _serve(wiring, [part], {"database": _database(wiring, pool)})


async def run_agent(wiring: Wiring, folder: Path) -> int:
    """One host's agent, or one for each enrolled folder below ``folder``, until a signal."""
    folders = _enrolled(folder)
    if not folders:
        raise SettingsError(f"{folder}: no enrolled host here; make one with 'starling agent enrol'")
    try:
        parts = [agent_part(wiring, load_identity(place), place) for place in folders]
    except IdentityError as error:
        raise SettingsError(str(error)) from error
    return await _serve(wiring, parts, {})


def _enrolled(folder: Path) -> list[Path]:
    if (folder / FILE_NAME).exists():
        return [folder]
    return sorted(identity.parent for identity in folder.glob(f"*/{FILE_NAME}"))


def _database(wiring: Wiring, pool: Pool) -> Check:
    async def check() -> dict[str, float]:
        return {"clock_offset_s": round(await clock_offset(pool, wiring.clock), 6)}

    return check


async def _serve(wiring: Wiring, parts: list[Part], checks: dict[str, Check]) -> int:
    runner = None
    port = wiring.settings.metrics_port
    try:
        if port:
            app = web.Application()
            add_health(app, checks, wiring.metrics, wiring.log)
            runner = await serve(app, wiring.settings.listen, port)
        wiring.log.info("process.started", parts=[part.name for part in parts], pid=os.getpid())
        return await run_parts(parts, wiring.log, reload=wiring.reload)
    finally:
        if runner is not None:
            await runner.cleanup()
        await wiring.close()
