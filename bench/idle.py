"""``idle``: a whole cloud in one process that nobody uses: its memory, its CPU, and how soon it is there.

``starling up`` with simulated hosts on its embedded database. The first start makes everything; the second,
on the same folder, is the one that is timed. The database's own processes are not counted.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.meter import cpu_s, load, tree_pss_mib
from bench.result import Result, progress
from tests.rig.cloud import free_port

MEMORY_MAX_MIB: Final = 150.0
CPU_MAX_PERCENT: Final = 1.0
START_MAX_S: Final = 5.0
SETTLE_S: Final = 8.0
WATCHED_S: Final = 30.0
UP_MAX_S: Final = 60.0
DATABASE: Final = frozenset({"postgres"})
GREETING: Final = "Starling is up"


class Up:
    """``starling up`` in a folder; ``seconds`` is how long it took to greet."""

    def __init__(self, folder: Path) -> None:
        began = time.monotonic()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
            "STARLING_STATE": str(folder / "state"),
            "STARLING_PORT": str(free_port()),
            "STARLING_HYPERVISOR": "simulated",
        }
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        while GREETING not in self._log.read_text():
            if self.process.poll() is not None or time.monotonic() - began > UP_MAX_S:
                raise RuntimeError(f"starling up did not come up: {self._log.read_text()[-3000:]}")
            time.sleep(0.02)
        self.seconds = time.monotonic() - began

    def stop(self) -> None:
        """As Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(UP_MAX_S)


def run() -> Result:
    """Start twice, watch the second."""
    folder = Path(tempfile.mkdtemp(prefix="starling-bench-"))
    folder.chmod(0o755)
    try:
        first = Up(folder)
        first.stop()
        second = Up(folder)
        try:
            return _watched(second, first.seconds)
        finally:
            second.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _watched(up: Up, first_s: float) -> Result:
    progress(f"up after {up.seconds:.1f} s, watching it for {WATCHED_S:.0f} s …")
    time.sleep(SETTLE_S)
    pid = up.process.pid
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(WATCHED_S)
    percent = (cpu_s(pid) - before) / (time.monotonic() - began) * 100
    cpu = Result(bench="idle.cpu", value=percent, unit="% of one core", limit=CPU_MAX_PERCENT)
    start = Result(
        bench="idle.start",
        value=up.seconds,
        unit="s until it greets, second start",
        limit=START_MAX_S,
        details={"first_start_s": first_s, "load_average": load()},
    )
    return Result(
        bench="idle",
        value=tree_pss_mib(pid, without=DATABASE),
        unit="MiB (PSS) without the database",
        limit=MEMORY_MAX_MIB,
        details={"database_mib": tree_pss_mib(pid) - tree_pss_mib(pid, without=DATABASE)},
        also=[cpu, start],
    )
