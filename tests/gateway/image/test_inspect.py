"""What may be stored, judged by content: a corpus of good and hostile images."""

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.image.inspect import Inspector, Judged, Unsafe, detected, judge
from tests.gateway.image import disks
from tests.gateway.image.headers import GOOD, HOSTILE, ISO, OTHERS, extension, qcow2

FORMATS = ["qcow2", "vmdk", "vhd", "vhdx", "vdi", "ploop"]
SAMPLES = {"qcow2": qcow2(), **{declared: data for data, declared in disks.GOOD.values()}}


def verdict(data: bytes, declared: str = "qcow2", *, piece: int = 1 << 20, **more: int) -> Judged:
    inspector = Inspector(declared)
    for at in range(0, len(data), piece):
        inspector.feed(data[at : at + piece])
    return judge(inspector.seen(), declared, **more)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_qcow2_is_taken_with_its_size(name: str) -> None:
    assert verdict(GOOD[name]) == Judged("qcow2", 1 << 30)


@pytest.mark.parametrize("piece", [777, 64 << 10, 1 << 22])
@pytest.mark.parametrize("name", disks.GOOD)
def test_a_good_image_of_another_format_is_taken_with_its_size(name: str, piece: int) -> None:
    data, declared = disks.GOOD[name]
    assert verdict(data, declared, piece=piece) == Judged(declared, disks.VIRTUAL)


def test_a_fixed_vhd_shows_itself_at_its_end() -> None:
    assert verdict(disks.fixed_vhd(), "vhd") == Judged("vhd", 1 << 20)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_qcow2_is_refused_with_the_reason(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(Unsafe, match=reason):
        verdict(data)


@pytest.mark.parametrize("name", disks.HOSTILE)
def test_a_hostile_image_is_refused_with_the_reason(name: str) -> None:
    data, declared, reason = disks.HOSTILE[name]
    with pytest.raises(Unsafe, match=reason):
        verdict(data, declared)


def test_a_qcow2_with_bitmaps_is_refused() -> None:
    with pytest.raises(Unsafe, match="bitmaps"):
        verdict(qcow2(extensions=extension(0x23852875, b"\0" * 24)))


@pytest.mark.parametrize("declared", ["raw", "iso", "ami", "aki", "ari"])
@pytest.mark.parametrize("name", OTHERS)
def test_what_a_hypervisor_would_probe_is_not_raw(name: str, declared: str) -> None:
    with pytest.raises(Unsafe, match=f"declared to be {declared}"):
        verdict(OTHERS[name], declared)


@pytest.mark.parametrize("declared", FORMATS)
@pytest.mark.parametrize("content", [b"", b"x", bytes(1000), ISO, *OTHERS.values(), *SAMPLES.values()])
def test_what_is_mislabelled_is_refused(content: bytes, declared: str) -> None:
    if detected(content) != declared:
        with pytest.raises(Unsafe, match=r"declared to be|footer"):
            verdict(content, declared)


def test_a_mislabelled_stream_is_refused_before_its_end() -> None:
    inspector = Inspector("raw")
    with pytest.raises(Unsafe, match="content is qcow2"):
        inspector.feed(qcow2()[: 64 << 10])


def test_raw_and_iso() -> None:
    assert verdict(bytes(1000), "raw").virtual_bytes == 1000
    assert verdict(b"", "raw").virtual_bytes == 0
    assert verdict(ISO, "iso").virtual_bytes == len(ISO)
    assert verdict(ISO, "raw").virtual_bytes == len(ISO)
    with pytest.raises(Unsafe, match="content is raw"):
        verdict(bytes(1000), "iso")


@pytest.mark.parametrize("declared", FORMATS)
def test_limits_on_the_disk_inside(declared: str) -> None:
    data = SAMPLES[declared]
    with pytest.raises(Unsafe, match="virtual size"):
        verdict(data, declared, virtual_bytes_max=(1 << 30) - 1)
    assert verdict(data, declared, min_disk_gib=1).virtual_bytes == 1 << 30


def test_a_disk_must_fit_into_min_disk() -> None:
    with pytest.raises(Unsafe, match="min_disk"):
        verdict(qcow2(3 << 30), min_disk_gib=2)
    assert verdict(qcow2(2 << 30), min_disk_gib=2).virtual_bytes == 2 << 30
    with pytest.raises(Unsafe, match="larger than"):
        verdict(bytes(1000), "raw", virtual_bytes_max=999)


@given(st.sampled_from(FORMATS), st.binary(max_size=2000), st.integers(1, 3000))
def test_any_header_has_a_verdict(declared: str, tail: bytes, piece: int) -> None:
    with contextlib.suppress(Unsafe):
        verdict(SAMPLES[declared][:8] + tail, declared, piece=piece)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(FORMATS), st.data())
