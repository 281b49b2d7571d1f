"""Microversion negotiation: which version of an API a request speaks, and the headers that say so.

Which handler serves which version is the route table's business.
Source: Compute API guide, "Microversions"; service-specific header of OpenStack API-SIG.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gateway.problem import Problem

Version = tuple[int, int]

HEADER: Final = "OpenStack-API-Version"
_TEXT_LENGTH_MAX: Final = 10
_CACHE_MAX: Final = 1024  # distinct header pairs remembered per range; clients use a handful


class VersionRange(Struct, frozen=True):
    """The versions an API speaks. ``service`` is its word in the header, ``legacy`` its older header."""

    service: str
    oldest: Version
    newest: Version
    legacy: str = ""


def text_of(version: Version) -> str:
    """``2.96``."""
    return f"{version[0]}.{version[1]}"


def _parsed(text: str, offered: VersionRange) -> Version:
    if text == "latest":
        return offered.newest
    major, dot, minor = text.partition(".")
    plain = major.isascii() and minor.isascii() and major.isdigit() and minor.isdigit()
    if not (
        dot
        and plain
        and len(text) <= _TEXT_LENGTH_MAX
        and major[0] != "0"
        and (minor == "0" or minor[0] != "0")
    ):
        raise Problem(
            400,
            f"API Version String {text[:64]!r} is of invalid format. Must be of format MajorNum.MinorNum.",
        )
    version = (int(major), int(minor))
    if not offered.oldest <= version <= offered.newest:
        message = (
            f"Version {text} is not supported by the API. Minimum is {text_of(offered.oldest)} "
            f"and maximum is {text_of(offered.newest)}."
        )
        raise Problem(406, message, kind="computeFault")
    return version


def _asked(header: str | None, legacy: str | None, service: str) -> str:
    """The version string for this service: the new header wins; empty when none names it."""
    for part in (header or "").split(","):
        name, _, value = part.strip().partition(" ")
        if name.lower() == service:
            return value.strip()
    return (legacy or "").strip()


class Negotiator:
    """Answers from a memory of the header pairs seen: a dictionary look-up in the common case."""

    def __init__(self, offered: VersionRange) -> None:
        self.offered = offered
        self._known: dict[tuple[str | None, str | None], Version] = {}
        self._headers: dict[Version, dict[str, str]] = {}

    def version_of(self, headers: Mapping[str, str]) -> Version:
        """The version asked for, the oldest when none is. Raises Problem 400 (malformed) or 406."""
        legacy_name = self.offered.legacy
        key = (headers.get(HEADER), headers.get(legacy_name) if legacy_name else None)
        found = self._known.get(key)
        if found is None:
            asked = _asked(key[0], key[1], self.offered.service)
            found = _parsed(asked, self.offered) if asked else self.offered.oldest
            if len(self._known) >= _CACHE_MAX:
                self._known.clear()
            self._known[key] = found
        return found

    def response_headers(self, version: Version) -> Mapping[str, str]:
        """The headers that repeat the version, and ``Vary``."""
        made = self._headers.get(version)
        if made is None:
            made = {HEADER: f"{self.offered.service} {text_of(version)}", "Vary": HEADER}
            if self.offered.legacy:
                made[self.offered.legacy] = text_of(version)
                made["Vary"] = f"{HEADER}, {self.offered.legacy}"
            self._headers[version] = made
        return made
