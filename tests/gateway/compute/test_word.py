"""Small pure functions: host names, statuses, quotas, keys, console lines."""

import pytest

from gateway.compute.key import make_pair, ssh_fingerprint
from gateway.compute.quota import resources
from gateway.compute.server.console import last_lines
from gateway.compute.server.create import parts_of, password_for
from gateway.compute.server.hostname import check_hostname, hostname_from
from gateway.compute.server.state import states_of
from gateway.problem import Problem
from protocol.ids import OperationId

OPERATION = OperationId("4e5f65e0-a8d4-4ad5-9f06-1f3b4da09160")


@pytest.mark.parametrize(
    ("name", "hostname"),
    [
        ("Web Server_1", "web-server-1"),
        ("a.b", "a-b"),
        ("--x--", "x"),
        ("日本", "server-id"),
        ("x" * 70, "x" * 63),
    ],
)
def test_hostnames_are_made_of_names(name: str, hostname: str) -> None:
    assert hostname_from(name, "id") == hostname


def test_full_names_are_hostnames_from_2_94_on() -> None:
    assert check_hostname("a.example", 94) == "a.example"
    with pytest.raises(Problem):
        check_hostname("a.example", 93)


def test_statuses_stand_for_states() -> None:
    assert states_of(["ACTIVE"]) == (["active"], [])
    assert states_of(["reboot"]) == (["active"], ["reboot_pending", "reboot_started", "rebooting"])
    assert states_of(["REBOOT", "SHUTOFF"]) == (["active", "stopped"], [])
    assert states_of(["NONSENSE"]) is None


def test_resources_disappear_from_the_quota() -> None:
    assert "fixed_ips" in resources(35)
    assert "fixed_ips" not in resources(36)
    assert "injected_files" not in resources(57)


def test_a_made_pair_belongs_together() -> None:
    private, public = make_pair()
    assert private.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert ssh_fingerprint(public).count(":") == 15
    with pytest.raises(ValueError, match="OpenSSH"):
        ssh_fingerprint("ssh-rsa nonsense")


def test_console_lines() -> None:
    text = "a\nb\nc\n"
    assert last_lines(text, 2) == "c\n"
    assert last_lines(text, -1) == text
    assert last_lines("a\nb", 1) == "b"


def test_everything_of_a_request_derives_from_its_operation() -> None:
    assert parts_of(OPERATION, 3) == parts_of(OPERATION, 3)
    assert len({part.instance for part in parts_of(OPERATION, 3)}) == 3
    assert parts_of(OPERATION, 1)[0].operation == OPERATION
    assert password_for(OPERATION) == password_for(OPERATION)
