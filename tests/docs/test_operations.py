"""The operator's page knows every setting and every figure."""

import re
from pathlib import Path

import pytest

from process.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.__struct_fields__)
def test_every_setting_is_explained_with_its_default(name: str) -> None:
    row = next((line for line in PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line), "")
    assert row, f"docs/operations.md does not explain {name}"
    default = getattr(Settings(), name)
    shown = str(default).removesuffix(".0")
    if isinstance(default, bool):
        shown = shown.lower()
    assert row.split("|")[2].strip().strip("`") == shown


def test_every_setting_on_the_page_exists() -> None:
    table = PAGE.partition("| key | default | meaning |")[2].partition("\n\n")[0]
    keys = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for key in keys for name in re.findall(r"`(\w+)`", key)}
    assert named == set(Settings.__struct_fields__)


def test_every_figure_is_explained() -> None:
    made = {
        name
        for file in ("process/metrics.py", "cli/parts.py")
        for name in re.findall(r'"(starling_[a-z_]+[a-z])"', (ROOT / file).read_text(encoding="utf-8"))
    }
    missing = {name for name in made if f"`{name}`" not in PAGE and f"`{name}_total`" not in PAGE}
    assert not missing
