"""``starling up``: the whole cloud in one process on the embedded defaults."""

import asyncio
import fcntl
import os
import socket
from pathlib import Path

from msgspec.structs import replace

from bus import topology
from cli.bootstrap import prepare_database, write_credentials
from cli.enrol import enrol_actor
from cli.gateway import make_gateway
from cli.hypervisor import choose_hypervisor
from cli.parts import JOURNAL, agent_part, scheduler_part, worker_part
from cli.wiring import Wiring
from gateway.bus_commands import BusCommands
from hostagent.identity import FILE_NAME, HostIdentity, load_identity, save_identity
from hostagent.journal_file import create_journal
from process.run import Part, run_parts
from process.settings import Settings, SettingsError
from protocol.ids import HostId
from store.embedded import EmbeddedPostgres
from store.host import read_hosts
from store.pool import Pool

ENROL_AT_ONCE = 100
HOSTS_UP_MAX_S = 30.0
HOSTS_POLL_S = 0.05


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
    identities = _hosts(settings, wiring, hypervisor)
    enrolled = asyncio.Event()
    agents = [_after(enrolled, agent_part(wiring, identity, folder)) for folder, identity in identities]

    async def welcome() -> None:
        await _enrol(wiring, gateway.commands, identities)
        enrolled.set()
        await _hosts_up(wiring, gateway.services.read_pool, {identity.host for _, identity in identities})
        _greet(wiring, len(identities), hypervisor, base_url, began)
        await asyncio.Event().wait()

    parts = [*gateway.parts(), *agents, *schedulers, *workers, Part("welcome", welcome)]
    return await run_parts(parts, wiring.log, reload=wiring.reload)


def _after(event: asyncio.Event, part: Part) -> Part:
    """The same part, begun when the event has come: an unknown host's reports are heard by nobody."""

    async def run() -> None:
        await event.wait()
        await part.run()

    return Part(part.name, run, part.drain, part.fatal)


def _hosts(settings: Settings, wiring: Wiring, hypervisor: str) -> list[tuple[Path, HostIdentity]]:
    """The hosts of this machine, made on the first start and the same ever after."""
    count = settings.simulated_hosts if hypervisor == "simulated" else 1
    names = [f"sim-{n}" for n in range(1, count + 1)] if hypervisor == "simulated" else [socket.gethostname()]
    return [_host(settings, wiring, hypervisor, name) for name in names]


def _host(settings: Settings, wiring: Wiring, hypervisor: str, name: str) -> tuple[Path, HostIdentity]:
    folder = settings.state_path / "hosts" / f"{hypervisor}-{name}"
    if not (folder / FILE_NAME).exists():
        made = HostIdentity(
            host=HostId(wiring.clock.uuid()),
            hostname=name,
            amqp_url="",
            partitions=settings.partitions,
            driver=hypervisor,
        )
        create_journal(folder / JOURNAL, made.host)
        save_identity(folder, made)
    identity = replace(load_identity(folder), driver_settings=driver_settings(settings, hypervisor, folder))
    return folder, identity


def driver_settings(settings: Settings, hypervisor: str, folder: Path) -> dict[str, str | int | float | bool]:
    """The driver's options as the process's settings say."""
    if hypervisor == "simulated":
        return {"latency_factor": settings.simulated_latency}
    instances = settings.instances_path or str(folder / "instances")
    options: dict[str, str | int | float | bool] = {
        "uri": settings.libvirt_uri, "instances_path": instances, "host_ip": settings.host_ip,
    }  # fmt: skip
    if settings.bridge:
        options["bridge"] = settings.bridge
    return options


async def _enrol(wiring: Wiring, commands: BusCommands, identities: list[tuple[Path, HostIdentity]]) -> None:
    """Make the hosts known; on later starts nothing changes."""
    bus = wiring.bus("enrolment")
    for _, identity in identities:
        await bus.declare(topology.host(identity.host))
    zone = wiring.settings.availability_zone
    for start in range(0, len(identities), ENROL_AT_ONCE):
        some = identities[start : start + ENROL_AT_ONCE]
        await asyncio.gather(*(enrol_actor(wiring.clock, commands, identity, zone) for _, identity in some))


async def _hosts_up(wiring: Wiring, pool: Pool, ours: set[HostId]) -> None:
    """Wait until the hosts have reported: before that no server finds a place. Says so when some do not."""
    until = wiring.clock.monotonic() + HOSTS_UP_MAX_S
    while True:
        up = {host.host for host in await read_hosts(pool) if host.state == "up" and host.inventory.vcpus}
        missing = ours - up
        if not missing:
            return
        if wiring.clock.monotonic() > until:
            wiring.log.warning("hosts.silent", missing=len(missing), waited_s=HOSTS_UP_MAX_S)
            return
        await asyncio.sleep(HOSTS_POLL_S)


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
