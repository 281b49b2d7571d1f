"""The closed list of reasons to say no, and the two ways to say it.

``Refused`` answers a command: nothing changed, ask differently. ``StepFailed`` is a fact about a
step under way: the operation's own rows answer it. Anything else is a bug.
"""

from typing import Literal

from protocol.message import Message

RefusalCode = Literal[
    "not_found", "conflict", "forbidden", "invalid", "quota", "unsupported", "late", "internal"
]  # fmt: skip


class Refused(Message, frozen=True, tag="actor.refused"):
    """An actor's no to a command. ``attribute`` and ``value`` name the state that stood against it."""

    code: RefusalCode
    reason: str
    attribute: str = ""
    value: str = ""


class StepFailed(Message, frozen=True, tag="step.failed"):
    """A step did not succeed: an agent said so, or the runtime when the step's deadline passed.

    ``code`` is a short stable word (``deadline``, ``image_corrupt``, ``hypervisor`` …); ``reason`` is
    a sentence a tenant can act on, free of secrets and of host paths.
    """

    code: str
    reason: str
