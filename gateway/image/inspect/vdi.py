"""A VDI and a ploop image, read without trust: one header each, at the beginning. Sizes in bytes.

Source: VirtualBox, VDICore.h; Parallels, "Parallels Expandable Image File Format" (QEMU,
docs/interop/parallels.txt).
"""

import struct
from typing import Final

from gateway.image.inspect.verdict import VIRTUAL_BYTES_MAX, Sight, Unsafe, check_table, check_virtual

_VDI: Final = struct.Struct("<64x4xIIII256xII12xI4xQIIII32x16s16s")
_VDI_VERSION: Final = 0x0001_0001
_VDI_BLOCK: Final = 1 << 20
_WHOLE: Final = (1, 2)
_PLOOP: Final = struct.Struct("<16sIIIIIQIIIQ")
_PLOOP_OLD: Final = b"WithoutFreeSpace"
_PLOOP_IN_USE: Final = 0x746F6E59
_SECTOR: Final = 512


def check_vdi(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    if len(sight.head) < _VDI.size:
        raise Unsafe("The vdi header is cut off.")
    (version, _, kind, _, map_offset, _, sector, virtual, block, _, blocks, _, link, parent) = (
        _VDI.unpack_from(sight.head)
    )
    if version != _VDI_VERSION:
        raise Unsafe(f"vdi version {version:#x} is not known.")
    if kind not in _WHOLE or any(link) or any(parent):
        raise Unsafe("The vdi has a parent.")
    if sector != _SECTOR or block != _VDI_BLOCK:
        raise Unsafe(f"vdi blocks of {block} bytes and sectors of {sector} are not allowed.")
    check_virtual(virtual, virtual_bytes_max)
    if blocks < -(-virtual // block):
        raise Unsafe("The vdi block map is too small for the virtual size.")
    check_table("vdi block map", map_offset, blocks * 4, sight.size_bytes)
    return int(virtual)


def check_ploop(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    if len(sight.head) < _PLOOP.size:
        raise Unsafe("The ploop header is cut off.")
    magic, version, _, _, cluster, entries, sectors, in_use, _, _, extension = _PLOOP.unpack_from(sight.head)
    if version != 2:  # noqa: PLR2004  the format's version
        raise Unsafe(f"ploop version {version} is not known.")
    if in_use == _PLOOP_IN_USE:
        raise Unsafe("The ploop image was not closed.")
    if extension:
        raise Unsafe("A ploop image with extensions is not allowed.")
    if not 0 < cluster <= (1 << 20) or cluster & (cluster - 1):
        raise Unsafe(f"The ploop cluster size of {cluster} sectors is not allowed.")
    virtual = check_virtual(
        (sectors & 0xFFFFFFFF if magic == _PLOOP_OLD else sectors) * _SECTOR, virtual_bytes_max
    )
    if entries * cluster * _SECTOR < virtual:
        raise Unsafe("The ploop block map is too small for the virtual size.")
    check_table("ploop block map", _PLOOP.size, entries * 4, sight.size_bytes)
    return virtual
