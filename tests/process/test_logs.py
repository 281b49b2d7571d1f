"""Logs: two streams, two styles, and no secret in either."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from msgspec import structs

from process.access import AccessEntry, AccessLog, utc
from process.log_file import LogFiles
from process.logs import redact, set_up_logs


@pytest.fixture(autouse=True)
def _leave_logs_as_they_were() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_json_line_has_level_time_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(style="json", level="info", files=LogFiles("")).info("worker.started", partitions=16)
    line = json.loads(capsys.readouterr().err)
    assert line["event"] == "worker.started"
    assert line["level"] == "info"
    assert line["partitions"] == 16
    assert line["timestamp"].endswith("Z")


def test_what_a_library_says_is_a_line_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(style="json", level="info", files=LogFiles(""))
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
    set_up_logs(style="console", level="warning", files=LogFiles("")).info("worker.started")
    assert capsys.readouterr().err == ""


def test_each_service_has_a_file_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up_logs(style="json", level="info", files=LogFiles(str(tmp_path / "log" / "{service}.log")))
    structlog.get_logger(service="image").info("image.swept")
    log.bind(service="worker").info("worker.started")
    log.info("process.started")
    logging.getLogger("library").warning("lost")
    files = {path.name: path.read_text().splitlines() for path in (tmp_path / "log").iterdir()}
    assert {name: len(lines) for name, lines in files.items()} == {
        "image.log": 1,
        "worker.log": 1,
        "process.log": 2,
    }
    assert json.loads(files["image.log"][0])["service"] == "image"
    assert capsys.readouterr().err == ""


def test_one_file_takes_all_services(tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    files = LogFiles(str(path))
    assert path.exists()
    files.write("image", b"one\n")
    files.write("worker", b"two\n")
    assert path.read_text() == "one\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o640 & ~umask()


def test_a_file_that_was_moved_away_is_begun_anew_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "all.log"
    files = LogFiles(str(path))
    files.write("image", b"one\n")
    path.rename(tmp_path / "all.log.1")
    files.write("image", b"two\n")
    files.reopen()
    files.write("image", b"three\n")
    assert (tmp_path / "all.log.1").read_text() == "one\ntwo\n"
    assert path.read_text() == "three\n"


def test_a_file_that_cannot_be_opened_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        LogFiles(str(tmp_path))


def test_a_full_disk_stops_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    LogFiles("/dev/full").write("image", b"one\n")
    assert "No space left" in capsys.readouterr().err


ENTRY = AccessEntry(
    service="image",
    timestamp=utc(1.5e9),
    method="GET",
    path="/image/v2/images/{image_id}",
    status=200,
    duration_ms=1.25,
    request_id="req-1",
    peer="192.0.2.1",
)


def test_the_access_log_is_a_stream_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    access = AccessLog(LogFiles(str(tmp_path / "{service}-access.log")), "json")
    access.write(ENTRY)
    access.write(structs.replace(ENTRY, user="u1", project="p1"))
    first, second = map(json.loads, (tmp_path / "image-access.log").read_text().splitlines())
    assert first == {
        "event": "request",
        "service": "image",
        "timestamp": "2017-07-14T02:40:00Z",
        "method": "GET",
        "path": "/image/v2/images/{image_id}",
        "status": 200,
        "duration_ms": 1.25,
        "request_id": "req-1",
        "peer": "192.0.2.1",
    }
    assert second == {**first, "user": "u1", "project": "p1"}
    assert capsys.readouterr().err == ""


def test_on_a_console_an_access_is_a_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    AccessLog(LogFiles(""), "console").write(structs.replace(ENTRY, user="u1", project="p1"))
    assert capsys.readouterr().err == (
        "2017-07-14 02:40:00 [access   ] GET /image/v2/images/{image_id} 200 1.25 ms req-1 192.0.2.1"
        " user=u1 project=p1\n"
    )


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_shows_no_local_variable(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    log = set_up_logs(style=style, level="info", files=LogFiles(""))

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
