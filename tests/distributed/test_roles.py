"""Each role as a process of its own: what it tells its operators, how it ends, what it may not reach."""

import asyncio
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.chaos.load import FLAVOR, Client
from tests.chaos.rows import make_image
from tests.rig.cloud import OPERATOR, DistributedCloud

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
ROLES = ("gateway-0", "worker-0", "scheduler-0", "agent-0")
LEASE_S = 60
PATIENCE_S = 30
"""Less than the lease: who waits for the lease to run out fails."""


@pytest.fixture(scope="module")
def cloud(rabbitmq_programs: Path) -> Iterator[DistributedCloud]:
    made = DistributedCloud(
        gateways=1,
        workers=2,
        hosts=2,
        host_options=("latency_factor=1", "vcpus=64"),
        environment={"STARLING_LEASE_S": str(LEASE_S)},
    )
    try:
        made.start()
        yield made
    finally:
        made.close()


def fetch(cloud: DistributedCloud, name: str, path: str) -> tuple[int, str]:
    port = cloud.ports[0] if name == "gateway-0" else cloud.metrics_ports[name]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def tenant(cloud: DistributedCloud) -> tuple[Client, dict[str, Any]]:
    """A client, and what it asks for."""
    client = Client(cloud.ports, "admin", cloud.secrets().admin_password, "admin")
    await client.log_in()
    limits = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
    await client.call("PUT", f"/compute/v2.1/os-quota-sets/{client.project}", limits)
    await client.call("POST", "/compute/v2.1/flavors", {"flavor": {**FLAVOR, "id": "distributed"}})
    image = await make_image(cloud.database, client.project)
    server = {"name": "one", "flavorRef": "distributed", "imageRef": image, "networks": "none"}
    return client, {"server": server}


async def create(client: Client, wish: dict[str, Any], key: str) -> str:
    status, answer = await client.call("POST", "/compute/v2.1/servers", wish, key=key)
    assert status == 202, answer
    server: str = answer["server"]["id"]
    return server


