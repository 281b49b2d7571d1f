#!/usr/bin/env python3
"""Build a tiny guest that really boots: a Debian kernel, busybox and a few scripts in a qcow2 file.

    build_guest_image.py OUT.qcow2 --fetch      download the Debian packages it is made from
    build_guest_image.py OUT.qcow2              use them where they are installed

The guest reads its config drive (or the metadata service), takes its host name, keys and user data
from it, asks for addresses by DHCP, obeys the power button, and tells on its first serial port what
it does; see tools/guest. It keeps a small state partition, so that a test can tell a restart from a
rebuild. It is for trying things: root has no password.

Needs no root, mounts nothing, uses only the standard library and qemu-img. The result is kept in a
cache under a key made of everything that went into it.
"""

import argparse
import gzip
import hashlib
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

GUEST: Final = Path(__file__).resolve().parent / "guest"
PACKAGES: Final = ("busybox-static", "mtools", "syslinux", "syslinux-common")
KERNEL_PACKAGE: Final = "linux-image-cloud-amd64"

FIRST_MODULES: Final = ("virtio_pci", "virtio_blk")  # until the state partition is there
SECOND_MODULES: Final = (
    *("button", "evdev", "virtio_net", "virtio_rng", "virtio_console"),
    *("ata_piix", "sr_mod", "isofs", "virtio_scsi", "sd_mod", "virtio_balloon"),
)
COMMAND_LINE: Final = (
    "console=tty0 console=ttyS0 quiet loglevel=3 net.ifnames=0 panic=5 mitigations=off audit=0 "
    # An emulated processor on a busy machine calibrates a clock that runs many times too fast.
    "clocksource=hpet tsc=unstable lpj=10000000 no_timer_check"
)
SYSLINUX_CFG: Final = (
    "DEFAULT guest\nPROMPT 0\nTIMEOUT 0\nLABEL guest\n LINUX /vmlinuz\n INITRD /initrd\n APPEND {}\n"
)

SECTOR: Final = 512
BOOT_START: Final = 2_048  # sectors
ALIGNMENT: Final = 2_048  # sectors
STATE_ROOM: Final = 16 << 20  # bytes after the boot partition, where the guest makes its state partition
FAT_SPARE: Final = 1 << 20
MODULE_SIGNATURE: Final = b"~Module signature appended~\n"
COMMAND_TIMEOUT_S: Final = 600


class Entry(NamedTuple):
    """One member of the initramfs: a file, folder, link or device by its mode."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


class BuildError(Exception):
    """Something needed is missing or failed; the text says what to do."""


def run(*command: str | Path, cwd: Path | None = None, path: str | None = None) -> str:
    """Run a program and return its output. Raises BuildError with what it said."""
    environment = dict(os.environ, MTOOLS_SKIP_CHECK="1", LC_ALL="C")
    if path:
        environment["PATH"] = path
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


# Packages.


def package_names() -> list[str]:
    """The packages to fetch; the kernel's real name stands behind a package that only depends on it."""
    found = re.search(r"Depends: (linux-image-\d\S+)", run("apt-cache", "depends", KERNEL_PACKAGE))
    if not found:
        raise BuildError(f"apt knows no kernel behind {KERNEL_PACKAGE}; run apt-get update")
    return [found[1], *PACKAGES]


def package_files(names: Iterable[str]) -> list[str]:
    """The files apt would download now, with versions in their names."""
    listed = run("apt-get", "download", "--print-uris", *names)
    return sorted(re.findall(r"' (\S+\.deb) ", listed))


def fetch(names: list[str], files: list[str], cache: Path) -> Path:
    """Download the packages unless they are in the cache, and unpack them; returns the folder."""
    packages, unpacked = cache / "packages", cache / "unpacked"
    packages.mkdir(parents=True, exist_ok=True)
    if not all((packages / file).exists() for file in files):
        run("apt-get", "-q", "download", *names, cwd=packages)
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    for file in files:
        run("dpkg-deb", "-x", packages / file, unpacked)
    return unpacked


class Parts(NamedTuple):
    """Where the pieces lie. ``root`` is / or a folder of unpacked packages."""

    root: Path
    kernel: Path
    modules: Path
    busybox: Path
    mbr: Path


