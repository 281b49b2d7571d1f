"""The image as its actor keeps it. Names of its lives are the Image API's statuses.

Where data lies is kept here, never the data. What is in ``held`` the stores' sweep leaves alone; anything
else an image ever had is rubbish from the commit on.
"""

from typing import Final

from msgspec import Struct

from actors.turn import ActorState
from protocol.image import ImageRecord, RemoteSource, StoredData, WebSource

QUEUED: Final = "queued"
SAVING: Final = "saving"
UPLOADING: Final = "uploading"
IMPORTING: Final = "importing"
ACTIVE: Final = "active"
DEACTIVATED: Final = "deactivated"
DELETED: Final = "deleted"


class Import(Struct, frozen=True, kw_only=True):
    """What is to be brought where, and how far it is.

    ``todo`` are the stores still to be filled, the first one now; ``done`` where the others' data lies.
    ``move`` is the gateway's attempt at the first one (empty: not taken), ``attempts`` counts them.
    """

    method: str
    source: WebSource | RemoteSource | None
    todo: tuple[str, ...]
    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    all_must_succeed: bool = True
    bytes_max: int = 0
    move: str = ""
    attempts: int = 0


class Image(ActorState, frozen=True, kw_only=True):
    """One image. ``life`` is the API's status; sizes in bytes.

    ``upload`` is the upload that has the right to write, ``staged`` where data waits for its import,
    ``locations`` where the image's own data lies, the best first.
    """

    owner: str
    record: ImageRecord
    upload: str = ""
    received: int = 0
    staged: str = ""
    locations: tuple[str, ...] = ()
    size_bytes: int | None = None
    virtual_size_bytes: int | None = None
    md5: str = ""
    sha512: str = ""
    failure: str = ""
    importing: Import | None = None
    failed_stores: tuple[str, ...] = ()


def held(image: Image) -> tuple[str, ...]:
    """Every location that is still of use."""
    if image.life == DELETED:
        return ()
    under_way = image.importing.done if image.importing is not None else ()
    return (*image.locations, *((image.staged,) if image.staged else ()), *under_way)


def with_data(image: Image, data: StoredData) -> Image:
    """The image with the sizes and hashes of data; where it lies is another matter."""
    return image.but(
        received=data.size_bytes,
        size_bytes=data.size_bytes,
        virtual_size_bytes=data.virtual_size_bytes,
        md5=data.md5,
        sha512=data.sha512,
    )


def emptied(image: Image, reason: str) -> Image:
    """Back to a record without data, and why."""
    return image.but(
        life=QUEUED,
        upload="",
        alarm_at=None,
        staged="",
        locations=(),
        size_bytes=None,
        virtual_size_bytes=None,
        md5="",
        sha512="",
        failure=reason,
        importing=None,
    )
