"""openstacksdk against the whole cloud in one process: its cloud layer and its proxies, unmodified."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.laptop import laptop, start, stop
from tests.rig.cloud import free_port

openstack = pytest.importorskip("openstack", reason="openstacksdk is not installed")
pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # the client's own
]


def _connect(state: Path, cloud: str) -> Any:
    loader = openstack.config.OpenStackConfig(config_files=[str(state / "clouds.yaml")], load_envvars=False)
    return openstack.connection.Connection(config=loader.get_one(cloud=cloud))


def _image(connection: Any, folder: Path) -> Any:
    file = folder / "disk.raw"
    file.write_bytes(b"\x5a" * (1 << 20))
    return connection.create_image(
        "raw", filename=str(file), disk_format="raw", container_format="bare", wait=True
    )


def test_a_server_through_the_cloud_layer(tmp_path: Path) -> None:
    with laptop(tmp_path, STARLING_HYPERVISOR="simulated", STARLING_SIMULATED_LATENCY="0.1") as state:
        demo = _connect(state, "demo")
        image = _image(demo, tmp_path)
        assert demo.image.download_image(image).content == (tmp_path / "disk.raw").read_bytes()
        key = demo.create_keypair("sdk")
        server = demo.create_server(
            "sdk",
            image=image.id,
            flavor="m1.nano",
            key_name=key.name,
            network="shared",
            wait=True,
            auto_ip=False,
        )
        assert server.status == "ACTIVE"
        assert demo.compute.get_server_console_output(server, length=5)["output"]
        demo.compute.pause_server(server)
        demo.compute.wait_for_server(server, status="PAUSED")
        with pytest.raises(openstack.exceptions.ConflictException):
            demo.compute.stop_server(server)
        demo.compute.unpause_server(server)
        demo.compute.wait_for_server(server, status="ACTIVE")
        demo.compute.set_server_metadata(server, colour="blue")
        assert demo.compute.get_server(server).metadata == {"colour": "blue"}
        actions = [action.action for action in demo.compute.server_actions(server)]
        assert actions[-1] == "create"
        assert demo.delete_server("sdk", wait=True)
        assert demo.get_server("sdk") is None
        assert [hypervisor.name for hypervisor in _connect(state, "starling").compute.hypervisors()]


def test_everything_is_there_after_a_stop_and_after_a_kill(tmp_path: Path) -> None:
    settings = {
        "STARLING_PORT": str(free_port()),
        "STARLING_HYPERVISOR": "simulated",
        "STARLING_SIMULATED_LATENCY": "0.1",
    }
    tmp_path.chmod(0o755)
    state = tmp_path / "state"
    process = start(tmp_path, settings)
    demo = _connect(state, "demo")
    image = _image(demo, tmp_path)
    server = demo.create_server(
        "kept", image=image.id, flavor="m1.nano", network="shared", wait=True, auto_ip=False
    )
    stop(process, tmp_path)

    process = start(tmp_path, settings)
    assert _connect(state, "demo").get_server(server.id).status == "ACTIVE"
    process.kill()
    process.wait()

    process = start(tmp_path, settings)
    demo = _connect(state, "demo")
    assert demo.get_server(server.id).status == "ACTIVE"
    assert demo.delete_server(server.id, wait=True)
    stop(process, tmp_path)


def test_hosts_that_are_not_wanted_go_when_they_are_empty(tmp_path: Path) -> None:
    settings = {"STARLING_PORT": str(free_port()), "STARLING_HYPERVISOR": "simulated"}
    tmp_path.chmod(0o755)
    state = tmp_path / "state"

    def hosts() -> dict[str, str]:
        return {h.name: h.status for h in _connect(state, "starling").compute.hypervisors(details=True)}

    process = start(tmp_path, {**settings, "STARLING_SIMULATED_HOSTS": "3"})
    admin = _connect(state, "starling")
    image = _image(admin, tmp_path)
    server = admin.create_server(
        "kept", image=image.id, flavor="m1.nano", network="shared", auto_ip=False, wait=True,
        availability_zone="nova:sim-3",
    )  # fmt: skip
    stop(process, tmp_path)

    process = start(tmp_path, {**settings, "STARLING_SIMULATED_HOSTS": "1"})
    assert hosts() == {"sim-1": "enabled", "sim-3": "disabled"}
    assert _connect(state, "starling").delete_server(server.id, wait=True)
    stop(process, tmp_path)

    process = start(tmp_path, {**settings, "STARLING_SIMULATED_HOSTS": "1"})
    assert hosts() == {"sim-1": "enabled"}
    stop(process, tmp_path)

    process = start(tmp_path, {**settings, "STARLING_SIMULATED_HOSTS": "2"})
    assert hosts() == {"sim-1": "enabled", "sim-2": "enabled"}
    stop(process, tmp_path)
