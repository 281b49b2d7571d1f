"""Signed URLs by which a host downloads an image without a token: short-lived, bound to one purpose.

The signature covers image, host, generation and expiry. Workers sign when a command leaves, gateways
verify; they share the key. Pure functions.
"""

import hashlib
import hmac
from urllib.parse import urlencode


def signature(key: bytes, *, image: str, host: str, generation: int, expires: int) -> str:
    """HMAC-SHA256 in hexadecimal. ``expires`` is UTC epoch seconds."""
    text = "\n".join(("starling image url 1", image, host, str(generation), str(expires)))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def signed_query(key: bytes, *, image: str, host: str, generation: int, expires: int) -> str:
    """The query string of a signed download."""
    signed = signature(key, image=image, host=host, generation=generation, expires=expires)
    return urlencode({"host": host, "generation": generation, "expires": expires, "signature": signed})


def is_valid(
    key: bytes, *, image: str, host: str, generation: int, expires: int, given: str, now: float
) -> bool:
    """Whether ``given`` is the signature of exactly this and has not expired. Takes constant time."""
    signed = signature(key, image=image, host=host, generation=generation, expires=expires)
    return hmac.compare_digest(signed.encode(), given.encode()) and now <= expires
