"""What may be stored, judged by content: a corpus of good and hostile headers."""

import contextlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.image.inspect import HEAD_BYTES, Judged, Unsafe, detected, judge
from tests.gateway.image.headers import GOOD, HOSTILE, ISO, OTHERS, qcow2


def verdict(data: bytes, declared: str = "qcow2", **more: int) -> Judged:
    return judge(data[:HEAD_BYTES], len(data), declared, **more)


@pytest.mark.parametrize("name", GOOD)
def test_a_good_image_is_taken_with_its_size(name: str) -> None:
    assert verdict(GOOD[name]) == Judged("qcow2", 1 << 30)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_image_is_refused_with_the_reason(name: str) -> None:
    data, reason = HOSTILE[name]
    with pytest.raises(Unsafe, match=reason):
        verdict(data)


@pytest.mark.parametrize("name", OTHERS)
def test_what_a_hypervisor_would_probe_is_not_raw(name: str) -> None:
    with pytest.raises(Unsafe, match="declared to be raw"):
        verdict(OTHERS[name], "raw")


@pytest.mark.parametrize("data", [b"", b"x", bytes(1000), ISO, *OTHERS.values()])
def test_what_is_no_qcow2_is_refused_as_one(data: bytes) -> None:
    if detected(data) != "qcow2":
        with pytest.raises(Unsafe, match="declared to be qcow2"):
            verdict(data)


def test_raw_and_iso() -> None:
    assert verdict(bytes(1000), "raw").virtual_bytes == 1000
    assert verdict(b"", "raw").virtual_bytes == 0
    assert verdict(ISO, "iso").virtual_bytes == len(ISO)
    assert verdict(ISO, "raw").virtual_bytes == len(ISO)
    with pytest.raises(Unsafe, match="content is raw"):
        verdict(bytes(1000), "iso")


def test_limits_on_the_disk_inside() -> None:
    with pytest.raises(Unsafe, match="min_disk"):
        verdict(qcow2(3 << 30), min_disk_gib=2)
    assert verdict(qcow2(2 << 30), min_disk_gib=2).virtual_bytes == 2 << 30
    with pytest.raises(Unsafe, match="virtual size"):
        verdict(qcow2(2 << 30), virtual_bytes_max=1 << 30)


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_any_header_has_a_verdict(tail: bytes, size: int) -> None:
    with contextlib.suppress(Unsafe):
        judge(b"QFI\xfb" + tail, size, "qcow2")


def test_any_flipped_byte_of_a_good_header_has_a_verdict() -> None:
    chance = random.Random(7)
    good = GOOD["feature names"]
    for _ in range(3000):
        data = bytearray(good)
        data[chance.randrange(160)] = chance.randrange(256)
        try:
            found = judge(bytes(data), len(data), "qcow2")
        except Unsafe:
            continue
        assert found.virtual_bytes
        assert 0 < found.virtual_bytes <= 2 << 40


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
@pytest.mark.parametrize(
    "options", ["", "compat=0.10", "cluster_size=512", "cluster_size=2M", "extended_l2=on,cluster_size=128k"]
)
def test_what_qemu_makes_is_taken(tmp_path: Path, options: str) -> None:
    path = tmp_path / "disk"
    more = ["-o", options] if options else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *more, path, "5G"], check=True)
    assert verdict(path.read_bytes()).virtual_bytes == 5 << 30
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", path, "-F", "qcow2", f"{path}2"], check=True
    )
    with pytest.raises(Unsafe, match="backing file"):
        verdict(Path(f"{path}2").read_bytes())
