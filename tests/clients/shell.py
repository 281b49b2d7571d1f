"""The unmodified ``openstack`` command, many times in one process: a start of the program costs a second.

Run as a program it is that process: words as a JSON list per line in, [exit code, output, errors] out.
"""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest


class Shell:
    """A person at a shell with a ``clouds.yaml``. ``ran`` are the commands that were given."""

    def __init__(self, clouds_yaml: Path, cloud: str) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(clouds_yaml.parent),
            "OS_CLIENT_CONFIG_FILE": str(clouds_yaml),
            "OS_CLOUD": cloud,
            "COLUMNS": "300",
        }
        self._process: subprocess.Popen[str] | None = None
        self.ran: list[tuple[str, ...]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__],
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.communicate()

    def try_(self, *words: str) -> tuple[int, str, str]:
        """Exit code, output and errors of one command."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.ran.append(words)
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client died of openstack {' '.join(words)}"
        code, out, err = json.loads(line)
        return code, out, err

    def do(self, *words: str) -> str:
        """The output of a command that succeeds."""
        code, out, err = self.try_(*words)
        assert code == 0, f"openstack {' '.join(words)}: {err}{out}"
        return out

    def json(self, *words: str) -> Any:
        """The output of a command that succeeds, as data."""
        return json.loads(self.do(*words, "-f", "json"))

    def fails(self, *words: str) -> str:
        """What the client says of a command that does not succeed; a fault of the cloud is no good reason."""
        code, out, err = self.try_(*words)
        assert code != 0, f"openstack {' '.join(words)} was not refused: {out}"
        said = err + out
        for fault in ("Traceback", "HTTP 500", "Unexpected error", "'NoneType'", "KeyError"):
            assert fault not in said, f"openstack {' '.join(words)}: {said}"
        return said

    def never_ran(self, group: str) -> set[str]:
        """The commands of an entry point group that were not given."""
        names = {entry.name.replace("_", " ") for entry in entry_points(group=group)}
        given = {" ".join(words) + " " for words in self.ran}
        longest = {
            max((name for name in names if text.startswith(name + " ")), key=len, default="")
            for text in given
        }
        return names - longest


def ran_whole(request: pytest.FixtureRequest) -> bool:
    """Whether all tests of the requesting module run, so that what they leave out can be told."""
    ran = {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}
    return {name for name in vars(request.module) if name.startswith("test_")} <= ran


class _Terminal(io.StringIO):
    """A person who types nothing: what is piped in the client takes for an image."""

    def isatty(self) -> bool:
        return True


def _serve() -> None:
    from openstackclient.shell import OpenStackShell  # noqa: PLC0415  only the process that is one needs it

    commands, answers = sys.stdin, sys.stdout
    sys.stdin = _Terminal()
    root = logging.getLogger()
    for line in commands:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = OpenStackShell().run(json.loads(line))
            except SystemExit as ended:
                code = int(str(ended.code))
        root.handlers.clear()  # each run adds its own
        answers.write(json.dumps([code, out.getvalue(), err.getvalue()]) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
