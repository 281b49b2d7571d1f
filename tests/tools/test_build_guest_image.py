"""The guest builder's pure parts; that its guests boot is shown by the drivers' conformance suite."""

import stat
from pathlib import Path

from tools import build_guest_image as builder
from tools.build_guest_image import Entry


def test_cpio_is_what_the_kernel_documents() -> None:
    archive = builder.cpio([Entry("a", stat.S_IFREG | 0o644, b"xyz"), Entry("dev", stat.S_IFDIR | 0o755)])
    assert archive[:6] == b"070701"
    assert int(archive[14:22], 16) == stat.S_IFREG | 0o644
    assert archive[110:112] == b"a\0"
    assert archive[112:115] == b"xyz"
    assert len(archive) % 4 == 0
    assert archive.rstrip(b"\0").endswith(b"TRAILER!!!")


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    kernel.mkdir()
    for name, needs in {"virtio_net": "net_failover,virtio", "net-failover": "", "virtio": ""}.items():
        (kernel / f"{name}.ko").write_bytes(b"\x7fELF\0depends=" + needs.encode() + b"\0name=x\0")
    order = [path.stem for path in builder.module_order(tmp_path, ["virtio_net", "virtio", "ext4"])]
    assert order == ["net-failover", "virtio", "virtio_net"]


def test_signature_is_taken_off() -> None:
    signature = b"s" * 40
    signed = b"module" + signature + bytes(8) + (40).to_bytes(4, "big") + builder.MODULE_SIGNATURE
    assert builder.without_signature(signed) == b"module"
    assert builder.without_signature(b"module") == b"module"


def test_disk_has_one_partition_and_room_for_the_guests_own(tmp_path: Path) -> None:
    mbr = tmp_path / "mbr.bin"
    mbr.write_bytes(b"\xfa" * 440)
    parts = builder.Parts(tmp_path, mbr, tmp_path, mbr, mbr)
    boot = bytes(4 * builder.SECTOR)
    disk = builder.disk(parts, boot)
    assert disk[510:512] == b"\x55\xaa"
    assert disk[446] == 0x80
    assert int.from_bytes(disk[454:458], "little") == builder.BOOT_START
    assert int.from_bytes(disk[458:462], "little") == 4
    assert disk[462:478] == bytes(16)
    assert len(disk) == builder.BOOT_START * builder.SECTOR + len(boot) + builder.STATE_ROOM


def test_key_depends_on_the_versions_of_what_goes_in() -> None:
    assert builder.content_key(["kernel 1"]) == builder.content_key(["kernel 1"])
    assert builder.content_key(["kernel 1"]) != builder.content_key(["kernel 2"])


def test_every_script_of_the_guest_is_shipped() -> None:
    shipped = {entry.name for entry in builder.files()}
    assert {"init", "etc/inittab", "guest/cloud", "guest/heartbeat", "guest/stop"} <= shipped
    assert (
        len([name for name in shipped if name.startswith("guest/")]) == len(list(builder.GUEST.iterdir())) - 2
    )
