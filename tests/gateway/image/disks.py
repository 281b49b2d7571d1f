"""Disk images of other formats made by hand, with the parts of them that can be wrong."""

import struct
from typing import Any
from uuid import UUID

SECTOR = 512
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
VIRTUAL = GIB


def descriptor(
    kind: str = "monolithicSparse",
    *,
    parent: str = "ffffffff",
    extents: str = f'RW {VIRTUAL // SECTOR} SPARSE "disk.vmdk"',
    more: str = "",
) -> bytes:
    lines = ["# Disk DescriptorFile", "version=1", "CID=fffffffe", f"parentCID={parent}"]
    return "\n".join([*lines, f'createType="{kind}"', more, extents, 'ddb.adapterType = "ide"', ""]).encode()


def vmdk(text: bytes | None = None, *, footer: bytes | None = None, **changed: Any) -> bytes:
    """A sparse extent with its descriptor; ``footer`` goes where a stream keeps its second header."""
    fields: dict[str, Any] = {
        "magic": b"KDMV",
        "version": 1,
        "flags": 3,
        "capacity": VIRTUAL // SECTOR,
        "grain": 128,
        "descriptor": 1,
        "descriptor_length": 20,
        "entries": 512,
        "second": 0,
        "directory": 24,
        "overhead": 128,
        **changed,
    }
    size = fields.pop("size", 128 * SECTOR)
    head = struct.pack("<4sIIQQQQIQQQ", *fields.values()).ljust(SECTOR, b"\0")
    body = (head + (descriptor() if text is None else text)).ljust(size, b"\0")
    if footer is not None:
        body += bytes(SECTOR) + footer[:SECTOR].ljust(SECTOR, b"\0") + bytes(SECTOR)
    return body


STREAM = descriptor("streamOptimized")
AT_END = (1 << 64) - 1


def stream(**footer: Any) -> bytes:
    """A stream-optimized image whose footer differs in ``footer`` from what it should be."""
    return vmdk(STREAM, version=3, directory=AT_END, footer=vmdk(STREAM, **{"version": 3, **footer}))


def vhd_footer(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "cookie": b"conectix",
        "features": 2,
        "version": 0x10000,
        "data_offset": 512,
        "time": 0,
        "creator": b"qemu",
        "creator_version": 0,
        "system": b"Wi2k",
        "original": VIRTUAL,
        "current": VIRTUAL,
        "cylinders": 16,
        "heads": 4,
        "sectors": 17,
        "kind": 3,
        **changed,
    }
    return struct.pack(">8sIIQI4sI4sQQHBBI", *fields.values()).ljust(512, b"\0")


def vhd(
    *, parent: bytes = b"", locator: bytes = b"", magic: bytes = b"cxsparse", table: Any = (), **changed: Any
) -> bytes:
    """A dynamic disk. ``table``: its offset, entries and block size."""
    offset, entries, block = table or (1536, 512, 2 * MIB)
    header = struct.pack(">8sQQIIII16s", magic, AT_END, offset, 0x10000, entries, block, 0, parent)
    header = (header.ljust(576, b"\0") + locator).ljust(1024, b"\0")
    return vhd_footer(**changed) + header + bytes(4 * KIB) + vhd_footer(**changed)


def fixed_vhd(size: int = MIB, **changed: Any) -> bytes:
    given = {"current": size, "kind": 2, "data_offset": AT_END, **changed}
    return bytes(size) + vhd_footer(**given)


BAT = UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA = UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
PARAMETERS = UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
SIZE = UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
PARENT = UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
OTHER = UUID("12345678-0000-0000-0000-000000000000")


