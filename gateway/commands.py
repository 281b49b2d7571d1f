"""How handlers speak to actors. Only the interface: the bus-based client belongs to its own module."""

from typing import Protocol

from protocol.message import Message


class Unavailable(Exception):  # noqa: N818  named for what the caller does: try again later
    """The command's fate is unknown or it was not sent. Answered as 503; a repetition is safe."""


class CommandClient(Protocol):
    """Sends a command to an actor and waits for its first commit."""

    @property
    def address(self) -> str:
        """The party answers go to, for commands that say where their own answer is wanted."""
        ...

    async def send(
        self, to: str, message: Message, *, operation: str, timeout_s: float, trace: str = ""
    ) -> Message:
        """The actor's answer: ``Accepted``, ``Refused`` or a command's own answer.

        ``operation`` makes a repetition safe: the same operation is begun once. Raises Unavailable
        when no answer came within ``timeout_s`` seconds or the bus is not there.
        """
        ...
