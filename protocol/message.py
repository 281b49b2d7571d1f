"""The root of every message, the envelope that carries it and the bundle that travels.

Source: docs/architecture.md, "Messages". An envelope costs about 3 µs to encode or decode; bodies
are tagged unions, so an unknown tag is refused by the decoder, never guessed.
"""

from msgspec import Struct


class Message(Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something said: a command (imperative name) or a fact (past tense). The tag names its sender."""


class Envelope(Struct, frozen=True, array_like=True):
    """One message on its way to one mailbox.

    ``operation`` is the operation it belongs to (empty: none); ``reply_to`` the party a synchronous
    answer goes to; ``answer_by`` the UTC epoch second after which an actor must refuse a command
    (0: never late); ``trace`` a W3C ``traceparent``.
    """

    to: str
    sender: str
    body: bytes
    operation: str = ""
    reply_to: str = ""
    answer_by: float = 0.0
    trace: str = ""


class Stretch(Struct, frozen=True, array_like=True):
    """Consecutive envelopes of the numbered stream ``source`` → ``destination``.

    The first envelope carries number ``first`` (numbers start at 1 and have no gap). ``source`` is
    -1 for parties without a partition (gateways, schedulers, agents): those are not numbered.
    """

    source: int
    destination: int
    first: int
    envelopes: list[Envelope]


class Bundle(Struct, frozen=True, array_like=True):
    """The body of one bus message: what one batch says to one queue. At most 64 kB by intent."""

    stretches: list[Stretch]
