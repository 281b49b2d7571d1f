"""The cloud's secrets: made once, read by their owner only."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from msgspec import structs

from process.secret import SecretsError, load, load_or_make


def test_they_are_made_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secrets.json"
    made = load_or_make(path, admin_password="chosen")
    assert made.admin_password == "chosen"
    assert load_or_make(path, admin_password="another") == made == load(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["secrets.json"]


def test_two_clouds_have_nothing_in_common(tmp_path: Path) -> None:
    one, other = load_or_make(tmp_path / "one"), load_or_make(tmp_path / "other")
    assert one.token_keys != other.token_keys
    assert one.url_key != other.url_key
    assert one.admin_password != other.admin_password


def test_a_file_from_before_the_vault_has_a_key_for_it(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "one")
    assert [key.hex() for key in made.vault()] == list(made.vault_keys)
    old, other = structs.replace(made, vault_keys=()), load_or_make(tmp_path / "other")
    assert old.vault() == structs.replace(old, token_keys=()).vault() != made.vault()
    assert old.vault() != structs.replace(other, vault_keys=()).vault()
    assert [len(key) for key in old.vault()] == [32]


def test_processes_that_start_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: load_or_make(tmp_path / "secrets.json"), range(8)))
    assert all(secrets == made[0] for secrets in made)


def test_a_file_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    load_or_make(path)
    path.chmod(0o640)
    with pytest.raises(SecretsError, match="must be 600"):
        load(path)


@pytest.mark.parametrize("content", ["", "{}", '{"token_keys": [], "unknown": 1}'])
def test_a_damaged_file_is_refused_and_kept(content: str, tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(SecretsError, match="damaged"):
        load_or_make(path)
    assert path.read_text() == content


def test_a_missing_file_is_an_error_where_it_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SecretsError, match="cannot be read"):
        load(tmp_path / "secrets.json")


def test_they_are_never_shown(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "secrets.json")
    assert made.admin_password not in f"{made!r} {made}"


def test_a_loose_umask_changes_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = tmp_path / "secrets.json"
        load_or_make(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o077 == 0
