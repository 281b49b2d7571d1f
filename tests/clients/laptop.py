"""``starling up`` as a process of its own, for tests that drive it from outside."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.rig.cloud import free_port

UP_MAX_S = 90.0
DOWN_MAX_S = 60.0
GREETING = "Starling is up"


def start(folder: Path, settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the cloud with its state in ``folder/state`` and wait until it greets."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "STARLING_STATE": str(folder / "state"),
        **settings,
    }
    path = folder / "log"
    seen = path.read_text().count(GREETING) if path.exists() else 0
    with path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up"],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + UP_MAX_S
    while path.read_text().count(GREETING) == seen:
        assert process.poll() is None, path.read_text()[-3000:]
        assert time.monotonic() < until, path.read_text()[-3000:]
        time.sleep(0.1)
    return process


def stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Ctrl-C, as a person would."""
    process.send_signal(signal.SIGINT)
    assert process.wait(DOWN_MAX_S) == 0, (folder / "log").read_text()[-3000:]


@contextmanager
def laptop(folder: Path, **settings: str) -> Iterator[Path]:
    """A cloud for the length of a block; its state folder."""
    folder.chmod(0o755)
    process = start(folder, {"STARLING_PORT": str(free_port()), **settings})
    try:
        yield folder / "state"
    finally:
        stop(process, folder)
