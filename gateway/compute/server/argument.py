"""The arguments of server actions. Source: Compute API reference; JSON schemas of nova 34."""

from typing import Annotated, Literal, TypeAlias

from msgspec import UNSET, Meta, UnsetType, field

from gateway.compute.schema import Body, Uuid, since

_Lines: TypeAlias = Annotated[int, Meta(ge=-1)] | Annotated[str, Meta(pattern=r"\A(-1|[0-9]{1,9})\Z")]


class RebootArgument(Body, frozen=True):
    """``reboot``."""

    type: Literal["HARD", "Hard", "hard", "SOFT", "Soft", "soft"]


class LockArgument(Body, frozen=True):
    """``lock``; null will do."""

    locked_reason: Annotated[Annotated[str, Meta(min_length=1, max_length=255)] | UnsetType, since(73)] = (
        UNSET
    )


class RescueArgument(Body, frozen=True):
    """``rescue``; null will do."""

    admin_pass: Annotated[str, Meta(max_length=255)] | UnsetType = field(name="adminPass", default=UNSET)
    rescue_image_ref: Uuid | UnsetType = UNSET


class ResetArgument(Body, frozen=True):
    """``os-resetState``."""

    state: Literal["active", "error"]


class ConsoleArgument(Body, frozen=True):
    """``os-getConsoleOutput``: how many lines; null or -1: all there are."""

    length: _Lines | UnsetType | None = UNSET