def test_a_changed_image_has_a_verdict_and_never_an_absurd_one(declared: str, chance: st.DataObject) -> None:
    data = bytearray(SAMPLES[declared])
    ends = (
        [200, 1024, 2048] if declared != "vhdx" else [200, 192 << 10, 193 << 10, 2 << 20, (2 << 20) + 66_000]
    )
    for _ in range(chance.draw(st.integers(1, 4))):
        near = chance.draw(st.sampled_from(ends))
        at = chance.draw(st.integers(max(0, near - 200), near))
        value = chance.draw(st.binary(min_size=1, max_size=8))
        data[at : at + len(value)] = value
    with contextlib.suppress(Unsafe):
        found = verdict(bytes(data), declared)
        assert found.virtual_bytes
        assert 0 < found.virtual_bytes <= 2 << 40


def test_any_flipped_byte_of_a_good_header_has_a_verdict() -> None:
    chance = random.Random(7)
    good = GOOD["feature names"]
    for _ in range(3000):
        data = bytearray(good)
        data[chance.randrange(160)] = chance.randrange(256)
        try:
            found = verdict(bytes(data))
        except Unsafe:
            continue
        assert found.virtual_bytes
        assert 0 < found.virtual_bytes <= 2 << 40


def _made(path: Path, name: str, *options: str, size: str = "5G") -> bytes:
    subprocess.run(["qemu-img", "create", "-q", "-f", name, *options, path, size], check=True)
    return path.read_bytes()


needs_qemu = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")


@needs_qemu
@pytest.mark.parametrize(
    "options", ["", "compat=0.10", "cluster_size=512", "cluster_size=2M", "extended_l2=on,cluster_size=128k"]
)
def test_what_qemu_makes_is_taken(tmp_path: Path, options: str) -> None:
    path = tmp_path / "disk"
    more = ["-o", options] if options else []
    assert verdict(_made(path, "qcow2", *more)).virtual_bytes == 5 << 30
    _made(tmp_path / "over", "qcow2", "-b", str(path), "-F", "qcow2")
    with pytest.raises(Unsafe, match="backing file"):
        verdict((tmp_path / "over").read_bytes())


@needs_qemu
@pytest.mark.parametrize(
    ("name", "declared", "options", "size"),
    [
        ("vmdk", "vmdk", "", 5 << 30),
        ("vmdk", "vmdk", "subformat=streamOptimized", 5 << 30),
        ("vpc", "vhd", "force_size=on", 5 << 30),
        ("vpc", "vhd", "subformat=fixed,force_size=on", 4 << 20),
        ("vhdx", "vhdx", "", 5 << 30),
        ("vhdx", "vhdx", "subformat=fixed", 4 << 20),
        ("vdi", "vdi", "", 5 << 30),
        ("vdi", "vdi", "static=on", 4 << 20),
        ("parallels", "ploop", "", 5 << 30),
    ],
)
def test_what_qemu_makes_of_other_formats_is_taken(
    tmp_path: Path, name: str, declared: str, options: str, size: int
) -> None:
    more = ["-o", options] if options else []
    assert verdict(_made(tmp_path / "disk", name, *more, size=str(size)), declared).virtual_bytes == size


@needs_qemu
@pytest.mark.parametrize("subformat", ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"])
def test_a_vmdk_of_several_files_is_refused(tmp_path: Path, subformat: str) -> None:
    made = _made(tmp_path / "d.vmdk", "vmdk", "-o", f"subformat={subformat}")
    with pytest.raises(Unsafe, match="other files"):
        verdict(made, "vmdk")


@needs_qemu
def test_a_vmdk_over_another_is_refused(tmp_path: Path) -> None:
    _made(tmp_path / "base.vmdk", "vmdk", size="1G")
    with pytest.raises(Unsafe, match="parent"):
        verdict(_made(tmp_path / "d.vmdk", "vmdk", "-b", "base.vmdk", "-F", "vmdk", size="1G"), "vmdk")


@needs_qemu
def test_a_qcow2_with_data_elsewhere_is_refused(tmp_path: Path) -> None:
    made = _made(tmp_path / "d", "qcow2", "-o", f"data_file={tmp_path / 'data'},data_file_raw=on")
    with pytest.raises(Unsafe, match="another file"):
        verdict(made)


@needs_qemu
def test_a_compressed_stream_is_taken(tmp_path: Path) -> None:
    raw, made = tmp_path / "raw", tmp_path / "d.vmdk"
    raw.write_bytes(random.Random(1).randbytes(3 << 20) + bytes(1 << 20))
    command = ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"]
    subprocess.run([*command, raw, made], check=True)
    assert verdict(made.read_bytes(), "vmdk").virtual_bytes == 4 << 20
