"""Every message comes back as it went; what is no message is refused."""

import msgspec
import pytest

from protocol.codec import (
    MESSAGES,
    decode_bundle,
    decode_envelopes,
    decode_message,
    encode_bundle,
    encode_envelopes,
    encode_message,
)
from protocol.message import Bundle, Envelope, Message, Stretch
from tests.protocol import sample

TAGS = sorted(MESSAGES)


@pytest.mark.parametrize("tag", TAGS)
def test_a_message_comes_back_as_it_went(tag: str) -> None:
    for message in (*(sample.full(MESSAGES[tag], seed) for seed in range(8)), sample.bare(MESSAGES[tag])):
        body = encode_message(message)
        assert decode_message(body) == message
        assert type(decode_message(body)) is MESSAGES[tag]
        assert msgspec.json.decode(body)["type"] == tag


@pytest.mark.parametrize("tag", TAGS)
def test_what_is_left_out_has_its_default(tag: str) -> None:
    message: Message = sample.bare(MESSAGES[tag])
    body = msgspec.json.decode(encode_message(message))
    required = {field.encode_name for field in msgspec.structs.fields(MESSAGES[tag]) if field.required}
    least = {name: value for name, value in body.items() if name in {"type", *required}}
    assert decode_message(msgspec.json.encode(least)) == message


@pytest.mark.parametrize("tag", TAGS)
def test_what_a_later_release_adds_is_passed_over(tag: str) -> None:
    message: Message = sample.full(MESSAGES[tag])
    body = {**msgspec.json.decode(encode_message(message)), "added_later": {"any": ["thing"]}}
    assert decode_message(msgspec.json.encode(body)) == message


@pytest.mark.parametrize("tag", TAGS)
def test_a_field_of_the_wrong_type_is_refused(tag: str) -> None:
    body = msgspec.json.decode(encode_message(sample.full(MESSAGES[tag])))
    for name in body:
        with pytest.raises(msgspec.ValidationError):
            decode_message(msgspec.json.encode({**body, name: [[None]]}))


@pytest.mark.parametrize("tag", TAGS)
def test_what_is_required_must_be_there(tag: str) -> None:
    body = msgspec.json.decode(encode_message(sample.full(MESSAGES[tag])))
    for field in msgspec.structs.fields(MESSAGES[tag]):
        if field.required:
            less = {name: value for name, value in body.items() if name != field.encode_name}
            with pytest.raises(msgspec.ValidationError, match=field.encode_name):
                decode_message(msgspec.json.encode(less))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'"host.heartbeat"',
        b'{"type":"no.such_message"}',
        b'{"type":"Command","by":{"user":"u","project":"p","request":"r"}}',
        b'{"type":"GuestFact","instance":"i","generation":1,"number":1}',
        b'{"type":"runtime.tick"',
        b'{"type":"runtime.tick"} more',
        b'{"type":"actor.accepted","detail":"\xff"}',
        b'{"type":"actor.accepted","detail":"\\ud800"}',
        b'{"type":7}',
        b"\x00" * 64,
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_message(body)


def test_deep_nesting_is_refused_and_not_followed() -> None:
    deep = b'{"type":"actor.accepted","later":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with pytest.raises(msgspec.MsgspecError):
        decode_message(deep)


def test_every_family_of_messages_is_known() -> None:
    families = {tag.partition(".")[0] for tag in TAGS}
    assert families == {
        "actor", "gateway", "group", "host", "hostactor", "image", "instance", "operator", "runtime",
        "scheduler", "step",
    }  # fmt: skip
    assert len({kind.__name__ for kind in MESSAGES.values()}) == len(MESSAGES)


ENVELOPE = Envelope("instance/i", "gateway/g", b"\x00\xff{}", "op", "gateway/g", 12.5, "00-4bf92f3577b34da6")


def test_envelopes_come_back_as_they_went() -> None:
    envelopes = [ENVELOPE, Envelope("host/h", "instance/i", b"")]
    assert decode_envelopes(encode_envelopes(envelopes)) == envelopes
    assert decode_envelopes(encode_envelopes([])) == []


def test_bundles_come_back_as_they_went() -> None:
    numbered, plain = Stretch(3, 1, 17, [ENVELOPE, ENVELOPE]), Stretch(-1, -1, 0, [])
    bundle = Bundle([numbered, plain, Stretch(0, 0, 1, [ENVELOPE])])
    assert decode_bundle(encode_bundle(bundle)) == bundle


def test_an_envelope_without_its_last_fields_has_their_defaults() -> None:
    body = msgspec.msgpack.encode([[-1, -1, 0, [["instance/i", "agent/a", b"{}"]]]])
    (stretch,) = decode_bundle(msgspec.msgpack.encode([msgspec.msgpack.decode(body)])).stretches
    assert stretch.envelopes == [Envelope("instance/i", "agent/a", b"{}")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"not msgpack",
        msgspec.msgpack.encode({}),
        msgspec.msgpack.encode([[["a", "b", "c", []]]]),
        msgspec.msgpack.encode([[[0, 0, 1, [["only an address"]]]]]),
        msgspec.msgpack.encode([[[0, 0, 1, [["a", "b", b"", 7]]]]]),
        msgspec.msgpack.encode([[[0, 0, 1, [["a\x01", "b", b""]]]]]).replace(b"a\x01", b"a\xff"),
        encode_bundle(Bundle([Stretch(0, 0, 1, [ENVELOPE])]))[:-1],
    ],
)
def test_what_is_no_bundle_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_bundle(body)
