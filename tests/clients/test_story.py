"""The story against the whole cloud in one process, and against the distributed one."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from cli.parts import JOURNAL
from hostagent.identity import load_identity
from hostagent.journal import JournalEntry
from hostagent.journal_file import FileJournal
from process.clock import SystemClock
from tests.clients.laptop import laptop
from tests.clients.story import Openstack, Story, openstack_program
from tests.fixtures.libvirtd import guest_image_path, libvirtd_uri
from tests.rig.cloud import DistributedCloud

__all__ = ["guest_image_path", "libvirtd_uri"]
pytestmark = [
    pytest.mark.clients,
    pytest.mark.libvirt,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(openstack_program() is None, reason="python-openstackclient is not installed"),
]


def nothing_is_left(uri: str, instances: Path, server: str) -> None:
    """No domain, no disk."""
    domains = subprocess.run(
        ["virsh", "-c", uri, "list", "--all", "--uuid"], capture_output=True, text=True, check=True
    ).stdout
    assert server not in domains
    assert not (instances / server).exists()


async def _journalled(host: Path) -> list[JournalEntry]:
    journal = FileJournal(host / JOURNAL, load_identity(host).host, SystemClock())
    await journal.open()
    try:
        return journal.entries()
    finally:
        await journal.close()


def only_a_tombstone_is_left(host: Path, server: str) -> None:
    """The journal knows nothing but that the guest is gone; its agent has ended and let go of the file."""
    entries = asyncio.run(_journalled(host))
    assert [(entry.instance, entry.deleted) for entry in entries] in ([], [(server, True)])


def test_the_whole_cloud_in_one_process(guest_image_path: Path, libvirtd_uri: str, tmp_path: Path) -> None:
    settings = {"STARLING_HYPERVISOR": "libvirt", "STARLING_LIBVIRT_URI": libvirtd_uri}
    with laptop(tmp_path, **settings) as state:
        clouds = state / "clouds.yaml"
        story = Story(Openstack(clouds, "demo"), Openstack(clouds, "starling"), guest_image_path, tmp_path)
        story.tell()
        host = next((state / "hosts").iterdir())
        nothing_is_left(libvirtd_uri, host / "instances", story.server)
    only_a_tombstone_is_left(host, story.server)


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
        cloud.terminate("agent-real")
        only_a_tombstone_is_left(host, story.server)
    except BaseException:
        for name in cloud.processes:
            print(f"--- {name}\n{cloud.log_of(name)[-3000:]}")
        raise
    finally:
        cloud.close()
