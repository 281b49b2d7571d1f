"""What the simulator may do to a message under way on the in-process bus. No decisions go in here."""

from typing import Final, Protocol

from msgspec import Struct

from bus.mailbox import Parcel


class Fate(Struct, frozen=True):
    """What happens to one published parcel on its way.

    ``copies``: 0 loses it, 2 duplicates it. ``confirmed``: false lets the publish fail, whether or
    not it arrived. ``delay_s``: later parcels overtake it. ``overtaken``: the next parcel to the
    same queue goes first.
    """

    copies: int = 1
    confirmed: bool = True
    delay_s: float = 0.0
    overtaken: bool = False


DELIVERED: Final = Fate()
REFUSED: Final = Fate(copies=0, confirmed=False)
UNCONFIRMED: Final = Fate(confirmed=False)
LOST: Final = Fate(copies=0)
DUPLICATED: Final = Fate(copies=2)
OVERTAKEN: Final = Fate(overtaken=True)


class Faults(Protocol):
    """Decides the fate of each parcel; ``publisher`` is the name of the sending connection."""

    def fate(self, parcel: Parcel, publisher: str) -> Fate:
        """Called once for each parcel, in the order of publishing."""
        ...
