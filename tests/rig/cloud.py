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
from pathlib import Path
from urllib.parse import quote

import structlog

from tests.fixtures.postgres import Loop
from tests.fixtures.rabbitmq import Rabbitmq, _programs

from process.secret import Secrets
from process.secret import load as load_secrets
from store.embedded import SUPERUSER, EmbeddedPostgres

READY_MAX_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class DistributedCloud:
    """Start with ``start``; every process is in ``processes`` by name."""

    def __init__(  # noqa: PLR0913
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
        self._small_disk_mib = small_disk_mib
        self._amqp_port = amqp_port or (lambda port: port)
        self._agents = agents
        self.folder = Path(tempfile.mkdtemp(prefix="starling-rig-"))
        self.folder.chmod(0o755)
        if small_disk_mib:  # the journals of the first agent process, on a disk that can be filled
            self.hosts_of(0).mkdir(parents=True)
            size = f"size={small_disk_mib}m"
            subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", self.hosts_of(0)], check=True)
        self._loop = Loop()
        self._counts = (gateways, workers, schedulers, hosts)
        self._options = host_options
        self._extra = dict(environment or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._commands: dict[str, tuple[list[str], dict[str, str]]] = {}
        self.broker: Rabbitmq
        self.postgres: EmbeddedPostgres
        self.ports = [free_port() for _ in range(gateways)]
        self.metrics_ports: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def start(self) -> None:
        programs = _programs()
        if programs is None:
            raise RuntimeError("RabbitMQ is not installed")
        self.broker = Rabbitmq(self.folder / "rabbitmq", programs)
        self.broker.start()
        self.port = self._amqp_port(self.broker.port)
        self.postgres = EmbeddedPostgres(self.folder / "database", structlog.get_logger())
        database = self.database = self._loop.run(self.postgres.start())
        self._base = {
            "PATH": f"{self.broker.programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **{k: v for k, v in self.broker.env.items() if k.startswith(("RABBITMQ", "ERL", "HOME"))},
            "STARLING_STATE": str(self.folder / "state"),
            "STARLING_AMQP_URL": self.broker.url.replace(f":{self.broker.port}", f":{self.port}"),
            "STARLING_AMQP_ADMIN": f"rabbitmqctl:{self.broker.node}",
            "STARLING_LOG_FORMAT": "json",
            "STARLING_PUBLIC_URL": self.url,
            **self._extra,
        }
        admin = {**self._base, "STARLING_DATABASE_URL": database}
        self.run("db", "migrate", environment=admin)
        for role in ("gateway", "worker", "scheduler"):
            secret = self.run("db", "login", role, f"db_{role}", environment=admin).strip()
            bus = self.run("bus", "login", role, f"bus_{role}", environment=admin).strip()
            url = database.replace(f"user={SUPERUSER}", f"user=db_{role}&password={quote(secret)}")
            self._base_of(role, url, bus)
        gateways, workers, schedulers, hosts = self._counts
        for n in range(workers):
            self.launch(f"worker-{n}", "worker", role="worker")
        for n in range(schedulers):
            self.launch(f"scheduler-{n}", "scheduler", role="scheduler")
        for n in range(gateways):
            self.launch(f"gateway-{n}", "gateway", role="gateway", STARLING_PORT=str(self.ports[n]))
        for n in range(gateways):
            self.wait_until_ready(n)
        for n in range(hosts):
            options = [word for option in self._options for word in ("--option", option)]
            folder = str(self.hosts_of(n % self._agents) / f"host-{n}")
            self.run("agent", "enrol", folder, "--hostname", f"host-{n}", "--driver", "simulated", *options)
        for n in range(min(self._agents, hosts)):
            self.launch(f"agent-{n}", "agent", "run", str(self.hosts_of(n)))

    def hosts_of(self, agent: int) -> Path:
        """The folder with the hosts of one agent process."""
        return self.folder / "hosts" / f"agent-{agent}"

    def _base_of(self, role: str, database: str, bus_password: str) -> None:
        self._roles: dict[str, dict[str, str]] = getattr(self, "_roles", {})
        self._roles[role] = {
            "STARLING_DATABASE_URL": database,
            "STARLING_AMQP_URL": self.broker.url_as(f"bus_{role}", quote(bus_password), self.port),
        }

    def run(self, *words: str, environment: Mapping[str, str] | None = None) -> str:
        """One ``starling`` command to its end; its output."""
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *words],
            env=dict(environment or self._base),
            capture_output=True,
            text=True,
            check=False,
            timeout=READY_MAX_S,
        )
        if done.returncode:
            raise RuntimeError(f"starling {' '.join(words)}: {done.stderr[-3000:]}")
        return done.stdout

    def launch(self, name: str, *words: str, role: str = "", **variables: str) -> None:
        """Start a long-lived process."""
        port = free_port()
        self.metrics_ports[name] = port
        environment = {
            **self._base,
            "STARLING_METRICS_PORT": str(port),
            **self._roles.get(role, {}),
            **variables,
        }
        if not role:
            environment.pop("STARLING_AMQP_URL")
        self._commands[name] = (list(words), environment)
        self.again(name)

    def again(self, name: str) -> None:
        """Start a process that has ended, as it was started before."""
        words, environment = self._commands[name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "cli.main", *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

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

    def wipe_broker(self) -> None:
        """Lose every queue and message; the operator makes the users again, with their old passwords."""
        definitions = self.folder / "definitions.json"
        self.broker.ctl("export_definitions", str(definitions))
        known = json.loads(definitions.read_text())
        for part in ("queues", "exchanges", "bindings", "policies", "parameters"):
            known.pop(part, None)
        definitions.write_text(json.dumps(known))
        self.broker.wipe()
        self.broker.ctl("import_definitions", str(definitions))

    def restart_postgres(self) -> None:
        """Fast shutdown, then start: every session is cut."""
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
        if self._small_disk_mib:
            subprocess.run(["umount", self.hosts_of(0)], check=True)
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
