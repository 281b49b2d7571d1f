"""A VHDX, read without trust. Its metadata may lie anywhere: ``region`` says where, before it has passed.

A differencing disk names a parent on the host that opens it; a log that was not replayed makes a host write.
Sizes in bytes.

Source: Microsoft, MS-VHDX, sections 2.2 to 2.6; QEMU, block/vhdx.c.
"""

import struct
from typing import Final
from uuid import UUID

from gateway.image.inspect.verdict import VIRTUAL_BYTES_MAX, Sight, Unsafe, check_table, check_virtual

HEAD_NEEDED: Final = 256 << 10
REGION_BYTES_MAX: Final = 2 << 20
BLOCK_BYTES: Final = range(1 << 20, (256 << 20) + 1)
_HEADERS: Final = (64 << 10, 128 << 10)
_REGIONS: Final = 192 << 10
_ENTRIES_MAX: Final = 2047
_HEADER: Final = struct.Struct("<4s4xQ32x16s")
_TABLE: Final = struct.Struct("<4s4xI4x")
_ENTRY: Final = struct.Struct("<16sQII")
_METADATA_TABLE: Final = struct.Struct("<8s2xH20x")
_ITEM: Final = struct.Struct("<16sIII4x")
_BAT: Final = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08").bytes_le
_METADATA: Final = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e").bytes_le
_PARAMETERS: Final = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b").bytes_le
_SIZE: Final = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8").bytes_le
_PARENT: Final = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c").bytes_le
_HAS_PARENT: Final = 2


def region(head: bytes) -> tuple[int, int]:
    """Where the metadata is: its first byte and the one after it. Raises Unsafe."""
    offset, length = _regions(head)[_METADATA]
    if not 0 < length <= REGION_BYTES_MAX:
        raise Unsafe(f"The vhdx metadata of {length} bytes is not allowed.")
    return offset, offset + length


def _regions(head: bytes) -> dict[bytes, tuple[int, int]]:
    if len(head) < HEAD_NEEDED:
        raise Unsafe("The vhdx header is cut off.")
    signature, count = _TABLE.unpack_from(head, _REGIONS)
    if signature != b"regi" or count > _ENTRIES_MAX:
        raise Unsafe("The vhdx has no region table where it may be.")
    found: dict[bytes, tuple[int, int]] = {}
    for n in range(count):
        guid, offset, length, _ = _ENTRY.unpack_from(head, _REGIONS + _TABLE.size + n * _ENTRY.size)
        if guid not in {_BAT, _METADATA} or guid in found or offset < 1 << 20:
            raise Unsafe("The vhdx has regions that are not allowed.")
        found[guid] = (offset, length)
    if len(found) != 2:  # noqa: PLR2004  the two above
        raise Unsafe("The vhdx lacks a region.")
    return found


def check(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    regions = _regions(sight.head)
    _check_log(sight.head)
    items = _items(sight.region)
    if _PARENT in items:
        raise Unsafe("The vhdx has a parent.")
    if len(items.get(_PARAMETERS, b"")) < 8 or len(items.get(_SIZE, b"")) < 8:  # noqa: PLR2004  by the format
        raise Unsafe("The vhdx metadata is cut off.")
    block, flags = struct.unpack_from("<II", items[_PARAMETERS])
    if flags & _HAS_PARENT:
        raise Unsafe("The vhdx has a parent.")
    if block not in BLOCK_BYTES or block & (block - 1):
        raise Unsafe(f"The vhdx block size of {block} bytes is not allowed.")
    check_table("vhdx block table", *regions[_BAT], sight.size_bytes)
    return check_virtual(int(struct.unpack_from("<Q", items[_SIZE])[0]), virtual_bytes_max)


def _check_log(head: bytes) -> None:
    """The valid header is the one with the higher number."""
    found = [_HEADER.unpack_from(head, at) for at in _HEADERS]
    valid = [(number, log) for signature, number, log in found if signature == b"head"]
    if not valid:
        raise Unsafe("The vhdx header is cut off.")
    if any(max(valid)[1]):
        raise Unsafe("The vhdx was not closed: it has a log to be replayed.")


def _items(metadata: bytes) -> dict[bytes, bytes]:
    if len(metadata) < 64 << 10:
        raise Unsafe("The vhdx metadata is cut off.")
    signature, count = _METADATA_TABLE.unpack_from(metadata)
    if signature != b"metadata" or count > _ENTRIES_MAX:
        raise Unsafe("The vhdx has no metadata where it may be.")
    items: dict[bytes, bytes] = {}
    for n in range(count):
        guid, offset, length, _ = _ITEM.unpack_from(metadata, _METADATA_TABLE.size + n * _ITEM.size)
        if guid in items:
            raise Unsafe("The vhdx metadata contradicts itself.")
        items[guid] = metadata[offset : offset + length]
    return items
