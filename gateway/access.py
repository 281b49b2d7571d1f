"""Access rules: which calls a token of an application credential may make at all, before policy is asked.

Source: Identity API v3, "Access rules"; in a path ``*`` and ``{name}`` stand for one segment or a part of
one, ``**`` for anything. Paths count from the API's root (``/v2.1/servers``); with the prefix in front
they mean the same.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from store.application_credential import AccessRule

PATTERN_LENGTH_MAX: Final = 225
_PATTERNS_KEPT: Final = 1024


def permits(
    rules: Iterable[AccessRule], services: Collection[str], method: str, paths: Collection[str]
) -> bool:
    """Whether a rule speaks of this call; ``paths`` are the ways to write its path."""
    return any(
        rule.method == method
        and rule.service in services
        and any(_pattern(rule.path).matches(path) for path in paths)
        for rule in rules
    )


class _Pattern:
    """A pattern as an automaton, its states the bits of a number: matching is linear in the path.

    (A regular expression of many wildcards could be made to take for ever.)
    """

    def __init__(self, text: str) -> None:
        self._letters: dict[str, int] = {}
        self._segment = self._within = self._any = 0
        bit = 1
        for part in _parts(text.removesuffix("/") or "/"):
            if part == "**":
                self._any |= bit
            elif part == "*":
                self._segment |= bit
                self._within |= bit << 1
            else:
                self._letters[part] = self._letters.get(part, 0) | bit
            bit <<= 1
        self._end = bit

    def matches(self, path: str) -> bool:
        states = self._skipped(1)
        for char in path.removesuffix("/") or "/":
            after = (states & self._letters.get(char, 0)) << 1 | states & self._any
            if char != "/":
                after |= (states & self._segment) << 1 | states & self._within
            states = self._skipped(after)
            if not states:
                return False
        return bool(states & self._end)

    def _skipped(self, states: int) -> int:
        """With the states behind a ``**`` that stands for nothing."""
        return states | (states & self._any) << 1


def _parts(text: str) -> list[str]:
    """``*`` for one segment, ``**`` for anything, or a letter; never two ``**`` in a row."""
    found: list[str] = []
    at = 0
    while at < len(text):
        close = text.find("}", at)
        if text[at] == "{" and close > 0:
            found.append("*")
            at = close + 1
        elif text.startswith("**", at):
            if found[-1:] != ["**"]:
                found.append("**")
            at += 2
        else:
            found.append(text[at])
            at += 1
    return found


@lru_cache(_PATTERNS_KEPT)
def _pattern(text: str) -> _Pattern:
    return _Pattern(text)
