"""What every role needs of its surroundings: settings, clock, logs, the bus, pools, secrets.

The two buses and the two databases are chosen here and nowhere else.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from structlog.typing import FilteringBoundLogger

from bus.amqp import AmqpBus
from bus.enrolment import Admin, admin_of
from bus.mailbox import Bus
from bus.memory import MemoryBroker, MemoryBus
from process.access import AccessLog
from process.clock import Clock, SystemClock
from process.log_file import LogFiles
from process.logs import set_up_logs
from process.metrics import Metrics
from process.secret import FILE_NAME, Secrets, load, load_or_make
from process.settings import Settings, SettingsError, load_settings
from store.migrate import check_shape
from store.pool import Pool, open_pool

DatabaseRole = Literal["gateway", "worker", "scheduler"]


class Wiring:
    """One process's surroundings. Pools and buses opened through it are closed by ``close``."""

    def __init__(self, settings: Settings, log: FilteringBoundLogger, files: LogFiles) -> None:
        """``files`` are those of the access log. Raises OSError for a file that cannot be opened."""
        self.settings = settings
        self.log = log
        self.access = AccessLog(files, settings.log_format)
        self.clock: Clock = SystemClock()
        self.metrics = Metrics()
        self.broker = MemoryBroker() if not settings.amqp_url else None
        self.reloads: list[Callable[[], None]] = []
        """What SIGHUP has done again."""
        self._database_url = ""
        self._pools: list[Pool] = []
        self._buses: list[Bus] = []

    @classmethod
    def from_environment(cls) -> "Wiring":
        """Settings and logs as the environment says. Raises SettingsError."""
        settings = load_settings(os.environ)
        files = LogFiles(settings.service_log)
        log = set_up_logs(style=settings.log_format, level=settings.log_level, files=files)
        accesses = LogFiles(settings.access_log)
        wiring = cls(settings, log, accesses)
        wiring.reloads += [files.reopen, accesses.reopen]
        return wiring

    def log_of(self, service: str) -> FilteringBoundLogger:
        """The service log's lines of one service."""
        return self.log.bind(service=service)

    def require_production(self, role: str) -> None:
        """A role of its own needs a bus and a database others can reach. Raises SettingsError."""
        missing = [] if self.settings.amqp_url else ["STARLING_AMQP_URL"]
        if role in {"gateway", "worker", "scheduler"} and not self.settings.database_for(role):  # type: ignore[arg-type]
            missing.append(f"STARLING_DATABASE_URL (or STARLING_DATABASE_URL_{role.upper()})")
        if missing:
            raise SettingsError(
                f"the {role} on its own needs {' and '.join(missing)}; see docs/operations.md"
            )

    def use_database(self, url: str) -> None:
        """The embedded database, once it runs."""
        self._database_url = url

    def database_url(self, role: DatabaseRole) -> str:
        """Where the role's database is."""
        return self.settings.database_for(role) or self._database_url

    async def pool(self, role: DatabaseRole, *, connections_max: int = 10) -> Pool:
        """A pool whose sessions have the rights of the role and no more.

        Raises StoreUnavailable, and what ``check_shape`` does when the database is of another release.
        """
        url = self.database_url(role)
        session = {"application_name": f"starling {role}", "role": f"starling_{role}"}
        pool = await open_pool(url, connections_max=connections_max, settings=session)
        self._pools.append(pool)
        async with pool.acquire() as connection:
            await check_shape(connection)
        return pool

    def bus(self, name: str, *, host: str = "", url: str = "") -> Bus:
        """A connection to the bus under this name; for an agent with its host's id and own url."""
        bus: Bus
        if self.broker is not None and not url:
            bus = MemoryBus(self.broker, name=name, host=host)
        else:
            bus = AmqpBus(
                url or self.settings.amqp_url,
                name=name,
                queue_type=self.settings.queue_type,
                host=host,
                clock=self.clock,
            )
        self._buses.append(bus)
        return bus

    def bus_admin(self) -> Admin:
        """How the broker's users are made. Raises SettingsError."""
        try:
            return admin_of(self.settings.amqp_admin)
        except ValueError as error:
            raise SettingsError(f"amqp_admin: {error}") from error

    def secrets(self, *, make: bool) -> Secrets:
        """The cloud's secrets; made when ``make`` and there are none. Raises SecretsError."""
        settings = self.settings
        path = Path(settings.secrets_file) if settings.secrets_file else settings.state_path / FILE_NAME
        if not make:
            return load(path)
        return load_or_make(
            path, admin_password=settings.admin_password, demo_password=settings.demo_password
        )

    def reload(self) -> None:
        """Read again what may change while the process runs."""
        for reload in self.reloads:
            reload()

    async def close(self) -> None:
        """Close what was opened, newest first."""
        for bus in reversed(self._buses):
            await bus.close()
        for pool in reversed(self._pools):
            await pool.close()
