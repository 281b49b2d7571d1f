"""Import: ordered, taken by one gateway, told of, finished store by store; or undone without a trace."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from msgspec import Struct
from msgspec.structs import replace

from actors.image.kind import IMAGE
from actors.image.model import ACTIVE, DEACTIVATED, DELETED, IMPORTING, QUEUED, UPLOADING, Image, held
from actors.image.operations.import_image import ASKED, IMPORT, MOVES_MAX, MOVING
from actors.image.view import image_json
from actors.machine import Row
from actors.turn import Heard
from protocol.command import Accepted, Command, Tick
from protocol.errors import Refused, StepFailed
from protocol.image import (
    BeginUpload,
    CopySource,
    CreateImage,
    DeactivateImage,
    DeleteImage,
    DropCopy,
    FailMove,
    FinishMove,
    FinishUpload,
    FoundImage,
    ImageRecord,
    ImportImage,
    KeepMove,
    MoveData,
    StoredData,
    TakeMove,
    UpdateImage,
    WebSource,
    store_of,
)
from tests.actors.stage import IMAGE_ID, NOW, OWNER, answer_of, heard, only, reach, said, sent, told, turn

RECORD = ImageRecord(name="debian", disk_format="raw", container_format="bare")
WEB = WebSource("http://example.org/a.raw")


def data(location: str) -> StoredData:
    return StoredData(location=location, size_bytes=99, virtual_size_bytes=99, md5="m", sha512="s")


def wish(method: str, *stores: str, must: bool = True) -> ImportImage:
    source = WEB if method == "web-download" else None
    return ImportImage(
        by=OWNER, method=method, source=source, stores=stores, all_must_succeed=must, bytes_max=1000
    )


def taken(image: Image, move: str = "m-1") -> TakeMove:
    """A gateway takes the order of now."""
    assert image.task is not None
    return TakeMove(by=OWNER, number=image.task.number, move=move)


def finished(location: str, move: str = "m-1", **more: Any) -> FinishMove:
    return FinishMove(by=OWNER, move=move, data=data(location), **more)


FAILED = FailMove(by=OWNER, move="m-1", code="not_found", reason="There is nothing.")
KEEP = KeepMove(by=OWNER, move="m-1", received=7)
LATE = Tick()

NEW = reach(IMAGE, None, heard(CreateImage(by=OWNER, image=IMAGE_ID, record=RECORD)), ident=IMAGE_ID)
STAGED = reach(
    IMAGE,
    NEW,
    heard(BeginUpload(by=OWNER, upload="u", stage=True)),
    heard(FinishUpload(by=OWNER, upload="u", data=data("a:1"))),
)
READY = reach(
    IMAGE,
    NEW,
    heard(BeginUpload(by=OWNER, upload="u")),
    heard(FinishUpload(by=OWNER, upload="u", data=data("a:1"))),
)


def begun(image: Image, asked: ImportImage) -> Image:
    return reach(IMAGE, image, heard(asked, operation="op-import"))


def moving(image: Image, asked: ImportImage) -> Image:
    return reach(IMAGE, begun(image, asked), lambda now: heard(taken(now)))


WEB_ASKED = begun(NEW, wish("web-download", "a"))
WEB_MOVING = moving(NEW, wish("web-download", "a"))
TWO = moving(NEW, wish("web-download", "a", "b"))
TWO_IF_POSSIBLE = moving(NEW, wish("web-download", "a", "b", must=False))
SECOND = reach(IMAGE, TWO, heard(finished("a:1")), lambda now: heard(taken(now)))
SECOND_IF_POSSIBLE = reach(IMAGE, TWO_IF_POSSIBLE, heard(finished("a:1")), lambda now: heard(taken(now)))
COPYING = moving(READY, wish("copy-image", "b"))


def weary(image: Image) -> Image:
    """As many gateways fell silent as are borne with."""
    assert image.importing is not None
    return image.but(importing=replace(image.importing, attempts=MOVES_MAX))


def overdue(image: Image) -> Image:
    """The deadline of the step has passed."""
    assert image.task is not None
    return image.but(task=replace(image.task, deadline=NOW))


class Case(Struct, frozen=True):
    """While this, hearing that: then this step, this status, these orders and these locations of use."""

    name: str
    given: Image
    hearing: Command | Tick
    then: str | None
    life: str
    ordered: bool = False
    holds: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name

    def row(self) -> Row[Image]:
        task = self.given.task
        word = StepFailed(code="deadline", reason="") if isinstance(self.hearing, Tick) else self.hearing
        row = IMPORT.row(task.state if task else None, self.given, word)
        assert row is not None
        return row


CASES = (
    Case("fetching is ordered", NEW, wish("web-download", "a"), ASKED, IMPORTING, ordered=True),
    Case("staged where it shall be", STAGED, wish("glance-direct", "a"), None, ACTIVE, holds=("a:1",)),
    Case("staged, and another store", STAGED, wish("glance-direct", "a", "b"), ASKED, IMPORTING, ordered=True,
         holds=("a:1",)),
    Case("a gateway takes the order", WEB_ASKED, taken(WEB_ASKED), MOVING, IMPORTING),
    Case("it takes it again", WEB_MOVING, taken(WEB_MOVING), MOVING, IMPORTING),
    Case("nobody takes it", overdue(WEB_ASKED), LATE, None, QUEUED),
    Case("it goes on", WEB_MOVING, KEEP, MOVING, IMPORTING),
    Case("the only one is there", WEB_MOVING, finished("a:1"), None, ACTIVE, holds=("a:1",)),
    Case("the first one is there", TWO, finished("a:1"), ASKED, IMPORTING, ordered=True, holds=("a:1",)),
    Case("the last one is there", SECOND, finished("b:2"), None, ACTIVE, holds=("a:1", "b:2")),
    Case("it fails", WEB_MOVING, FAILED, None, QUEUED),
    Case("the second fails", SECOND, FAILED, None, QUEUED),
    Case("the first is left out", TWO_IF_POSSIBLE, FAILED, ASKED, IMPORTING, ordered=True),
    Case("the second is left out", SECOND_IF_POSSIBLE, FAILED, None, ACTIVE, holds=("a:1",)),
    Case("the gateway falls silent", overdue(WEB_MOVING), LATE, ASKED, IMPORTING, ordered=True),
    Case("all of them do", weary(overdue(WEB_MOVING)), LATE, None, QUEUED),
    Case("all of them do, but one store has it", weary(overdue(SECOND_IF_POSSIBLE)), LATE, None, ACTIVE,
         holds=("a:1",)),
    Case("a copy is ordered", READY, wish("copy-image", "b"), ASKED, ACTIVE, ordered=True, holds=("a:1",)),
    Case("the copy is there", COPYING, finished("b:2"), None, ACTIVE, holds=("a:1", "b:2")),
    Case("the copy fails", COPYING, FAILED, None, ACTIVE, holds=("a:1",)),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: Case) -> None:
    hearing = (
        heard(case.hearing, operation="op-import") if isinstance(case.hearing, Command) else case.hearing
    )
    decision = turn(IMAGE, case.given, hearing, at=NOW + 100)
    image = decision.state
    assert image is not None
    assert decision.changed
    assert (image.task and image.task.state, image.life) == (case.then, case.life)
    assert told(decision) == (["MoveData"] if case.ordered else [])
    assert held(image) == case.holds
    assert (image.importing is None) == (image.task is None)
    if isinstance(case.hearing, Command):
        assert isinstance(answer_of(decision), Accepted)


def test_every_row_is_taken() -> None:
    taken_rows = {id(case.row()) for case in CASES}
    assert [row for row in IMPORT.rows if id(row) not in taken_rows] == []


def refusal(image: Image, command: Command) -> tuple[str, str]:
    decision = turn(IMAGE, image, heard(command), at=NOW + 100)
    answer = answer_of(decision)
    if isinstance(answer, Refused):
        assert not decision.changed
        return answer.code, answer.attribute
    return "", ""


@pytest.mark.parametrize(
    ("image", "command", "refused"),
    [
        (READY, wish("web-download", "a"), ("conflict", "status")),
        (NEW, wish("glance-direct", "a"), ("conflict", "status")),
        (STAGED, wish("web-download", "a"), ("conflict", "status")),
        (reach(IMAGE, NEW, heard(BeginUpload(by=OWNER, upload="u", stage=True))), wish("glance-direct", "a"),
         ("conflict", "status")),
        (NEW, wish("copy-image", "a"), ("conflict", "status")),
        (READY, wish("copy-image", "b", "a"), ("invalid", "stores")),
        (NEW.but(record=replace(RECORD, disk_format=None)), wish("web-download", "a"),
         ("conflict", "disk_format")),
        (NEW.but(record=replace(RECORD, container_format=None)), wish("web-download", "a"),
         ("conflict", "container_format")),
        (WEB_ASKED, wish("web-download", "a"), ("conflict", "task_state")),
        (COPYING, wish("copy-image", "c"), ("conflict", "task_state")),
        (WEB_ASKED, BeginUpload(by=OWNER, upload="u"), ("conflict", "status")),
        (WEB_ASKED, TakeMove(by=OWNER, number=1, move="m-1"), ("conflict", "status")),
        (WEB_MOVING, taken(WEB_ASKED, "m-2"), ("conflict", "status")),
        (WEB_MOVING, replace(KEEP, move="m-2"), ("conflict", "status")),
        (WEB_MOVING, finished("a:9", "m-2"), ("conflict", "status")),
        (WEB_MOVING, replace(FAILED, move="m-2"), ("conflict", "status")),
        (WEB_ASKED, KEEP, ("conflict", "status")),
        (NEW, KEEP, ("conflict", "status")),
    ],
)  # fmt: skip
def test_what_is_refused(image: Image, command: Command, refused: tuple[str, str]) -> None:
    assert refusal(image, command) == refused


def test_the_order_says_all_that_is_needed() -> None:
    order = said(turn(IMAGE, NEW, heard(wish("web-download", "a"))), MoveData)
    assert (order.image, order.source, order.store, order.bytes_max) == (IMAGE_ID, WEB, "a", 1000)
    assert (order.disk_format, order.container_format) == ("raw", "bare")
    assert sent(turn(IMAGE, NEW, heard(wish("web-download", "a"))), MoveData).to == "mover/any"
    second = said(turn(IMAGE, TWO, heard(finished("a:1"))), MoveData)
    assert (second.source, second.store) == (CopySource("a:1", 99, "s"), "b")
    direct = said(turn(IMAGE, STAGED, heard(wish("glance-direct", "b"))), MoveData)
    assert direct.source == CopySource("a:1", 99, "s")
    copy = said(turn(IMAGE, READY, heard(wish("copy-image", "b"))), MoveData)
    assert copy.source == CopySource("a:1", 99, "s")


def test_the_order_is_said_again_until_it_is_taken() -> None:
    assert WEB_ASKED.task is not None
    again = turn(IMAGE, WEB_ASKED, Tick(), at=WEB_ASKED.task.resend_at)
    assert told(again) == ["MoveData"]
    assert WEB_MOVING.task is not None
    assert turn(IMAGE, WEB_MOVING, Tick(), at=WEB_MOVING.task.deadline - 1).sends == []


def test_progress_moves_the_deadline() -> None:
    assert WEB_MOVING.task is not None
    later = turn(IMAGE, WEB_MOVING, heard(KEEP), at=NOW + 50).state
    assert later is not None
    assert later.task is not None
    assert later.task.deadline == NOW + 50 + IMPORT.deadlines[MOVING]
    assert later.received == 7


def test_what_another_gateway_made_good_is_no_failure() -> None:
    silent = turn(IMAGE, overdue(WEB_MOVING), Tick(), at=NOW + 100).state
    assert silent is not None
    assert refusal(silent, finished("a:1")) == ("conflict", "status")
    again = reach(IMAGE, silent, lambda now: heard(taken(now, "m-2")))
    record = only(turn(IMAGE, again, heard(finished("a:2", "m-2"))).records)
    assert (record.name, record.outcome, record.reason) == ("import", "success", "")


def test_a_failure_is_told_with_its_reason() -> None:
    decision = turn(IMAGE, WEB_MOVING, heard(FAILED))
    record = only(decision.records)
    assert (record.id, record.outcome, record.reason) == (
        "op-import",
        "error",
        "not_found: There is nothing.",
    )
    assert (record.steps[-1].result, record.steps[-1].reason) == ("Error", "not_found: There is nothing.")
    assert decision.state is not None
    assert (decision.state.failure, decision.state.failed_stores) == ("There is nothing.", ("a",))
    assert decision.state.size_bytes is None


def test_the_end_heard_twice_is_answered_twice() -> None:
    done = reach(IMAGE, WEB_MOVING, heard(finished("a:1")))
    assert refusal(done, finished("a:1")) == ("", "")
    assert refusal(done, finished("a:2")) == ("conflict", "status")


def test_deleting_ends_the_import() -> None:
    decision = turn(IMAGE, WEB_MOVING, heard(DeleteImage(by=OWNER), operation="op-delete"))
    assert decision.state is not None
    assert (decision.state.life, decision.state.task, held(decision.state)) == (DELETED, None, ())
    outcomes = {record.id: record.outcome for record in decision.records}
    assert outcomes == {"op-import": "error", "op-delete": "success"}
    assert refusal(decision.state, finished("a:1")) == ("not_found", "")


def test_a_remote_image_brings_its_formats_and_properties() -> None:
    found = FoundImage(disk_format="qcow2", container_format="bare", properties={"os_distro": "rhel"})
    done = reach(IMAGE, WEB_MOVING, heard(finished("a:1", found=found)))
    assert (done.record.disk_format, done.record.properties) == ("qcow2", {"os_distro": "rhel"})


def test_the_api_shows_what_is_under_way() -> None:
    asked = image_json(begun(STAGED, wish("glance-direct", "a", "b")))
    assert b'"os_glance_importing_to_stores":"b"' in asked
    assert b'"os_glance_import_task":"op-import"' in asked
    assert b'"checksum":null' in asked
    done = image_json(turn(IMAGE, SECOND_IF_POSSIBLE, heard(FAILED)).state or NEW)
    assert b'"stores":"a"' in done
    assert b'"os_glance_failed_import":"b"' in done
    assert b"importing_to" not in done


WORDS = st.sampled_from(["take", "take another", "keep", "finish", "fail", "late", "late", "other", "drop",
                         "delete", "deactivate", "update"])  # fmt: skip
BEGINNINGS = (
    (NEW, wish("web-download", "a", "b", "c", must=False)),
    (NEW, wish("web-download", "a", "b")),
    (STAGED, wish("glance-direct", "a", "b")),
    (STAGED, wish("glance-direct", "b", "c", must=False)),
    (READY, wish("copy-image", "b", "c", must=False)),
    (READY, wish("copy-image", "b", "c")),
)


def word(name: str, image: Image, count: int) -> Heard | Tick:
    """What somebody may say now."""
    job, task = image.importing, image.task
    move = job.move if job is not None else ""
    store = job.todo[0] if job is not None else "z"
    number = task.number if task is not None else 0
    messages: dict[str, Command] = {
        "take": TakeMove(by=OWNER, number=number, move=f"m-{count}"),
        "take another": TakeMove(by=OWNER, number=number - 1, move=f"m-{count}"),
        "keep": KeepMove(by=OWNER, move=move, received=count),
        "finish": finished(f"{store}:{count}", move),
        "fail": replace(FAILED, move=move),
        "other": finished(f"{store}:{count}", "m-x"),
        "drop": DropCopy(by=OWNER, store="a"),
        "delete": DeleteImage(by=OWNER),
        "deactivate": DeactivateImage(by=OWNER),
        "update": UpdateImage(by=OWNER, record=image.record, seen=image.version),
    }
    return Tick() if name == "late" else heard(messages[name], operation=f"op-{count}")


@settings(max_examples=300, deadline=None)
@given(beginning=st.sampled_from(BEGINNINGS), names=st.lists(WORDS, max_size=25))
def test_nothing_illegal_under_any_order(beginning: tuple[Image, ImportImage], names: list[str]) -> None:
    image, now = begun(*beginning), NOW + 100
    for count, name in enumerate(names, 10):
        now += 200 if name == "late" else 1
        decision = turn(IMAGE, image, word(name, image, count), at=now)
        assert decision.state is not None
        image = decision.state
        _sound(image)


def _sound(image: Image) -> None:
    stores = [store_of(location) for location in held(image)]
    assert len(set(stores)) == len(stores)
    assert (image.importing is None) == (image.task is None)
    assert (image.life == IMPORTING) <= (image.importing is not None)
    if image.life in (ACTIVE, DEACTIVATED):
        assert image.locations
        assert image.sha512
    if image.life in (QUEUED, DELETED):
        assert held(image) == ()
    if image.life == UPLOADING:
        assert image.staged
    if image.importing is not None:
        assert image.importing.todo
        assert image.importing.attempts <= MOVES_MAX
