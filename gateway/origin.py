"""The URL under which the client sees us, from Host and X-Forwarded-*: every link is built on it."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.problem import Problem

_CACHE_MAX: Final = 1024  # origins remembered; a deployment has a handful, a hostile client many
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")

Seen = tuple[str, str | None, str | None, str | None, str | None]


def _first(value: str | None) -> str:
    """A proxy chain appends with commas; the first entry is what the client used."""
    return (value or "").partition(",")[0].strip()


def _built(seen: Seen) -> str:
    scheme, host, proto, forwarded_host, prefix = seen
    chosen_scheme = _first(proto).lower() or scheme
    chosen_host = _first(forwarded_host) or host or "localhost"
    path = _first(prefix)
    if chosen_scheme not in ("http", "https"):
        raise Problem(400, "The X-Forwarded-Proto header is neither http nor https.")
    if not _HOST.fullmatch(chosen_host):
        raise Problem(400, "The Host header is malformed.")
    if not _PREFIX.fullmatch(path):
        raise Problem(400, "The X-Forwarded-Prefix header is malformed.")
    return f"{chosen_scheme}://{chosen_host}{path.rstrip('/')}"


class Origins:
    """Base URLs by header set: a dictionary look-up in the common case."""

    def __init__(self, *, trust_forwarded: bool) -> None:
        self._trust_forwarded = trust_forwarded
        self._known: dict[Seen, str] = {}

    def base_url(self, scheme: str, headers: Mapping[str, str]) -> str:
        """``https://cloud.example/prefix``, without a final slash. Raises Problem 400."""
        if self._trust_forwarded:
            seen: Seen = (
                scheme,
                headers.get("Host"),
                headers.get("X-Forwarded-Proto"),
                headers.get("X-Forwarded-Host"),
                headers.get("X-Forwarded-Prefix"),
            )
        else:
            seen = (scheme, headers.get("Host"), None, None, None)
        found = self._known.get(seen)
        if found is None:
            found = _built(seen)
            if len(self._known) >= _CACHE_MAX:
                self._known.clear()
            self._known[seen] = found
        return found
