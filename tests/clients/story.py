"""The main story, told by the unmodified ``openstack`` client on real guests.

Image from a real qcow2, key pair, server, console, pause and unpause (the heartbeat stops and goes on),
soft reboot, stop, start, delete. Nothing here knows what cloud it talks to.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BOOT_MAX_S = 240.0
STEP_MAX_S = 120.0


def openstack_program() -> str | None:
    """The client: beside this Python, or on the path."""
    beside = Path(sys.executable).parent / "openstack"
    return str(beside) if beside.exists() else shutil.which("openstack")


class Openstack:
    """The client as a person calls it, for one cloud of a clouds.yaml."""

    def __init__(self, clouds_yaml: Path, cloud: str) -> None:
        program = openstack_program()
        if program is None:
            raise RuntimeError("python-openstackclient is not installed")
        self._program = program
        self._environment = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds_yaml), "OS_CLOUD": cloud}

    def fails(self, *words: str) -> str:
        """What the client says when it is refused. Fails when it is not."""
        done = self._run(words)
        assert done.returncode != 0, f"openstack {' '.join(words)} was not refused: {done.stdout}"
        return done.stderr + done.stdout

    def text(self, *words: str) -> str:
        """The client's output as it is."""
        done = self._run(words)
        assert done.returncode == 0, f"openstack {' '.join(words)}: {done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        """The client's output as data."""
        return json.loads(self.text(*words, "-f", "json"))

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )


def wait_until(what: str, holds: Callable[[], bool], limit_s: float) -> None:
    """Ask until it holds. Fails after ``limit_s``."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if holds():
            return
        time.sleep(1)
    raise AssertionError(f"{what}: not within {limit_s:g} s")


def heartbeat(log: str) -> int:
    """The number of the last heartbeat the guest wrote; 0 before the first."""
    found = re.findall(r"HEARTBEAT n=(\d+)", log)
    return int(found[-1]) if found else 0


class Story:
    """One server's life, step by step."""

    def __init__(self, demo: Openstack, admin: Openstack, image_file: Path, folder: Path) -> None:
        self._demo, self._admin = demo, admin
        self._image_file, self._folder = image_file, folder
        self.server = ""

    def tell(self) -> None:
        """All of it, in order."""
        self.prepare()
        self.boot()
        self.pause_and_unpause()
        self.reboot()
        self.stop_and_start()
        self.delete()

    def log(self) -> str:
        """The console log."""
        return self._demo.text("console", "log", "show", self.server)

    def state(self) -> str:
        """The server's status."""
        status: str = self._demo.json("server", "show", self.server)["status"]
        return status

    def prepare(self) -> None:
        words = ("--disk-format", "qcow2", "--container-format", "bare", "--file", str(self._image_file))
        image = self._demo.json("image", "create", *words, "guest")
        shown = self._demo.json("image", "show", image["id"])
        assert shown["status"] == "active"
        assert shown["size"] == self._image_file.stat().st_size
        self._admin.json(
            "flavor", "create", "--ram", "128", "--vcpus", "1", "--disk", "1", "story"
        ) if "story" not in self._admin.text("flavor", "list") else None
        key = self._folder / "key"
        key.write_text(self._demo.text("keypair", "create", "story"))
        assert "PRIVATE KEY" in key.read_text()

    def boot(self) -> None:
        words = ("--image", "guest", "--flavor", "story", "--key-name", "story", "--network", "shared")
        made = self._demo.json("server", "create", *words, "--wait", "first-light")
        self.server = made["id"]
        assert made["status"] == "ACTIVE"
        wait_until("hostname on the console", lambda: "hostname=first-light" in self.log(), BOOT_MAX_S)
        wait_until("heartbeat", lambda: heartbeat(self.log()) > 0, BOOT_MAX_S)

    def pause_and_unpause(self) -> None:
        self._demo.text("server", "pause", self.server)
        wait_until("paused", lambda: self.state() == "PAUSED", STEP_MAX_S)
        frozen = heartbeat(self.log())
        time.sleep(4)
        assert heartbeat(self.log()) == frozen, "a paused guest's heart goes on beating"
        refused = self._demo.fails("server", "pause", self.server)
        assert "409" in refused, refused
        self._demo.text("server", "unpause", self.server)
        wait_until("active", lambda: self.state() == "ACTIVE", STEP_MAX_S)
        wait_until("heartbeat goes on", lambda: heartbeat(self.log()) > frozen, STEP_MAX_S)

    def reboot(self) -> None:
        goodbyes = self.log().count("SHUTDOWN up=")
        self._demo.text("server", "reboot", "--soft", self.server)
        wait_until("guest's goodbye", lambda: self.log().count("SHUTDOWN up=") > goodbyes, STEP_MAX_S)
        wait_until("active", lambda: self.state() == "ACTIVE", STEP_MAX_S)

        def beats_anew() -> bool:
            return heartbeat(self.log().rpartition("SHUTDOWN up=")[2]) > 0

        wait_until("heartbeat after the reboot", beats_anew, BOOT_MAX_S)

    def stop_and_start(self) -> None:
        self._demo.text("server", "stop", self.server)
        wait_until("off", lambda: self.state() == "SHUTOFF", STEP_MAX_S)
        self._demo.text("server", "start", self.server)
        wait_until("on", lambda: self.state() == "ACTIVE", STEP_MAX_S)

    def delete(self) -> None:
        self._demo.text("server", "delete", "--wait", self.server)
        said = self._demo.fails("server", "show", self.server)
        assert "found" in said.lower(), said
        old = ("--os-compute-api-version", "2.53")
        (used,) = self._admin.json(*old, "hypervisor", "list", "--long")
        assert (used["vCPUs Used"], used["Memory MB Used"]) == (0, 0), used
        taken = [
            row for row in self._demo.json("limits", "show", "--absolute") if "used" in row["Name"].lower()
        ]
        assert len(taken) >= 3
        assert {row["Value"] for row in taken if "group" not in row["Name"].lower()} == {0}, taken
        self._demo.text("image", "delete", "guest")
        self._demo.text("keypair", "delete", "story")
