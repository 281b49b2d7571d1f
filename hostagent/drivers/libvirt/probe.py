"""Whether guests on this host can have KVM, found out by running one.

``/dev/kvm`` may be there and useless: nested hosts exist whose KVM never gets a usual guest going, or
only one with none of the host's processor features. So a boot sector of seven bytes is run with it, on
the processor that guests would get. The answer is remembered with the kernel's release
and QEMU's version, and found again when either changes.
"""

import asyncio
import os
import platform
import tempfile
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

QEMU: Final = "qemu-system-x86_64"
PROBE_S: Final = 5.0
MEMORY_FILE: Final = "kvm.json"
_EXITED: Final = 33  # what isa-debug-exit makes of the 0x10 that the guest writes: 2 * 0x10 + 1
# mov al, 0x10; out 0xf4, al; hlt; jmp $; then the mark of a boot sector
_SECTOR: Final = bytes((0xB0, 0x10, 0xE6, 0xF4, 0xF4, 0xEB, 0xFD)).ljust(510, b"\0") + b"\x55\xaa"
_DISK_BYTES: Final = 32_768


class Probed(Struct, frozen=True):
    """What was found, and on what."""

    kernel: str
    qemu: str
    kvm: bool


async def kvm_runs_guests(state_folder: Path) -> bool:
    """Whether KVM really runs guests here; at most PROBE_S seconds, and only once per kernel and QEMU."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    kernel, qemu = platform.release(), await _qemu_version()
    memory = state_folder / MEMORY_FILE
    known = _remembered(memory)
    if known is not None and (known.kernel, known.qemu) == (kernel, qemu):
        return known.kvm
    found = Probed(kernel, qemu, await runs_guests("kvm"))
    _remember(memory, found)
    return found.kvm


async def runs_guests(accelerator: str, seconds: float = PROBE_S) -> bool:
    """Whether QEMU gets a guest to run a few instructions with ``kvm`` or ``tcg``."""
    with tempfile.TemporaryDirectory(prefix="starling-probe.") as folder:
        disk = Path(folder) / "disk"
        disk.write_bytes(_SECTOR.ljust(_DISK_BYTES, b"\0"))
        command = (
            *(QEMU, "-accel", accelerator, *(("-cpu", "host") if accelerator == "kvm" else ())),
            *("-M", "pc", "-m", "16", "-nodefaults", "-display", "none"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-drive", f"file={disk},format=raw,if=ide"),
        )
        return await _exit_status(command, seconds) == _EXITED


async def _exit_status(command: tuple[str, ...], seconds: float) -> int | None:
    """The program's exit status; None when it cannot be started or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        return None
    try:
        async with asyncio.timeout(seconds):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _qemu_version() -> str:
    try:
        process = await asyncio.create_subprocess_exec(
            QEMU, "--version", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        return ""
    output, _ = await process.communicate()
    return output.decode(errors="replace").partition("\n")[0]


def _remember(memory: Path, found: Probed) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    partial = memory.with_suffix(".part")
    partial.write_bytes(msgspec.json.encode(found))
    partial.replace(memory)


def _remembered(memory: Path) -> Probed | None:
    try:
        return msgspec.json.decode(memory.read_bytes(), type=Probed)
    except (OSError, msgspec.DecodeError):
        return None
