"""``starling up``: the whole cloud in one process on the embedded defaults."""

import asyncio
import fcntl
import os
from pathlib import Path

from cli.bootstrap import prepare_database, write_credentials
from cli.gateway import make_gateway
from cli.hosts import LocalHosts, driver_settings
from cli.hypervisor import choose_hypervisor
from cli.parts import agent_part, scheduler_part, worker_part
from cli.wiring import Wiring
from process.run import Part, run_parts
from process.settings import SettingsError
from store.embedded import EmbeddedPostgres


async def up(wiring: Wiring) -> int:
    """Run until a signal. The process's exit code."""
    began = wiring.clock.monotonic()
    settings = wiring.settings
    state = settings.state_path
    state.mkdir(parents=True, exist_ok=True)
    lock = _lock(state)
    postgres = None if settings.database_url else EmbeddedPostgres(state, wiring.log)
    try:
        url = settings.database_url or await _start(postgres)
        wiring.use_database(url)
        await prepare_database(wiring, url)
        base_url = settings.public_url or f"http://{_reachable(settings.listen)}:{settings.port}"
        write_credentials(state, wiring.secrets(make=False), base_url, settings.region)
        return await _run(wiring, base_url, began)
    finally:
        await wiring.close()
        if postgres is not None:
            await postgres.stop()
        os.close(lock)


async def _start(postgres: EmbeddedPostgres | None) -> str:
    if postgres is None:
        raise SettingsError("there is neither a database_url nor an embedded database")
    return await postgres.start()


def _lock(state: Path) -> int:
    lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise SettingsError(
            f"another starling runs on {state}; stop it or choose another folder with STARLING_STATE"
        ) from error
    return lock


def _reachable(listen: str) -> str:
    return "127.0.0.1" if listen in {"0.0.0.0", "::"} else listen  # noqa: S104  compared, not bound


async def _run(wiring: Wiring, base_url: str, began: float) -> int:
    settings = wiring.settings
    workers = [await worker_part(wiring, base_url) for _ in range(settings.workers)]
    schedulers = [await scheduler_part(wiring) for _ in range(settings.schedulers)]
    gateway = await make_gateway(wiring)
    hypervisor = await choose_hypervisor(wiring, driver_settings(settings, "libvirt", settings.state_path))
    hosts = LocalHosts(wiring, gateway.commands, gateway.services.read_pool, hypervisor)
    await hosts.sort()
    enrolled = asyncio.Event()
    agents = [_after(enrolled, agent_part(wiring, identity, folder)) for folder, identity in hosts.running]

    async def welcome() -> None:
        await hosts.enrol()
        enrolled.set()
        await hosts.wait_until_up()
        _greet(wiring, len(hosts.running), hypervisor, base_url, began)
        await asyncio.Event().wait()

    parts = [*gateway.parts(), *agents, *schedulers, *workers, Part("welcome", welcome)]
    return await run_parts(parts, wiring.log, reload=wiring.reload)


def _after(event: asyncio.Event, part: Part) -> Part:
    """The same part, begun when the event has come: an unknown host's reports are heard by nobody."""

    async def run() -> None:
        await event.wait()
        await part.run()

    return Part(part.name, run, part.drain, part.fatal)


def _greet(wiring: Wiring, hosts: int, hypervisor: str, base_url: str, began: float) -> None:
    """Say that the cloud is there, where, and what to try."""
    state = wiring.settings.state_path
    took = wiring.clock.monotonic() - began
    print(
        f"\nStarling is up at {base_url} after {took:.1f} s"
        f" ({hosts} {hypervisor} host{'s' if hosts != 1 else ''}).\n"
        f"Credentials: {state / 'clouds.yaml'} (clouds starling and demo), {state / 'openrc'}\n\nTry:\n"
        f"  export OS_CLIENT_CONFIG_FILE={state / 'clouds.yaml'}\n"
        f"  openstack --os-cloud starling hypervisor list\n"
        f"  openstack --os-cloud demo flavor list\n"
        f"  openstack --os-cloud demo server create --flavor m1.nano --image IMAGE --network shared first\n"
        f"\nCtrl-C stops it; everything is kept.\n",
        flush=True,
    )
