"""What goes wrong on the way: store calls, messages under way, verbs of hypervisors.

One ``Weather`` per run holds how bad it is now; the small classes below hand that to the bus, the
store and the drivers through the interfaces these have for it. Kinds of faults and their timing
belong to ``tests.sim.fault``.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from bus.fault import DELIVERED, DUPLICATED, LOST, OVERTAKEN, REFUSED, UNCONFIRMED, Fate
from bus.mailbox import Parcel
from hostagent.driver import DriverError
from hostagent.drivers.simulated import Fault, GuestDies, Hang
from hostagent.drivers.simulated.settings import Verb
from store.turn import StoreUnavailable
from tests.sim.loop import SimLoop

FATES: Final = (LOST, DUPLICATED, OVERTAKEN, REFUSED, UNCONFIRMED)
DUPLICATE_DELAY_MAX_S: Final = 30.0


class Weather:
    """How bad it is now. Chances are in 0…1, times in seconds."""

    def __init__(self, loop: SimLoop, chance: Random) -> None:
        self.loop = loop
        self.chance = chance
        self.store_fails = 0.0
        self.store_slow_s = 0.0
        self.store_repeats = 0.0
        self.store_down = False
        self.bus_fails = 0.0
        self.bus_delay_s = 0.0
        self.slow_senders: set[str] = set()
        self.driver_fails: dict[str, float] = {}

    def clear(self) -> None:
        """Fine from now on."""
        self.store_fails = self.store_slow_s = self.store_repeats = self.bus_fails = self.bus_delay_s = 0.0
        self.store_down = False
        self.slow_senders.clear()
        self.driver_fails.clear()


class StoreWeather:
    """``store.memory.Weather`` of one worker. ``trap`` runs once, at the next such moment."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self.trap: tuple[str, str, Callable[[], None]] | None = None

    async def before(self, call: str) -> None:
        await self._moment("before", call)

    async def after(self, call: str) -> None:
        await self._moment("after", call)

    async def _moment(self, moment: str, call: str) -> None:
        weather = self._weather
        chance = weather.chance
        delay = chance.uniform(0.0002, 0.003)
        if weather.store_slow_s:
            delay += chance.uniform(0, weather.store_slow_s)
        await asyncio.sleep(delay)
        if self.trap is not None and self.trap[:2] == (moment, call):
            action = self.trap[2]
            self.trap = None
            action()
            await asyncio.sleep(0.001)  # the process does not live to see this, or is frozen in it
        if weather.store_down or (weather.store_fails and chance.random() < weather.store_fails):
            raise StoreUnavailable(f"lost {moment} {call}")


class BusFaults:
    """``bus.fault.Faults`` of the broker."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self.doubled: list[bytes] = []
        """Bodies that were delivered twice."""

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        weather = self._weather
        chance = weather.chance
        if weather.bus_fails and chance.random() < weather.bus_fails:
            fate = FATES[int(chance.random() * len(FATES))]
            if fate is DUPLICATED:
                self.doubled.append(parcel.body)
                if chance.random() < 0.5:
                    fate = Fate(copies=2, delay_s=chance.uniform(0.1, DUPLICATE_DELAY_MAX_S))
            return fate
        if weather.bus_delay_s and chance.random() < 0.5:
            return Fate(delay_s=chance.uniform(0.001, weather.bus_delay_s))
        if publisher in weather.slow_senders:
            return Fate(delay_s=chance.uniform(0.05, 1.5))
        return DELIVERED


class HostFaults:
    """``hostagent.drivers.simulated.FaultPlan`` of one host."""

    def __init__(self, weather: Weather, hostname: str) -> None:
        self._weather = weather
        self._hostname = hostname
        self.hung: dict[str, float] = {}
        """When a verb of this instance last began to hang, in the loop's seconds."""
        self.met = 0

    def fault(self, verb: Verb, instance: str) -> Fault | None:
        bad = self._weather.driver_fails.get(self._hostname, 0.0)
        chance = self._weather.chance
        if not bad or chance.random() >= bad or not instance:
            return None
        self.met += 1
        draw = chance.random()
        if draw < 0.4:
            return DriverError("hypervisor", f"The hypervisor refused to {verb}.")
        if draw < 0.5:
            return DriverError("hypervisor_unavailable", "The hypervisor is not connected.")
        if draw < 0.7:
            return GuestDies()
        self.hung[instance] = self._weather.loop.now
        seconds = None if draw < 0.78 else chance.uniform(1, 200)
        return Hang(seconds, done=chance.random() < 0.5)
