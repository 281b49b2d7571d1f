"""An image's life: queued, saving, active, deleted; one upload at a time holds the right to write."""

from typing import Any

import msgspec
import pytest

from actors.image.kind import IMAGE, STAGED_MAX_S, UPLOAD_SILENCE_S
from actors.image.model import ACTIVE, DEACTIVATED, DELETED, QUEUED, SAVING, UPLOADING, Image, held
from actors.turn import due_at
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.image import (
    BeginUpload,
    CreateImage,
    DeactivateImage,
    DeleteImage,
    DropCopy,
    FailUpload,
    FinishMove,
    FinishUpload,
    ImageRecord,
    KeepUpload,
    ReactivateImage,
    StoredData,
    UpdateImage,
)
from tests.actors.life import LifeCase, every_life_row_is_taken
from tests.actors.stage import IMAGE_ID, NOW, OWNER, answer_of, heard, only, reach, turn

RECORD = ImageRecord(name="debian", disk_format="qcow2", container_format="bare", properties={"os": "linux"})
CREATE = CreateImage(by=OWNER, image=IMAGE_ID, record=RECORD)
BEGIN = BeginUpload(by=OWNER, upload="u-1")
KEEP = KeepUpload(by=OWNER, upload="u-1", received=70)
FAIL = FailUpload(by=OWNER, upload="u-1", reason="broke off")
DELETE = DeleteImage(by=OWNER)
DEACTIVATE, REACTIVATE = DeactivateImage(by=OWNER), ReactivateImage(by=OWNER)
DATA = StoredData(location="a:1", size_bytes=99, virtual_size_bytes=1 << 30, md5="m", sha512="s")
FINISH = FinishUpload(by=OWNER, upload="u-1", data=DATA)
STAGE = BeginUpload(by=OWNER, upload="u-1", stage=True)
AGAIN = FinishMove(by=OWNER, move="m-1", data=DATA)

NEW = reach(IMAGE, None, heard(CREATE), ident=IMAGE_ID)
WRITING = reach(IMAGE, NEW, heard(BEGIN))
READY = reach(IMAGE, WRITING, heard(FINISH))
STAGING = reach(IMAGE, NEW, heard(STAGE))
STAGED = reach(IMAGE, STAGING, heard(FINISH))
TWICE = READY.but(locations=("a:1", "b:2"))
GIVE = UpdateImage(by=OWNER, record=RECORD, seen=READY.version, owner="p9")
KEPT = reach(IMAGE, READY, heard(DEACTIVATE))


def renamed(image: Image, **more: Any) -> UpdateImage:
    return UpdateImage(by=OWNER, record=ImageRecord(name="new", **more), seen=image.version)


