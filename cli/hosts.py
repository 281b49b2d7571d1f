"""The hosts of ``starling up``: made on the first start, the same ever after, fewer on demand.

A host that is not wanted any more and has no instance is removed. One that has instances goes on running for
them and gets no new ones; when it is wanted again, it is put back into service.
"""

import asyncio
import shutil
import socket
from pathlib import Path
from typing import Final, TypeAlias

from msgspec.structs import replace

from bus import topology
from cli.enrol import OPERATOR, declare_queue, enrol_actor, hold_names, tell_host
from cli.parts import JOURNAL
from cli.wiring import Wiring
from gateway.bus_commands import BusCommands
from hostagent.identity import FILE_NAME, HostIdentity, load_identity, save_identity
from hostagent.journal_file import create_journal
from process.settings import Settings
from protocol.errors import Refused
from protocol.host import HostView, RemoveHost, SetHostService
from protocol.ids import HostId
from store.host import read_hosts
from store.pool import Pool

AT_ONCE: Final = 100
UP_MAX_S: Final = 30.0
POLL_S: Final = 0.05
SURPLUS: Final = "fewer hosts are wanted"
"""Why a host that still has instances takes no new ones."""

LocalHost: TypeAlias = tuple[Path, HostIdentity]


class LocalHosts:
    """The hosts of this machine. ``sort`` says which ``running`` need an agent, ``enrol`` makes it so."""

    def __init__(self, wiring: Wiring, commands: BusCommands, pool: Pool, hypervisor: str) -> None:
        self._wiring, self._commands, self._pool = wiring, commands, pool
        self._hypervisor = hypervisor
        self._root = wiring.settings.state_path / "hosts"
        self._known: dict[str, HostView] = {}
        self._wanted: list[LocalHost] = []
        self._needed: list[LocalHost] = []
        self._surplus: list[LocalHost] = []

    @property
    def running(self) -> list[LocalHost]:
        """Those that are wanted, and those that still have instances."""
        return self._wanted + self._needed

    async def sort(self) -> None:
        """Make what is wanted and missing, find what is there and not wanted. Raises StoreUnavailable."""
        self._known = {view.host: view for view in await read_hosts(self._pool)}
        names = _names(self._wiring.settings, self._hypervisor)
        self._wanted = [self._host(name) for name in names]
        for file in sorted(self._root.glob(f"{self._hypervisor}-*/{FILE_NAME}")):
            host = file.parent, self._identity(file.parent)
            if host[1].hostname not in names and self._hypervisor == "simulated":
                (self._needed if self._has_instances(host) else self._surplus).append(host)

    async def enrol(self) -> None:
        """Make the hosts known and take the others away; on later starts nothing changes."""
        bus = self._wiring.bus("enrolment")
        running = self.running
        await hold_names(self._wiring, {identity.hostname: identity.host for _, identity in running})
        for _, identity in running:
            await declare_queue(bus, identity.host)
        zone = self._wiring.settings.availability_zone
        clock, commands = self._wiring.clock, self._commands
        for start in range(0, len(running), AT_ONCE):
            some = running[start : start + AT_ONCE]
            await asyncio.gather(*(enrol_actor(clock, commands, identity, zone) for _, identity in some))
        await self._set_duties()
        for folder, identity in self._surplus:
            await self._remove(folder, identity)
            await bus.delete(topology.host(identity.host).name)

    async def wait_until_up(self) -> None:
        """Wait until the hosts have reported: before that no server finds a place. Tells of silent ones."""
        wiring, ours = self._wiring, {identity.host for _, identity in self.running}
        until = wiring.clock.monotonic() + UP_MAX_S
        while True:
            hosts = await read_hosts(self._pool)
            up = {host.host for host in hosts if host.state in {"up", "fenced"} and host.inventory.vcpus}
            missing = ours - up
            if not missing:
                return
            if wiring.clock.monotonic() > until:
                wiring.log.warning("hosts.silent", missing=len(missing), waited_s=UP_MAX_S)
                return
            await asyncio.sleep(POLL_S)

    def _host(self, name: str) -> LocalHost:
        folder = self._root / f"{self._hypervisor}-{name}"
        if not (folder / FILE_NAME).exists():
            made = HostIdentity(
                host=HostId(self._wiring.clock.uuid()),
                hostname=name,
                amqp_url="",
                partitions=self._wiring.settings.partitions,
                driver=self._hypervisor,
            )
            create_journal(folder / JOURNAL, made.host)
            save_identity(folder, made)
        return folder, self._identity(folder)

    def _identity(self, folder: Path) -> HostIdentity:
        options = driver_settings(self._wiring.settings, self._hypervisor, folder)
        return replace(load_identity(folder), driver_settings=options)

    def _has_instances(self, host: LocalHost) -> bool:
        view = self._known.get(host[1].host)
        return view is not None and view.instances > 0

    async def _set_duties(self) -> None:
        for _, identity in self._wanted:
            view = self._known.get(identity.host)
            if view is not None and view.duty != "service" and view.reason == SURPLUS:
                await self._tell(identity, SetHostService(by=OPERATOR, duty="service"))
        for _, identity in self._needed:
            self._wiring.log.warning("host.not_wanted", host=identity.hostname, why="it still has instances")
            await self._tell(identity, SetHostService(by=OPERATOR, duty="draining", reason=SURPLUS))

    async def _remove(self, folder: Path, identity: HostIdentity) -> None:
        answer = await self._tell(identity, RemoveHost(by=OPERATOR))
        if isinstance(answer, Refused) and answer.code != "not_found":
            self._wiring.log.warning("host.not_removed", host=identity.hostname, why=answer.reason)
        else:
            await asyncio.to_thread(shutil.rmtree, folder)

    async def _tell(self, identity: HostIdentity, command: SetHostService | RemoveHost) -> object:
        return await tell_host(self._wiring.clock, self._commands, identity.host, command)


def _names(settings: Settings, hypervisor: str) -> list[str]:
    if hypervisor == "simulated":
        return [f"sim-{n}" for n in range(1, settings.simulated_hosts + 1)]
    return [socket.gethostname()]


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
