"""Is data what it says, and safe to open? Judged from its headers and its size alone; no image program runs.

A header may name other files of the host that opens it (backing file, external data, extents, parents), claim
sizes that exhaust whoever allocates tables for them, or point outside the file. All of that is refused, with
the reason. A format is one module; this one tells formats apart and asks the right one. Sizes in bytes.
"""

from collections.abc import Callable, Mapping
from typing import Final

from gateway.image.inspect import qcow2, vdi, vhd, vhdx, vmdk
from gateway.image.inspect.verdict import (
    HEAD_BYTES,
    TAIL_BYTES,
    VIRTUAL_BYTES_MAX,
    Judged,
    Sight,
    Unsafe,
)

__all__ = ["HEAD_BYTES", "VIRTUAL_BYTES_MAX", "Inspector", "Judged", "Sight", "Unsafe", "detected", "judge"]

TELLING_BYTES: Final = 64 << 10
"""Enough of the beginning to tell formats apart."""
_ISO_OFFSET: Final = 0x8001
_VMDK_DESCRIPTOR: Final = b"# disk descriptorfile"
_DESCRIPTOR_SEARCH: Final = 512
_SIGNATURES: Final = (
    ("qcow2", 0, b"QFI\xfb"),
    ("qed", 0, b"QED\0"),
    ("vmdk", 0, b"KDMV"),
    ("vmdk", 0, b"COWD"),
    ("vdi", 0x40, b"\x7f\x10\xda\xbe"),
    ("vhdx", 0, b"vhdxfile"),
    ("vhd", 0, vhd.COOKIE),
    ("ploop", 0, b"WithoutFreeSpace"),
    ("ploop", 0, b"WithouFreSpacExt"),
)
_PLAIN: Final = frozenset({"raw", "iso", "ami", "ari", "aki"})
"""Formats without a header: what is in the file is what the guest sees."""
_CHECKS: Final[Mapping[str, Callable[[Sight, int], int]]] = {
    "qcow2": qcow2.check,
    "vmdk": vmdk.check,
    "vhd": vhd.check,
    "vhdx": vhdx.check,
    "vdi": vdi.check_vdi,
    "ploop": vdi.check_ploop,
}


def detected(head: bytes) -> str:
    """The format that the first bytes show; ``raw`` when they show none."""
    for name, offset, magic in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return name
    if _VMDK_DESCRIPTOR in head[:_DESCRIPTOR_SEARCH].lower():
        return "vmdk"
    if head[_ISO_OFFSET : _ISO_OFFSET + 5] == b"CD001":
        return "iso"
    return "raw"


def check_format(head: bytes, declared: str) -> None:
    """Refuse data that is something else than declared, as soon as its beginning is there.

    An ISO image may be declared raw: it is a disk's content like any other. A fixed vhd shows itself only
    at its end. Raises Unsafe.
    """
    found = detected(head)
    if found in _PLAIN and declared in _PLAIN and (declared != "iso" or found == "iso"):
        return
    if found != declared and not (declared == "vhd" and found == "raw"):
        raise Unsafe(f"The image is declared to be {declared}, but its content is {found}.")


def judge(
    sight: Sight, declared: str, *, min_disk_gib: int = 0, virtual_bytes_max: int = VIRTUAL_BYTES_MAX
) -> Judged:
    """The verdict on complete data. ``min_disk_gib``: the disk inside must fit into it. Raises Unsafe."""
    check_format(sight.head, declared)
    if declared not in _PLAIN and declared not in _CHECKS:
        raise Unsafe(f"Images of the format {declared} are not taken.")
    check = _CHECKS.get(declared)
    virtual = sight.size_bytes if check is None else check(sight, virtual_bytes_max)
    if virtual > virtual_bytes_max:
        raise Unsafe(f"The disk of {virtual} bytes is larger than {virtual_bytes_max} bytes.")
    if min_disk_gib and virtual > min_disk_gib << 30:
        raise Unsafe(
            f"The disk of {virtual} bytes does not fit into the image's min_disk, {min_disk_gib} GiB."
        )
    return Judged(declared, virtual)


class Inspector:
    """Looks at data that passes, once and in order, and keeps what the verdict needs of it."""

    def __init__(self, declared: str) -> None:
        self._declared = declared
        self._head, self._tail, self._seen = bytearray(), b"", 0
        self._told = False
        self._at = 0
        self._region: bytearray | None = None

    def feed(self, block: bytes) -> None:
        """The next bytes. Raises Unsafe as soon as the beginning shows another format."""
        start, self._seen = self._seen, self._seen + len(block)
        if len(self._head) < HEAD_BYTES:
            self._head += block[: HEAD_BYTES - len(self._head)]
        if not self._told and len(self._head) >= TELLING_BYTES:
            self._told = True
            check_format(bytes(self._head[:TELLING_BYTES]), self._declared)
        if self._declared == "vhdx" and self._region is None and len(self._head) >= vhdx.HEAD_NEEDED:
            self._at, stop = vhdx.region(bytes(self._head))
            self._region = bytearray(stop - self._at)
        if self._region is not None:
            _overlap(self._region, self._at, block, start)
        self._tail = (self._tail + block[-TAIL_BYTES:])[-TAIL_BYTES:]

    def seen(self) -> Sight:
        """What was kept, when all has passed."""
        return Sight(bytes(self._head), self._tail, self._seen, bytes(self._region or b""))


def _overlap(region: bytearray, at: int, block: bytes, start: int) -> None:
    """Copy into the region, which begins ``at``, what of it is in the block, which begins at ``start``."""
    first, last = max(at, start), min(at + len(region), start + len(block))
    if first < last:
        region[first - at : last - at] = block[first - start : last - start]
