"""The cloud that is judged: a private one for the length of a run, or one that runs already."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
GREETING: Final = "Starling is up"
UP_MAX_S: Final = 90.0
DOWN_MAX_S: Final = 60.0
POLL_S: Final = 0.1


class CloudError(Exception):
    """There is no cloud to judge; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Where the cloud is and who administers it."""

    auth_url: str
    username: str
    password: str
    project: str
    domain: str
    region: str


def given(environment: dict[str, str]) -> Cloud | None:
    """The cloud that the ``OS_*`` variables name. Raises CloudError when they name one incompletely."""
    if "OS_AUTH_URL" not in environment:
        return None
    try:
        return Cloud(
            auth_url=environment["OS_AUTH_URL"].rstrip("/"),
            username=environment["OS_USERNAME"],
            password=environment["OS_PASSWORD"],
            project=environment["OS_PROJECT_NAME"],
            domain=environment.get("OS_USER_DOMAIN_NAME", "Default"),
            region=environment.get("OS_REGION_NAME", "RegionOne"),
        )
    except KeyError as error:
        raise CloudError(f"OS_AUTH_URL is set but {error.args[0]} is not") from error


@contextmanager
def private(log: Path) -> Iterator[Cloud]:
    """All roles in one process on simulated hosts, its state gone afterwards; what it says is in ``log``."""
    state = Path(tempfile.mkdtemp(prefix="starling-tempest-"))
    state.chmod(0o755)  # the embedded PostgreSQL of root runs as another user
    password, port = secrets.token_hex(16), _free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up"],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(ROOT),
                "STARLING_STATE": str(state / "state"),
                "STARLING_PORT": str(port),
                "STARLING_HYPERVISOR": "simulated",
                "STARLING_SIMULATED_LATENCY": "0.1",
                "STARLING_ADMIN_PASSWORD": password,
                "STARLING_ACCESS_LOG": str(log.with_suffix(".access")),
            },
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_up(process, log)
        yield Cloud(
            auth_url=f"http://127.0.0.1:{port}/identity/v3",
            username="admin",
            password=password,
            project="admin",
            domain="Default",
            region="RegionOne",
        )
    finally:
        _stop(process)
        shutil.rmtree(state, ignore_errors=True)


def _wait_until_up(process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + UP_MAX_S
    while GREETING not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > until:
            raise CloudError(f"the private cloud did not start; it said in {log}:\n{log.read_text()[-2000:]}")
        time.sleep(POLL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(DOWN_MAX_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
