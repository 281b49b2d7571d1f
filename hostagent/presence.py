"""Telling the host's actor that the agent lives and what is on the host.

Heartbeats feed the lease; a report says what *is*, and the actors compare it with what should be.
What must not go in: commands, and any reaction to what a report finds except by the agent's own
``on_guests``.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace
from structlog.typing import FilteringBoundLogger

from hostagent.driver import Driver, DriverError
from hostagent.lease import Lease
from hostagent.outbox import Outbox
from process.clock import Clock
from protocol.agent import (
    GuestDestroyed,
    GuestFact,
    GuestPaused,
    GuestRescued,
    GuestSeen,
    GuestStarted,
    GuestStopped,
    GuestSuspended,
    Heartbeat,
    HostReport,
)
from protocol.guest import GuestState, PowerState
from protocol.ids import HostId, address

TOMBSTONES_MAX: Final = 100
"""Of one report: the controller lets so many go each time."""
_STATE_AFTER: Final = {
    GuestStarted: PowerState.RUNNING,
    GuestRescued: PowerState.RUNNING,
    GuestStopped: PowerState.SHUTDOWN,
    GuestPaused: PowerState.PAUSED,
    GuestSuspended: PowerState.SUSPENDED,
}


class Presence:
    """Heartbeats and reports of one agent run. ``due`` asks for a report now."""

    def __init__(  # noqa: PLR0913  its surroundings, each a part of its own
        self,
        *,
        host: HostId,
        outbox: Outbox,
        driver: Driver,
        lease: Lease,
        clock: Clock,
        over: Callable[[], dict[str, int]],
        tombstones: Callable[[], Iterable[tuple[str, int]]],
        log: FilteringBoundLogger,
    ) -> None:
        """``over`` gives, per instance, the number of the last command to it that is over; ``tombstones``
        those that are still to be let go.
        """
        self.due = asyncio.Event()
        self._to = address("host", host)
        self._outbox = outbox
        self._driver = driver
        self._lease = lease
        self._clock = clock
        self._over = over
        self._tombstones = tombstones
        self._log = log
        self.session = clock.uuid()
        self._sights = 0
        self._changed: dict[str, GuestState | None] | None = None

    async def beat(self, heartbeat_s: float) -> None:
        """Send a heartbeat now and every ``heartbeat_s`` until cancelled. An unsent one is replaced."""
        while True:
            sent_at = self._clock.now()
            self._lease.sent(sent_at)
            self._outbox.say(("heartbeat",), self._to, Heartbeat(session=self.session, sent_at=sent_at))
            await asyncio.sleep(heartbeat_s)

    async def report(
        self, report_s: float, ready: asyncio.Event, on_guests: Callable[[list[GuestState]], None]
    ) -> None:
        """Report when ``due`` and every ``report_s``, while the driver is ``ready``, until cancelled."""
        while True:
            await ready.wait()
            self.due.clear()
            try:
                on_guests(await self._report_once())
            except DriverError as error:
                self._log.warning("report.failed", code=error.code, reason=error.reason)
            except Exception:  # noqa: BLE001  a driver's bug: the next report may do better
                self._log.exception("report.failed", code="internal")
            try:
                async with asyncio.timeout(report_s):
                    await self.due.wait()
            except TimeoutError:
                continue

    def next_sight(self) -> int:
        """The place of a look that begins now among all that this run tells unasked."""
        self._sights += 1
        return self._sights

    def changed(self, fact: GuestFact) -> None:
        """A fact about a guest was found just now: a report under way must not contradict it."""
        if self._changed is None:
            return
        if isinstance(fact, GuestDestroyed) or (isinstance(fact, GuestSeen) and not fact.exists):
            self._changed[fact.instance] = None
            return
        state = fact.power_state if isinstance(fact, GuestSeen) else _STATE_AFTER.get(type(fact))
        if state is not None:
            self._changed[fact.instance] = GuestState(
                instance=fact.instance,
                generation=fact.generation,
                power_state=state,
                after=fact.after if isinstance(fact, GuestSeen) else fact.number,
                rescued=fact.rescued if isinstance(fact, GuestSeen) else isinstance(fact, GuestRescued),
            )

    async def _report_once(self) -> list[GuestState]:
        inventory = await self._driver.inventory()
        # The list is as old as its first row when it comes back: what changed meanwhile is laid over it.
        self._changed = {}
        sight = self.next_sight()
        over = self._over()
        try:
            listed = {
                guest.instance: replace(guest, after=over.get(guest.instance, 0))
                for guest in await self._driver.guests()
            }
            for instance, state in self._changed.items():
                listed.pop(instance, None)
                if state is not None:
                    listed[instance] = state
        finally:
            self._changed = None
        report = HostReport(
            session=self.session,
            sequence=sight,
            inventory=inventory,
            guests=tuple(listed.values()),
            tombstones=tuple(itertools.islice(self._tombstones(), TOMBSTONES_MAX)),
            clock_offset_s=self._lease.clock_offset_s,
        )
        self._outbox.say(("report",), self._to, report)
        return list(listed.values())
