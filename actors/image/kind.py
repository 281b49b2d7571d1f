"""An image's life: queued → saving → active ⇄ deactivated, with its data staged and imported on the way.

One upload holds the right to write; silence longer than UPLOAD_SILENCE_S or a failure puts the image
back to ``queued``, and the stores' sweep removes what was written. Staged data waits STAGED_MAX_S for its
import. What takes several turns is in ``operations``.

Source: Image API v2, image statuses.
"""

from typing import Final

from actors.image.model import (
    ACTIVE,
    DEACTIVATED,
    DELETED,
    QUEUED,
    SAVING,
    UPLOADING,
    Image,
    emptied,
    held,
    with_data,
)
from actors.image.operations.delete import DELETE
from actors.image.operations.import_image import IMPORT, is_mine
from actors.image.view import columns, summary
from actors.machine import ANY, Kind, on
from actors.turn import Heard, Refusal, Step
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.image import (
    BeginUpload,
    CreateImage,
    DeactivateImage,
    DropCopy,
    FailUpload,
    FinishMove,
    FinishUpload,
    KeepUpload,
    ReactivateImage,
    UpdateImage,
    store_of,
)

UPLOAD_SILENCE_S: Final = 60.0
STAGED_MAX_S: Final = 86_400.0
_SWITCHES: Final[dict[type[Command], str]] = {DeactivateImage: "deactivate", ReactivateImage: "reactivate"}


def born(message: CreateImage, ident: str, now: float) -> Image:
    return Image(
        id=ident, life=QUEUED, created_at=now, updated_at=now, owner=message.by.project, record=message.record
    )


def create(image: Image, _: CreateImage) -> Step[Image]:
    if image.version > 1:
        raise Refusal("conflict", f"An image with identifier {image.id} already exists", "id", image.id)
    return image, []


def update(image: Image, wish: UpdateImage) -> Step[Image]:
    if wish.seen != image.version - 1:
        raise Refusal(
            "conflict",
            f"Image {image.id} changed meanwhile; read it and ask again",
            "version",
            str(wish.seen),
        )
    return image.but(record=wish.record, owner=wish.owner or image.owner), []


def switch(image: Image, _: Command) -> Step[Image]:
    """Go over to the life that the row names."""
    return image, []


def begin(image: Image, wish: BeginUpload) -> Step[Image]:
    return image.but(
        upload=wish.upload, received=0, failure="", alarm_at=image.updated_at + UPLOAD_SILENCE_S
    ), []


def keep(image: Image, wish: KeepUpload) -> Step[Image]:
    _same(image, wish.upload)
    return image.but(received=wish.received, alarm_at=image.updated_at + UPLOAD_SILENCE_S), []


def finish(image: Image, wish: FinishUpload) -> Step[Image]:
    _same(image, wish.upload)
    image = with_data(image, wish.data)
    return image.but(upload="", alarm_at=None, locations=(wish.data.location,)), []


def stage(image: Image, wish: FinishUpload) -> Step[Image]:
    _same(image, wish.upload)
    image = with_data(image, wish.data)
    return image.but(upload="", alarm_at=image.updated_at + STAGED_MAX_S, staged=wish.data.location), []


def fail(image: Image, wish: FailUpload) -> Step[Image]:
    _same(image, wish.upload)
    return emptied(image, wish.reason), []


def fall_silent(image: Image, _: Tick) -> Step[Image]:
    waited = "the staged data was not imported in time" if image.staged else "the upload fell silent"
    return emptied(image, waited), []


def drop_copy(image: Image, wish: DropCopy) -> Step[Image]:
    left = tuple(location for location in image.locations if store_of(location) != wish.store)
    if left == image.locations:
        raise Refusal(
            "not_found", f"Image {image.id} is not stored in store {wish.store}.", "stores", wish.store
        )
    if not left:
        reason = (
            "Cannot delete image data from the only store containing it. Consider deleting the image instead."
        )
        raise Refusal("forbidden", reason, "stores", wish.store)
    return image.but(locations=left), []


def hear_again(image: Image, _: FinishMove) -> Step[Image]:
    """The end of a move that was heard before, but its answer was lost."""
    return image, []


def is_staging(_: Image, wish: BeginUpload) -> bool:
    return wish.stage


def is_kept(image: Image, wish: FinishMove) -> bool:
    return wish.data.location in held(image)


def _same(image: Image, upload: str) -> None:
    if image.upload != upload:
        raise Refusal(
            "conflict", f"Image {image.id} is no longer being written by this upload", "upload", upload
        )


def guard(image: Image, command: Command, _: Heard) -> Refused | None:
    """Only an image with data is deactivated or reactivated; the API has its own words for it."""
    word = _SWITCHES.get(type(command))
    if word is None or image.life in (ACTIVE, DEACTIVATED):
        return None
    reason = f"Not allowed to {word} image in status '{image.life}'"
    return Refused(code="forbidden", reason=reason, attribute="status", value=image.life)


# fmt: off
LIFE = (
    # while         hearing          do           then
    on(QUEUED,      CreateImage,     create,      QUEUED,      log="create"),
    on(ANY,         UpdateImage,     update,      ANY,         log="update"),
    on(QUEUED,      BeginUpload,     begin,       UPLOADING,   log="upload", when=is_staging),
    on(QUEUED,      BeginUpload,     begin,       SAVING,      log="upload"),
    on(SAVING,      KeepUpload,      keep,        ANY),
    on(UPLOADING,   KeepUpload,      keep,        ANY),
    on(SAVING,      FinishUpload,    finish,      ACTIVE,      log="activate"),
    on(UPLOADING,   FinishUpload,    stage,       ANY,         log="stage"),
    on(SAVING,      FailUpload,      fail,        QUEUED,      log="upload_failed"),
    on(UPLOADING,   FailUpload,      fail,        QUEUED,      log="upload_failed"),
    on(SAVING,      Tick,            fall_silent, QUEUED,      log="upload_failed"),
    on(UPLOADING,   Tick,            fall_silent, QUEUED,      log="upload_failed"),
    on(ACTIVE,      DeactivateImage, switch,      DEACTIVATED, log="deactivate"),
    on(DEACTIVATED, DeactivateImage, switch,      ANY,         log="deactivate"),
    on(DEACTIVATED, ReactivateImage, switch,      ACTIVE,      log="reactivate"),
    on(ACTIVE,      ReactivateImage, switch,      ANY,         log="reactivate"),
    on(ACTIVE,      DropCopy,        drop_copy,   ANY,         log="drop_copy"),
    on(ANY,         FinishMove,      hear_again,  ANY,         when=is_kept),
)
# fmt: on

IMAGE: Kind[Image] = Kind(
    name="image",
    state=Image,
    births={CreateImage: born},
    operations=(IMPORT, DELETE),
    life=LIFE,
    settled=lambda image: image.life,
    guard=guard,
    relevant=lambda image, heard: not isinstance(heard.message, Command) or is_mine(image, heard.message),
    project=lambda image: image.owner,
    summary=summary,
    gone=lambda image: image.life == DELETED,
    columns=columns,
)
