"""Where logs go: standard error, one file, or one file per service.

``{service}`` in a path stands for the service that a line is about. Files are appended to and a line is one
write, so that processes may share a file. What a line says is none of this module's business.
"""

import os
import sys
from pathlib import Path
from typing import Final

PLACE: Final = "{service}"
FILE_MODE: Final = 0o640


class LogFiles:
    """One stream of lines. ``path`` empty: standard error. Raises OSError for a file it cannot open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open: dict[str, int] = {}
        if path and PLACE not in path:
            self._descriptor("")

    def write(self, service: str, line: bytes) -> None:
        """Add a line, which ends with a newline. What cannot be written is lost: nobody waits for a log."""
        if not self._path:
            sys.stderr.write(line.decode())
            return
        try:
            os.write(self._descriptor(service if PLACE in self._path else ""), line)
        except OSError as error:
            sys.stderr.write(f"the log {self._path} cannot be written: {error.strerror}\n")

    def reopen(self) -> None:
        """Close the files: the next line opens them anew. For those that were moved away."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _descriptor(self, service: str) -> int:
        found = self._open.get(service)
        if found is None:
            path = Path(self._path.replace(PLACE, service))
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            found = self._open[service] = os.open(path, flags, FILE_MODE)
        return found
