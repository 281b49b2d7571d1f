"""``starling policy``: the rules shown, and what it says of a caller."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.policy import add_check_arguments, add_show_arguments, check, show
from gateway.policy import PolicyError

Said = pytest.CaptureFixture[str]


def run(action: str, *words: str, file: str = "") -> int:
    parser = argparse.ArgumentParser()
    add, act = (add_show_arguments, show) if action == "show" else (add_check_arguments, check)
    add(parser)
    return act(file, parser.parse_args(words))


def test_rules_are_shown_with_their_calls(capsys: Said) -> None:
    assert run("show", "--format", "json", "identity:create_user") == 0
    (rule,) = json.loads(capsys.readouterr().out)
    assert rule == {
        "api": "identity",
        "name": "identity:create_user",
        "sentence": "admin or domain manager",
        "default": "admin or domain manager",
        "calls": ["POST /identity/v3/users"],
    }
    assert run("show", "quota_sets") == 0
    table = capsys.readouterr().out.splitlines()
    assert all("quota_sets" in line for line in table[1:])
    assert {line.index("/compute") - len("GET ") for line in table if "  GET /compute" in line} == {
        table[0].index("calls")
    }


def test_an_operators_rule_is_marked(capsys: Said, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('"compute:keypairs" = "self and role:member"')
    assert run("show", "compute:keypairs", "--format", "markdown", file=str(file)) == 0
    assert "| `compute:keypairs` | self and role:member (changed) |" in capsys.readouterr().out


def test_a_bad_file_ends_the_command_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('"compute:keypears" = "self"')
    environment = {"STARLING_STATE": str(tmp_path), "STARLING_POLICY_FILE": str(file)}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "policy", "show"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"starling: {file}: there is no policy rule 'compute:keypears'; did you mean compute:keypairs?\n"
    )


def test_a_check_says_which_alternative_decides(capsys: Said) -> None:
    bob = ("check", "--user", "bob", "--roles", "member", "--scope", "project:p1")
    assert run(*bob, "GET", "/compute/v2.1/servers/x?a=b") == 0
    assert capsys.readouterr().out == (
        "compute:servers:show = 'admin or project reader': allowed\n"
        "  no   admin: it takes the role admin\n"
        "  yes  project and role:reader\n"
    )
    assert run(*bob, "--target-project", "p2", "compute:servers:delete") == 1
    assert capsys.readouterr().out == (
        "compute:servers:delete = 'admin or project member': refused\n"
        "  no   admin: it takes the role admin\n"
        "  no   project and role:member: it takes a token for the target's project\n"
    )
    assert run("check", "POST", "/identity/v3/auth/tokens") == 0
    assert "it is public" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compute:server:show",), "did you mean compute:servers:show"),
        (("GET", "/nowhere"), "there is no call GET /nowhere"),
        (("BREW", "/compute/v2.1/servers"), "there is no call BREW /compute/v2.1/servers"),
        (("compute:keypairs", "--scope", "project"), "it must be project:ID"),
        (("compute:keypairs", "--scope", "system:x"), "it must be project:ID"),
    ],
)
def test_a_check_of_nothing_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(PolicyError) as refused:
        run("check", *words)
    assert said in str(refused.value)
