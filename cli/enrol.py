"""Enrolment and its end: a host's identity, its bus user with least rights, its actor, its files.

The files come first and everything after them may be repeated: whatever a crash leaves behind, enrolling the
same folder again finishes it and ``retire`` takes it away.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from bus import enrolment, topology
from bus.mailbox import Bus, QueueDiffers
from cli.parts import JOURNAL
from cli.wiring import Wiring
from gateway.bus_commands import BusCommands
from gateway.commands import Unavailable
from hostagent.identity import FILE_NAME, HostIdentity, load_identity, save_identity
from hostagent.journal_file import create_journal
from process.clock import Clock
from process.secret import password
from process.settings import SettingsError
from protocol.command import Accepted, Caller, Command
from protocol.errors import Refused
from protocol.host import EnrolHost, RemoveHost
from protocol.ids import HostId, address
from store.host import NamedHost, find_host, hold_hostnames

COMMAND_MAX_S: Final = 30.0
OPERATOR: Final = Caller(user="operator", project="", request="enrol", admin=True)


async def tell_host(clock: Clock, commands: BusCommands, host: str, command: Command) -> Accepted | Refused:
    """Say a command to a host's actor. Raises Unavailable."""
    answer = await commands.send(
        address("host", host), command, operation=clock.uuid(), timeout_s=COMMAND_MAX_S
    )
    if not isinstance(answer, Accepted | Refused):
        raise Unavailable(f"the host {host} answered {answer}")
    return answer


async def enrol_actor(clock: Clock, commands: BusCommands, identity: HostIdentity, zone: str) -> None:
    """Make the host known to the cloud. Repeating it changes nothing. Raises Unavailable, SettingsError."""
    wish = EnrolHost(
        by=OPERATOR, hostname=identity.hostname, availability_zone=zone, hypervisor=identity.driver
    )
    answer = await tell_host(clock, commands, identity.host, wish)
    if isinstance(answer, Refused):
        raise SettingsError(
            f"the host {identity.hostname} ({identity.host}) was removed from the cloud; enrol it anew"
        )


async def declare_queue(bus: Bus, host: str) -> None:
    """Make the host's queue exist. Raises BusUnavailable."""
    with contextlib.suppress(QueueDiffers):  # an earlier release made it: it serves
        await bus.declare(topology.host(host))


async def enrol(
    wiring: Wiring,
    *,
    folder: Path,
    hostname: str,
    driver: str,
    zone: str,
    options: dict[str, str | int | float | bool],
) -> HostIdentity:
    """A new host: ``folder/host.toml``, bus user, queue, actor; or the rest of one that was begun.

    Raises SettingsError, Unavailable, BusUnavailable, StoreUnavailable.
    """
    name = hostname or socket.gethostname()
    if (folder / FILE_NAME).exists():
        identity = await _begun(wiring, folder, name)
        await hold_names(wiring, {name: identity.host})
    else:
        identity = _made(wiring, name, driver, options)
        await hold_names(wiring, {name: identity.host})
        save_identity(folder, identity)
    create_journal(folder / JOURNAL, identity.host)
    secret = unquote(urlsplit(identity.amqp_url).password or "")
    await enrolment.enrol_host(wiring.bus_admin(), identity.host, secret)
    async with _operator(wiring) as (bus, commands):
        await declare_queue(bus, identity.host)
        await enrol_actor(wiring.clock, commands, identity, zone)
    return identity


async def _begun(wiring: Wiring, folder: Path, hostname: str) -> HostIdentity:
    """The host whose folder this is. Raises SettingsError unless its enrolment may be repeated."""
    identity = load_identity(folder)
    if identity.hostname != hostname:
        raise SettingsError(f"{folder} is the folder of host {identity.hostname}")
    if not (folder / JOURNAL).exists() and await _find(wiring, identity.host) is not None:
        raise SettingsError(f"{folder} has lost its journal: retire host {identity.host} and enrol it anew")
    return identity


def _made(
    wiring: Wiring, hostname: str, driver: str, options: dict[str, str | int | float | bool]
) -> HostIdentity:
    settings = wiring.settings
    host = HostId(wiring.clock.uuid())
    return HostIdentity(
        host=host,
        hostname=hostname,
        amqp_url=_with_login(settings.amqp_url, topology.login_of(host), password()),
        partitions=settings.partitions,
        driver=driver,
        driver_settings=options,
    )


async def hold_names(wiring: Wiring, wanted: Mapping[str, str]) -> None:
    """Take these names (name → host id). Raises SettingsError when another host has one of them."""
    pool = await wiring.pool("gateway", connections_max=1)
    async with pool.acquire() as connection:
        taken = await hold_hostnames(connection, wanted, wiring.clock.now())
    if taken:
        raise SettingsError(
            f"another host has the name {', '.join(sorted(taken))}; 'starling agent retire' takes a host away"
        )


async def retire(wiring: Wiring, named: str) -> str:
    """Remove a host, named by id, name or folder, with its bus user and queue; what was done, in words.

    Raises SettingsError when there is none or an instance is on it; Unavailable, BusUnavailable.
    """
    host, hostname = await _named(wiring, named)
    async with _operator(wiring) as (bus, commands):
        answer = await tell_host(wiring.clock, commands, host, RemoveHost(by=OPERATOR))
        if isinstance(answer, Refused) and answer.code != "not_found":
            raise SettingsError(f"{answer.reason}; drain it or delete them first")
        await enrolment.retire_host(wiring.bus_admin(), host)
        await bus.delete(topology.host(host).name)
    return f"{host} {hostname}: retired; its agent can no longer log in, its folder may be deleted"


async def _named(wiring: Wiring, named: str) -> tuple[str, str]:
    if (Path(named) / FILE_NAME).exists():
        identity = load_identity(Path(named))
        return identity.host, identity.hostname
    found = await _find(wiring, named)
    if found is None:
        raise SettingsError(f"there is no host {named}")
    return found.id, found.hostname


async def _find(wiring: Wiring, named: str) -> NamedHost | None:
    pool = await wiring.pool("gateway", connections_max=1)
    async with pool.acquire() as connection:
        return await find_host(connection, named)


@contextlib.asynccontextmanager
async def _operator(wiring: Wiring) -> AsyncIterator[tuple[Bus, BusCommands]]:
    """A bus with an operator's rights, and a way to say commands on it."""
    name = f"operator-{wiring.clock.uuid()[:8]}"
    bus = wiring.bus(name)
    commands = BusCommands(
        name=name, bus=bus, clock=wiring.clock, partitions=wiring.settings.partitions, log=wiring.log
    )
    await commands.open()
    async with commands.running():
        yield bus, commands


def _with_login(url: str, login: str, secret: str) -> str:
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    netloc = f"{quote(login, safe='')}:{quote(secret, safe='')}@{place}"
    return urlunsplit((parts.scheme, netloc, parts.path, parts.query, ""))
