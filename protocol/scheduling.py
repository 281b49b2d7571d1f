"""What a scheduler answers."""

from msgspec import Struct

from protocol.message import Message


class HostRefusal(Struct, frozen=True):
    """How many hosts one filter refused, with an example in words."""

    filter: str
    hosts: int
    example: str = ""


class PlacementProposed(Message, frozen=True, tag="scheduler.placement_proposed"):
    """Hosts that fit, best first; empty when none does. ``refusals`` says why the others do not."""

    instance: str
    number: int
    hosts: tuple[str, ...]
    considered: int
    refusals: tuple[HostRefusal, ...] = ()
