"""``turn``: what one turn costs in Python with no bus and no database: decode, decide, encode, rows.

A closed circle of envelopes: what the actors of one batch say to each other, to agents, schedulers and
gateways is answered at once and makes the next batch.
"""

import time
from collections import deque
from typing import Final

from msgspec import Struct

from actors.kinds import KINDS
from actors.runtime.draft import STORY_LENGTH, Cached, Draft, Incoming
from bench.players import FLAVOR, UNLIMITED, answer_of, report_of
from bench.result import Result
from process.clock import SystemClock
from process.run import calm_collector
from protocol.codec import encode_message
from protocol.command import Caller, Command
from protocol.host import EnrolHost
from protocol.ids import address, ident_of, kind_of, partition_of
from protocol.instance import CreateInstance, DeleteInstance, PauseInstance, ServerRequest, UnpauseInstance
from protocol.message import Envelope
from protocol.project import ReserveQuota
from store.turn import PartitionRow

LIMIT_US: Final = 100.0
PARTITIONS: Final = 16
BATCH: Final = 200
INSTANCES: Final = 400
HOSTS: Final = 4
TURNS: Final = 20_000
ROUNDS: Final = 5
GATEWAY: Final = "gateway/bench"
BY: Final = Caller("user", "project", "req")


class Life(Struct):
    """The commands still to be said to one instance."""

    left: deque[Command]


class Circle:
    """The actors of all partitions in one process, with everybody they talk to."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self._cache: dict[tuple[str, str], Cached] = {}
        self._held = {p: PartitionRow(p, 1, (0,) * PARTITIONS, 0) for p in range(PARTITIONS)}
        self._next = {p: [1] * PARTITIONS for p in range(PARTITIONS)}
        self._queue: deque[Incoming] = deque()
        self._lives: dict[str, Life] = {}
        self._hosts = [self._clock.uuid() for _ in range(HOSTS)]
        self.turns = 0
        self.rows = 0
        self.bytes = 0
        for n, host in enumerate(self._hosts):
            self._say(address("host", host), EnrolHost(by=BY, hostname=f"host-{n}"))
            self._put(Envelope(address("host", host), address("agent", host), report_of(f"host-{n}")), host)
        for _ in range(INSTANCES):
            self._begin()

    def _say(self, to: str, command: Command) -> None:
        now = self._clock.now()
        self._put(Envelope(to, GATEWAY, encode_message(command), self._clock.uuid(), GATEWAY, now + 60))

    def _put(self, envelope: Envelope, vouched: str = "", *, numbered: bool = False) -> None:
        p = partition_of(envelope.to, PARTITIONS)
        self._queue.append(Incoming(p, envelope, vouched, numbered))

    def _begin(self) -> None:
        instance = self._clock.uuid()
        request = ServerRequest(name="bench", flavor=FLAVOR, image=None, hostname="bench")
        wish = CreateInstance(by=BY, instance=instance, request=request)
        self._lives[instance] = Life(
            deque([PauseInstance(by=BY), UnpauseInstance(by=BY), DeleteInstance(by=BY)])
        )
        self._say(address("project", BY.project), ReserveQuota(by=BY, limits=UNLIMITED, then=wish))

    def _follow(self, instance: str) -> None:
        life = self._lives[instance]
        if life.left:
            self._say(address("instance", instance), life.left.popleft())
        else:
            del self._lives[instance]
            self._begin()

    def batch(self) -> None:  # noqa: C901  the loop of a worker without its I/O
        """One batch, without what the worker does to read and write it."""
        taken = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        for one in taken:
            key = (kind_of(one.envelope.to), ident_of(one.envelope.to))
            if key not in self._cache:
                self._cache[key] = Cached(None, 0, deque(maxlen=STORY_LENGTH))
        draft = Draft(
            kinds=KINDS, cache=self._cache, partitions=PARTITIONS, held=self._held, next_numbers=self._next,
            now=self._clock.now(), seal=lambda _to, message, _now: message, known=set(),
        )  # fmt: skip
        for one in taken:
            draft.hear(one)
        outcome = draft.finish({})
        self.turns += outcome.turns
        self.rows += len(outcome.batch.actors)
        for row in outcome.batch.actors:
            self._cache[row.kind, row.id].stored = row.version
            self.bytes += len(row.state)
        if outcome.batch.parked:
            raise RuntimeError(outcome.batch.parked[0].error)
        for held in outcome.batch.partitions:
            self._held[held.partition] = held
        for (source, destination), (first, envelopes) in outcome.numbered.items():
            self._next[source][destination] = first + len(envelopes)
            for envelope in envelopes:
                self._put(envelope, numbered=True)
        for envelopes in outcome.direct.values():
            for envelope in envelopes:
                self._answer(envelope)

    def _answer(self, envelope: Envelope) -> None:
        answer, instance = answer_of(envelope, self._hosts)
        if answer is not None:
            self._put(answer, ident_of(answer.sender) if kind_of(answer.sender) == "agent" else "")
        if instance:
            self._follow(instance)


def run() -> Result:
    """CPU µs per turn, the least of the rounds: what else the machine does only ever adds."""
    calm_collector()
    circle = Circle()
    _turn_until(circle, TURNS // 4)
    costs = []
    for _ in range(ROUNDS):
        began, before = time.process_time(), circle.turns
        _turn_until(circle, circle.turns + TURNS // ROUNDS)
        costs.append((time.process_time() - began) / (circle.turns - before) * 1e6)
    return Result(
        bench="turn",
        value=min(costs),
        unit="µs of CPU per turn",
        limit=LIMIT_US,
        details={
            "rows_per_turn": circle.rows / circle.turns,
            "state_bytes_per_row": circle.bytes / circle.rows,
        },
    )


def _turn_until(circle: Circle, turns: int) -> None:
    while circle.turns < turns:
        circle.batch()
