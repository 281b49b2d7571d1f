"""A subunit stream on standard input as JSON lines: one test each with id, status, reason and seconds.

Runs in Tempest's own environment and imports nothing of ours.
"""

import json
import sys
from typing import Any

from subunit import ByteStreamToStreamResult
from testtools import StreamToDict


def main() -> None:
    def say(test: dict[str, Any]) -> None:
        texts = [detail.as_text() for detail in test["details"].values()]
        began, ended = test["timestamps"]
        record = {
            "id": test["id"],
            "status": test["status"],
            "text": "\n".join(text for text in texts if text.strip()),
            "seconds": (ended - began).total_seconds() if began and ended else 0.0,
        }
        print(json.dumps(record))

    result = StreamToDict(say)
    result.startTestRun()
    ByteStreamToStreamResult(sys.stdin.buffer).run(result)
    result.stopTestRun()


if __name__ == "__main__":
    main()
