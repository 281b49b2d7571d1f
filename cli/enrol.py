"""Enrolment: a host's identity, its bus user with least rights, its actor, its configuration file."""

import socket
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from bus import enrolment, topology
from cli.parts import JOURNAL
from cli.wiring import Wiring
from gateway.bus_commands import BusCommands
from gateway.commands import Unavailable
from hostagent.identity import FILE_NAME, HostIdentity, save_identity
from hostagent.journal_file import create_journal
from process.clock import Clock
from process.secret import password
from process.settings import SettingsError
from protocol.command import Accepted, Caller
from protocol.host import EnrolHost
from protocol.ids import HostId, address

ENROL_MAX_S = 30.0


async def enrol_actor(clock: Clock, commands: BusCommands, identity: HostIdentity, zone: str) -> None:
    """Make the host known to the cloud. Repeating it changes nothing. Raises Unavailable."""
    wish = EnrolHost(
        by=Caller(user="operator", project="", request="enrol", admin=True),
        hostname=identity.hostname,
        availability_zone=zone,
        hypervisor=identity.driver,
    )
    to = address("host", identity.host)
    answer = await commands.send(to, wish, operation=clock.uuid(), timeout_s=ENROL_MAX_S)
    if not isinstance(answer, Accepted):
        raise Unavailable(f"the host {identity.hostname} was not enrolled: {answer}")


async def enrol(
    wiring: Wiring,
    *,
    folder: Path,
    hostname: str,
    driver: str,
    zone: str,
    options: dict[str, str | int | float | bool],
) -> HostIdentity:
    """A new host: bus user, queue, actor and ``folder/host.toml``. Raises SettingsError, Unavailable."""
    settings = wiring.settings
    if (folder / FILE_NAME).exists():
        raise SettingsError(f"{folder / FILE_NAME} exists: this host is enrolled already")
    host = HostId(wiring.clock.uuid())
    secret = password()
    login = await enrolment.enrol_host(wiring.bus_admin(), host, secret)
    identity = HostIdentity(
        host=host,
        hostname=hostname or socket.gethostname(),
        amqp_url=_with_login(settings.amqp_url, login, secret),
        partitions=settings.partitions,
        driver=driver,
        driver_settings=options,
    )
    bus = wiring.bus("enrolment")
    await bus.declare(topology.host(host))
    name = f"enrol-{wiring.clock.uuid()[:8]}"
    commands = BusCommands(
        name=name, bus=bus, clock=wiring.clock, partitions=settings.partitions, log=wiring.log
    )
    await commands.open()
    async with commands.running():
        await enrol_actor(wiring.clock, commands, identity, zone)
    create_journal(folder / JOURNAL, host)
    save_identity(folder, identity)
    return identity


def _with_login(url: str, login: str, secret: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(login, safe='')}:{quote(secret, safe='')}@{place}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
