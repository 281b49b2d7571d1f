"""The opaque cursor of the event stream: one number per partition, packed. Pure functions.

Source: varints as in Protocol Buffers (7 bits a byte, low bits first), base64url without padding.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import Final

LENGTH_MAX: Final = 8192
_FORMAT: Final = b"\x01"
_BITS_MAX: Final = 63


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


def joined(parts: Sequence[bytes]) -> bytes:
    """The cursor of packed numbers, as it goes on the wire."""
    return base64.urlsafe_b64encode(_FORMAT + b"".join(parts)).rstrip(b"=")


def encode(position: Sequence[int]) -> str:
    """The cursor of a position."""
    return joined([varint(number) for number in position]).decode()


def decode(text: str, partitions: int) -> list[int]:
    """The position of a cursor. Raises NotACursor, also for another number of partitions."""
    if not 0 < len(text) <= LENGTH_MAX or not text.isascii():
        raise NotACursor
    try:
        packed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise NotACursor from error
    numbers = _numbers(packed[1:])
    if packed[:1] != _FORMAT or len(numbers) != partitions:
        raise NotACursor
    return numbers


def _numbers(packed: bytes) -> list[int]:
    numbers, number, shift = [], 0, 0
    for byte in packed:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004  the last byte of a number
            numbers.append(number)
            number = shift = 0
        elif shift > _BITS_MAX:
            raise NotACursor
    if shift or any(number >> _BITS_MAX for number in numbers):
        raise NotACursor
    return numbers
