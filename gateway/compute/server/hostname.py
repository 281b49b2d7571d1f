"""The name a guest gets for itself: made of the server's name, or checked when it was asked for."""

import re
from typing import Final

from gateway.problem import Problem

LENGTH_MAX: Final = 63
_LABEL: Final = re.compile(r"\A[a-zA-Z0-9]+[a-zA-Z0-9-]*[a-zA-Z0-9]+\Z")
_FQDN_FROM: Final = 94


def hostname_from(name: str, server_id: str) -> str:
    """A host name as much like the server's name as RFC 1123 allows. Source: nova's sanitising."""
    plain = re.sub(r"[ _.]+", "-", name).lower()
    plain = re.sub(r"[^a-z0-9-]", "", plain)[:LENGTH_MAX].strip("-")
    return plain or f"server-{server_id}"


def check_hostname(text: str, minor: int) -> str:
    """A host name as asked for: one label up to 2.93, also a full name from 2.94. Raises Problem 400."""
    if minor < _FQDN_FROM and not (_LABEL.match(text) and len(text) <= LENGTH_MAX):
        raise Problem(400, f"Invalid input for field/attribute hostname: {text!r} is no host name.")
    return text
