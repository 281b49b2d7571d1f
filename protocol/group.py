"""What is said to a server group's ledger: who of its members sits on which host.

A member of a group whose policy is binding asks the ledger before it asks the host. The ledger passes the
claim on or refuses it; the host tells the ledger when a room it was asked for this way is free again.
"""

from protocol.instance import ClaimHost, ServerGroup
from protocol.message import Message


class ClaimSeat(Message, frozen=True, tag="instance.claim_seat"):
    """Ask for a seat on ``host``; granted, ``claim`` goes on to the host, which answers the instance."""

    group: ServerGroup
    host: str
    claim: ClaimHost


class SeatRefused(Message, frozen=True, tag="group.seat_refused"):
    """The policy stands against it; the host was not asked. ``together``: where it must go, if that is so."""

    instance: str
    generation: int
    reason: str
    together: tuple[str, ...] = ()


class SeatLeft(Message, frozen=True, tag="hostactor.seat_left"):
    """The host holds nothing for this generation, and never will again."""

    instance: str
    generation: int