async def become(client: Client, server: str, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            _, answer = await client.call("GET", f"/compute/v2.1/servers/{server}")
            status = answer["server"]["status"]
            assert status in {"BUILD", wanted}, answer
            if status == wanted:
                return
            await asyncio.sleep(0.3)


async def test_a_server_comes_and_goes(cloud: DistributedCloud) -> None:
    client, wish = await tenant(cloud)
    try:
        server = await create(client, wish, "first")
        await become(client, server, "ACTIVE")
        assert (await client.call("DELETE", f"/compute/v2.1/servers/{server}"))[0] == 204
    finally:
        await client.close()


@pytest.mark.parametrize("name", ROLES)
def test_a_role_is_alive_and_ready(cloud: DistributedCloud, name: str) -> None:
    assert fetch(cloud, name, "/healthz") == (200, '{"status": "ok"}')
    status, body = fetch(cloud, name, "/readyz")
    found = json.loads(body)
    assert (status, found["ready"]) == (200, True)
    if name != "agent-0":
        assert abs(found["checks"]["database"]["clock_offset_s"]) < 60


def test_the_metrics_are_those_documented(cloud: DistributedCloud) -> None:
    documented = set(re.findall(r"`(starling_\w+)`", (ROOT / "docs" / "operations.md").read_text()))
    shown = {
        name
        for role in ROLES
        for name in re.findall(r"^# TYPE (starling_\w+)", fetch(cloud, role, "/metrics")[1], re.MULTILINE)
    }
    assert len(documented) > 20
    assert documented - shown == set()
    assert {n for n in shown - documented if not n.endswith("_created")} == set()


def test_an_agent_knows_no_way_to_the_database(cloud: DistributedCloud) -> None:
    pid = cloud.processes["agent-0"].pid
    environment = Path(f"/proc/{pid}/environ").read_text()
    known = [path.read_text(errors="replace") for path in cloud.hosts_of(0).rglob("*") if path.is_file()]
    assert len(known) > 4
    for text in (environment, *known):
        assert "postgres" not in text.lower()
        assert OPERATOR not in text
    secrets = cloud.secrets()
    for secret in (*secrets.token_keys, secrets.url_key, secrets.admin_password):
        assert not any(secret in text for text in (environment, *known))
    connected = {row[0] for row in cloud.query("SELECT DISTINCT usename FROM pg_stat_activity")}
    assert connected - {None} == {"starling", "db_gateway", "db_worker", "db_scheduler"}


def test_everybody_has_a_bus_user_of_their_own(cloud: DistributedCloud) -> None:
    hosts = {f"host-{row[0]}" for row in cloud.query("SELECT id FROM compute.host")}
    connected = set(cloud.broker.ctl("list_connections", "user").split()) - {"user"}
    assert connected == {"bus_gateway", "bus_worker", "bus_scheduler", *hosts}
    assert "guest" not in cloud.broker.ctl("list_users")


def test_enrolling_a_host_again_changes_nothing(cloud: DistributedCloud) -> None:
    users = cloud.broker.ctl("list_users")
    assert "enrolled" in cloud.enrol(0)
    assert cloud.broker.ctl("list_users") == users
    assert len(cloud.query("SELECT id FROM compute.host WHERE hostname = 'host-0'")) == 1


def test_a_name_belongs_to_one_host(cloud: DistributedCloud) -> None:
    with pytest.raises(RuntimeError) as refused:
        cloud.run("agent", "enrol", str(cloud.folder / "second"), "--hostname", "host-0")
    said = str(refused.value).partition(": ")[2].strip()
    assert said.startswith("starling: another host has the name host-0")
    assert "\n" not in said
    assert not (cloud.folder / "second").exists()


def test_a_host_that_is_retired_leaves_nothing(cloud: DistributedCloud) -> None:
    folder = str(cloud.folder / "third")
    ident = cloud.run("agent", "enrol", folder, "--hostname", "third", "--driver", "simulated").split()[0]
    for _ in range(2):  # whatever a crash leaves, retiring again takes away
        assert "retired" in cloud.run("agent", "retire", "third")
        assert ident not in cloud.broker.ctl("list_users")
        assert ident not in cloud.broker.ctl("list_queues", "name")
    assert cloud.query("SELECT id FROM compute.host WHERE hostname = 'third' AND NOT gone") == []
    with pytest.raises(RuntimeError, match="was removed from the cloud; enrol it anew"):
        cloud.run("agent", "enrol", folder, "--hostname", "third")
    again = cloud.run("agent", "enrol", f"{folder}-again", "--hostname", "third", "--driver", "simulated")
    assert ident not in again
    assert "retired" in cloud.run("agent", "retire", f"{folder}-again")


async def test_a_worker_that_ends_hands_its_work_over_at_once(cloud: DistributedCloud) -> None:
    client, wish = await tenant(cloud)
    try:
        servers = await asyncio.gather(*(create(client, wish, f"drain {n}") for n in range(20)))
        assert await asyncio.to_thread(cloud.terminate, "worker-0") == 0
        assert "part.not_drained" not in cloud.log_of("worker-0")
        await asyncio.gather(*(become(client, server, "ACTIVE") for server in servers))
        owners = await asyncio.to_thread(cloud.query, "SELECT DISTINCT owner FROM runtime.partition")
        assert len(owners) == 1
        for server in servers:
            assert (await client.call("DELETE", f"/compute/v2.1/servers/{server}"))[0] == 204
    finally:
        await client.close()
    cloud.again("worker-0")


async def test_a_gateway_that_ends_answers_what_it_has_begun(cloud: DistributedCloud) -> None:
    client, wish = await tenant(cloud)
    headers = {"X-Auth-Token": client.token, "OpenStack-API-Version": "compute 2.90"}
    url = f"{cloud.url}/compute/v2.1/servers"

    async def ask(session: aiohttp.ClientSession) -> int:
        try:
            async with session.post(url, json=wish, headers=headers) as answer:
                return answer.status
        except aiohttp.ClientConnectionError:
            return 0  # it came too late

    counted = "SELECT count(*) FROM runtime.operation WHERE name = 'create'"
    before = (await asyncio.to_thread(cloud.query, counted))[0][0]
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{cloud.url}/v1/events", headers=headers) as stream,
    ):
        asked = [asyncio.create_task(ask(session)) for _ in range(30)]
        while (await asyncio.to_thread(cloud.query, counted))[0][0] == before:
            await asyncio.sleep(0.01)
        assert await asyncio.to_thread(cloud.terminate, "gateway-0") == 0
        statuses = await asyncio.gather(*asked)
        told = (await stream.read()).decode()
    await client.close()
    assert set(statuses) <= {202, 0}
    assert statuses.count(202) == (await asyncio.to_thread(cloud.query, counted))[0][0] - before
    assert '"code":"shutdown"' in told
    log = cloud.log_of("gateway-0")
    assert "part.stuck" not in log
    assert "part.not_drained" not in log
    cloud.again("gateway-0")
    await asyncio.to_thread(cloud.wait_until_ready)


