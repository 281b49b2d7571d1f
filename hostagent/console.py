"""Reading the ends of console logs: beside a guest's turns, since reading disturbs nobody.

What must not go in: anything that changes a guest.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from hostagent.driver import Driver, DriverError
from hostagent.journal import Journal
from hostagent.outbox import Outbox
from protocol.agent import GuestConsole, ReadGuestConsole
from protocol.ids import address

READS_MAX: Final = 20
"""Logs read at once; one more is refused."""

BYTES_MAX: Final = 102_400
"""The most of a log that is sent, whatever was asked for."""


class ConsoleReader:
    """Answers ReadGuestConsole."""

    def __init__(self, driver: Driver, journal: Journal, outbox: Outbox, log: FilteringBoundLogger) -> None:
        self._driver = driver
        self._journal = journal
        self._outbox = outbox
        self._log = log
        self._reads: dict[int, asyncio.Task[None]] = {}
        self._begun = 0

    def begin(self, wanted: ReadGuestConsole, trace: str) -> None:
        """Read and answer in the background."""
        entry = self._journal.get(wanted.instance)
        if entry is not None and wanted.generation < entry.generation:
            self._answer(wanted, trace, error="stale")
        elif len(self._reads) >= READS_MAX:
            self._answer(wanted, trace, error="The host is busy reading other consoles.")
        else:
            self._begun += 1
            self._reads[self._begun] = asyncio.create_task(self._read(self._begun, wanted, trace))

    def tasks(self) -> list[asyncio.Task[None]]:
        """What is under way, to be cancelled when the agent stops."""
        return list(self._reads.values())

    async def _read(self, key: int, wanted: ReadGuestConsole, trace: str) -> None:
        try:
            log = await self._driver.console_log(wanted.instance, min(max(0, wanted.bytes_max), BYTES_MAX))
        except DriverError as error:
            self._answer(wanted, trace, error=error.reason)
        except Exception:  # noqa: BLE001  a driver's bug fails this reading, never the agent
            self._log.exception("console.failed", instance=wanted.instance)
            self._answer(wanted, trace, error="The host failed to read the console.")
        else:
            self._answer(wanted, trace, text=log[-BYTES_MAX:].decode(errors="replace"))
        finally:
            del self._reads[key]

    def _answer(self, wanted: ReadGuestConsole, trace: str, *, text: str = "", error: str = "") -> None:
        fact = GuestConsole(
            instance=wanted.instance,
            generation=wanted.generation,
            reply_to=wanted.reply_to,
            operation=wanted.operation,
            text=text,
            error=error,
        )
        key = ("console", wanted.instance, wanted.reply_to, wanted.operation)
        self._outbox.say(key, address("instance", wanted.instance), fact, wanted.operation, trace)
