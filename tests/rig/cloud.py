"""A distributed cloud of real processes on private RabbitMQ and PostgreSQL, as docs/operations.md runs it.

Every process is started by the same ``starling`` commands and variables as in production, with its own
logins. Processes can be killed, frozen and started again by name.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import asyncpg
import structlog

from process.secret import Secrets, password
from process.secret import load as load_secrets
from store.embedded import SUPERUSER, EmbeddedPostgres
from tests.fixtures.postgres import Loop
from tests.fixtures.rabbitmq import Rabbitmq, find_programs

READY_MAX_S = 60.0
ENROL_AT_ONCE = 3
OPERATOR = "operator"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DistributedCloud:
    """Start with ``start``; every process is in ``processes`` by name.

    ``small_disk_mib``: put the first agent process's hosts on a disk of their own, where that is allowed
    (``has_small_disk``).
    """

    def __init__(
        self,
        *,
        gateways: int = 2,
        workers: int = 2,
        schedulers: int = 1,
        hosts: int = 3,
        host_options: tuple[str, ...] = ("latency_factor=0",),
        environment: Mapping[str, str] | None = None,
        amqp_port: Callable[[int], int] | None = None,
        agents: int = 1,
        small_disk_mib: int = 0,
    ) -> None:
        self.has_small_disk = False
        self._amqp_port = amqp_port or (lambda port: port)
        self._agents = agents
        self.folder = Path(tempfile.mkdtemp(prefix="starling-rig-"))
        self.folder.chmod(0o755)
        self.definitions = self.folder / "definitions.json"
        if small_disk_mib:  # the journals of the first agent process, on a disk that can be filled
            self.hosts_of(0).mkdir(parents=True)
            size = f"size={small_disk_mib}m"
            mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(self.hosts_of(0))]
            self.has_small_disk = subprocess.run(mount, check=False).returncode == 0
        self._loop = Loop()
        self._counts = (gateways, workers, schedulers, hosts)
        self._options = host_options
        self._extra = dict(environment or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self._roles: dict[str, dict[str, str]] = {}
        self.broker: Rabbitmq
        self.postgres: EmbeddedPostgres
        self.ports = [free_port() for _ in range(gateways)]
        self.metrics_ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        programs = find_programs()
        if programs is None:
            raise RuntimeError("RabbitMQ is not installed")
        self.broker = Rabbitmq(self.folder / "rabbitmq", programs)
        self.broker.start()
        self._operator = password()
        self._replace_guest()
        self.port = self._amqp_port(self.broker.port)
        self.postgres = EmbeddedPostgres(self.folder / "database", structlog.get_logger())
        database = self.database = self._loop.run(self.postgres.start())
        self._base = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "STARLING_LOG_FORMAT": "json",
            **self._extra,
        }
        self._controller = {
            **self._base,
            "STARLING_STATE": str(self.folder / "state"),
            "STARLING_PUBLIC_URL": self.url,
        }
        management = f"127.0.0.1:{self.broker.management_port}"
        self._operators = {
            **self._controller,
            "STARLING_DATABASE_URL": database,
            "STARLING_AMQP_URL": self.broker.url_as(OPERATOR, self._operator, self.port),
            "STARLING_AMQP_ADMIN": f"http://{OPERATOR}:{self._operator}@{management}",
        }
        self.run("db", "migrate")
        for role in ("gateway", "worker", "scheduler"):
            self._roles[role] = self._logins(role, database)
        gateways, workers, schedulers, hosts = self._counts
        for n in range(workers):
            self.launch(f"worker-{n}", "worker", role="worker")
        for n in range(schedulers):
            self.launch(f"scheduler-{n}", "scheduler", role="scheduler")
        for n in range(gateways):
            self.launch(f"gateway-{n}", "gateway", role="gateway", STARLING_PORT=str(self.ports[n]))
        for n in range(gateways):
            self.wait_until_ready(n)
        with ThreadPoolExecutor(ENROL_AT_ONCE) as threads:
            list(threads.map(self.enrol, range(hosts)))
        for n in range(min(self._agents, hosts)):
            self.launch(f"agent-{n}", "agent", "run", str(self.hosts_of(n)))
        self._back_up_broker()
        self._wait_for_hosts(hosts)

    def enrol(self, n: int) -> str:
        """Enrol simulated host ``n`` with the agent process that is to run it; what the command said."""
        options = [word for option in self._options for word in ("--option", option)]
        folder = str(self.hosts_of(n % self._agents) / f"host-{n}")
        return self.run(
            "agent", "enrol", folder, "--hostname", f"host-{n}", "--driver", "simulated", *options
        )

    def query(self, statement: str) -> list[asyncpg.Record]:
        """Rows, read as the database's superuser."""

        async def read() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.database)
            try:
                return list(await connection.fetch(statement))
            finally:
                await connection.close()

        return self._loop.run(read())

    def _wait_for_hosts(self, count: int) -> None:
        until = time.monotonic() + READY_MAX_S
        while self.query("SELECT count(*) FROM compute.host WHERE life = 'up'")[0][0] < count:
            if time.monotonic() > until:
                raise RuntimeError(f"the hosts did not come up: {self.log_of('agent-0')[-3000:]}")
            time.sleep(0.2)

    def _replace_guest(self) -> None:
        """An operator's login in place of the broker's well-known one."""
        self.broker.ctl("add_user", OPERATOR, stdin=self._operator)
        self.broker.ctl("set_user_tags", OPERATOR, "administrator")
        self.broker.ctl("set_permissions", OPERATOR, ".*", ".*", ".*")
        self.broker.ctl("delete_user", "guest")

    def hosts_of(self, agent: int) -> Path:
        """The folder with the hosts of one agent process."""
        return self.folder / "hosts" / f"agent-{agent}"

    def _logins(self, role: str, database: str) -> dict[str, str]:
        secret = self.run("db", "login", role, f"db_{role}").strip()
        bus = self.run("bus", "login", role, f"bus_{role}").strip()
        return {
            "STARLING_DATABASE_URL": database.replace(
                f"user={SUPERUSER}", f"user=db_{role}&password={quote(secret)}"
            ),
            "STARLING_AMQP_URL": self.broker.url_as(f"bus_{role}", quote(bus), self.port),
        }

    def run(self, *words: str) -> str:
        """One ``starling`` command of an operator's to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            env=self._operators,
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_MAX_S,
        )
        if done.returncode:
            raise RuntimeError(f"starling {' '.join(words)}: {done.stderr[-3000:]}")
        return done.stdout

    def launch(self, name: str, *words: str, role: str = "", **variables: str) -> None:
        """Start a long-lived process. Without a role, an agent: it knows nothing of the controller's."""
        port = free_port()
        self.metrics_ports[name] = port
        own = {**self._controller, **self._roles[role]} if role else self._base
        self._commands[name] = (list(words), {**own, "STARLING_METRICS_PORT": str(port), **variables})
        self.again(name)

    def again(self, name: str) -> None:
        """Start a process that has ended, as it was started before."""
        words, environment = self._commands[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *words],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def terminate(self, name: str) -> int:
        """Let it end in good order; its exit code."""
        self.processes[name].terminate()
        return self.processes[name].wait(READY_MAX_S)

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def log_of(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait_until_ready(self, gateway: int = 0) -> None:
        until = time.monotonic() + READY_MAX_S
        while time.monotonic() < until:
            if self.processes[f"gateway-{gateway}"].poll() is not None:
                raise RuntimeError(f"gateway-{gateway} ended: {self.log_of(f'gateway-{gateway}')[-3000:]}")
            try:
                with urllib.request.urlopen(
                    f"http://127.0.0.1:{self.ports[gateway]}/readyz", timeout=5
                ) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"gateway-{gateway} was not ready: {self.log_of(f'gateway-{gateway}')[-3000:]}")

    def clouds_yaml(self) -> Path:
        return self.folder / "state" / "clouds.yaml"

    def secrets(self) -> Secrets:
        return load_secrets(self.folder / "state" / "secrets.json")

    def _back_up_broker(self) -> None:
        """What an operator keeps of a broker: its users and their rights."""
        self.broker.ctl("export_definitions", str(self.definitions))
        known = json.loads(self.definitions.read_text())
        for part in ("queues", "exchanges", "bindings", "policies", "parameters"):
            known.pop(part, None)
        self.definitions.write_text(json.dumps(known))

    def wipe_broker(self) -> None:
        """Lose every queue and message; the operator makes the users again, with their old passwords."""
        self.broker.wipe()
        self.broker.ctl("import_definitions", str(self.definitions))
        self.broker.ctl("delete_user", "guest")

    def restart_postgres(self) -> None:
        """Fast shutdown, then start: every session is cut."""
        self._loop.run(self.postgres.stop())
        self._loop.run(self.postgres.start())

    def kill_postgres(self) -> None:
        """Kill the server at once, as a power failure would, and start it again: it recovers from its log."""
        pid = int((self.postgres.home / "data" / "postmaster.pid").read_text().split("\n", 1)[0])
        os.kill(pid, signal.SIGKILL)
        self._loop.run(self.postgres.stop())
        self._loop.run(self.postgres.start())

    def close(self, *, keep: bool = False) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.broker.close()
        self._loop.run(self.postgres.stop())
        self._loop.close()
        if self.has_small_disk:
            subprocess.run(["umount", self.hosts_of(0)], check=True)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
