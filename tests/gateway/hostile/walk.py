"""Sending many requests at once and gathering what is wrong with the answers."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import pytest
from msgspec import Struct

from tests.gateway.hostile.cloud import Cloud
from tests.gateway.hostile.envelope import wrong
from tests.gateway.hostile.route import Place
from tests.gateway.hostile.wire import Answer, HungError, Wire

WIRES: Final = 8
SHOWN_MAX: Final = 30
NEVER: Final = frozenset({500, 502, 503, 504})


class Attack(Struct, frozen=True):
    """One request. ``label`` says what is hostile about it, ``who`` whose token it carries (none: empty)."""

    place: Place
    label: str
    target: str
    who: str = "admin"
    headers: dict[str, str] = {}
    body: bytes | None = None
    method: str = ""

    @property
    def text(self) -> str:
        """All that the client said."""
        return f"{self.target} {self.headers} {(self.body or b'').decode(errors='replace')}"


Judge = Callable[[Attack, Answer], str]
"""What is wrong with an answer beyond its form; empty: nothing."""


def no_more(_: Attack, __: Answer) -> str:
    """The form of the answer is all that counts."""
    return ""


def spread(attacks: Iterable[Attack]) -> list[list[Attack]]:
    """The attacks dealt to as many connections as are used."""
    hands: list[list[Attack]] = [[] for _ in range(WIRES)]
    for n, attack in enumerate(attacks):
        hands[n % WIRES].append(attack)
    return hands


async def walk(cloud: Cloud, attacks: Iterable[Attack], judge: Judge = no_more) -> int:
    """Send them all; fails with a list of what went wrong. How many there were."""
    hands = spread(attacks)
    found: list[tuple[str, str]] = []
    await asyncio.gather(*(_play(cloud, hand, judge, found) for hand in hands))
    count = sum(map(len, hands))
    bugs = cloud.ended() + cloud.new_bugs()
    if found:
        text = "\n".join([f"{len(found)} of {count}:", _summary(found), *bugs[:3]])
        pytest.fail(text, pytrace=False)
    assert not bugs
    await healthy(cloud)
    return count


def _summary(found: list[tuple[str, str]]) -> str:
    """One line per route and fault, with one label and how many there were."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, fault in found:
        route, _, label = name.partition(" [")
        groups.setdefault((route, fault[:70]), []).append(f"[{label}: {fault}")
    lines = [f"{route} {faults[0]} ({len(faults)} like it)" for (route, _), faults in groups.items()]
    return "\n".join(lines[:SHOWN_MAX])


async def _play(cloud: Cloud, hand: list[Attack], judge: Judge, found: list[tuple[str, str]]) -> None:
    async with cloud.wire() as wire:
        for attack in hand:
            if cloud.ended():
                return  # every command would now take its whole time to fail
            fault = await _fault(cloud, wire, attack, judge)
            if fault:
                found.append((f"{attack.place.name} [{attack.label}] as {attack.who or 'nobody'}", fault))


async def _fault(cloud: Cloud, wire: Wire, attack: Attack, judge: Judge) -> str:
    headers = dict(attack.headers)
    if attack.who:
        headers.setdefault("X-Auth-Token", cloud.tokens[attack.who])
    if attack.body is not None:
        headers.setdefault("Content-Type", attack.place.route.media_types[0])
    method = attack.method or attack.place.route.method
    try:
        answer = await wire.call(method, attack.target, headers, raw=attack.body)
    except (HungError, ConnectionError, asyncio.IncompleteReadError) as error:
        wire.close()
        return repr(error)
    if answer.status in NEVER:
        return str(answer)
    if not attack.target.isascii():
        return _is_no_http(answer)
    fault = "" if method == "HEAD" else wrong(attack.place.api.name, answer)
    fault = fault or judge(attack, answer)
    return f"{fault}: {answer}" if fault else ""


def _is_no_http(answer: Answer) -> str:
    """What is wrong with an answer to bytes that HTTP does not allow: it comes before any API."""
    if answer.status in (400, 404) and answer.headers.get("content-type", "").startswith("text/plain"):
        return ""
    return "" if 400 <= answer.status < 500 else str(answer)


async def healthy(cloud: Cloud) -> None:
    """The cloud is still good: ready, nothing parked, no bug in the log."""
    async with cloud.wire() as wire:
        answer = await wire.call("GET", "/readyz", {})
    assert answer.status == 200, answer
    assert not await cloud.parked()


def encoded(body: Any) -> bytes:
    """JSON as a client writes it."""
    return msgspec.json.encode(body)


def differences(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> Iterator[str]:
    """Rows that are gone or changed."""
    for table, rows in before.items():
        for row, count in rows.items():
            if after[table].get(row, 0) < count:
                yield f"{table} lost {row[:1500]}"


def additions(
    before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]
) -> Iterator[tuple[str, str]]:
    """(table, row) of what is new."""
    for table, rows in after.items():
        for row, count in rows.items():
            if count > before.get(table, {}).get(row, 0):
                yield table, row
