"""The story against the whole cloud in one process, and against the distributed one."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.story import Openstack, Story, openstack_program
from tests.fixtures.libvirtd import guest_image_path, libvirtd_uri
from tests.rig.cloud import DistributedCloud, free_port

__all__ = ["guest_image_path", "libvirtd_uri"]
pytestmark = [
    pytest.mark.clients,
    pytest.mark.libvirt,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(openstack_program() is None, reason="python-openstackclient is not installed"),
]
UP_MAX_S = 90.0


def nothing_is_left(uri: str, instances: Path, server: str) -> None:
    """No domain, no disk."""
    domains = subprocess.run(
        ["virsh", "-c", uri, "list", "--all", "--uuid"], capture_output=True, text=True, check=True
    ).stdout
    assert server not in domains
    assert not (instances / server).exists()


@pytest.fixture
def laptop(libvirtd_uri: str, tmp_path: Path) -> Iterator[Path]:
    """``starling up`` with libvirt; its state folder."""
    port, state = free_port(), tmp_path / "state"
    tmp_path.chmod(0o755)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "STARLING_STATE": str(state),
        "STARLING_PORT": str(port),
        "STARLING_HYPERVISOR": "libvirt",
        "STARLING_LIBVIRT_URI": libvirtd_uri,
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "up"], env=environment, stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + UP_MAX_S
        while "Starling is up" not in (tmp_path / "log").read_text():
            assert process.poll() is None and time.monotonic() < until, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.2)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            assert answer.status == 200
        yield state
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (tmp_path / "log").read_text()[-3000:]


def test_the_whole_cloud_in_one_process(
    laptop: Path, guest_image_path: Path, libvirtd_uri: str, tmp_path: Path
) -> None:
    clouds = laptop / "clouds.yaml"
    story = Story(Openstack(clouds, "demo"), Openstack(clouds, "starling"), guest_image_path, tmp_path)
    story.tell()
    host = next((laptop / "hosts").iterdir())
    nothing_is_left(libvirtd_uri, host / "instances", story.server)


@pytest.mark.rabbitmq
def test_the_distributed_cloud(guest_image_path: Path, libvirtd_uri: str, tmp_path: Path) -> None:
    cloud = DistributedCloud(hosts=0)
    try:
        cloud.start()
        instances = cloud.folder / "instances"
        host = cloud.folder / "hosts" / "libvirt"
        options = (f"uri={libvirtd_uri}", f"instances_path={instances}")
        words = [word for option in options for word in ("--option", option)]
        cloud.run("agent", "enrol", str(host), "--hostname", "real", "--driver", "libvirt", *words)
        cloud.launch("agent-real", "agent", "run", str(host))
        clouds = cloud.clouds_yaml()
        story = Story(Openstack(clouds, "demo"), Openstack(clouds, "starling"), guest_image_path, tmp_path)
        story.tell()
        nothing_is_left(libvirtd_uri, instances, story.server)
    except BaseException:
        for name in cloud.processes:
            print(f"--- {name}\n{cloud.log_of(name)[-3000:]}")
        raise
    finally:
        cloud.close()
