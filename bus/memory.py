"""The bus inside one process: the twin of RabbitMQ for a laptop and for the simulator.

Same promises, no more: at least once while the broker lives, everything lost with the process. No
threads and no clock but the event loop's, so a run is a function of its seed. Faults are decided by
a ``Faults`` given at construction; without one a publish costs about a microsecond. What must not
go in: anything a broker would not do, such as looking into a body.
"""

import asyncio
from collections import deque
from typing import Final

from msgspec import Struct

from bus import topology
from bus.fault import Fate, Faults
from bus.mailbox import BODY_BYTES_MAX, BusUnavailable, Counters, Delivery, Parcel, Queue

HOLD_MAX_S: Final = 0.05
"""A message held back to be overtaken is let go after this long even when nothing overtook it."""


class _Message(Struct, frozen=True, gc=False):
    number: int
    body: bytes
    sender: str


class _Stock:
    """One queue in the broker: what waits, and who reads."""

    def __init__(self, queue: Queue, owner: "MemoryBus") -> None:
        self.queue = queue
        self.owner = owner
        self.readers: list[MemoryMailbox] = []
        self.ready: deque[_Message] = deque()
        self._ready_bytes = 0
        self._numbered = 0
        self._turn = 0

    def full(self) -> bool:
        """Whether a durable queue refuses more."""
        return self.queue.durable and self._ready_bytes >= topology.DURABLE_BYTES_MAX

    def put(self, body: bytes, sender: str) -> None:
        self._numbered += 1
        message = _Message(self._numbered, body, sender)
        reader = None if self.ready else self._next_reader()
        if reader is not None:
            reader.receive(message)
            return
        self.ready.append(message)
        self._ready_bytes += len(body)
        while not self.queue.durable and self._ready_bytes > topology.TRANSIENT_BYTES_MAX:
            self._ready_bytes -= len(self.ready.popleft().body)

    def put_back(self, messages: list[_Message]) -> None:
        """Return what a reader left unacknowledged to its old places."""
        self._ready_bytes += sum(len(message.body) for message in messages)
        self.ready = deque(sorted([*messages, *self.ready], key=lambda message: message.number))
        self.pump()

    def pump(self) -> None:
        """Hand out what waits to readers with room, in turns."""
        while self.ready:
            reader = self._next_reader()
            if reader is None:
                return
            message = self.ready.popleft()
            self._ready_bytes -= len(message.body)
            reader.receive(message)

    def _next_reader(self) -> "MemoryMailbox | None":
        count = len(self.readers)
        best: MemoryMailbox | None = None
        for step in range(count):
            reader = self.readers[(self._turn + step) % count]
            if reader.has_room() and (best is None or reader.priority > best.priority):
                best = reader
        if best is not None:
            self._turn = (self.readers.index(best) + 1) % count
        return best


