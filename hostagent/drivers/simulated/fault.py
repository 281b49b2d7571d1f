"""What may go wrong in a simulated hypervisor, and who decides that it does.

A plan is asked once per verb, in the order in which verbs begin, so that a seeded plan is
deterministic. The plan holds no state of guests; it only says what happens next.
"""

from collections import deque
from typing import Protocol

from msgspec import Struct

from hostagent.driver import DriverError
from hostagent.drivers.simulated.settings import Verb


class Hang(Struct, frozen=True):
    """The verb stands still for ``seconds`` (None: until it is cancelled).

    ``done`` says whether the hypervisor does the work all the same, and only the answer is missing.
    """

    seconds: float | None = None
    done: bool = False


class GuestDies(Struct, frozen=True):
    """The verb succeeds and says so; then the guest's process is killed, which makes an event."""


Fault = DriverError | Hang | GuestDies


class FaultPlan(Protocol):
    """Decides the fate of each verb."""

    def fault(self, verb: Verb, instance: str) -> Fault | None:
        """What goes wrong with this verb on this instance ('' for the host itself); None: nothing."""
        ...


class NoFaults:
    """The plan by default: everything works."""

    def fault(self, verb: Verb, instance: str) -> Fault | None:  # noqa: ARG002  the plan's interface
        return None


class FaultScript:
    """A plan for tests: faults queued by verb, met by the first instances that come by."""

    def __init__(self) -> None:
        self._queued: dict[Verb, deque[Fault | None]] = {}

    def add(self, verb: Verb, *faults: Fault | None) -> None:
        """Queue faults for the next calls of the verb; None lets one call pass."""
        self._queued.setdefault(verb, deque()).extend(faults)

    def fault(self, verb: Verb, instance: str) -> Fault | None:  # noqa: ARG002  the plan's interface
        queued = self._queued.get(verb)
        return queued.popleft() if queued else None
