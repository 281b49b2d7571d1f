"""What is said to and by an image: its record, its upload, its import, its end. No bytes on the bus.

A **location** says where data lies, ``store:key``; what a key means is the store's business. A **move** is
one transport of data into one store: the image orders it, a gateway takes it and tells how it went.
"""

from msgspec import Struct

from protocol.command import Caller, Command
from protocol.message import Message


def store_of(location: str) -> str:
    """The name of the store that a location is in."""
    return location.partition(":")[0]


class ImageRecord(Struct, frozen=True, kw_only=True):
    """What a caller may set on an image. Sizes: disk in GiB, memory in MiB."""

    name: str | None = None
    disk_format: str | None = None
    container_format: str | None = None
    visibility: str = "shared"
    min_disk: int = 0
    min_ram: int = 0
    protected: bool = False
    hidden: bool = False
    tags: tuple[str, ...] = ()
    properties: dict[str, str] = {}


class CreateImage(Command, frozen=True, tag="gateway.create_image"):
    """Make the record; status ``queued``."""

    image: str
    record: ImageRecord


class UpdateImage(Command, frozen=True, tag="gateway.update_image"):
    """Replace the record by one derived from ``seen``; a conflict when the image changed meanwhile.

    ``owner`` is the project the image belongs to from now on; empty: as before.
    """

    record: ImageRecord
    seen: int
    owner: str = ""


class DeactivateImage(Command, frozen=True, tag="gateway.deactivate_image"):
    """Keep the data from all but admins; status ``deactivated``. Repeated: nothing changes."""


class ReactivateImage(Command, frozen=True, tag="gateway.reactivate_image"):
    """End a deactivation; status ``active``. Repeated: nothing changes."""


class StoredData(Struct, frozen=True, kw_only=True):
    """Complete and durable data: where it lies, sizes in bytes, hashes in hexadecimal.

    ``virtual_size_bytes`` is the size of the disk inside, None when it cannot be told.
    """

    location: str
    size_bytes: int
    virtual_size_bytes: int | None
    md5: str
    sha512: str


class BeginUpload(Command, frozen=True, tag="gateway.begin_upload"):
    """Take the right to write the data. One upload at a time.

    Status ``saving``; with ``stage`` the data waits for its import, and the status is ``uploading``.
    """

    upload: str
    stage: bool = False


class KeepUpload(Command, frozen=True, tag="gateway.keep_upload"):
    """The upload goes on: moves the deadline by which silence counts as failure."""

    upload: str
    received: int


class FinishUpload(Command, frozen=True, tag="gateway.finish_upload"):
    """The data is complete: status ``active``, or staged and still ``uploading``."""

    upload: str
    data: StoredData


class FailUpload(Command, frozen=True, tag="gateway.fail_upload"):
    """The upload broke off or was refused; back to ``queued``."""

    upload: str
    reason: str


class WebSource(Struct, frozen=True, tag="web"):
    """Data at a URL, which holds no credentials."""

    uri: str


class RemoteSource(Struct, frozen=True, tag="glance"):
    """An image of another region's Image API."""

    image: str
    region: str
    interface: str


class CopySource(Struct, frozen=True, tag="copy"):
    """Data of this image that is in a store; the copy must have its size and hash."""

    location: str
    size_bytes: int
    sha512: str


class ImportImage(Command, frozen=True, kw_only=True, tag="gateway.import_image"):
    """Fill the image from ``source`` (None: from what is staged, or from the image's own data).

    Status ``importing`` until the data is in all ``stores``; a copy leaves an active image active. With
    ``all_must_succeed`` false a store that fails is left out. ``bytes_max`` bounds what is fetched.
    """

    method: str
    source: WebSource | RemoteSource | None
    stores: tuple[str, ...]
    all_must_succeed: bool
    bytes_max: int


class MoveData(Message, frozen=True, tag="image.move_data"):
    """Somebody with a store, bring data into ``store``. Said again until it is taken.

    ``number`` names the order; formats and ``min_disk`` (GiB) are what the data is judged by.
    """

    image: str
    number: int
    by: Caller
    source: WebSource | RemoteSource | CopySource
    store: str
    disk_format: str
    container_format: str
    min_disk: int
    bytes_max: int


class TakeMove(Command, frozen=True, tag="gateway.take_move"):
    """Carry out order ``number``, as ``move``. Refused when another gateway does."""

    number: int
    move: str


class KeepMove(Command, frozen=True, tag="gateway.keep_move"):
    """The move goes on: moves the deadline by which silence counts as failure."""

    move: str
    received: int


class FoundImage(Struct, frozen=True, kw_only=True):
    """What a remote image is, as far as it is taken over."""

    disk_format: str
    container_format: str
    properties: dict[str, str]


class FinishMove(Command, frozen=True, tag="gateway.finish_move"):
    """The data is complete and durable in the store that was asked for."""

    move: str
    data: StoredData
    found: FoundImage | None = None


class FailMove(Command, frozen=True, tag="gateway.fail_move"):
    """The data is not to be had, or not to be stored; what was written is removed."""

    move: str
    code: str
    reason: str


class DropCopy(Command, frozen=True, tag="gateway.drop_copy"):
    """Forget the data in one store, never the last there is. The sweep removes it after the commit."""

    store: str


class DeleteImage(Command, frozen=True, tag="gateway.delete_image"):
    """End the image, whatever it is doing. The store's sweep removes the data after the commit."""
