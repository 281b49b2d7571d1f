"""``real_guest``: from POST /servers to libvirt's running event, against libvirt alone.

Pairs alternate: one server through the whole cloud, one domain by libvirt's own calls with the same XML, an
overlay on the same base image made by ``qemu-img``, and a config drive of the same bytes. Needs root, libvirt
and QEMU; guests run emulated.
"""

import asyncio
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from statistics import median
from typing import Any, Final

import uvloop

from bench.result import Result, progress
from bench.tenant import Tenant
from tests.clients.laptop import laptop
from tests.rig.cloud import free_port

PAIRS: Final = 12
ADDED_MAX_MS: Final = 150.0
EVENT_MAX_S: Final = 120.0
TOOLS: Final = Path(__file__).resolve().parents[1] / "tools"


class Events:
    """The moments at which domains started, as libvirt tells them."""

    def __init__(self, uri: str) -> None:
        import libvirt  # noqa: PLC0415  only this benchmark needs it

        self._started: queue.Queue[tuple[str, float]] = queue.Queue()
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._turn, daemon=True).start()
        self.connection = libvirt.open(uri)
        self.connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._hear, None)

    @staticmethod
    def _turn() -> None:
        import libvirt  # noqa: PLC0415

        while True:
            libvirt.virEventRunDefaultImpl()

    def _hear(self, _: Any, domain: Any, event: int, __: int, ___: Any) -> None:
        if event == 2:
            self._started.put((domain.UUIDString(), time.perf_counter()))

    def started(self, ident: str) -> float:
        """When this domain started; waits for it."""
        while True:
            found, at = self._started.get(timeout=EVENT_MAX_S)
            if found == ident:
                return at


def run() -> Result:
    """Start libvirtd and the cloud, measure, stop both."""
    folder = Path(tempfile.mkdtemp(prefix="starling-bench-"))
    folder.chmod(0o755)
    uri = _tool("start_libvirtd.py", "start", folder / "libvirt")
    try:
        image = folder / "guest.qcow2"
        _tool("build_guest_image.py", image, "--fetch")
        port = free_port()
        settings = {"STARLING_HYPERVISOR": "libvirt", "STARLING_LIBVIRT_URI": uri, "STARLING_PORT": str(port)}
        with laptop(folder, **settings) as state:
            return uvloop.run(_measure(folder, state, f"http://127.0.0.1:{port}", uri, image))
    finally:
        _tool("start_libvirtd.py", "stop", folder / "libvirt")
        shutil.rmtree(folder, ignore_errors=True)


def _tool(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(TOOLS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.strip()


async def _measure(folder: Path, state: Path, url: str, uri: str, image: Path) -> Result:
    events = Events(uri)
    secrets = (state / "secrets.json").read_text()
    found = re.search(r'"admin_password": "([^"]+)"', secrets)
    tenant = Tenant([url], found.group(1) if found else "")
    instances = next((state / "hosts").iterdir()) / "instances"
    ours: list[float] = []
    bare: list[float] = []
    try:
        await tenant.prepare(image=image, memory_mib=128)
        for n in range(PAIRS + 1):
            progress(f"pair {n} of {PAIRS}")
            began = time.perf_counter()
            server = await tenant.boot(f"guest-{n}")
            at = await asyncio.to_thread(events.started, server)
            while await tenant.status(server) != "ACTIVE":
                await asyncio.sleep(0.05)
            xml = events.connection.lookupByUUIDString(server).XMLDesc(2)  # as it is defined
            kept = folder / "kept.iso"
            shutil.copy(instances / server / "config.iso", kept)
            await tenant.end(server)
            alone = await asyncio.to_thread(_bare, events, xml, server, instances, kept)
            if n:  # the first pair downloads the image and warms every cache
                ours.append(at - began)
                bare.append(alone)
    finally:
        await tenant.close()
    return Result(
        bench="real_guest",
        value=(median(ours) - median(bare)) * 1000,
        unit="ms added",
        limit=ADDED_MAX_MS,
        details={"pairs": PAIRS, "starling_ms": median(ours) * 1000, "libvirt_ms": median(bare) * 1000},
    )


def _bare(events: Events, xml: str, server: str, instances: Path, kept: Path) -> float:
    """Seconds from nothing to the running event with libvirt's own calls; the domain is removed again."""
    ident = str(uuid.uuid4())
    base = next(
        path for path in (instances / "_base").iterdir() if path.is_file() and path.stat().st_size > 1 << 20
    )
    made = re.sub(r"<name>[^<]*</name>", f"<name>{ident}</name>", xml.replace(server, ident), count=1)
    config = kept.read_bytes()
    began = time.perf_counter()
    home = instances / ident
    home.mkdir()
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            str(base),
            "-F",
            "qcow2",
            str(home / "disk.qcow2"),
            "1G",
        ],
        check=True,
    )
    (home / "config.iso").write_bytes(config)
    domain = events.connection.defineXML(made)
    domain.create()
    at = events.started(ident)
    domain.destroy()
    domain.undefineFlags()
    shutil.rmtree(home)
    return at - began
