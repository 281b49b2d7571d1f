#!/usr/bin/env python3
"""Write the JSON schema of every message to tests/golden/messages.json, so that a review sees what changes.

write_schemas.py            write the file anew
write_schemas.py --check    say how the file differs from the program; exit 1 if it does
"""

import difflib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from protocol.codec import MESSAGES  # noqa: E402  the path is set first
from protocol.message import Bundle, Envelope  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "messages.json"


def schemas() -> str:
    """Every message's schema by its tag, and those of what carries them."""
    types = [*MESSAGES.values(), Envelope, Bundle]
    references, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    names = [*MESSAGES, "(envelope)", "(bundle)"]
    document = {"messages": dict(zip(names, references, strict=True)), "$defs": _bare(components)}
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _bare(schema: Any) -> Any:
    """Without the docstrings: what is said in words is no change of what is sent."""
    if isinstance(schema, dict):
        kept = {
            key: value for key, value in schema.items() if key != "description" or isinstance(value, dict)
        }
        return {key: _bare(value) for key, value in kept.items()}
    return [_bare(value) for value in schema] if isinstance(schema, list) else schema


def main() -> int:
    """Read the command line and do it; the exit code."""
    made = schemas()
    if sys.argv[1:] != ["--check"]:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(made, encoding="utf-8")
        return 0
    kept = GOLDEN.read_text(encoding="utf-8")
    sys.stdout.writelines(
        difflib.unified_diff(
            kept.splitlines(keepends=True), made.splitlines(keepends=True), "committed", "program"
        )
    )
    return int(kept != made)


if __name__ == "__main__":
    sys.exit(main())
