"""The service log: structured events, for people on a console or as JSON lines, by service.

An event's service is bound where its logger is made (``get_logger(service="image")``); what nobody claims,
such as a library's words, is the process's own. What must never be in a log is taken out here as a last
defence: values under names that hold secrets. The access log is process/access.py.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from process.log_file import LogFiles

PROCESS: Final = "process"
"""The service of what no service claims."""
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


class _Lines:
    """What structlog hands rendered events to, by whatever level's name."""

    def __init__(self, files: LogFiles) -> None:
        self._files = files

    def msg(self, line: str, service: str) -> None:
        self._files.write(service, f"{line}\n".encode(errors="replace"))

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def _sorted_out(render: Processor) -> Processor:
    """The last processor: an event becomes a line and the service it is for."""

    def processor(logger: WrappedLogger, method: str, event: EventDict) -> Any:
        service = event.setdefault("service", PROCESS)
        return (render(logger, method, event),), {"service": service}

    return processor


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


def set_up_logs(*, style: str, level: str, files: LogFiles) -> FilteringBoundLogger:
    """Configure structlog for the process."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    render: Processor
    if style == "json":
        shared.append(structlog.processors.format_exc_info)
        render = structlog.processors.JSONRenderer()
    else:
        render = structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # others print local variables
        )
    lines = _Lines(files)
    structlog.configure(
        processors=[*shared, _sorted_out(render)],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Libraries()], level=logging.WARNING, force=True)
    log: FilteringBoundLogger = structlog.get_logger()
    return log
