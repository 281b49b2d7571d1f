"""The runner of Tempest: what it tells Tempest of a cloud, and what it makes of the outcome."""

import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from tools.tempest.cloud import CloudError, given
from tools.tempest.config import write_config
from tools.tempest.prepare import two_flavors
from tools.tempest.suites import SUITES, pattern
from tools.tempest.verdict import Result, judge, load_left_out

LEFT_OUT = {"tempest.api.a.Test.test_known": "not yet", "tempest.api.b": "no such service"}


def result(name: str, status: str = "success", text: str = "") -> Result:
    return Result(id=name, status=status, text=text)


def test_an_unlisted_failure_is_unexpected() -> None:
    verdict = judge([result("tempest.api.a.Test.test_new[id-1]", "fail"), result("x.y")], LEFT_OUT)
    assert [found.name for found in verdict.unexpected] == ["tempest.api.a.Test.test_new"]
    assert not verdict.good


def test_a_listed_failure_is_known_by_its_reason() -> None:
    verdict = judge(
        [
            result("tempest.api.a.Test.test_known[id-1,smoke]", "fail"),
            result("setUpClass (tempest.api.b.Of.Class)", "fail"),
            result("x.y"),
        ],
        LEFT_OUT,
    )
    assert [reason for _, reason in verdict.known] == ["not yet", "no such service"]
    assert verdict.good


def test_a_listed_test_that_passes_must_leave_the_list() -> None:
    verdict = judge([result("tempest.api.a.Test.test_known[id-1]")], LEFT_OUT)
    assert verdict.mended == ["tempest.api.a.Test.test_known"]
    assert not verdict.good


def test_a_group_is_mended_when_nothing_of_it_fails() -> None:
    one, other = "tempest.api.b.C.test_one", "tempest.api.b.C.test_other"
    assert judge([result(one), result(other, "fail")], LEFT_OUT).mended == []
    assert judge([result(one), result(other, "skip")], LEFT_OUT).mended == ["tempest.api.b"]


def test_a_run_of_nothing_is_no_success() -> None:
    assert not judge([], LEFT_OUT).good
    assert not judge([result("x.y", "skip", "no such feature")], LEFT_OUT).good


def test_the_cause_is_the_request_and_the_exception() -> None:
    log = "2026-01-01 INFO Request (Trusts:{}): {} http://127.0.0.1:9/v3/trusts{} 0.1s\n"
    text = (
        log.format("test_make", "201 POST", "")
        + log.format("test_make", "404 GET", "/1f1b1a2c3d4e4f5a8b9c0d1e2f3a4b5c?x=1")
        + log.format("_run_cleanups", "204 DELETE", "/1")
        + 'Traceback (most recent call last):\n  File "x", line 1\nNotFound: gone\n'
    )
    assert result("x", "fail", text).cause == "404 GET /v3/trusts/{id} NotFound: gone"
    assert result("x", "fail", "").cause == ""
    assert result("x", "skip", "reason\nmore").cause == "reason"


def test_the_committed_list_is_readable_and_of_known_suites() -> None:
    beginnings = [re.compile(beginning) for suite in SUITES.values() for beginning in suite]
    for name, reason in load_left_out().items():
        assert reason
        assert any(beginning.match(f"{name}.") for beginning in beginnings), name


def test_a_name_is_listed_once(tmp_path: Path) -> None:
    path = tmp_path / "left_out.toml"
    path.write_text('[[left_out]]\nreason = "a"\ntests = ["x", "x"]\n')
    with pytest.raises(ValueError, match="names x twice"):
        load_left_out(path)


def test_a_pattern_narrows_a_suite() -> None:
    found = re.compile(pattern("identity", "projects|users"))
    assert found.search("tempest.api.identity.v3.test_users.A.b")
    assert not found.search("tempest.api.identity.v3.test_roles.A.b")
    assert not found.search("tempest.api.compute.admin.test_users.A.b")


def test_features_hold_over_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "tempest.conf"
    write_config(path, {"DEFAULT": {"debug": "false"}, "auth": {"admin_password": "50%", "x": "1"}})
    written = ConfigParser(interpolation=None, default_section="")
    written.read(path)
    assert written["auth"]["admin_password"] == "50%"
    assert written["auth"]["use_dynamic_credentials"] == "true"
    assert written["DEFAULT"]["debug"] == "false"
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_second_flavor_is_larger() -> None:
    flavors = [{"id": str(n), "ram": ram, "disk": 1, "vcpus": 1} for n, ram in enumerate((512, 128, 128))]
    assert two_flavors(flavors) == ("1", "0")
    with pytest.raises(CloudError):
        two_flavors(flavors[1:])


def test_a_cloud_half_named_is_refused() -> None:
    assert given({"PATH": "/bin"}) is None
    with pytest.raises(CloudError, match="OS_USERNAME"):
        given({"OS_AUTH_URL": "http://cloud/identity/v3"})
