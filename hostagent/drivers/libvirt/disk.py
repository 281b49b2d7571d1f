"""Disks of guests, made by ``qemu-img`` in a process of its own, with limits.

Images come from tenants: they are opened only with the format they were declared to have, and one
that refers to other files is refused, since it could name any file of the host.
"""

import asyncio
import os
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from hostagent.driver import DriverError
from protocol.guest import GuestImage

FORMATS: Final = frozenset({"qcow2", "raw"})
QEMU_IMG_CPU_S: Final = 30
QEMU_IMG_MEMORY_BYTES: Final = 1 << 30
QEMU_IMG_TIMEOUT_S: Final = 120.0
_GIB: Final = 1 << 30
_FULL: Final = b"No space left on device"


class DiskInfo(Struct, frozen=True):
    """What ``qemu-img info`` says, as far as we care."""

    format: str
    virtual_size: int = msgspec.field(name="virtual-size")
    backing: str = msgspec.field(name="backing-filename", default="")
    encrypted: bool = False
    specific: dict[str, Any] = msgspec.field(name="format-specific", default_factory=dict)


async def check_image(path: Path, image: GuestImage) -> None:
    """Refuse an image that is not what it says, or refers to other files.

    Raises ``DriverError`` ``image_unsupported`` or ``image_corrupt``.
    """
    info = await inspect(path, image.disk_format)
    if info.format == "qcow2":
        data_file = info.specific.get("data", {}).get("data-file")
        if info.backing or data_file or info.encrypted:
            raise DriverError("image_unsupported", "The image refers to other files or is encrypted.")


async def inspect(path: Path, disk_format: str) -> DiskInfo:
    """The disk as its declared format describes it."""
    if disk_format not in FORMATS:
        raise DriverError("image_unsupported", f"Images of the format {disk_format!r} cannot be booted here.")
    try:
        output = await _qemu_img("info", "--output=json", "-U", "-f", disk_format, str(path))
        return msgspec.json.decode(output, type=DiskInfo)
    except (DriverError, msgspec.DecodeError) as error:
        raise DriverError("image_corrupt", f"The image is not a valid {disk_format} image.") from error


async def make_overlay(base: Path, base_format: str, overlay: Path, disk_gib: int) -> None:
    """Make ``overlay``, whole or not at all.

    ``disk_gib`` 0 means as large as the image. Raises ``DriverError`` ``image_too_large``,
    ``disk_full`` or ``hypervisor``.
    """
    size = (await inspect(base, base_format)).virtual_size
    if disk_gib:
        if size > disk_gib * _GIB:
            raise DriverError("image_too_large", f"The image needs a disk of {-(-size // _GIB)} GiB.")
        size = disk_gib * _GIB
    partial = overlay.with_suffix(".part")
    await _qemu_img(
        *("create", "-q", "-f", "qcow2", "-F", base_format, "-b", str(base)), str(partial), str(size)
    )
    partial.replace(overlay)


async def _qemu_img(*arguments: str) -> bytes:
    limits = (f"--cpu={QEMU_IMG_CPU_S}", f"--as={QEMU_IMG_MEMORY_BYTES}")
    try:
        process = await asyncio.create_subprocess_exec(
            "prlimit",
            *limits,
            "qemu-img",
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except FileNotFoundError as error:
        raise DriverError("hypervisor", "The host lacks qemu-img.") from error
    try:
        async with asyncio.timeout(QEMU_IMG_TIMEOUT_S):
            output, errors = await process.communicate()
    except TimeoutError as error:
        raise DriverError("hypervisor", "Working on the guest's disk took too long.") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        if _FULL in errors:
            raise DriverError("disk_full", "The host has no room for the guest's disk.")
        raise DriverError("hypervisor", "The guest's disk could not be made.")
    return output
