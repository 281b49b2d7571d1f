"""A VHD, read without trust: fixed (its footer at the end) or dynamic (a copy of it at the beginning too).

A differencing disk names a parent on the host that opens it. Sizes in bytes.

Source: Microsoft, Virtual Hard Disk Image Format Specification 1.0; QEMU, block/vpc.c.
"""

import math
import struct
from typing import Final

from gateway.image.inspect.verdict import VIRTUAL_BYTES_MAX, Sight, Unsafe, check_table, check_virtual

FOOTER_BYTES: Final = 512
COOKIE: Final = b"conectix"
BLOCK_BYTES: Final = range(512, (256 << 20) + 1)
_FIXED, _DYNAMIC = 2, 3
_BY_SIZE: Final = frozenset({b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"})
"""Who means the size that is said; of others hypervisors take the geometry."""
_GEOMETRY_MAX: Final = 65_535 * 16 * 255 * 512
_FOOTER: Final = struct.Struct(">8sIIQI4sI4sQQHBBI")
_DYNAMIC_HEADER: Final = struct.Struct(">8sQQIIII16s")
_LOCATORS: Final = slice(576, 576 + 8 * 24)


def check(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    dynamic = sight.head.startswith(COOKIE)
    footer = sight.head[:FOOTER_BYTES] if dynamic else sight.tail[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or not footer.startswith(COOKIE):
        raise Unsafe("The vhd footer is cut off.")
    (_, _, _, data_offset, _, creator, _, _, _, current, *geometry, kind) = _FOOTER.unpack_from(footer)
    virtual = int(current)
    sized = math.prod(geometry) * 512
    if creator not in _BY_SIZE and sized < _GEOMETRY_MAX:
        virtual = max(virtual, sized)
    check_virtual(virtual, virtual_bytes_max)
    if kind != (_DYNAMIC if dynamic else _FIXED):
        raise Unsafe(f"A vhd of type {kind} is not allowed: it has a parent, or is none of the format's.")
    if dynamic:
        _check_dynamic(sight, data_offset, virtual)
    elif current > sight.size_bytes - FOOTER_BYTES:
        raise Unsafe("The vhd is cut off.")
    return virtual


def _check_dynamic(sight: Sight, offset: int, virtual: int) -> None:
    header = sight.head[offset : offset + 1024]
    if len(header) < 1024 or not header.startswith(b"cxsparse"):  # noqa: PLR2004  by the format
        raise Unsafe("The vhd has no dynamic header where it may be.")
    _, _, table, _, entries, block, _, parent = _DYNAMIC_HEADER.unpack_from(header)
    if any(parent) or any(header[_LOCATORS]):
        raise Unsafe("The vhd has a parent.")
    if block not in BLOCK_BYTES or block & (block - 1):
        raise Unsafe(f"The vhd block size of {block} bytes is not allowed.")
    if entries * block < virtual - block:
        raise Unsafe("The vhd block table is too small for the virtual size.")
    check_table("vhd block table", table, entries * 4, sight.size_bytes)
