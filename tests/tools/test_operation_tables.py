"""The page of operation tables is made from the tables, and the committed one is current."""

import difflib
import re
from pathlib import Path

import pytest

from actors.kinds import KINDS
from tools.operation_tables import document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operation-tables.md"
MADE = document()


def test_the_committed_page_is_current() -> None:
    kept = PAGE.read_text(encoding="utf-8")
    change = "".join(difflib.unified_diff(kept.splitlines(keepends=True), MADE.splitlines(keepends=True)))
    assert kept == MADE, f"python -m tools.operation_tables > docs/operation-tables.md\n{change}"


@pytest.mark.parametrize("name", KINDS)
def test_every_row_is_on_the_page(name: str) -> None:
    section = MADE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    kind = KINDS[name]
    for row in [*kind.life, *(row for table in kind.operations for row in table.rows)]:
        assert f"| {row.hearing.__name__} |" in section
        assert f"| {row.do.__name__} |" in section
    for table in kind.operations:
        assert f"### {name}: {table.name}\n" in section


def test_tables_are_tables_and_diagrams_are_closed() -> None:
    assert MADE.count("```") == 2 * MADE.count("```mermaid")
    for block in re.findall(r"(?:^\|.*\n)+", MADE, flags=re.MULTILINE):
        head, rule, *rows = block.splitlines()
        assert re.fullmatch(r"\|(---\|)+", rule)
        assert rows
        assert len({line.count("|") for line in (head, rule, *rows)}) == 1


def test_names_in_diagrams_are_those_mermaid_takes() -> None:
    for diagram in re.findall(r"stateDiagram-v2\n(.*?)```", MADE, flags=re.DOTALL):
        for line in diagram.splitlines():
            assert re.fullmatch(r'    (state ".*" as \w+|(\[\*\]|\w+) --> (\[\*\]|\w+): .+)', line), line