CASES: tuple[LifeCase[Image], ...] = (
    LifeCase("created", None, CREATE, QUEUED, event="create", leaves={"record": RECORD}),
    LifeCase("changed before it has data", NEW, renamed(NEW), QUEUED, event="update"),
    LifeCase("changed", READY, renamed(READY), ACTIVE, event="update"),
    LifeCase("given away", READY, GIVE, ACTIVE, event="update", leaves={"owner": "p9"}),
    LifeCase("deactivated", READY, DEACTIVATE, DEACTIVATED, event="deactivate"),
    LifeCase("deactivated again", KEPT, DEACTIVATE, DEACTIVATED, event="deactivate"),
    LifeCase("changed while deactivated", KEPT, renamed(KEPT), DEACTIVATED, event="update"),
    LifeCase("reactivated", KEPT, REACTIVATE, ACTIVE, event="reactivate"),
    LifeCase("reactivated again", READY, REACTIVATE, ACTIVE, event="reactivate"),
    LifeCase("changed under way", WRITING, renamed(WRITING), SAVING, event="update"),
    LifeCase("an upload begins", NEW, BEGIN, SAVING, event="upload", leaves={"upload": "u-1"}),
    LifeCase("staging begins", NEW, STAGE, UPLOADING, event="upload", leaves={"upload": "u-1"}),
    LifeCase("staging goes on", STAGING, KEEP, UPLOADING, leaves={"received": 70}),
    LifeCase("staged", STAGING, FINISH, UPLOADING, event="stage", leaves={"staged": "a:1", "locations": ()}),
    LifeCase("staging fails", STAGING, FAIL, QUEUED, event="upload_failed", leaves={"upload": ""}),
    LifeCase("staging falls silent", STAGING.but(alarm_at=NOW), Tick(), QUEUED, event="upload_failed"),
    LifeCase("a copy is dropped", TWICE, DropCopy(by=OWNER, store="a"), ACTIVE, event="drop_copy",
             leaves={"locations": ("b:2",)}),
    LifeCase("the end of a move is heard again", READY, AGAIN, ACTIVE, leaves={"locations": ("a:1",)}),
    LifeCase("it goes on", WRITING, KEEP, SAVING, leaves={"received": 70}),
    LifeCase("it is complete", WRITING, FINISH, ACTIVE, event="activate", leaves={"upload": ""}),
    LifeCase("it fails", WRITING, FAIL, QUEUED, event="upload_failed", leaves={"failure": "broke off"}),
    LifeCase("it falls silent", WRITING.but(alarm_at=NOW), Tick(), QUEUED, event="upload_failed"),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_row(case: LifeCase[Image]) -> None:
    case.check(IMAGE)


def test_every_row_is_taken() -> None:
    every_life_row_is_taken(IMAGE, CASES)


def refusal(image: Image | None, command: Command) -> tuple[str, str, str]:
    answer = answer_of(turn(IMAGE, image, heard(command), ident=IMAGE_ID))
    return (answer.code, answer.attribute, answer.value) if isinstance(answer, Refused) else ("", "", "")


@pytest.mark.parametrize(
    ("image", "command", "refused"),
    [
        (NEW, CREATE, ("conflict", "id", IMAGE_ID)),
        (READY, CREATE, ("conflict", "status", ACTIVE)),
        (READY, BEGIN, ("conflict", "status", ACTIVE)),
        (WRITING, BeginUpload(by=OWNER, upload="u-2"), ("conflict", "status", SAVING)),
        (WRITING, KeepUpload(by=OWNER, upload="u-2", received=1), ("conflict", "upload", "u-2")),
        (WRITING, msgspec.structs.replace(FINISH, upload="u-2"), ("conflict", "upload", "u-2")),
        (WRITING, FailUpload(by=OWNER, upload="u-2", reason=""), ("conflict", "upload", "u-2")),
        (NEW, FINISH, ("conflict", "status", QUEUED)),
        (NEW, KEEP, ("conflict", "status", QUEUED)),
        (NEW, DEACTIVATE, ("forbidden", "status", QUEUED)),
        (WRITING, REACTIVATE, ("forbidden", "status", SAVING)),
        (KEPT, BEGIN, ("conflict", "status", DEACTIVATED)),
        (READY, UpdateImage(by=OWNER, record=RECORD, seen=READY.version - 1), ("conflict", "version", "2")),
        (READY, DropCopy(by=OWNER, store="a"), ("forbidden", "stores", "a")),
        (TWICE, DropCopy(by=OWNER, store="c"), ("not_found", "stores", "c")),
        (NEW, DropCopy(by=OWNER, store="a"), ("conflict", "status", QUEUED)),
        (STAGED, BEGIN, ("conflict", "status", UPLOADING)),
        (STAGED, KEEP, ("conflict", "upload", "u-1")),
        (NEW, AGAIN, ("conflict", "status", QUEUED)),
        (None, DELETE, ("not_found", "", "")),
        (None, BEGIN, ("not_found", "", "")),
    ],
)
def test_what_is_refused(image: Image | None, command: Command, refused: tuple[str, str, str]) -> None:
    assert refusal(image, command) == refused


@pytest.mark.parametrize("image", [NEW, WRITING, STAGED, READY, KEPT], ids=lambda image: image.life)
def test_deleted_from_anywhere_in_one_turn(image: Image) -> None:
    decision = turn(IMAGE, image, heard(DELETE))
    assert decision.state is not None
    assert (decision.state.life, decision.state.upload, decision.state.task) == (DELETED, "", None)
    assert only(decision.records).outcome == "success"


@pytest.mark.parametrize("image", [NEW, READY], ids=["queued", "active"])
def test_a_protected_image_stays(image: Image) -> None:
    kept = reach(IMAGE, image, heard(renamed(image, protected=True)))
    assert refusal(kept, DELETE) == ("forbidden", "protected", "true")


def test_silence_is_counted_from_the_last_word_of_the_upload() -> None:
    assert due_at(WRITING) == WRITING.updated_at + UPLOAD_SILENCE_S
    later = turn(IMAGE, WRITING, heard(KEEP), at=NOW + 500).state
    assert later is not None
    assert due_at(later) == NOW + 500 + UPLOAD_SILENCE_S
    silent = turn(IMAGE, later, Tick(), at=NOW + 500 + UPLOAD_SILENCE_S).state
    assert silent is not None
    assert (silent.life, silent.failure, due_at(silent)) == (QUEUED, "the upload fell silent", None)
    assert due_at(READY) is None


def test_staged_data_waits_so_long_and_no_longer() -> None:
    assert due_at(STAGED) == STAGED.updated_at + STAGED_MAX_S
    assert held(STAGED) == ("a:1",)
    gone = turn(IMAGE, STAGED, Tick(), at=STAGED.updated_at + STAGED_MAX_S).state
    assert gone is not None
    assert (gone.life, gone.size_bytes, gone.md5, held(gone)) == (QUEUED, None, "", ())


def test_the_next_upload_begins_anew() -> None:
    again = reach(IMAGE, WRITING, heard(KEEP), heard(FAIL), heard(BeginUpload(by=OWNER, upload="u-2")))
    assert (again.upload, again.received, again.failure) == ("u-2", 0, "")


def test_what_goes_on_leaves_no_record() -> None:
    assert turn(IMAGE, WRITING, heard(KEEP)).records == []
    assert only(turn(IMAGE, WRITING, heard(FINISH)).records).name == "activate"


def test_what_is_deleted_is_gone() -> None:
    gone = reach(IMAGE, READY, heard(DELETE))
    assert IMAGE.gone(gone)
    assert due_at(gone) is None
    assert held(gone) == ()
    for command in (CREATE, BEGIN, KEEP, FINISH, DELETE, renamed(gone)):
        assert refusal(gone, command)[0] == "not_found"


def test_what_the_api_shows() -> None:
    shown = msgspec.json.decode(IMAGE.columns(READY)[-1])
    assert (shown["status"], shown["size"], shown["virtual_size"]) == ("active", 99, 1 << 30)
    assert (shown["os"], shown["checksum"], shown["os_hash_value"]) == ("linux", "m", "s")
    assert shown["file"] == f"/v2/images/{IMAGE_ID}/file"
    assert msgspec.json.decode(IMAGE.columns(NEW)[-1])["checksum"] is None


def test_a_property_hides_no_member_of_the_record() -> None:
    record = ImageRecord(properties={"id": "x", "status": "active"})
    sly = reach(IMAGE, None, heard(CreateImage(by=OWNER, image=IMAGE_ID, record=record)), ident=IMAGE_ID)
    assert msgspec.json.decode(IMAGE.columns(sly)[-1])["id"] == IMAGE_ID