def vhdx(
    *,
    regions: Any = ((BAT, 3 * MIB, MIB), (METADATA, 2 * MIB, MIB)),
    items: Any = None,
    logs: tuple[bytes, bytes] = (b"", b""),
    block: int = 32 * MIB,
    flags: int = 0,
    virtual: int = VIRTUAL,
    size: int = 4 * MIB,
    **magic: bytes,
) -> bytes:
    """``logs``: the log's GUID in the older and the newer header."""
    data = bytearray(size)

    def put(at: int, *parts: bytes) -> None:
        joined = b"".join(parts)
        data[at : at + len(joined)] = joined

    put(0, b"vhdxfile")
    for n, log in enumerate(logs):
        header = struct.pack("<4s4xQ32x16s", magic.get("head", b"head"), 7 + n, log)
        put((64 + 64 * n) * KIB, header)
    entries = [struct.pack("<16sQII", guid.bytes_le, offset, length, 1) for guid, offset, length in regions]
    put(192 * KIB, struct.pack("<4s4xI4x", magic.get("regi", b"regi"), len(entries)), *entries)
    if items is None:
        items = [(PARAMETERS, struct.pack("<II", block, flags)), (SIZE, struct.pack("<Q", virtual))]
    at = 2 * MIB
    put(at, struct.pack("<8s2xH20x", magic.get("metadata", b"metadata"), len(items)))
    for n, (guid, value) in enumerate(items):
        offset = 64 * KIB + n * KIB
        put(at + 32 * (n + 1), struct.pack("<16sIII4x", guid.bytes_le, offset, len(value), 4))
        put(at + offset, value)
    return bytes(data)


def vdi(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "signature": b"\x7f\x10\xda\xbe",
        "version": 0x10001,
        "header": 0x180,
        "kind": 1,
        "flags": 0,
        "map_offset": 512,
        "data_offset": 8192,
        "sector": 512,
        "virtual": VIRTUAL,
        "block": MIB,
        "extra": 0,
        "blocks": VIRTUAL // MIB,
        "allocated": 0,
        "link": b"",
        "parent": b"",
        **changed,
    }
    packed = struct.pack("<64x4sIIII256xII12xI4xQIIII32x16s16s", *fields.values())
    return packed.ljust(16 * KIB, b"\0")


def ploop(**changed: Any) -> bytes:
    fields: dict[str, Any] = {
        "magic": b"WithouFreSpacExt",
        "version": 2,
        "heads": 16,
        "cylinders": 100,
        "cluster": 2048,
        "entries": VIRTUAL // MIB,
        "sectors": VIRTUAL // SECTOR,
        "in_use": 0,
        "data": 2048,
        "flags": 0,
        "extension": 0,
        **changed,
    }
    return struct.pack("<16sIIIIIQIIIQ", *fields.values()).ljust(MIB, b"\0")


