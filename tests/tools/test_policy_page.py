"""The page of rules is made from the tables of routes, and the committed one is current."""

import difflib
from pathlib import Path

from gateway.apis import APIS
from tools.policy_page import document

PAGE = Path(__file__).resolve().parents[2] / "docs" / "policy.md"


def test_the_committed_page_is_current() -> None:
    kept, made = PAGE.read_text(encoding="utf-8"), document()
    change = "".join(difflib.unified_diff(kept.splitlines(keepends=True), made.splitlines(keepends=True)))
    assert kept == made, f"python -m tools.policy_page > docs/policy.md\n{change}"


def test_every_rule_and_every_call_is_on_the_page() -> None:
    made = document()
    for api in APIS:
        section = made.partition(f"\n## {api.name}\n")[2].partition("\n## ")[0]
        for name, sentence in api.rules.items():
            assert f"| `{name}` | {sentence} |" in section
        for route in api.routes:
            path = (
                route.path.replace("/v2.1/{project_id}/", "/v2.1/") if api.name == "compute" else route.path
            )
            assert f"`{route.method} {api.prefix}{path}`" in section
