"""What a gateway and an actor say to each other about a command, whatever the command is.

A command's answer is synchronous and short: ``Accepted`` once the actor's first commit is made,
or ``Refused`` (protocol.errors) when nothing changed. Everything later is read from the
operation's row or the event stream.
"""

from typing import Literal

from msgspec import Struct

from protocol.message import Message

AdminOrOwner = Literal["admin", "owner"]


class Caller(Struct, frozen=True):
    """On whose behalf a command is said. Checked by the gateway; actors keep it for the records."""

    user: str
    project: str
    request: str
    admin: bool = False


class Command(Message, frozen=True):
    """The root of all commands from tenants and operators."""

    by: Caller


class Accepted(Message, frozen=True, tag="actor.accepted"):
    """The command's operation began and is durable. ``detail`` is a short JSON text, or empty."""

    detail: str = ""


class Tick(Message, frozen=True, tag="runtime.tick"):
    """The actor's own due time has come. Made by the runtime inside a worker, never sent."""
