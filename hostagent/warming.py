"""Warming the image cache: images downloaded one after the other, before a guest needs them.

Only one at a time, so that a guest that is being made never waits for more than it would anyway. What
cannot be had is logged and forgotten: the first guest of the image fetches it again.
"""

import asyncio
from typing import Final

from structlog.typing import FilteringBoundLogger

from hostagent.driver import Driver, DriverError
from protocol.guest import GuestImage

WAITING_MAX: Final = 100
"""Images waiting; one more is not taken."""


class Warmer:
    """The images to come, by id: asked for twice, an image is fetched once, by the newer URL."""

    def __init__(self, driver: Driver, log: FilteringBoundLogger) -> None:
        self._driver = driver
        self._log = log
        self._waiting: dict[str, GuestImage] = {}
        self._wake = asyncio.Event()

    def take(self, image: GuestImage) -> None:
        """Put the image in line."""
        if image.image not in self._waiting and len(self._waiting) >= WAITING_MAX:
            self._log.warning("image.not_cached", image=image.image, code="busy")
            return
        self._waiting[image.image] = image
        self._wake.set()

    async def run(self, ready: asyncio.Event) -> None:
        """Fetch what is in line while the driver is open, until cancelled."""
        while True:
            await self._wake.wait()
            await ready.wait()
            while self._waiting:
                image = self._waiting.pop(next(iter(self._waiting)))
                await self._fetch(image)
            self._wake.clear()

    async def _fetch(self, image: GuestImage) -> None:
        try:
            await self._driver.cache_image(image, _quiet)
        except DriverError as error:
            self._log.warning("image.not_cached", image=image.image, code=error.code, reason=error.reason)
        except Exception:  # noqa: BLE001  a driver's bug fails this image, never the agent
            self._log.exception("image.cache_broke", image=image.image)
        else:
            self._log.info("image.cached", image=image.image, bytes=image.size_bytes)


def _quiet(_: str, __: int, ___: int) -> None:
    """Nobody waits for it, so nobody is told how far it is."""
