"""One guest's turns: what is being done for it, what waits, and what ends what.

A desk exists only while there is work for its guest, and has one task meanwhile. Of the waiting
orders only the highest is kept, since a later command says what the controller wants now; a
destruction is never skipped. What must not go in: the journal and the driver.
"""

import asyncio

from hostagent.orders import UNASKED, Order
from protocol.agent import DestroyGuest, GuestFact, LookAtGuest


class Desk:
    """The work for one guest. ``act`` is the driver's part of the order under way."""

    def __init__(self, instance: str) -> None:
        self.instance = instance
        self.task: asyncio.Task[None] | None = None
        self.act: asyncio.Task[GuestFact] | None = None
        self.interrupted = False
        self._running: Order | None = None
        self._waiting: list[Order] = []
        self._looks: dict[bool, Order] = {}

    def holds(self, order: Order) -> bool:
        """Whether an order with this pair is under way or waits."""
        running = [] if self._running is None else [self._running]
        return any(known.pair == order.pair for known in running + self._waiting)

    def put(self, order: Order) -> list[Order]:
        """Take an order; ends the one under way if it may. Returns the waiting ones it replaces."""
        if isinstance(order.command, LookAtGuest):
            self._looks[order.command.number == UNASKED] = order
            return []
        ending = isinstance(order.command, DestroyGuest)
        kept = [known for known in self._waiting if isinstance(known.command, DestroyGuest) and not ending]
        replaced = [known for known in self._waiting if known not in kept]
        self._waiting = [*kept, order]
        running = self._running
        lower = order.interrupts and running is not None and running.pair < order.pair
        # Nothing but another destruction may take a destruction's place.
        if lower and running is not None and (ending or not isinstance(running.command, DestroyGuest)):
            self._interrupt()
        return replaced

    def _interrupt(self) -> None:
        if self.act is not None:
            self.interrupted = True
            self.act.cancel()

    def next(self) -> Order | None:
        """Take up the next order: what waits in order, then looks. None: nothing is left."""
        self.act, self.interrupted = None, False
        if self._waiting:
            self._running = self._waiting.pop(0)
        else:
            # A look somebody waits for goes first; an unasked one then still says what changed later.
            asked = self._looks.pop(False, None)
            self._running = asked if asked is not None else self._looks.pop(True, None)
        return self._running
