"""The quota ledger: three counters, and what stands against one more instance."""

import pytest
from msgspec.structs import replace

from actors.project.kind import PROJECT, Project
from actors.turn import Heard
from protocol.errors import Refused
from protocol.instance import Amount, CreateInstance, ReturnQuota
from protocol.project import QuotaLimits, ReserveQuota
from tests.actors.life import LifeCase, every_life_row_is_taken
from tests.actors.stage import (
    CREATE_COMMAND,
    GATEWAY,
    INSTANCE_ID,
    OWNER,
    PROJECT_ID,
    SMALL,
    answer_of,
    heard,
    only,
    reach,
    sent,
    turn,
)

RESERVE = ReserveQuota(by=OWNER, limits=QuotaLimits(), then=CREATE_COMMAND)
RETURN = ReturnQuota(instance=INSTANCE_ID, amount=Amount(SMALL.vcpus, SMALL.memory_mib, SMALL.disk_gib))
USED = reach(PROJECT, None, heard(RESERVE), ident=PROJECT_ID)
TAKEN = {"instances": 1, "cores": 2, "memory_mib": 1024}
CASES: tuple[LifeCase[Project], ...] = (
    LifeCase("the first", None, RESERVE, "open", (CreateInstance,), "create", TAKEN),
    LifeCase("given back", USED, RETURN, "open", leaves=dict.fromkeys(TAKEN, 0)),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: LifeCase[Project]) -> None:
    case.check(PROJECT)


def test_every_row_is_taken() -> None:
    every_life_row_is_taken(PROJECT, CASES)


def test_the_instance_answers_and_ends_the_operation() -> None:
    decision = turn(PROJECT, None, heard(RESERVE), ident=PROJECT_ID)
    (send,) = decision.sends
    assert (send.to, send.reply_to, send.operation) == (f"instance/{INSTANCE_ID}", GATEWAY, "op-1")
    assert sent(decision, CreateInstance).message == CREATE_COMMAND
    record = only(decision.records)
    assert (record.id, record.outcome, record.finished_at) == ("op-1", "", 0.0)


def test_a_repetition_reserves_nothing_and_goes_beside_the_stream() -> None:
    decision = turn(PROJECT, USED, heard(RESERVE, known=True), ident=PROJECT_ID)
    assert (decision.changed, decision.state) == (False, USED)
    (send,) = decision.sends
    assert (send.again, send.numbered, send.reply_to, send.message) == (True, False, GATEWAY, CREATE_COMMAND)


@pytest.mark.parametrize(
    ("limits", "used", "refused"),
    [
        (QuotaLimits(1, 2, 1024), Project(id="p", life="open"), ""),
        (
            QuotaLimits(-1, -1, -1),
            Project(id="p", life="open", instances=99, cores=99, memory_mib=9**9),
            "",
        ),
        (QuotaLimits(0, -1, -1), Project(id="p", life="open"), "instances"),
        (QuotaLimits(5, 9, 9999), Project(id="p", life="open", instances=5), "instances"),
        (QuotaLimits(9, 9, 9999), Project(id="p", life="open", cores=8), "cores"),
        (QuotaLimits(9, 9, 9999), Project(id="p", life="open", memory_mib=9000), "ram"),
    ],
)
def test_what_stands_against_it(limits: QuotaLimits, used: Project, refused: str) -> None:
    decision = turn(PROJECT, used, heard(replace(RESERVE, limits=limits)), ident="p")
    assert decision.changed is not bool(refused)
    if refused:
        answer = answer_of(decision)
        assert isinstance(answer, Refused)
        assert (answer.code, answer.attribute) == ("quota", refused)
        assert f"Quota exceeded for {refused}: Requested" in answer.reason


def test_a_refused_first_leaves_no_ledger() -> None:
    none = replace(RESERVE, limits=QuotaLimits(0, 0, 0))
    assert turn(PROJECT, None, heard(none), ident="p").state is None


def test_what_is_taken_is_given_back() -> None:
    many = reach(PROJECT, None, *[heard(RESERVE)] * 5, ident="p")
    assert (many.instances, many.cores, many.memory_mib) == (5, 10, 5120)
    none = reach(PROJECT, many, *[Heard(RETURN, f"instance/{INSTANCE_ID}")] * 5, ident="p")
    assert (none.instances, none.cores, none.memory_mib) == (0, 0, 0)
    assert PROJECT.columns(many) == (5, 10, 5120)
