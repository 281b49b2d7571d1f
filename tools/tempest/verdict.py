"""What a run means: which failures are known and why, and what of that list no longer holds.

The list, left_out.toml, holds groups of ``tests`` with one ``reason``. A name stands for the test of this id,
or for every test below it (a class, a module).
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

LEFT_OUT: Final = Path(__file__).with_name("left_out.toml")
PASSED: Final = frozenset({"success", "xfail"})
SKIPPED: Final = "skip"
_OF_A_CLASS: Final = re.compile(r"^(?:setUpClass|tearDownClass) \((.+)\)$")
_LOGGED: Final = re.compile(r"\d{4}-\d\d-\d\d ")
_REQUEST: Final = re.compile(
    r"Request \([^:)]*:?(?P<part>[^)]*)\): (?P<status>\d+) (?P<method>[A-Z]+) \w+://[^/]+(?P<path>[^? ]*)"
)
_AFTERWARDS: Final = frozenset({"_run_cleanups", "_run_cleanup", "tearDown", "tearDownClass"})
_ID: Final = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|[\w.-]*\d{6,}\b")
_ATTRIBUTES: Final = re.compile(r"\[[^\]]*\]")


class Result(Struct, frozen=True, kw_only=True):
    """One test's outcome; ``text`` is its traceback, or why it was skipped."""

    id: str
    status: str
    text: str = ""
    seconds: float = 0.0

    @property
    def name(self) -> str:
        """The id without attributes; a class that could not be set up has the class's name."""
        bare = _ATTRIBUTES.sub("", self.id)
        match = _OF_A_CLASS.match(bare)
        return match.group(1) if match else bare

    @property
    def cause(self) -> str:
        """Why it was skipped; of a failure the test's own last request and the exception's last line."""
        lines = [line for line in self.text.splitlines() if line.strip()]
        if self.status == SKIPPED:
            return next((line.strip() for line in lines if not _LOGGED.match(line)), "")
        said = [line for line in lines if not line.startswith((" ", "Traceback", "~"))]
        errors = [line for line in said if not _LOGGED.match(line)]
        requests = [found for line in lines if (found := _REQUEST.search(line))]
        last = next((found for found in reversed(requests) if found["part"] not in _AFTERWARDS), None)
        request = f"{last['status']} {last['method']} {_ID.sub('{id}', last['path'])} " if last else ""
        return request + (errors[-1].strip() if errors else "")


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tests that are known to fail, for one reason."""

    reason: str
    tests: list[str]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """``unexpected``: failed, not on the list. ``mended``: names on the list of which nothing failed."""

    passed: int = 0
    skipped: Sequence[Result] = ()
    known: Sequence[tuple[Result, str]] = ()
    unexpected: Sequence[Result] = ()
    mended: Sequence[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.unexpected and not self.mended and bool(self.passed)


def load_left_out(path: Path = LEFT_OUT) -> dict[str, str]:
    """Name → reason. Raises msgspec.ValidationError, ValueError for a name that is there twice."""
    groups = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")).get("left_out", []), list[Group])
    reasons: dict[str, str] = {}
    for group in groups:
        for name in group.tests:
            if name in reasons:
                raise ValueError(f"{path.name} names {name} twice")
            reasons[name] = group.reason
    return reasons


def judge(results: Iterable[Result], left_out: dict[str, str]) -> Verdict:
    """Compare a run with the list. A listed name that this run did not touch is not judged."""
    passed = 0
    skipped: list[Result] = []
    known: list[tuple[Result, str]] = []
    unexpected: list[Result] = []
    passing: set[str] = set()
    failing: set[str] = set()
    for result in results:
        listed = _listed(result.name, left_out)
        if result.status in PASSED:
            passed += 1
            passing.add(listed)
        elif result.status == SKIPPED:
            skipped.append(result)
        else:
            failing.add(listed)
            if listed:
                known.append((result, left_out[listed]))
            else:
                unexpected.append(result)
    return Verdict(
        passed=passed,
        skipped=skipped,
        known=known,
        unexpected=unexpected,
        mended=sorted(passing - failing - {""}),
    )


def _listed(name: str, left_out: dict[str, str]) -> str:
    """The nearest name on the list that stands for this test, or an empty one."""
    while name and name not in left_out:
        name = name.rpartition(".")[0]
    return name
