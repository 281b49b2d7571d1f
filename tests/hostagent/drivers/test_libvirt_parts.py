"""The libvirt driver's parts that need no libvirtd: disks, folders, the probe."""

import os
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from hostagent.driver import DriverError
from hostagent.drivers.libvirt import disk, files, probe
from hostagent.drivers.libvirt.files import GuestFolder
from tests.hostagent.drivers.specs import IMAGE, INSTANCE, spec

needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")
needs_qemu = pytest.mark.skipif(not shutil.which(probe.QEMU), reason="needs QEMU")
QCOW2 = replace(IMAGE, disk_format="qcow2")


def _create(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", "create", "-q", *map(str, arguments)], check=True)


# Disks.


@needs_qemu_img
async def test_an_image_that_names_another_file_is_refused(tmp_path: Path) -> None:
    secret, image = tmp_path / "secret", tmp_path / "image"
    secret.write_bytes(bytes(1 << 16))
    _create("-f", "qcow2", "-b", secret, "-F", "raw", image)
    with pytest.raises(DriverError) as refused:
        await disk.check_image(image, QCOW2)
    assert refused.value.code == "image_unsupported"
    assert str(tmp_path) not in refused.value.reason


@needs_qemu_img
async def test_an_image_with_a_data_file_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    _create("-f", "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on", image, "1M")
    with pytest.raises(DriverError) as refused:
        await disk.check_image(image, QCOW2)
    assert refused.value.code == "image_unsupported"


@needs_qemu_img
async def test_an_image_of_another_format_than_declared_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(1 << 16))
    with pytest.raises(DriverError) as refused:
        await disk.check_image(image, QCOW2)
    assert refused.value.code == "image_corrupt"
    with pytest.raises(DriverError) as refused:
        await disk.check_image(image, replace(IMAGE, disk_format="vmdk"))
    assert refused.value.code == "image_unsupported"


@needs_qemu_img
async def test_raw_bytes_that_look_like_qcow2_stay_raw(tmp_path: Path) -> None:
    secret, image, overlay = tmp_path / "secret", tmp_path / "image", tmp_path / "disk.qcow2"
    secret.write_bytes(b"secret".ljust(1 << 16))
    _create("-f", "qcow2", "-b", secret, "-F", "raw", image)
    await disk.check_image(image, replace(IMAGE, disk_format="raw"))
    await disk.make_overlay(image, "raw", overlay, 0)
    # As many sectors as the file has: its bytes are the disk, what they claim is not looked at.
    assert (await disk.inspect(overlay, "qcow2")).virtual_size == -(-image.stat().st_size // 512) * 512


@needs_qemu_img
async def test_overlay_is_as_large_as_the_flavor_and_the_image_must_fit(tmp_path: Path) -> None:
    image, overlay = tmp_path / "image", tmp_path / "disk.qcow2"
    _create("-f", "qcow2", image, "2G")
    with pytest.raises(DriverError) as refused:
        await disk.make_overlay(image, "qcow2", overlay, 1)
    assert refused.value.code == "image_too_large"
    await disk.make_overlay(image, "qcow2", overlay, 3)
    info = await disk.inspect(overlay, "qcow2")
    assert (info.virtual_size, info.backing) == (3 << 30, str(image))
    assert not overlay.with_suffix(".part").exists()


# Folders.


@pytest.mark.parametrize("ident", ["", "..", "../x", "_base", INSTANCE.upper(), f"{INSTANCE}/.."])
def test_a_folder_is_only_made_for_a_uuid(tmp_path: Path, ident: str) -> None:
    with pytest.raises(DriverError):
        GuestFolder(tmp_path, ident)


def test_note_survives_and_says_which_images_are_in_use(tmp_path: Path) -> None:
    folder = GuestFolder(tmp_path, INSTANCE)
    folder.make(spec(generation=4))
    note = folder.note()
    assert note is not None
    assert (note.instance, note.generation) == (INSTANCE, 4)
    assert files.images_in_use(tmp_path) == {IMAGE.image}
    (folder.path / "guest.json").write_text("{")
    assert files.images_in_use(tmp_path) is None
    folder.remove()
    folder.remove()
    assert files.images_in_use(tmp_path) == set()


def test_config_drive_is_not_for_everybody(tmp_path: Path) -> None:
    folder = GuestFolder(tmp_path, INSTANCE)
    folder.make(spec())
    folder.write_config_drive(b"user data")
    assert folder.config_drive.stat().st_mode & 0o077 == 0


def test_console_is_cut_in_place_and_read_across_the_cut(tmp_path: Path) -> None:
    folder = GuestFolder(tmp_path, INSTANCE)
    folder.make(spec())
    with folder.console_log.open("ab", buffering=0) as written_by_qemu:
        written_by_qemu.write(b"0123456789")
        folder.cut_console(10)
        assert folder.console_log.stat().st_size == 10
        written_by_qemu.write(b"A")
        folder.cut_console(10)
        assert folder.console_log.stat().st_size == 0
        written_by_qemu.write(b"B")
    assert folder.read_console(100) == b"123456789AB"
    assert folder.read_console(3) == b"9AB"
    assert folder.read_console(1) == b"B"
    assert folder.read_console(0) == b""


def test_console_of_a_guest_that_wrote_nothing_is_empty(tmp_path: Path) -> None:
    folder = GuestFolder(tmp_path, INSTANCE)
    folder.cut_console(10)
    assert folder.read_console(100) == b""


# The probe.


@needs_qemu
async def test_the_probe_guest_runs_in_the_emulator() -> None:
    assert await probe.runs_guests("tcg", seconds=60.0)


@needs_qemu
async def test_an_accelerator_that_does_not_exist_runs_nothing() -> None:
    assert not await probe.runs_guests("no-such-accelerator")


async def test_the_answer_is_remembered_until_kernel_or_qemu_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    versions = iter(["7.2", "7.2", "8.0"])

    async def ran(accelerator: str, seconds: float = 0.0) -> bool:
        asked.append(accelerator)
        return True

    async def version() -> str:
        return next(versions)

    monkeypatch.setattr(probe, "runs_guests", ran)
    monkeypatch.setattr(probe, "_qemu_version", version)
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert [await probe.kvm_runs_guests(tmp_path) for _ in range(3)] == [True, True, True]
    assert asked == ["kvm", "kvm"]
    assert msgspec.json.decode((tmp_path / probe.MEMORY_FILE).read_bytes())["qemu"] == "8.0"


async def test_without_the_device_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert not await probe.kvm_runs_guests(tmp_path)
    assert list(tmp_path.iterdir()) == []
