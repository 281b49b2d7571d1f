"""Letting a token in: whose it is, and which calls it may make at all, before policy is asked.

Source: Identity API v3, "Access rules"; in a rule's path ``*`` and ``{name}`` stand for one segment or a
part of one, ``**`` for anything. Paths count from the API's root (``/v2.1/servers``); with the prefix in
front they mean the same.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Final

from gateway.auth import Caller, authenticate, unauthorized
from gateway.problem import Problem
from gateway.request import Request
from store.application_credential import AccessRule

PATTERN_LENGTH_MAX: Final = 225
_PATTERNS_KEPT: Final = 1024


async def admit(request: Request) -> Caller:
    """Say who asks by the request's token, and hold it to what it was got for. Raises Problem 401 or 403.

    A call that no access rule speaks of is the same 401 as a token of nobody.
    """
    token = request.headers.get("X-Auth-Token")
    caller = await authenticate(request.services.tokens, token, request.base_url)
    request.identify(caller)
    api = request.api
    if not api.barred_methods.isdisjoint(caller.methods):
        raise Problem(403, "A token got this way cannot be used here.")
    granted = caller.app_credential
    if granted is not None and granted.access_rules:
        paths = (request.path.removeprefix(api.prefix), request.path)
        if not permits(granted.access_rules, api.service_types, request.raw.method, paths):
            raise unauthorized(request.base_url)
    return caller


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
