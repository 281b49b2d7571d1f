"""An image's life as one table: queued → saving → active ⇄ deactivated, and deleted from anywhere.

One upload holds the right to write; silence longer than UPLOAD_SILENCE_S or a failure puts the image
back to ``queued``, and the store's sweep removes what was written. A protected image is not deleted.

Source: Image API v2, image statuses.
"""

from typing import Any, Final

import msgspec

from actors.machine import ANY, Kind, on
from actors.turn import ActorState, Heard, Refusal, Step
from protocol.command import Command, Tick
from protocol.errors import Refused
from protocol.image import (
    BeginUpload,
    CreateImage,
    DeactivateImage,
    DeleteImage,
    FailUpload,
    FinishUpload,
    ImageRecord,
    KeepUpload,
    ReactivateImage,
    UpdateImage,
)
from protocol.view import stamp

QUEUED: Final = "queued"
SAVING: Final = "saving"
ACTIVE: Final = "active"
DEACTIVATED: Final = "deactivated"
DELETED: Final = "deleted"
UPLOAD_SILENCE_S: Final = 60.0
_SWITCHES: Final[dict[type[Command], str]] = {DeactivateImage: "deactivate", ReactivateImage: "reactivate"}


class Image(ActorState, frozen=True, kw_only=True):
    """One image. ``life`` is the API's status; sizes in bytes."""

    owner: str
    record: ImageRecord
    upload: str = ""
    received: int = 0
    location: str = ""
    size_bytes: int | None = None
    virtual_size_bytes: int | None = None
    md5: str = ""
    sha512: str = ""
    failure: str = ""


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
    return (
        image.but(
            upload="",
            alarm_at=None,
            received=wish.size_bytes,
            location=wish.location,
            size_bytes=wish.size_bytes,
            virtual_size_bytes=wish.virtual_size_bytes,
            md5=wish.md5,
            sha512=wish.sha512,
        ),
        [],
    )


def fail(image: Image, wish: FailUpload) -> Step[Image]:
    _same(image, wish.upload)
    return image.but(upload="", alarm_at=None, failure=wish.reason), []


def fall_silent(image: Image, _: Tick) -> Step[Image]:
    return image.but(upload="", failure="the upload fell silent"), []


def delete(image: Image, _: DeleteImage) -> Step[Image]:
    if image.record.protected:
        raise Refusal(
            "forbidden", f"Image {image.id} is protected and cannot be deleted.", "protected", "true"
        )
    return image.but(alarm_at=None, upload=""), []


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


def image_json(image: Image) -> bytes:
    """The image as Image API v2 shows it; ``owner`` and links as paths, properties at the top level."""
    record = image.record
    shown: dict[str, Any] = dict(record.properties)
    shown |= {
        "id": image.id,
        "name": record.name,
        "status": image.life,
        "visibility": record.visibility,
        "owner": image.owner,
        "protected": record.protected,
        "os_hidden": record.hidden,
        "tags": list(record.tags),
        "disk_format": record.disk_format,
        "container_format": record.container_format,
        "min_disk": record.min_disk,
        "min_ram": record.min_ram,
        "size": image.size_bytes,
        "virtual_size": image.virtual_size_bytes,
        "checksum": image.md5 or None,
        "os_hash_algo": "sha512" if image.sha512 else None,
        "os_hash_value": image.sha512 or None,
        "created_at": stamp(image.created_at),
        "updated_at": stamp(image.updated_at),
        "self": f"/v2/images/{image.id}",
        "file": f"/v2/images/{image.id}/file",
        "schema": "/v2/schemas/image",
    }
    return msgspec.json.encode(shown)


def columns(image: Image) -> tuple[Any, ...]:
    """The typed columns of ``image.image``, in the order of store.kinds."""
    record = image.record
    return (
        image.owner,
        record.name,
        image.life,
        record.visibility,
        record.hidden,
        record.protected,
        record.disk_format,
        record.container_format,
        image.size_bytes,
        image.location or None,
        image.created_at,
        image.updated_at,
        image_json(image).decode(),
    )


def summary(image: Image) -> bytes:
    """The data of an event about this image."""
    told = {"id": image.id, "name": image.record.name, "status": image.life, "received": image.received}
    return msgspec.json.encode(told)


# fmt: off
LIFE = (
    # while   hearing       do           then
    on(QUEUED,      CreateImage,     create,      QUEUED,      log="create"),
    on(ANY,         UpdateImage,     update,      ANY,         log="update"),
    on(QUEUED,      BeginUpload,     begin,       SAVING,      log="upload"),
    on(SAVING,      KeepUpload,      keep,        ANY),
    on(SAVING,      FinishUpload,    finish,      ACTIVE,      log="activate"),
    on(SAVING,      FailUpload,      fail,        QUEUED,      log="upload_failed"),
    on(SAVING,      Tick,            fall_silent, QUEUED,      log="upload_failed"),
    on(ACTIVE,      DeactivateImage, switch,      DEACTIVATED, log="deactivate"),
    on(DEACTIVATED, DeactivateImage, switch,      ANY,         log="deactivate"),
    on(DEACTIVATED, ReactivateImage, switch,      ACTIVE,      log="reactivate"),
    on(ACTIVE,      ReactivateImage, switch,      ANY,         log="reactivate"),
    on(ANY,         DeleteImage,     delete,      DELETED,     log="delete"),
)
# fmt: on

IMAGE: Kind[Image] = Kind(
    name="image",
    state=Image,
    births={CreateImage: born},
    life=LIFE,
    settled=lambda image: image.life,
    guard=guard,
    relevant=lambda _, __: True,
    project=lambda image: image.owner,
    summary=summary,
    gone=lambda image: image.life == DELETED,
    columns=columns,
)