GOOD = {
    "vmdk": (vmdk(), "vmdk"),
    "vmdk stream": (stream(), "vmdk"),
    "vhd": (vhd(), "vhd"),
    "vhdx": (vhdx(), "vhdx"),
    "vhdx whose old header has a log": (vhdx(logs=(b"x", b"")), "vhdx"),
    "vdi": (vdi(), "vdi"),
    "vdi static": (vdi(kind=2), "vdi"),
    "ploop": (ploop(), "ploop"),
    "old ploop": (ploop(magic=b"WithoutFreeSpace", sectors=(9 << 32) + VIRTUAL // SECTOR), "ploop"),
}
REST = (BAT, 3 * MIB, MIB)
_SPARSE = f"RW {VIRTUAL // SECTOR} SPARSE"
HOSTILE = {
    "vmdk text alone": (
        descriptor("monolithicFlat", extents='RW 9 FLAT "/etc/shadow" 0'), "vmdk", "other files",
    ),
    "vmdk of old hosts": (b"COWD" + bytes(KIB), "vmdk", "other files"),
    "vmdk cut off": (vmdk()[:40], "vmdk", "cut off"),
    "vmdk version": (vmdk(version=7), "vmdk", "version 7"),
    "vmdk without capacity, so the descriptor leads": (
        vmdk(descriptor(extents='RW 9 FLAT "/etc/shadow" 0'), capacity=0), "vmdk", "virtual size",
    ),
    "vmdk absurd capacity": (vmdk(capacity=1 << 60), "vmdk", "virtual size"),
    "vmdk absurd grains": (vmdk(grain=3), "vmdk", "grain size"),
    "vmdk no grains": (vmdk(grain=0), "vmdk", "grain size"),
    "vmdk tiny grains": (vmdk(grain=1, capacity=1 << 31), "vmdk", "grain tables"),
    "vmdk absurd tables": (vmdk(entries=1 << 31), "vmdk", "grain table"),
    "vmdk without descriptor": (vmdk(descriptor=0), "vmdk", "no descriptor"),
    "vmdk descriptor beyond": (vmdk(descriptor=1 << 40), "vmdk", "no descriptor"),
    "vmdk huge descriptor": (vmdk(descriptor_length=1 << 30), "vmdk", "no descriptor"),
    "vmdk empty descriptor": (vmdk(b""), "vmdk", "createType"),
    "vmdk flat": (vmdk(descriptor("monolithicFlat")), "vmdk", "type 'monolithicFlat'"),
    "vmdk two types": (vmdk(descriptor(more='createType="monolithicFlat"')), "vmdk", "createType once"),
    "vmdk parent": (vmdk(descriptor(parent="12345678")), "vmdk", "parent"),
    "vmdk parent hint": (vmdk(descriptor(more='parentFileNameHint="/etc/shadow"')), "vmdk", "parent"),
    "vmdk parent hint elsewhere": (
        vmdk(descriptor().ljust(2 * KIB, b"\0") + b'parentFileNameHint="/etc/shadow"'), "vmdk", "parent",
    ),
    "vmdk hint where hypervisors look": (
        vmdk(b'parentFileNameHint="/x"'.ljust(40 * SECTOR, b"\0") + descriptor(), descriptor=41, size=MIB),
        "vmdk", "parent",
    ),
    "vmdk flat extent": (vmdk(descriptor(extents='RW 2097152 FLAT "/etc/shadow" 0')), "vmdk", "another file"),
    "vmdk extent with a path": (vmdk(descriptor(extents=f'{_SPARSE} "/etc/shadow"')), "vmdk", "another file"),
    "vmdk extent with an offset": (vmdk(descriptor(extents=f'{_SPARSE} "a" 9')), "vmdk", "another file"),
    "vmdk two extents": (vmdk(descriptor(extents=f'{_SPARSE} "a"\n{_SPARSE} "b"')), "vmdk", "one extent"),
    "vmdk no extent": (vmdk(descriptor(extents="")), "vmdk", "one extent"),
    "vmdk half an extent": (vmdk(descriptor(extents=f'{_SPARSE} "a"\nRW 9 "b')), "vmdk", "one extent"),
    "vmdk short extent": (vmdk(descriptor(extents='RW 9 SPARSE "a"')), "vmdk", "not as large"),
    "vmdk directory at the end of no stream": (vmdk(directory=AT_END), "vmdk", "not streamOptimized"),
    "vmdk directory beyond": (vmdk(directory=1 << 40), "vmdk", "outside"),
    "vmdk stream without footer": (vmdk(STREAM, directory=AT_END), "vmdk", "other files"),
    "vmdk stream with another footer": (stream(capacity=1 << 40), "vmdk", "contradict"),
    "vmdk stream whose footer has another descriptor": (stream(descriptor=99), "vmdk", "contradict"),
    "vhd differencing": (vhd(kind=4), "vhd", "parent"),
    "vhd parent": (vhd(parent=b"x" * 16), "vhd", "parent"),
    "vhd locator": (vhd(locator=b"W2ku"), "vhd", "parent"),
    "vhd kind": (vhd(kind=2), "vhd", "type 2"),
    "vhd size": (vhd(current=1 << 60), "vhd", "virtual size"),
    "vhd no size": (vhd(current=0, cylinders=0), "vhd", "virtual size"),
    "vhd size by geometry": (vhd(cylinders=65535, heads=15, sectors=255), "vhd", "too small"),
    "vhd header beyond": (vhd(data_offset=1 << 40), "vhd", "no dynamic header"),
    "vhd no header": (vhd(magic=b"nothing!"), "vhd", "no dynamic header"),
    "vhd blocks": (vhd(table=(1536, 512, 3)), "vhd", "block size"),
    "vhd table beyond": (vhd(table=(1 << 40, 512, 2 * MIB)), "vhd", "outside"),
    "vhd absurd table": (vhd(table=(1536, 1 << 31, 2 * MIB)), "vhd", "not allowed"),
    "vhd short table": (vhd(table=(1536, 1, 2 * MIB)), "vhd", "too small"),
    "vhd fixed, cut off": (fixed_vhd(current=GIB), "vhd", "cut off"),
    "vhd fixed, dynamic by its footer": (fixed_vhd(kind=3), "vhd", "type 3"),
    "vhd without footer": (bytes(MIB), "vhd", "footer"),
    "vhdx parent by flag": (vhdx(flags=2), "vhdx", "parent"),
    "vhdx parent by locator": (
        vhdx(items=[(PARAMETERS, struct.pack("<II", 32 * MIB, 0)), (SIZE, bytes(8)), (PARENT, b"x")]),
        "vhdx", "parent",
    ),
    "vhdx open": (vhdx(logs=(b"", b"x")), "vhdx", "not closed"),
    "vhdx size": (vhdx(virtual=1 << 60), "vhdx", "virtual size"),
    "vhdx blocks": (vhdx(block=77), "vhdx", "block size"),
    "vhdx no headers": (vhdx(head=b"none"), "vhdx", "cut off"),
    "vhdx no regions": (vhdx(regi=b"none"), "vhdx", "region table"),
    "vhdx no metadata": (vhdx(metadata=b"nothing!"), "vhdx", "no metadata"),
    "vhdx metadata beyond": (vhdx(regions=(REST, (METADATA, GIB, MIB))), "vhdx", "no metadata"),
    "vhdx huge metadata": (vhdx(regions=((BAT, 3 * MIB, MIB), (METADATA, MIB, GIB))), "vhdx", "not allowed"),
    "vhdx metadata in the header": (vhdx(regions=(REST, (METADATA, 0, MIB))), "vhdx", "regions"),
    "vhdx unknown region": (vhdx(regions=((BAT, 3 * MIB, MIB), (OTHER, 2 * MIB, MIB))), "vhdx", "regions"),
    "vhdx two of a region": (vhdx(regions=((BAT, 3 * MIB, MIB), (BAT, 2 * MIB, MIB))), "vhdx", "regions"),
    "vhdx one region": (vhdx(regions=((METADATA, 2 * MIB, MIB),)), "vhdx", "lacks"),
    "vhdx table beyond": (vhdx(regions=((BAT, GIB, MIB), (METADATA, 2 * MIB, MIB))), "vhdx", "outside"),
    "vhdx item missing": (vhdx(items=[(SIZE, bytes(8))]), "vhdx", "cut off"),
    "vhdx item twice": (vhdx(items=[(SIZE, bytes(8)), (SIZE, bytes(8))]), "vhdx", "contradicts"),
    "vhdx cut off": (vhdx()[: 100 * KIB], "vhdx", "cut off"),
    "vdi differencing": (vdi(kind=4), "vdi", "parent"),
    "vdi parent": (vdi(parent=b"x"), "vdi", "parent"),
    "vdi link": (vdi(link=b"x"), "vdi", "parent"),
    "vdi version": (vdi(version=2), "vdi", "version"),
    "vdi blocks": (vdi(block=512), "vdi", "blocks"),
    "vdi size": (vdi(virtual=1 << 60), "vdi", "virtual size"),
    "vdi short map": (vdi(blocks=1), "vdi", "too small"),
    "vdi absurd map": (vdi(blocks=(1 << 32) - 1), "vdi", "not allowed"),
    "vdi map beyond": (vdi(map_offset=1 << 31), "vdi", "outside"),
    "vdi cut off": (vdi()[:300], "vdi", "cut off"),
    "ploop open": (ploop(in_use=0x746F6E59), "ploop", "not closed"),
    "ploop version": (ploop(version=1), "ploop", "version"),
    "ploop extension": (ploop(extension=1), "ploop", "extensions"),
    "ploop cluster": (ploop(cluster=3), "ploop", "cluster size"),
    "ploop size": (ploop(sectors=1 << 60), "ploop", "virtual size"),
    "ploop short map": (ploop(entries=1), "ploop", "too small"),
    "ploop map beyond": (ploop(entries=1 << 20), "ploop", "outside"),
    "ploop absurd map": (ploop(entries=1 << 31), "ploop", "not allowed"),
    "ploop cut off": (ploop()[:50], "ploop", "cut off"),
    "qed": (b"QED\0" + bytes(KIB), "qed", "not taken"),
}  # fmt: skip
