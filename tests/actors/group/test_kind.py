"""A group's ledger: who may sit where, and that two asked at once are never both right."""

import pytest

from actors.group.kind import GROUP, Group, Seat
from actors.turn import Heard
from protocol.group import ClaimSeat, SeatLeft, SeatRefused
from protocol.instance import Amount, ClaimHost, GroupPolicy, ServerGroup
from tests.actors.life import LifeCase, every_life_row_is_taken
from tests.actors.stage import HOSTS, reach, said, turn

ID = "00000000-0000-4000-8000-0000000000a0"
A, B, C = HOSTS[:3]


def ask(
    instance: str, host: str, *, generation: int = 1, policy: GroupPolicy = "anti-affinity", per_host: int = 1
) -> ClaimSeat:
    claim = ClaimHost(instance=instance, generation=generation, amount=Amount(1, 1, 1), group=ID, seated=True)
    return ClaimSeat(group=ServerGroup(ID, policy, per_host), host=host, claim=claim)


def granted(group: Group | None, wish: ClaimSeat) -> bool:
    decision = turn(GROUP, group, Heard(wish, f"instance/{wish.claim.instance}", "op-1"), ident=ID)
    (send,) = decision.sends
    if send.to == f"host/{wish.host}":
        assert (send.message, send.operation) == (wish.claim, "op-1")
        return True
    assert send.to == f"instance/{wish.claim.instance}"
    assert isinstance(send.message, SeatRefused)
    return False


ONE = reach(GROUP, None, ask("x", A), ident=ID)
CASES: tuple[LifeCase[Group], ...] = (
    LifeCase("the first", None, ask("x", A), "open", (ClaimHost,), leaves={"seats": (Seat("x", 1, A),)}),
    LifeCase("one too many", ONE, ask("y", A), "open", (SeatRefused,), leaves={"seats": ONE.seats}),
    LifeCase("one leaves", ONE, SeatLeft(instance="x", generation=1), "open", leaves={"seats": ()}),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: LifeCase[Group]) -> None:
    case.check(GROUP)


def test_every_row_is_taken() -> None:
    every_life_row_is_taken(GROUP, CASES)


def test_apart() -> None:
    assert granted(ONE, ask("y", B))
    assert granted(ONE, ask("x", A, generation=2)), "it is not in its own way"
    assert granted(ONE, ask("y", A, per_host=2))
    two = reach(GROUP, ONE, ask("y", A, per_host=2))
    assert not granted(two, ask("z", A, per_host=2))
    moving = reach(GROUP, ONE, ask("x", B, generation=2))
    assert not granted(moving, ask("y", A)), "a guest may still be there"
    left = reach(GROUP, moving, SeatLeft(instance="x", generation=1))
    assert granted(left, ask("y", A))
    assert not granted(left, ask("y", B))


def test_together() -> None:
    one = reach(GROUP, None, ask("x", A, policy="affinity"), ident=ID)
    assert granted(one, ask("y", A, policy="affinity"))
    refused = said(turn(GROUP, one, ask("y", B, policy="affinity")), SeatRefused)
    assert (refused.together, refused.generation) == ((A,), 1)
    assert granted(one, ask("x", B, generation=2, policy="affinity")), "alone, it may move"
    moved = reach(GROUP, one, ask("x", B, generation=2, policy="affinity"))
    assert said(turn(GROUP, moved, ask("y", A, policy="affinity")), SeatRefused).together == (B,)


def test_a_ledger_without_seats_is_gone_and_comes_back() -> None:
    assert not GROUP.gone(ONE)
    empty = reach(GROUP, ONE, SeatLeft(instance="x", generation=1))
    assert GROUP.gone(empty)
    assert granted(empty, ask("y", A))
    assert GROUP.columns(ONE) == (1,)
    assert reach(GROUP, ONE, SeatLeft(instance="x", generation=9)).seats == ONE.seats
