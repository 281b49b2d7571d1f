"""A VMDK, read without trust. A descriptor may name any file of the host that opens it, as extent or parent.

Taken are the two types that are one file with a descriptor in it. Sizes in bytes; the format counts sectors.

Source: VMware, Virtual Disk Format 5.0, "The Descriptor File", "Hosted Sparse Extents", "Stream-Optimized
Compressed Sparse Extents"; what a hypervisor makes of it: QEMU, block/vmdk.c.
"""

import re
import struct
from typing import Final

from gateway.image.inspect.verdict import (
    TABLE_BYTES_MAX,
    VIRTUAL_BYTES_MAX,
    Sight,
    Unsafe,
    check_table,
    check_virtual,
)

TYPES: Final = frozenset({"monolithicSparse", "streamOptimized"})
DESCRIPTOR_BYTES_MAX: Final = 64 << 10
GRAIN_SECTORS_MAX: Final = 1 << 12
_SECTOR: Final = 512
_HEADER: Final = struct.Struct("<4sIIQQQQIQQQ")
_MAGIC: Final = b"KDMV"
_AT_END: Final = (1 << 64) - 1
_FOOTER_FROM_END: Final = 2 * _SECTOR
_FIXED_DESCRIPTOR: Final = slice(0x200, 0x200 + 20 * _SECTOR)
"""Where hypervisors look for a parent, whatever the header says of the descriptor."""
_EXTENT: Final = re.compile(
    rb'^\s*(?:RW|RDONLY|NOACCESS)\s+(\d{1,19})\s+(\w+)\s+"([^"]*)"(.*)$', re.MULTILINE
)
_LINE: Final = re.compile(rb"^\s*(?:RW|RDONLY|NOACCESS)\b", re.MULTILINE)


class Header:
    """A sparse extent's header, as it stands at the beginning and, in streams, at the end again."""

    def __init__(self, data: bytes) -> None:
        """Raises Unsafe when there is none."""
        if len(data) < _HEADER.size:
            raise Unsafe("The vmdk header is cut off.")
        (magic, self.version, _, self.capacity, self.grain, self.descriptor, self.descriptor_length,
         self.entries, _, self.directory, _) = _HEADER.unpack_from(data)  # fmt: skip
        if magic != _MAGIC:
            raise Unsafe("The vmdk is no sparse extent: its data lies in other files.")

    @property
    def shape(self) -> tuple[int, ...]:
        """What must not differ between the two headers of a stream."""
        return (
            self.version,
            self.capacity,
            self.grain,
            self.descriptor,
            self.descriptor_length,
            self.entries,
        )


def check(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    header = Header(sight.head)
    if header.version not in (1, 2, 3):
        raise Unsafe(f"vmdk version {header.version} is not known.")
    virtual = check_virtual(header.capacity * _SECTOR, virtual_bytes_max)
    _check_tables(header)
    in_stream = _check_descriptor(sight, header)
    if header.directory == _AT_END:
        if not in_stream:
            raise Unsafe("The vmdk keeps its directory at the end, but is not streamOptimized.")
        footer = Header(sight.tail[-_FOOTER_FROM_END:])
        if footer.shape != header.shape:
            raise Unsafe("The vmdk's header and footer contradict each other.")
        header = footer
    length = -(-virtual // (header.grain * _SECTOR * header.entries)) * 4
    check_table("vmdk grain directory", header.directory * _SECTOR, length, sight.size_bytes)
    return virtual


def _check_tables(header: Header) -> None:
    if not 0 < header.grain <= GRAIN_SECTORS_MAX or header.grain & (header.grain - 1):
        raise Unsafe(f"The vmdk grain size of {header.grain} sectors is not allowed.")
    if not 0 < header.entries <= 512:  # noqa: PLR2004  by the format
        raise Unsafe(f"A vmdk grain table of {header.entries} entries is not allowed.")
    tables = -(-header.capacity // header.grain) * 4
    if tables > TABLE_BYTES_MAX * 8:
        raise Unsafe(f"The vmdk grain tables of {tables} bytes are not allowed.")


def _check_descriptor(sight: Sight, header: Header) -> bool:
    """Whether it tells of a stream. Raises Unsafe for one that leads to other files."""
    offset, length = header.descriptor * _SECTOR, header.descriptor_length * _SECTOR
    if not offset or not 0 < length <= DESCRIPTOR_BYTES_MAX or offset + length > len(sight.head):
        raise Unsafe("The vmdk has no descriptor where it may be.")
    text = sight.head[offset : offset + length].partition(b"\0")[0]
    if b"parentFileNameHint" in text or b"parentFileNameHint" in sight.head[_FIXED_DESCRIPTOR]:
        raise Unsafe("The vmdk has a parent.")
    kind = _value(text, b"createType")
    if kind not in TYPES:
        raise Unsafe(f"A vmdk of type {kind[:40]!r} is not allowed: {', '.join(sorted(TYPES))} are.")
    if _value(text, b"parentCID").lower() != "ffffffff":
        raise Unsafe("The vmdk has a parent.")
    extents = _EXTENT.findall(text)
    if len(extents) != 1 or len(_LINE.findall(text)) != 1:
        raise Unsafe("The vmdk must have exactly one extent.")
    sectors, extent, name, rest = extents[0]
    if extent != b"SPARSE" or rest.strip() or b"/" in name or b"\\" in name:
        raise Unsafe("The vmdk's extent is another file.")
    if int(sectors) != header.capacity:
        raise Unsafe("The vmdk's extent is not as large as its header says.")
    return kind == "streamOptimized"


def _value(text: bytes, name: bytes) -> str:
    """A setting of the descriptor. Raises Unsafe when it is not there exactly once."""
    found = re.findall(rb'^\s*%b\s*=\s*"?([^"\r\n]*?)"?\s*$' % re.escape(name), text, re.MULTILINE)
    if len(found) != 1:
        raise Unsafe(f"The vmdk descriptor must say {name.decode()} once.")
    return str(found[0].decode("latin-1"))