@pytest.mark.parametrize("name", ["scheduler-0", "agent-0"])
def test_a_role_ends_in_good_order(cloud: DistributedCloud, name: str) -> None:
    assert cloud.terminate(name) == 0
    log = cloud.log_of(name)
    assert "part.stuck" not in log
    assert "part.not_drained" not in log
    cloud.again(name)


AMQP = {"STARLING_AMQP_URL": "amqp://a:b@127.0.0.1:1/"}
DATABASE = {"STARLING_DATABASE_URL": "postgresql://a:b@127.0.0.1:1/c"}
PUBLIC = {"STARLING_PUBLIC_URL": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("words", "settings", "says"),
    [
        ("worker", {"STARLING_PROT": "1"}, "there is no setting 'prot'"),
        ("worker", {"STARLING_LEASE_S": "0.1"}, "lease_s must be between 1 and 60"),
        ("worker", {}, "the worker on its own needs STARLING_AMQP_URL and STARLING_DATABASE_URL"),
        ("worker", {**AMQP, **DATABASE}, "a worker needs STARLING_PUBLIC_URL"),
        ("worker", {**AMQP, **DATABASE, **PUBLIC}, "the database cannot be opened"),
        ("scheduler", {**AMQP, "STARLING_DATABASE_URL": "mysql://db"}, "must begin with postgresql://"),
        ("gateway", {**DATABASE, "STARLING_AMQP_URL": "http://mq"}, "must begin with amqp://"),
        ("gateway", {**AMQP, **DATABASE}, "the database cannot be opened"),
        ("agent run {folder}", {}, "no enrolled host here"),
        ("agent enrol {folder}", {}, "the agent on its own needs STARLING_AMQP_URL"),
        ("agent enrol {folder} --option x", {**AMQP, **DATABASE}, "it must be KEY=VALUE"),
        ("bus login worker w", {"STARLING_AMQP_ADMIN": "nobody"}, "amqp_admin: the broker's administration"),
        ("bus login worker w", {"STARLING_AMQP_ADMIN": "http://a:b@127.0.0.1:1"}, "management API"),
        ("db login worker w", {}, "db login needs STARLING_DATABASE_URL"),
        ("db migrate", {}, "db migrate needs STARLING_DATABASE_URL"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: str, settings: dict[str, str], says: str, tmp_path: Path
) -> None:
    done = starling(words.format(folder=tmp_path).split(), {"STARLING_STATE": str(tmp_path), **settings})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("starling: ")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_number_of_partitions_is_said_in_one_line(cloud: DistributedCloud) -> None:
    _, environment = cloud._commands["worker-0"]
    done = starling(["worker"], {**environment, "STARLING_PARTITIONS": "8"})
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("starling: partitions: this cloud was made with 16")
    assert "Traceback" not in done.stderr


def starling(words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *words],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
