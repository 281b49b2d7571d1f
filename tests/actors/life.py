"""Life rows as their tests read them, and a check that each row of a kind is read by some case."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from msgspec import Struct

from actors.machine import ANY, Kind, Row
from actors.turn import ActorState, Decision, Heard
from protocol.command import Command
from protocol.message import Message
from tests.actors.stage import NOW, event_names, heard, told, turn

S = TypeVar("S", bound=ActorState)


class LifeCase(Struct, Generic[S], frozen=True):
    """In this state, hearing this: then this life, these sends, this event, these fields."""

    name: str
    given: S | None
    hearing: Message | Heard
    then: str
    sends: tuple[type[Message], ...] = ()
    event: str = ""
    leaves: dict[str, Any] = {}

    def __str__(self) -> str:
        return self.name

    @property
    def message(self) -> Message:
        return self.hearing.message if isinstance(self.hearing, Heard) else self.hearing

    def row(self, kind: Kind[S]) -> Row[S]:
        """The life row the case takes."""
        state = self.given
        if state is None:
            state = kind.births[type(self.message)](self.message, "id", NOW)
        return next(
            row
            for row in kind.life
            if row.while_ in {state.life, ANY}
            and row.hearing is type(self.message)
            and (row.when is None or row.when(state, self.message))
        )

    def check(self, kind: Kind[S], *, at: float = NOW) -> Decision[S]:
        """Run the turn and compare."""
        hearing = self.hearing
        if isinstance(hearing, Command):
            hearing = heard(hearing)
        ident = "id" if self.given is None else self.given.id
        decision = turn(kind, self.given, hearing, at=at, ident=ident)
        relay = self.row(kind).relay
        assert decision.changed is not relay
        state = decision.state
        assert state is not None
        assert state.life == self.then
        assert told(decision) == [one.__name__ for one in self.sends]
        assert event_names(decision.events) == ([f"{kind.name}.{self.event}"] if self.event else [])
        assert {name: getattr(state, name) for name in self.leaves} == self.leaves
        assert state.version == (0 if self.given is None else self.given.version) + (not relay)
        return decision


def every_life_row_is_taken(kind: Kind[S], cases: Iterable[LifeCase[S]]) -> None:
    """Each row of the kind's life is what some case is about."""
    taken = {id(case.row(kind)) for case in cases}
    missing = [
        f"on({row.while_}, {row.hearing.__name__}, {row.do.__name__}, {row.then})"
        for row in kind.life
        if id(row) not in taken
    ]
    assert not missing, f"no case takes these rows of {kind.name}"
