"""What an inspection sees of an image, and what it says. Sizes in bytes."""

from typing import Final

from msgspec import Struct

HEAD_BYTES: Final = 1 << 20
"""How much of the beginning is looked at. Holds a whole first cluster up to this size."""
TAIL_BYTES: Final = 2048
"""How much of the end is looked at: some formats keep their header there."""
VIRTUAL_BYTES_MAX: Final = 2 << 40
TABLE_BYTES_MAX: Final = 32 << 20
"""The largest table of clusters, grains or blocks that a host must hold for one image."""


class Unsafe(Exception):  # noqa: N818  an answer to the client
    """The data is not to be stored. The text says why, in words for the uploader."""


class Sight(Struct, frozen=True):
    """What is seen of complete data: its beginning, its end, its size, and one region in between.

    ``region`` is what the format has asked for (vhdx alone does).
    """

    head: bytes
    tail: bytes
    size_bytes: int
    region: bytes = b""


class Judged(Struct, frozen=True):
    """What was found. ``virtual_bytes`` is the size of the disk inside, None when it cannot be told."""

    disk_format: str
    virtual_bytes: int | None


def check_virtual(virtual: int, virtual_bytes_max: int) -> int:
    """The size of the disk inside, when it is one. Raises Unsafe."""
    if not 0 < virtual <= virtual_bytes_max:
        raise Unsafe(f"The virtual size of {virtual} bytes is not between 1 and {virtual_bytes_max}.")
    return virtual


def check_table(what: str, offset: int, length: int, size_bytes: int) -> None:
    """Raises Unsafe for a table that is too large or outside the file."""
    if length > TABLE_BYTES_MAX:
        raise Unsafe(f"The {what} of {length} bytes is not allowed.")
    if offset + length > size_bytes:
        raise Unsafe(f"The {what} is outside the file: the image is cut off.")
