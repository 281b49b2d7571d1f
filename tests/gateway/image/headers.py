"""Images made by hand: a whole qcow2 and the parts of it that can be wrong."""

import struct
from typing import Any

CLUSTER = 1 << 16


def qcow2(size: int = 1 << 30, *, version: int = 3, extensions: bytes = b"", **changed: Any) -> bytes:
    """An empty qcow2 image of ``size`` virtual bytes: header, refcount table and block, L1 table."""
    fields: dict[str, Any] = {
        "magic": b"QFI\xfb",
        "version": version,
        "backing_offset": 0,
        "backing_length": 0,
        "cluster_bits": 16,
        "virtual": size,
        "encryption": 0,
        "l1_entries": -(-size // (CLUSTER * CLUSTER // 8)),
        "l1_offset": 3 * CLUSTER,
        "refcount_offset": CLUSTER,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshots_offset": 0,
        "incompatible": 0,
        "compatible": 0,
        "autoclear": 0,
        "refcount_order": 4,
        "length": 104,
        "clusters": 4,
        **changed,
    }
    clusters = fields.pop("clusters")
    values = list(fields.values())
    head = struct.pack(">4sIQIIQIIQQIIQ", *values[:13])
    if version >= 3:
        head += struct.pack(">QQQII", *values[13:18])
    return (head + extensions).ljust(clusters * CLUSTER, b"\0")


def extension(kind: int, data: bytes, length: int | None = None) -> bytes:
    said = len(data) if length is None else length
    return struct.pack(">II", kind, said) + data.ljust(-(-len(data) // 8) * 8, b"\0")


GOOD = {
    "version 3": qcow2(),
    "version 2": qcow2(version=2),
    "zstd": qcow2(incompatible=8, length=112),
    "extended L2": qcow2(incompatible=16, l1_entries=4),
    "feature names": qcow2(extensions=extension(0x6803F857, b"\0" * 48) + extension(0, b"")),
    "unknown extension": qcow2(extensions=extension(0x12345678, b"note") + extension(0, b"")),
}
HOSTILE = {
    "cut off": (qcow2()[:60], "cut off"),
    "cut off in version 3": (qcow2()[:100], "cut off"),
    "version 1": (qcow2(version=1), "version 1"),
    "version 9": (qcow2(version=9), "version 9"),
    "backing file": (qcow2(backing_offset=0x200, backing_length=11), "backing file"),
    "backing length alone": (qcow2(backing_length=11), "backing file"),
    "external data bit": (qcow2(incompatible=4), "another file"),
    "raw external data": (qcow2(autoclear=2), "another file"),
    "external data name": (qcow2(extensions=extension(0x44415441, b"/etc/shadow")), "external data"),
    "external data after others": (
        qcow2(extensions=extension(0x6803F857, b"\0" * 48) + extension(0x44415441, b"/etc/passwd")),
        "external data",
    ),
    "encryption header": (qcow2(extensions=extension(0x0537BE77, b"\0" * 16)), "encrypted"),
    "encrypted": (qcow2(encryption=1), "encrypted"),
    "luks": (qcow2(encryption=2), "encrypted"),
    "unknown feature": (qcow2(incompatible=1 << 40), "unknown features"),
    "corrupt": (qcow2(incompatible=2), "corrupt"),
    "dirty": (qcow2(incompatible=1), "not closed"),
    "huge cluster": (qcow2(cluster_bits=63), "cluster size"),
    "tiny cluster": (qcow2(cluster_bits=4), "cluster size"),
    "no size": (qcow2(virtual=0), "virtual size"),
    "absurd size": (qcow2(virtual=1 << 60), "virtual size"),
    "size wraps": (qcow2(virtual=(1 << 64) - 1), "virtual size"),
    "absurd L1": (qcow2(l1_entries=1 << 30), "L1 table"),
    "short L1": (qcow2(size=1 << 40, l1_entries=1), "too small"),
    "L1 beyond the end": (qcow2(l1_offset=1 << 40), "outside"),
    "L1 in the header": (qcow2(l1_offset=0), "not where"),
    "L1 askew": (qcow2(l1_offset=3 * CLUSTER + 8), "not where"),
    "absurd refcounts": (qcow2(refcount_clusters=1 << 31), "refcount table"),
    "no refcounts": (qcow2(refcount_clusters=0), "refcount table"),
    "refcounts beyond the end": (qcow2(refcount_offset=1 << 62), "outside"),
    "refcount order": (qcow2(refcount_order=200), "refcount order"),
    "many snapshots": (qcow2(snapshots=60_000), "snapshots"),
    "snapshots beyond the end": (qcow2(snapshots=1, snapshots_offset=1 << 40), "outside"),
    "short header": (qcow2(length=72), "header length"),
    "long header": (qcow2(length=1 << 20), "header length"),
    "odd header": (qcow2(length=105), "header length"),
    "extension beyond the header": (qcow2(extensions=extension(1, b"", length=1 << 31)), "beyond the header"),
    "cut off tables": (qcow2(clusters=2), "outside"),
}
OTHERS = {
    "vmdk": b"KDMV" + b"\0" * 600,
    "vmdk text": b"# Disk DescriptorFile\nversion=1\n" + b"\0" * 600,
    "vdi": (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe").ljust(
        700, b"\0"
    ),
    "vhd": b"conectix" + b"\0" * 600,
    "vhdx": b"vhdxfile" + b"\0" * 600,
    "qed": b"QED\0" + b"\0" * 600,
    "qcow2": qcow2(),
    "qcow1": b"QFI\xfb\0\0\0\1" + b"\0" * 600,
    "ploop": b"WithoutFreeSpace" + b"\0" * 600,
}
ISO = bytes(0x8001) + b"CD001" + bytes(2048)