class MemoryBroker:
    """The queues, shared by the connections of one process."""

    def __init__(self, faults: Faults | None = None) -> None:
        self.faults = faults
        self._stocks: dict[str, _Stock] = {}
        self._listeners: dict[str, list[_Stock]] = {}
        self._buses: list[MemoryBus] = []
        self._held: dict[str, list[tuple[Parcel, str]]] = {}
        self._wipes = 0
        self._stops = 0
        self.stopped = False

    def restart(self, down_s: float = 0.0) -> None:
        """Cut every connection for ``down_s`` seconds; durable queues keep what they hold."""
        self._stop(down_s)

    def wipe(self, down_s: float = 0.0) -> None:
        """Lose every queue and message, as a broker whose disk was lost."""
        self._stop(down_s)
        self._wipes += 1
        self._stocks.clear()
        self._listeners.clear()
        self._held.clear()

    def join(self, bus: "MemoryBus") -> None:
        """A connection begins."""
        self._buses.append(bus)

    def leave(self, bus: "MemoryBus") -> None:
        """A connection ends."""
        if bus in self._buses:
            self._buses.remove(bus)

    def stock(self, name: str) -> _Stock | None:
        """The queue of this name, if there is one."""
        return self._stocks.get(name)

    def declare(self, queue: Queue, owner: "MemoryBus") -> _Stock:
        """Make the queue exist; agents already waiting for it are attached.

        Raises BusUnavailable for a transient queue of another connection.
        """
        stock = self._stocks.get(queue.name)
        if stock is None:
            stock = self._stocks[queue.name] = _Stock(queue, owner)
            if queue.fanout:
                self._listeners.setdefault(queue.fanout, []).append(stock)
            for bus in self._buses:
                bus.attach_waiting(stock)
        elif not stock.queue.durable and stock.owner is not owner:
            raise BusUnavailable(f"queue {queue.name} belongs to {stock.owner.name}")
        return stock

    def remove_owned(self, owner: "MemoryBus") -> None:
        """Drop the transient queues of a connection that is gone."""
        for stock in list(self._stocks.values()):
            if stock.owner is owner and not stock.queue.durable:
                self.remove(stock.queue.name)

    def remove(self, name: str) -> None:
        """Drop a queue and its content. Its readers reopen it, or wait until it exists again."""
        stock = self._stocks.pop(name, None)
        if stock is None:
            return
        if stock.queue.fanout:
            self._listeners[stock.queue.fanout].remove(stock)
        readers, stock.readers = stock.readers, []
        for reader in readers:
            reader.detach()
        for reader in readers:
            reader.reopen()

    def route(self, parcel: Parcel, sender: str, counters: Counters) -> str:
        """Put a parcel into its queues. Returns why it could not, or nothing."""
        if parcel.fanout:
            for listener in self._listeners.get(parcel.fanout, ()):
                listener.put(parcel.body, sender)
            return ""
        stock = self._stocks.get(parcel.queue)
        if stock is None:
            counters.unroutable += 1
            return f"no queue {parcel.queue}" if topology.must_route(parcel.queue) else ""
        if stock.full():
            counters.refused += 1
            return f"queue {parcel.queue} is full" if topology.must_route(parcel.queue) else ""
        stock.put(parcel.body, sender)
        return ""

    def route_by(self, fate: Fate, parcel: Parcel, sender: str, counters: Counters) -> str:
        """As ``route``, with something happening on the way."""
        failure = ""
        key = parcel.fanout or parcel.queue
        for _ in range(fate.copies):
            if fate.delay_s > 0:
                loop = asyncio.get_running_loop()
                loop.call_later(fate.delay_s, self._route_late, self._wipes, parcel, sender, counters)
            elif fate.overtaken:
                self._held.setdefault(key, []).append((parcel, sender))
                asyncio.get_running_loop().call_later(HOLD_MAX_S, self._release, key, counters)
            else:
                failure = self.route(parcel, sender, counters) or failure
        if fate.copies and not fate.overtaken:
            self._release(key, counters)
        return failure if fate.confirmed else "not confirmed"

    def _route_late(self, wipes: int, parcel: Parcel, sender: str, counters: Counters) -> None:
        if wipes == self._wipes:
            self.route(parcel, sender, counters)

    def _release(self, key: str, counters: Counters) -> None:
        for parcel, sender in self._held.pop(key, ()):
            self.route(parcel, sender, counters)

    def _stop(self, down_s: float) -> None:
        self.stopped = True
        self._stops += 1
        for bus in self._buses:
            bus.lose()
        asyncio.get_running_loop().call_later(down_s, self._resume, self._stops)

    def _resume(self, stops: int) -> None:
        if stops != self._stops:
            return
        self.stopped = False
        for bus in self._buses:
            bus.regain()


class MemoryMailbox:
    """See ``bus.mailbox.Mailbox``."""

    def __init__(
        self, bus: "MemoryBus", queue: Queue, wake: asyncio.Event, prefetch: int, priority: int
    ) -> None:
        self.queue = queue
        self.priority = priority
        self._bus = bus
        self._wake = wake
        self._prefetch = prefetch
        self._stock: _Stock | None = None
        self._inbox: deque[Delivery] = deque()
        self._unacked: deque[tuple[int, _Message]] = deque()
        self._tag = 0
        self._stale_tag = 0

    def take(self, limit: int) -> list[Delivery]:
        inbox = self._inbox
        taken = [inbox.popleft() for _ in range(min(limit, len(inbox)))]
        self._bus.counters.delivered += len(taken)
        return taken

    def ack(self, delivery: Delivery) -> None:
        if delivery.tag <= self._stale_tag or self._stock is None:
            self._bus.counters.stale_acks += 1
            return
        while self._unacked and self._unacked[0][0] <= delivery.tag:
            self._unacked.popleft()
        self._stock.pump()

    def depth(self) -> int:
        return len(self._inbox)

    async def close(self) -> None:
        self.detach()
        self._bus.forget(self)

    def attach(self, stock: _Stock) -> None:
        """Begin to receive."""
        self._stock = stock
        stock.readers.append(self)
        self._wake.set()
        stock.pump()

    def waits(self) -> bool:
        """Whether it has no queue to read from."""
        return self._stock is None

    def has_room(self) -> bool:
        """Whether one more delivery fits the prefetch."""
        return len(self._unacked) < self._prefetch

    def receive(self, message: _Message) -> None:
        """One message from the broker."""
        self._tag += 1
        self._unacked.append((self._tag, message))
        self._inbox.append(Delivery(message.body, self._tag, message.sender))
        self._wake.set()

    def detach(self) -> None:
        """Stop receiving; what is unacknowledged goes back, and a transient queue goes away."""
        stock, self._stock = self._stock, None
        if stock is None:
            return
        self._stale_tag = self._tag
        self._inbox.clear()
        back = [message for _, message in self._unacked]
        self._unacked.clear()
        if self not in stock.readers:
            return  # the queue itself is gone
        stock.readers.remove(self)
        stock.put_back(back)
        if not stock.queue.durable and not stock.readers:
            self._bus.broker.remove(stock.queue.name)

    def reopen(self) -> None:
        """Find the queue again after it was deleted."""
        self._bus.reopen(self)


