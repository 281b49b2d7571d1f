"""The one seam between asyncio and libvirt: threads for calls, callbacks brought back to the loop.

Every call runs in a small pool; libvirt releases the interpreter's lock meanwhile. Events are
collected by a thread that lives as long as the process: so keepalives are answered even when the
loop is busy, and loops may come and go. Translates libvirt's errors; knows no verbs.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import libvirt
import structlog

from hostagent.driver import DriverError
from hostagent.drivers.thread import in_thread

THREADS: Final = 8
LONG_THREADS: Final = 4
"""Work that takes minutes has threads of its own, so that looks and starts never wait for it."""
KEEPALIVE_S: Final = 5
KEEPALIVE_TRIES: Final = 3

P = ParamSpec("P")
R = TypeVar("R")
LifecycleHandler = Callable[[str], None]

_log = structlog.get_logger(service="agent")
_event_loop_lock = threading.Lock()
_event_loop: threading.Thread | None = None

_NO_MEMORY: Final = ("Cannot allocate memory", "cannot set up guest memory")
_DISK_FULL: Final = "No space left on device"


class Connection:
    """One connection to libvirtd. ``open`` may be called again after it was lost.

    ``on_change`` hears the id of each domain that changed, ``on_reboot`` of each that began anew,
    ``on_lost`` that the connection is gone; all on the loop that opened it.
    """

    def __init__(
        self,
        uri: str,
        *,
        on_change: LifecycleHandler,
        on_reboot: LifecycleHandler,
        on_lost: Callable[[], None],
    ) -> None:
        self._uri = uri
        self._on_change = on_change
        self._on_reboot = on_reboot
        self._on_lost = on_lost
        self._pool = _threads(THREADS)
        self._long_pool = _threads(LONG_THREADS)
        self._conn: libvirt.virConnect | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._callbacks: list[int] = []

    async def open(self) -> None:
        """Connect, replacing an earlier connection. Raises ``DriverError`` ``hypervisor_unavailable``."""
        await self._drop()
        self._loop = asyncio.get_running_loop()
        try:
            self._conn = await in_thread(self._pool, self._connect)
        except libvirt.libvirtError as error:
            _log.warning("libvirt.unreachable", uri=self._uri, error=str(error))
            raise DriverError("hypervisor_unavailable", "The host's hypervisor does not answer.") from error

    async def close(self) -> None:
        """Disconnect and end the threads."""
        await self._drop()
        for pool in (self._pool, self._long_pool):
            pool.shutdown(wait=False)
        self._pool, self._long_pool = _threads(THREADS), _threads(LONG_THREADS)

    async def call(
        self, act: Callable[Concatenate[libvirt.virConnect, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``act(connection, …)`` in a thread. Raises ``DriverError`` for what libvirt refuses."""
        return await self._call(self._pool, act, *args, **kwargs)

    async def call_long(
        self, act: Callable[Concatenate[libvirt.virConnect, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """As ``call``, for work that takes minutes."""
        return await self._call(self._long_pool, act, *args, **kwargs)

    async def _call(
        self,
        pool: ThreadPoolExecutor,
        act: Callable[Concatenate[libvirt.virConnect, P], R],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> R:
        conn = self._conn
        if conn is None:
            raise DriverError("hypervisor_unavailable", "The host's hypervisor is not connected.")
        try:
            return await in_thread(pool, act, conn, *args, **kwargs)
        except libvirt.libvirtError as error:
            raise _translated(error, getattr(act, "__name__", "call"), alive=self._conn is conn) from error

    def _connect(self) -> libvirt.virConnect:
        _run_event_loop()
        conn = libvirt.open(self._uri)
        conn.setKeepAlive(KEEPALIVE_S, KEEPALIVE_TRIES)
        conn.registerCloseCallback(self._closed, None)
        self._callbacks = [
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None),
            conn.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._rebooted, None),
        ]
        return conn

    async def _drop(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await in_thread(self._pool, _disconnect, conn, self._callbacks)

    # Called by libvirt in the event thread.

    def _changed(
        self, _conn: Any, domain: libvirt.virDomain, _event: int, _detail: int, _opaque: Any
    ) -> None:
        self._tell(self._on_change, domain.UUIDString())

    def _rebooted(self, _conn: Any, domain: libvirt.virDomain, _opaque: Any) -> None:
        self._tell(self._on_reboot, domain.UUIDString())

    def _closed(self, _conn: Any, reason: int, _opaque: Any) -> None:
        if reason != libvirt.VIR_CONNECT_CLOSE_REASON_CLIENT:
            self._tell(self._lost, reason)

    def _tell(self, handler: Callable[..., None], *args: object) -> None:
        # A loop that has ended meanwhile has nobody left who would want to know.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(handler, *args)

    def _lost(self, reason: int) -> None:
        _log.warning("libvirt.connection_lost", uri=self._uri, reason=reason)
        self._on_lost()


def _threads(count: int) -> ThreadPoolExecutor:
    """A pool whose threads are only made when there is work."""
    return ThreadPoolExecutor(count, thread_name_prefix="libvirt")


def _disconnect(conn: libvirt.virConnect, callbacks: list[int]) -> None:
    # A broken connection answers none of these, and need not.
    for act in (*(lambda ident=ident: conn.domainEventDeregisterAny(ident) for ident in callbacks),
                conn.unregisterCloseCallback, conn.close):  # fmt: skip
        with contextlib.suppress(libvirt.libvirtError):
            act()


def _run_event_loop() -> None:
    """Start the process's event thread, once, before the first connection."""
    global _event_loop  # noqa: PLW0603  libvirt has one event loop per process
    with _event_loop_lock:
        if _event_loop is None:
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(lambda _context, _error: None, None)  # else it prints on stderr
            _event_loop = threading.Thread(target=_turn_event_loop, name="libvirt-events", daemon=True)
            _event_loop.start()


def _turn_event_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            _log.warning("libvirt.event_loop", error=str(error))


def _translated(error: libvirt.libvirtError, what: str, *, alive: bool) -> DriverError:
    """The error for the agent: stable code, a text without the host's paths; the rest is logged."""
    text, code = str(error), error.get_error_code()
    _log.warning("libvirt.refused", call=what, code=code, error=text)
    if code == libvirt.VIR_ERR_NO_DOMAIN:
        return DriverError("not_found", "There is no such guest on this host.")
    if not alive or error.get_error_domain() == libvirt.VIR_FROM_RPC or code in _CONNECTION_CODES:
        return DriverError("hypervisor_unavailable", "The connection to the hypervisor was lost.")
    if code == libvirt.VIR_ERR_NO_MEMORY or any(part in text for part in _NO_MEMORY):
        return DriverError("no_memory", "The host cannot allocate the guest's memory.")
    if _DISK_FULL in text:
        return DriverError("disk_full", "The host's disk is full.")
    return DriverError("hypervisor", f"The hypervisor refused ({what.replace('_', ' ')}, error {code}).")


_CONNECTION_CODES: Final = frozenset(
    {libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_INVALID_CONN, libvirt.VIR_ERR_RPC}
)
