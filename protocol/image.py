"""What is said to an image: its record, its upload, its end. The bytes never travel on the bus."""

from msgspec import Struct

from protocol.command import Command


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


class BeginUpload(Command, frozen=True, tag="gateway.begin_upload"):
    """Take the right to write the data; status ``saving``. One upload at a time."""

    upload: str


class KeepUpload(Command, frozen=True, tag="gateway.keep_upload"):
    """The upload goes on: moves the deadline by which silence counts as failure."""

    upload: str
    received: int


class FinishUpload(Command, frozen=True, tag="gateway.finish_upload"):
    """The data is complete and durable in the store; status ``active``."""

    upload: str
    location: str
    size_bytes: int
    virtual_size_bytes: int | None
    md5: str
    sha512: str


class FailUpload(Command, frozen=True, tag="gateway.fail_upload"):
    """The upload broke off or was refused; back to ``queued``."""

    upload: str
    reason: str


class DeleteImage(Command, frozen=True, tag="gateway.delete_image"):
    """End the image. The store's sweep removes the data after the commit."""