def find_parts(root: Path) -> Parts:
    """Find kernel, modules, busybox and boot sector; with several kernels the last by name."""

    def first(*patterns: str) -> Path:
        for pattern in patterns:
            found = sorted(root.glob(pattern))
            if found:
                return found[-1]
        raise BuildError(
            f"no {patterns[0]} in {root}; install {KERNEL_PACKAGE}, {', '.join(PACKAGES)} or --fetch"
        )

    modules = first("lib/modules/*cloud-amd64", "usr/lib/modules/*cloud-amd64")
    return Parts(
        root=root,
        kernel=first(f"boot/vmlinuz-{modules.name}"),
        modules=modules,
        busybox=first("bin/busybox", "usr/bin/busybox"),
        mbr=first("usr/lib/syslinux/mbr/mbr.bin"),
    )


# The initramfs.


def module_order(modules: Path, wanted: Iterable[str]) -> list[Path]:
    """The wanted modules and what they need, each after what it needs. Absent ones are built in."""
    by_name = {path.stem.replace("-", "_"): path for path in (modules / "kernel").rglob("*.ko")}
    order: dict[str, Path] = {}

    def add(name: str) -> None:
        path = by_name.get(name.replace("-", "_"))
        if path is None or path.stem in order:
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for need in needs[1].decode().split(",") if needs else []:
            add(need)
        order[path.stem] = path

    for name in wanted:
        add(name)
    return list(order.values())


def without_signature(module: bytes) -> bytes:
    """The module without its signature, whose check costs an emulated processor time."""
    if not module.endswith(MODULE_SIGNATURE):
        return module
    end = len(module) - len(MODULE_SIGNATURE) - 12
    (length,) = struct.unpack_from(">I", module, end + 8)
    return module[: end - length]


