"""A qcow2 header, read without trust: it may name other files of the host that opens it. Sizes in bytes.

Source: QEMU, docs/interop/qcow2.rst; limits from block/qcow2.h.
"""

import struct
from typing import Final

from gateway.image.inspect.verdict import TABLE_BYTES_MAX, VIRTUAL_BYTES_MAX, Sight, Unsafe, check_virtual

SNAPSHOTS_MAX: Final = 16
"""Internal snapshots multiply the tables a host must read; images for sharing have none."""
REFCOUNT_TABLE_BYTES_MAX: Final = 8 << 20

_MAGIC: Final = b"QFI\xfb"
_V2_LENGTH: Final = 72
_V3_LENGTH_MIN: Final = 104
_CLUSTER_BITS: Final = range(9, 22)
_HEADER: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_V3: Final = struct.Struct(">QQQII")
_EXTENSION: Final = struct.Struct(">II")
_END: Final = 0
_EXTERNAL_DATA_NAME: Final = 0x44415441
_FULL_ENCRYPTION: Final = 0x0537BE77
_BITMAPS: Final = 0x23852875
_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN_INCOMPATIBLE: Final = _DIRTY | _CORRUPT | _EXTERNAL_DATA | _COMPRESSION | _EXTENDED_L2
_AUTOCLEAR_RAW_DATA: Final = 1 << 1


def check(sight: Sight, virtual_bytes_max: int = VIRTUAL_BYTES_MAX) -> int:
    """The virtual size. Raises Unsafe for anything a host must not open."""
    return Qcow2(sight.head, sight.size_bytes).check(virtual_bytes_max)


class Qcow2:
    """A qcow2 header, read without trust."""

    def __init__(self, head: bytes, size_bytes: int) -> None:
        """Raises Unsafe when there is no whole header."""
        if len(head) < _V2_LENGTH:
            raise Unsafe("The qcow2 header is cut off.")
        self._head, self._size = head, size_bytes
        (_, self.version, self.backing_offset, self.backing_length, self.cluster_bits, self.virtual,
         self.encryption, self.l1_entries, self.l1_offset, self.refcount_offset, self.refcount_clusters,
         self.snapshots, self.snapshots_offset) = _HEADER.unpack_from(head)  # fmt: skip
        self.incompatible = self.autoclear = 0
        self.refcount_order, self.length = 4, _V2_LENGTH
        if self.version == 3:  # noqa: PLR2004  the format's version
            if len(head) < _V3_LENGTH_MIN:
                raise Unsafe("The qcow2 header is cut off.")
            self.incompatible, _, self.autoclear, self.refcount_order, self.length = _V3.unpack_from(
                head, _V2_LENGTH
            )

    def check(self, virtual_bytes_max: int) -> int:
        """The virtual size. Raises Unsafe for anything a host must not open."""
        if self.version not in (2, 3):
            raise Unsafe(f"qcow2 version {self.version} is not known.")
        if self.cluster_bits not in _CLUSTER_BITS:
            raise Unsafe(f"The qcow2 cluster size 2^{self.cluster_bits} is not allowed.")
        for part in (self._features, self._references, self._extensions, self._refcounts, self._snapshots):
            part()
        check_virtual(self.virtual, virtual_bytes_max)
        self._l1()
        return int(self.virtual)

    @property
    def cluster(self) -> int:
        """Bytes per cluster."""
        return 1 << int(self.cluster_bits)

    def _features(self) -> None:
        unknown = self.incompatible & ~_KNOWN_INCOMPATIBLE
        if unknown:
            raise Unsafe(f"The qcow2 image needs unknown features ({unknown:#x}).")
        if self.incompatible & _EXTERNAL_DATA or self.autoclear & _AUTOCLEAR_RAW_DATA:
            raise Unsafe("The qcow2 image keeps its data in another file.")
        if self.incompatible & _CORRUPT:
            raise Unsafe("The qcow2 image is marked as corrupt.")
        if self.incompatible & _DIRTY:
            raise Unsafe("The qcow2 image was not closed; repair it with 'qemu-img check -r all' first.")

    def _references(self) -> None:
        if self.backing_offset or self.backing_length:
            raise Unsafe("The qcow2 image has a backing file.")
        if self.encryption:
            raise Unsafe("The qcow2 image is encrypted.")

    def _extensions(self) -> None:
        v3 = self.version == 3  # noqa: PLR2004  the format's version
        if v3 and (self.length < _V3_LENGTH_MIN or self.length % 8 or self.length > self.cluster):
            raise Unsafe(f"The qcow2 header length of {self.length} bytes is not allowed.")
        at, end = self.length, min(self.cluster, len(self._head))
        while at + _EXTENSION.size <= end:
            kind, length = _EXTENSION.unpack_from(self._head, at)
            if kind == _END:
                return
            if length > end - at - _EXTENSION.size:
                raise Unsafe("A qcow2 header extension reaches beyond the header.")
            if kind == _EXTERNAL_DATA_NAME:
                raise Unsafe("The qcow2 image names an external data file.")
            if kind == _FULL_ENCRYPTION:
                raise Unsafe("The qcow2 image is encrypted.")
            if kind == _BITMAPS:
                raise Unsafe("The qcow2 image has bitmaps; remove them with 'qemu-img bitmap --remove'.")
            at += _EXTENSION.size + (length + 7 & ~7)

    def _refcounts(self) -> None:
        if self.refcount_order > 6:  # noqa: PLR2004  64 bits at most, by the format
            raise Unsafe(f"The qcow2 refcount order {self.refcount_order} is not allowed.")
        length = self.refcount_clusters << self.cluster_bits
        if not 0 < length <= REFCOUNT_TABLE_BYTES_MAX:
            raise Unsafe(f"The qcow2 refcount table of {length} bytes is not allowed.")
        self._inside("refcount table", self.refcount_offset, length)

    def _snapshots(self) -> None:
        if self.snapshots > SNAPSHOTS_MAX:
            raise Unsafe(f"The qcow2 image has {self.snapshots} snapshots; {SNAPSHOTS_MAX} are allowed.")
        if self.snapshots:
            self._inside("snapshot table", self.snapshots_offset, self.snapshots * 40)

    def _l1(self) -> None:
        entry = 16 if self.incompatible & _EXTENDED_L2 else 8
        covered = self.cluster * (self.cluster // entry)
        needed = -(-self.virtual // covered)
        length = self.l1_entries * 8
        if length > TABLE_BYTES_MAX:
            raise Unsafe(f"The qcow2 L1 table of {length} bytes is not allowed.")
        if self.l1_entries < needed:
            raise Unsafe("The qcow2 L1 table is too small for the virtual size.")
        self._inside("L1 table", self.l1_offset, length)

    def _inside(self, what: str, offset: int, length: int) -> None:
        if offset % self.cluster or offset < self.cluster:
            raise Unsafe(f"The qcow2 {what} is not where it may be.")
        if offset + length > self._size:
            raise Unsafe(f"The qcow2 {what} is outside the file: the image is cut off.")
