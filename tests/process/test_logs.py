"""Logs: two streams, two styles, and no secret in either."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from process.logs import redact, set_up_logs


@pytest.fixture(autouse=True)
def _leave_logs_as_they_were() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def test_a_json_line_has_level_time_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(style="json", level="info", access_log="").info("worker.started", partitions=16)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "worker.started"
    assert line["level"] == "info"
    assert line["partitions"] == 16
    assert line["timestamp"].endswith("Z")


def test_what_a_library_says_is_a_line_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(style="json", level="info", access_log="")
    error = ConnectionResetError("by peer")
    logging.getLogger("library").warning("lost %s", "the broker", exc_info=error)
    logging.getLogger("library").info("not worth a word")
    (line,) = map(json.loads, capsys.readouterr().err.splitlines())
    assert (line["event"], line["logger"], line["level"]) == ("library.said", "library", "warning")
    assert (line["text"], line["error"]) == ("lost the broker", "ConnectionResetError: by peer")
    assert "exception" not in line
    logging.getLogger("asyncio").error("never retrieved", exc_info=error)
    assert "ConnectionResetError" in json.loads(capsys.readouterr().err)["exception"]


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(style="console", level="warning", access_log="").info("worker.started")
    assert capsys.readouterr().err == ""


def test_the_access_log_is_a_stream_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "access.log"
    set_up_logs(style="json", level="info", access_log=str(path))
    structlog.get_logger("access").info("request", status=200)
    assert json.loads(path.read_text())["status"] == 200
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variable(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up_logs(style=style, level="info", access_log="")

    def fail(password: str) -> None:
        raise RuntimeError(f"a password of {len(password)} characters")

    given = "hunter2"
    try:
        fail(given)
    except RuntimeError as error:
        log.info("part.failed", exc_info=error)
    written = capsys.readouterr().err
    assert "a password of 7 characters" in written
    assert "hunter2" not in written


def test_what_stands_under_a_secret_name_is_taken_out_at_every_depth() -> None:
    event = redact(
        None,
        "info",
        {
            "event": "x",
            "adminPass": "1",
            "X-Auth-Token": "2",
            "headers": {"Authorization": "3", "inner": {"user_data": "4"}, "Accept": "*/*"},
        },
    )
    assert event == {
        "event": "x",
        "adminPass": "***",
        "X-Auth-Token": "***",
        "headers": {"Authorization": "***", "inner": {"user_data": "***"}, "Accept": "*/*"},
    }
