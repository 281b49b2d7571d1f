"""Bytes ↔ messages: every message type in one union, one decoder, one encoder.

Bodies are JSON so that a parked message, a journal and a recorded history can be read by people;
envelopes and bundles are msgpack. A body with an unknown tag or a wrong type raises
``msgspec.ValidationError``: the receiver parks it.
"""

from typing import Any, Union

import msgspec

from protocol import agent, command, errors, group, host, image, instance, project, scheduling
from protocol.message import Bundle, Envelope, Message


def _leaves(root: type[Message]) -> list[type[Message]]:
    children = root.__subclasses__()
    found = [] if children and "tag" not in root.__dict__ and not _tagged(root) else [root]
    for child in children:
        found += _leaves(child)
    return found


def _tagged(kind: type[Message]) -> bool:
    tag = kind.__struct_config__.tag
    return isinstance(tag, str) and "." in tag


_MODULES = (agent, command, errors, group, host, image, instance, project, scheduling)
MESSAGES: dict[str, type[Message]] = {
    str(kind.__struct_config__.tag): kind
    for kind in sorted(_leaves(Message), key=lambda kind: str(kind.__struct_config__.tag))
    if _tagged(kind)
}
AnyMessage: Any = Union[tuple(MESSAGES.values())]  # noqa: UP007  the union is made of what is registered

_body_encoder = msgspec.json.Encoder()
_body_decoder = msgspec.json.Decoder(AnyMessage)
_bundle_encoder = msgspec.msgpack.Encoder()
_bundle_decoder = msgspec.msgpack.Decoder(Bundle)
_envelopes_decoder = msgspec.msgpack.Decoder(list[Envelope])


def encode_message(message: Message) -> bytes:
    """The body's bytes, with its tag."""
    return _body_encoder.encode(message)


def decode_message(body: bytes) -> Message:
    """The message these bytes stand for. Raises msgspec.MsgspecError, whatever the bytes are."""
    try:
        message: Message = _body_decoder.decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(error) from error
    return message


def encode_bundle(bundle: Bundle) -> bytes:
    """A bundle as the body of one bus message."""
    return _bundle_encoder.encode(bundle)


def decode_bundle(body: bytes) -> Bundle:
    """A bundle from the body of one bus message. Raises msgspec.MsgspecError, whatever the bytes are."""
    try:
        return _bundle_decoder.decode(body)
    except (UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> msgspec.DecodeError:
    """Broken text or bottomless nesting: the decoder lets Python's own errors through."""
    return msgspec.DecodeError(f"unreadable: {type(error).__name__}: {error}")


def encode_envelopes(envelopes: list[Envelope]) -> bytes:
    """The body of one outbox segment."""
    return _bundle_encoder.encode(envelopes)


def decode_envelopes(body: bytes) -> list[Envelope]:
    """The envelopes of one outbox segment."""
    return _envelopes_decoder.decode(body)
