"""What a batch says to one queue, cut into bodies of a size that travels well. No I/O here."""

from typing import Final

from protocol.codec import encode_bundle
from protocol.message import Bundle, Stretch

BUNDLE_BYTES_MAX: Final = 64 * 1024


def bundles(stretches: list[Stretch]) -> list[bytes]:
    """The stretches as bodies of at most BUNDLE_BYTES_MAX (one envelope may be larger by itself)."""
    whole = encode_bundle(Bundle(stretches))
    if len(whole) <= BUNDLE_BYTES_MAX:
        return [whole]
    if len(stretches) > 1:
        half = len(stretches) // 2
        return bundles(stretches[:half]) + bundles(stretches[half:])
    only = stretches[0]
    if len(only.envelopes) == 1:
        return [whole]
    half = len(only.envelopes) // 2
    left = Stretch(only.source, only.destination, only.first, only.envelopes[:half])
    right = Stretch(only.source, only.destination, only.first + half, only.envelopes[half:])
    return bundles([left]) + bundles([right])
