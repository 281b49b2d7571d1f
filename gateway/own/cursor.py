"""The opaque cursor of the event stream: one number per partition, packed and sealed.

The numbers count everybody's events, so a client must not read them: cursors are encrypted and authenticated
with keys derived from the gateways' own. The same position has the same cursor, whichever gateway made it.
What is told of events belongs to gateway/own/frame.py.

Source: varints as in Protocol Buffers (7 bits a byte, low bits first), AES-SIV (RFC 5297), HKDF (RFC 5869),
base64url without padding.
"""

import base64
import binascii
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LENGTH_MAX: Final = 8192
PADDED_TO: Final = 32
"""A packed position is filled up to a multiple of this: its length tells next to nothing of its numbers."""
_FORMAT: Final = b"\x02"
_KEY_BYTES: Final = 64
_ID_BYTES: Final = 16


class NotACursor(ValueError):  # noqa: N818  an answer to the client
    """The text is no cursor of this cloud's event stream."""


def varint(number: int) -> bytes:
    """A number ≥ 0, packed."""
    packed = bytearray()
    while number > 0x7F:  # noqa: PLR2004  seven bits
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    packed.append(number)
    return bytes(packed)


def _text(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Cursors:
    """Makes and reads cursors, and the ids of events. ``keys`` as for tokens: the first seals, all open."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._seals = [AESSIV(_derived(key, b"starling event cursor")) for key in keys]
        self._id_key = _derived(keys[0], b"starling event id")

    def sealed(self, parts: Sequence[bytes]) -> bytes:
        """The cursor of packed numbers, as it goes on the wire."""
        packed = b"".join(parts)
        packed += bytes(-len(packed) % PADDED_TO)
        return _text(_FORMAT + self._seals[0].encrypt(packed, [b"%d" % len(parts)]))

    def encode(self, position: Sequence[int]) -> str:
        """The cursor of a position."""
        return self.sealed([varint(number) for number in position]).decode()

    def decode(self, text: str, partitions: int) -> list[int]:
        """The position of a cursor. Raises NotACursor, also for another number of partitions."""
        if not 0 < len(text) <= LENGTH_MAX or not text.isascii():
            raise NotACursor
        try:
            data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise NotACursor from error
        if data[:1] != _FORMAT:
            raise NotACursor
        return _numbers(self._opened(data[1:], partitions), partitions)

    def event_id(self, partition: int, n: int) -> str:
        """An event's id: unique, always the same, and without its place in it."""
        place = b"%d-%d" % (partition, n)
        return _text(blake2b(place, key=self._id_key, digest_size=_ID_BYTES).digest()).decode()

    def _opened(self, data: bytes, partitions: int) -> bytes:
        for seal in self._seals:
            with suppress(InvalidTag):  # another key's, another cloud's, or too short
                return seal.decrypt(data, [b"%d" % partitions])
        raise NotACursor


def _derived(key: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=purpose).derive(key)


def _numbers(packed: bytes, partitions: int) -> list[int]:
    """The first numbers of what was sealed here; padding follows."""
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004  the last byte of a number
            numbers.append(number)
            number = shift = 0
            if len(numbers) == partitions:
                break
    return numbers
