"""One cloud in one process for all tests of a module that only speak HTTP to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.laptop import laptop
from tests.clients.shell import Shell
from tests.clients.story import openstack_program


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The state folder of a cloud on simulated hosts, with its ``clouds.yaml``."""
    if openstack_program() is None:
        pytest.skip("python-openstackclient is not installed")
    settings = {"STARLING_HYPERVISOR": "simulated", "STARLING_SIMULATED_LATENCY": "0.1"}
    with laptop(tmp_path_factory.mktemp("cloud"), **settings) as folder:
        yield folder


@pytest.fixture(scope="module")
def admin(state: Path) -> Iterator[Shell]:
    """The administrator at a shell."""
    with Shell(state / "clouds.yaml", "starling") as shell:
        yield shell


@pytest.fixture(scope="module")
def demo(state: Path) -> Iterator[Shell]:
    """A member of a project at a shell."""
    with Shell(state / "clouds.yaml", "demo") as shell:
        yield shell
