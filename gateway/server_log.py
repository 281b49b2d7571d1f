"""What the HTTP library has to say, in our own log: bytes that were no HTTP, and faults of its own.

What a client sent is not repeated: a malformed request may hold a token. Not for the access log, which
gateway/app.py writes.
"""

import logging
from typing import Final

import structlog
from aiohttp.http import HttpProcessingError

_log = structlog.get_logger(service="gateway")
_NAME: Final = "gateway.http"


class _Bridge(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            peer = record.args[0] if isinstance(record.args, tuple) and record.args else None
            _log.info("http.malformed", error=type(error).__name__, peer=peer)
        else:
            _log.error("bug", source=record.name, text=record.getMessage(), exc_info=error)


def server_log() -> logging.Logger:
    """A logger for the HTTP server that hands its warnings and errors on; it belongs to no hierarchy."""
    logger = logging.Logger(_NAME, logging.WARNING)  # noqa: LOG001  the root's handlers would print it again
    logger.addHandler(_Bridge())
    return logger
