"""The script that prepares the cloud of compose.yaml, with a ``starling`` that only notes its arguments."""

import os
import subprocess
import tomllib
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "compose-setup"
STARLING = """#!/bin/sh
echo "$*" >> "$CALLS"
case "$1 $2" in
"db login") echo "database-secret-$3" ;;
"bus login") echo "bus-secret-$3" ;;
"agent enrol") touch "$3/host.toml" ;;
esac
"""


class Setup:
    """Runs the script; ``calls`` are the starling commands it gave since the last run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "starling"
        program.parent.mkdir()
        program.write_text(STARLING)
        program.chmod(0o755)
        for name in ("gateway", "worker", "scheduler", "host-1", "host-2"):
            (folder / name).mkdir()

    def run(self, *words: str) -> list[str]:
        calls = self.folder / "calls"
        calls.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "CALLS": str(calls),
            "STARLING_DATABASE_URL": "postgresql://starling:top@postgres/starling",
            "STARLING_AMQP_URL": "amqp://starling:top@rabbitmq/",
            "STARLING_COMPOSE_CONFIGURATION": str(self.folder),
            "STARLING_COMPOSE_HOSTS": str(self.folder),
        }
        subprocess.run([SCRIPT, *words], env=environment, check=True, timeout=20)
        return calls.read_text().splitlines()


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path)


def test_each_role_gets_its_own_logins(setup: Setup) -> None:
    assert setup.run("cloud")[0] == "db migrate"
    for role in ("gateway", "worker", "scheduler"):
        path = setup.folder / role / "starling.toml"
        assert tomllib.loads(path.read_text()) == {
            "database_url": f"postgresql://{role}_login:database-secret-{role}@postgres/starling",
            "amqp_url": f"amqp://{role}:bus-secret-{role}@rabbitmq/",
        }
        assert path.stat().st_mode & 0o077 == 0


def test_a_second_run_only_migrates(setup: Setup) -> None:
    setup.run("cloud")
    assert setup.run("cloud") == ["db migrate"]


def test_hosts_are_enrolled_with_their_drivers_settings(setup: Setup) -> None:
    first, second = (str(setup.folder / name) for name in ("host-1", "host-2"))
    assert setup.run("hosts", "simulated", "host-1", "latency_factor=0", "host-2") == [
        f"agent enrol {first} --hostname host-1 --driver simulated --option latency_factor=0",
        f"agent enrol {second} --hostname host-2 --driver simulated --option latency_factor=0",
    ]