def entries(parts: Parts) -> Iterator[Entry]:
    """Everything in the guest's root file system."""
    folders = (
        *("bin", "dev", "etc", "etc/acpi", "etc/acpi/PWRF", "etc/acpi/PWRB", "guest", "modules"),
        *("media", "proc", "root", "run", "state", "sys", "tmp"),
    )
    for folder in folders:
        yield Entry(folder, stat.S_IFDIR | 0o755)
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield Entry("bin/busybox", stat.S_IFREG | 0o755, parts.busybox.read_bytes())
    for applet in run(parts.busybox, "--list").split():
        if applet != "busybox":
            yield Entry(f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
    yield from files()
    first = module_order(parts.modules, FIRST_MODULES)
    second = [path for path in module_order(parts.modules, SECOND_MODULES) if path not in first]
    for name, group in (("first", first), ("second", second)):
        listed = "".join(f"{path.name}\n" for path in group)
        yield Entry(f"modules/{name}", stat.S_IFREG | 0o644, listed.encode())
        for path in group:
            yield Entry(f"modules/{path.name}", stat.S_IFREG | 0o644, without_signature(path.read_bytes()))


def files() -> Iterator[Entry]:
    """The guest's own scripts and the few files in /etc."""
    places = {"init": "init", "inittab": "etc/inittab"}
    for path in sorted(GUEST.iterdir()):
        yield Entry(places.get(path.name, f"guest/{path.name}"), stat.S_IFREG | 0o755, path.read_bytes())
    for key in ("PWRF", "PWRB"):
        yield Entry(f"etc/acpi/{key}/00000080", stat.S_IFLNK | 0o777, b"/guest/power")
    etc = {
        "passwd": "root::0:0:root:/root:/bin/sh\n",
        "group": "root:x:0:\n",
        "hosts": "127.0.0.1 localhost\n",
        "acpid.conf": "PWRF PWRF/00000080\n",
    }
    for name, text in etc.items():
        yield Entry(f"etc/{name}", stat.S_IFREG | 0o644, text.encode())


def cpio(members: Iterable[Entry]) -> bytes:
    """A ``newc`` archive. Source: the kernel's Documentation/driver-api/early-userspace/buffer-format."""
    archive = bytearray()
    for number, entry in enumerate([*members, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        archive += bytes(-len(archive) % 4) + entry.data
        archive += bytes(-len(archive) % 4)
    return bytes(archive)


# The disk.


def boot_partition(parts: Parts, initrd: bytes, folder: Path) -> bytes:
    """A FAT file system with boot loader, kernel and initramfs."""
    # syslinux calls mtools by name; both may lie in a folder of unpacked packages.
    tools = f"{parts.root}/usr/bin:{os.environ.get('PATH', os.defpath)}"
    program = {name: shutil.which(name, path=tools) or name for name in ("mformat", "mcopy", "syslinux")}
    (folder / "initrd").write_bytes(initrd)
    (folder / "syslinux.cfg").write_text(SYSLINUX_CFG.format(COMMAND_LINE))
    image = folder / "boot.fat"
    size = parts.kernel.stat().st_size + len(initrd) + FAT_SPARE
    sectors = -(-size // (SECTOR * ALIGNMENT)) * ALIGNMENT
    with image.open("wb") as file:
        file.truncate(sectors * SECTOR)
    geometry = ("-T", str(sectors), "-h", "64", "-s", "32", "-H", str(BOOT_START), "-c", "4")
    run(program["mformat"], "-i", image, *geometry, "::", path=tools)
    for source, target in (
        (parts.kernel, "vmlinuz"),
        (folder / "initrd", "initrd"),
        (folder / "syslinux.cfg", ""),
    ):
        run(program["mcopy"], "-i", image, source, f"::/{target}", path=tools)
    run(program["syslinux"], "--install", image, path=tools)
    return image.read_bytes()


def disk(parts: Parts, boot: bytes) -> bytes:
    """The raw disk: boot sector, partition table with one entry, boot partition, room for the state."""
    sector = bytearray(parts.mbr.read_bytes()[:440].ljust(SECTOR, b"\0"))
    anywhere = b"\xfe\xff\xff"  # a cylinder address that says: use the sector number
    struct.pack_into(
        "<B3sB3sII", sector, 446, 0x80, anywhere, 0x0E, anywhere, BOOT_START, len(boot) // SECTOR
    )
    sector[510:] = b"\x55\xaa"
    return bytes(sector) + bytes((BOOT_START - 1) * SECTOR) + boot + bytes(STATE_ROOM)


def build(root: Path, out: Path) -> None:
    """Make the image at ``out``."""
    parts = find_parts(root)
    with tempfile.TemporaryDirectory(prefix="guest-image.") as name:
        folder = Path(name)
        initrd = gzip.compress(cpio(entries(parts)), mtime=0)
        raw, packed = folder / "disk.raw", folder / "disk.qcow2"
        raw.write_bytes(disk(parts, boot_partition(parts, initrd, folder)))
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", raw, packed)
        place(packed, out)


def place(source: Path, target: Path) -> None:
    """Copy so that the target is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    shutil.copyfile(source, partial)
    partial.replace(target)


def content_key(versions: Iterable[str]) -> str:
    """What the result depends on: this program, the guest's files, the packages' versions."""
    digest = hashlib.sha256("\n".join(versions).encode())
    for path in (Path(__file__), *sorted(GUEST.iterdir())):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def installed_versions(root: Path) -> list[str]:
    """The kernel's name and busybox's checksum stand for packages that are installed already."""
    parts = find_parts(root)
    return [parts.modules.name, hashlib.sha256(parts.busybox.read_bytes()).hexdigest()]


def main() -> None:
    """Read the command line, and build unless the cache has it."""
    default_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "starling" / "guest"
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="the qcow2 file to write")
    parser.add_argument("--fetch", action="store_true", help="download the packages with apt-get")
    parser.add_argument("--root", type=Path, default=Path("/"), help="folder in which packages are unpacked")
    parser.add_argument("--cache", type=Path, default=default_cache, help="folder to keep results in")
    arguments = parser.parse_args()
    cache: Path = arguments.cache.resolve()
    try:
        names = package_names() if arguments.fetch else []
        versions = package_files(names) if arguments.fetch else installed_versions(arguments.root)
        kept = cache / f"guest-{content_key(versions)}.qcow2"
        if not kept.exists():
            build(fetch(names, versions, cache) if arguments.fetch else arguments.root, kept)
        place(kept, arguments.out)
    except BuildError as error:
        sys.exit(f"build_guest_image: {error}")
    print(arguments.out)


if __name__ == "__main__":
    main()
