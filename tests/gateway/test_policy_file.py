"""An operator's file of rules: what it changes, what it is refused for, and reading it again."""

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import CapturingLogger

from gateway.policy import Policy, PolicyError
from gateway.policy_file import apply_file, reloading
from tests.gateway.fakes import caller

RULES = {"compute:servers:create": "admin", "compute:servers:show": "project reader"}


def test_a_file_takes_the_place_of_rules(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('"compute:servers:create" = "role:builder and project"\n')
    policy = Policy(RULES)
    apply_file(policy, file)
    builder = caller("", roles=frozenset({"builder"}))
    assert policy.allows("compute:servers:create", builder)
    assert not policy.allows("compute:servers:show", builder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('"compute:server:create" = "admin"', "did you mean compute:servers:create"),
        ('"compute:servers:create" = "root"', "policy rule 'compute:servers:create': 'root' is no condition"),
        ('"compute:servers:create" = ["admin"]', "no sentence; write it in quotes"),
        ('compute.servers.create = "admin"', "no sentence; write the name in quotes"),
        ("nonsense", "is not valid TOML"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(PolicyError) as refused:
        apply_file(Policy(RULES), file)
    assert str(refused.value).startswith(str(file))
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="cannot be read: No such file"):
        apply_file(Policy(RULES), tmp_path / "none")


def test_reading_again_takes_the_new_file_or_keeps_what_was(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text('"compute:servers:create" = "project member"')
    policy = Policy(RULES)
    said: Any = CapturingLogger()
    reload = reloading(policy, file, said)
    reload()
    assert policy.allows("compute:servers:create", caller("member"))
    file.write_text('"compute:servers:create" = "everybody"')
    reload()
    assert policy.allows("compute:servers:create", caller("member"))
    file.write_text("")
    reload()
    assert not policy.allows("compute:servers:create", caller("member"))
    names = [call.args[0] for call in said.calls]
    assert names == ["policy.reloaded", "policy.refused", "policy.reloaded"]
