"""What goes over the wire changes only when a review can see it."""

import subprocess
import sys
from pathlib import Path

import pytest

from protocol.codec import MESSAGES
from protocol.message import Message

ROOT = Path(__file__).resolve().parents[2]


def test_messages_are_as_committed() -> None:
    check = [sys.executable, str(ROOT / "tools" / "write_schemas.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (
        f"messages have changed; if that is meant: make schemas\n{done.stdout}{done.stderr}"
    )


@pytest.mark.parametrize("tag", sorted(MESSAGES))
def test_a_tag_names_its_sender_and_belongs_to_one_message(tag: str) -> None:
    kind: type[Message] = MESSAGES[tag]
    sender, _, fact = tag.partition(".")
    assert sender
    assert fact == fact.lower()
    assert sum(other is kind for other in MESSAGES.values()) == 1
