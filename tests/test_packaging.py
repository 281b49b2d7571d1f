"""What is shipped fits together: package, pins, compose file, documents."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pytest
from ruamel.yaml import YAML

from cli.main import _parser
from process.settings import Settings

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final[Mapping[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES: Final[Mapping[str, Any]] = YAML(typ="safe").load(ROOT / "compose.yaml")["services"]
OWN: Final = {name: service for name, service in SERVICES.items() if "build" in service}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> Iterator[str]:
    project = PROJECT["project"]
    for line in chain(project["dependencies"], *project["optional-dependencies"].values()):
        yield normal(re.split(r"[><=~!\[; ]", line, maxsplit=1)[0])


def test_every_dependency_but_libvirts_has_a_pin() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line) for line in lines), "name==version"
    pinned = {normal(line.partition("==")[0]) for line in lines}
    assert set(requirements()) - pinned == {"libvirt-python"}


def test_every_dependency_has_its_reason() -> None:
    text = normal((ROOT / "docs" / "dependencies.md").read_text())
    assert [name for name in requirements() if name not in text] == []


def test_every_folder_of_modules_is_a_package_that_ships() -> None:
    shipped = [
        pattern.rstrip("*") for pattern in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
    ]
    folders = {path.parent for name in shipped for path in (ROOT / name).rglob("*.py")}
    assert sorted(str(folder) for folder in folders if not (folder / "__init__.py").exists()) == []


@pytest.mark.parametrize("group", PROJECT["project"]["entry-points"])
def test_every_entry_point_names_a_module_that_is_there(group: str) -> None:
    for target in PROJECT["project"]["entry-points"][group].values():
        assert find_spec(target.partition(":")[0]) is not None, target


@pytest.mark.parametrize("name", OWN)
def test_a_service_uses_settings_and_commands_that_exist(name: str) -> None:
    variables = {key.removeprefix("STARLING_").lower() for key in OWN[name]["environment"]}
    assert variables - {"config"} <= set(Settings.__struct_fields__)
    program, *words = OWN[name]["command"]
    if program == "starling":
        _parser().parse_args(words)


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("agent-")])
def test_an_agents_container_holds_no_login_but_its_own(name: str) -> None:
    assert not {key for key in OWN[name]["environment"] if "DATABASE" in key or "AMQP" in key}
    volumes = {volume.partition(":")[0] for volume in OWN[name]["volumes"]}
    assert {volume for volume in volumes if not volume.startswith("/")} == {name.replace("agent", "host")}