class MemoryBus:
    """See ``bus.mailbox.Bus``: one connection to a ``MemoryBroker``.

    ``name`` is for ``Faults`` and messages; ``host`` makes it an agent's, held to what RabbitMQ
    would let that agent do.
    """

    def __init__(self, broker: MemoryBroker, *, name: str, host: str = "") -> None:
        self.broker = broker
        self.name = name
        self._host = host
        self._counters = Counters()
        self._declared: dict[str, Queue] = {}
        self._mailboxes: list[MemoryMailbox] = []
        self._cuts = 0
        self._cut = False
        self._closed = False
        broker.join(self)

    @property
    def counters(self) -> Counters:
        return self._counters

    async def declare(self, queue: Queue) -> None:
        self._require_up()
        if not self._host:
            self.broker.declare(queue, self)
            if queue.durable:
                self._declared[queue.name] = queue

    async def open(
        self, queue: Queue, wake: asyncio.Event, prefetch: int = 200, priority: int = 0
    ) -> MemoryMailbox:
        if self._host:
            topology.check_reads(self._host, queue.name)
        self._require_up()
        mailbox = MemoryMailbox(self, queue, wake, prefetch, priority)
        if not self._attach(mailbox):
            raise BusUnavailable(f"no queue {queue.name}")
        self._mailboxes.append(mailbox)
        return mailbox

    async def publish(self, parcels: list[Parcel]) -> None:
        for parcel in parcels:
            if len(parcel.body) > BODY_BYTES_MAX:
                raise ValueError(f"{len(parcel.body)} bytes are too many for one message")
            if self._host:
                topology.host_key(self._host, parcel)
        self._require_up()
        failure = ""
        broker, counters, faults = self.broker, self._counters, self.broker.faults
        for parcel in parcels:
            if faults is None:
                failed = broker.route(parcel, self._host, counters)
            else:
                failed = broker.route_by(faults.fate(parcel, self.name), parcel, self._host, counters)
            if failed:
                counters.unconfirmed += 1
                failure = failed
        if failure:
            raise BusUnavailable(failure)
        counters.published += len(parcels)

    async def waiting(self, queue: str) -> int:
        self._require_up()
        stock = self.broker.stock(queue)
        return 0 if stock is None else len(stock.ready)

    async def delete(self, queue: str) -> None:
        self._require_up()
        self._declared.pop(queue, None)
        self.broker.remove(queue)

    async def close(self) -> None:
        for mailbox in list(self._mailboxes):
            await mailbox.close()
        self._closed = True
        self.broker.remove_owned(self)
        self.broker.leave(self)

    def cut(self, seconds: float) -> None:
        """Lose the connection now and regain it by itself after ``seconds``."""
        self._cut = True
        self._cuts += 1
        self.lose()
        asyncio.get_running_loop().call_later(seconds, self._mend, self._cuts)

    def lose(self) -> None:
        """The connection is gone: hand back what is unacknowledged."""
        for mailbox in self._mailboxes:
            mailbox.detach()
        self.broker.remove_owned(self)

    def regain(self) -> None:
        """Declare and attach again, unless still cut from another cause."""
        if self._closed or self._cut or self.broker.stopped:
            return
        self._counters.reconnects += 1
        for queue in self._declared.values():
            self.broker.declare(queue, self)
        for mailbox in self._mailboxes:
            self.reopen(mailbox)

    def reopen(self, mailbox: MemoryMailbox) -> None:
        """Attach a mailbox that lost its queue, when the connection is up."""
        if mailbox not in self._mailboxes or self._cut or self.broker.stopped:
            return
        try:
            self._attach(mailbox)
        except BusUnavailable:
            return  # another connection took the transient name; the next declaration attaches it

    def attach_waiting(self, stock: _Stock) -> None:
        """A queue has come to exist: attach mailboxes that wait for it."""
        for mailbox in self._mailboxes:
            if mailbox.queue.name == stock.queue.name:
                self.reopen(mailbox)

    def forget(self, mailbox: MemoryMailbox) -> None:
        """A mailbox was closed."""
        if mailbox in self._mailboxes:
            self._mailboxes.remove(mailbox)

    def _attach(self, mailbox: MemoryMailbox) -> bool:
        name = mailbox.queue.name
        stock = self.broker.stock(name) if self._host else self.broker.declare(mailbox.queue, self)
        if stock is None:
            return False
        if mailbox.waits():
            mailbox.attach(stock)
        return True

    def _mend(self, cuts: int) -> None:
        if cuts == self._cuts:
            self._cut = False
            self.regain()

    def _require_up(self) -> None:
        if self._cut or self._closed or self.broker.stopped:
            raise BusUnavailable(f"{self.name} is not connected")
