"""Logs: structured events, for people on a console or as JSON lines; the access log is a stream apart.

What must never be in a log is taken out here as a last defence: values under names that hold secrets.
"""

import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

_SECRET: Final = (
    "password",
    "token",
    "secret",
    "user_data",
    "authorization",
    "signature",
    "adminpass",
    "private",
)


class _Streams:
    def __init__(self, service: TextIO, access: TextIO) -> None:
        self._service, self._access = service, access

    def __call__(self, name: str | None = None, *_: object) -> Any:
        return structlog.WriteLogger(self._access if name == "access" else self._service)


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace what stands under a name that holds a secret, in inner mappings too."""
    return _redacted(event)


def _redacted(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: "***" if _is_secret(key) else _inner(value) for key, value in values.items()}


def _inner(value: object) -> object:
    return _redacted(value) if isinstance(value, Mapping) else value


def _is_secret(key: object) -> bool:
    name = str(key).lower().replace("-", "_")
    return any(word in name for word in _SECRET)


class _Libraries(logging.Handler):
    """What libraries say through the standard library's logging, as events of ours.

    Many say a lost connection with a traceback: that is kept for what they call an error.
    """

    def emit(self, record: logging.LogRecord) -> None:
        try:
            error = record.exc_info[1] if record.exc_info else None
            said: dict[str, Any] = {"logger": record.name, "text": record.getMessage()}
            if error is not None:
                said["error"] = f"{type(error).__name__}: {error}"
                if record.levelno >= logging.ERROR:
                    said["exc_info"] = error
            structlog.get_logger().log(record.levelno, "library.said", **said)
        except Exception:  # noqa: BLE001  the interface's way to say that a record could not be told
            self.handleError(record)


def set_up_logs(*, style: str, level: str, access_log: str) -> FilteringBoundLogger:
    """Configure structlog for the process. ``access_log`` is a file's path; empty: standard error too."""
    access = Path(access_log).open("a", buffering=1, encoding="utf-8") if access_log else sys.stderr  # noqa: SIM115
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    if style == "json":
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        shared += [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # others print local variables
            )
        ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_Streams(sys.stderr, access),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    log: FilteringBoundLogger = structlog.get_logger()
    return log
