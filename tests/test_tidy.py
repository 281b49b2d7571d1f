"""What a linter does not say: size, where time and chance come from, documented messages, no orphans.

A limit is loosened only in the tables below, with its reason.
"""

import ast
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("protocol", "process", "bus", "store", "actors", "hostagent", "gateway", "cli")
FILE_LINES_MAX: Final = 600
FUNCTION_LINES_MAX: Final = 60

OWN_CLOCK: Final = {
    "process/clock.py": "the one source of time, ids and randomness",
    "process/secret.py": "secrets must come from the system, also in a simulation",
}
CHANCE_MODULES: Final = frozenset({"time", "random", "secrets"})
CHANCE_CALLS: Final = frozenset(
    {
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today"),
        *("uuid.uuid1", "uuid.uuid4", "uuid1", "uuid4", "os.urandom", "urandom"),
        *("random.Random", "Random"),
    }
)
POINTS: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
ENTRANCES: Final = {
    "cli.main": "the starling command",
    "store.memory": "the simulation's twin of store.turns",
    **{
        target.partition(":")[0]: "found by entry point"
        for group in POINTS.values()
        for target in group.values()
    },
}


@cache
def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_a_file_is_read_in_one_go() -> None:
    long = {
        name_of(path): lines
        for path in sources(*PACKAGES, "tests", "bench", "tools")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > FILE_LINES_MAX
    }
    assert not long, f"{FILE_LINES_MAX} lines are the limit"


def test_a_function_is_one_idea() -> None:
    long = {
        f"{name_of(path)}:{function.lineno} {function.name}": lines
        for path in sources(*PACKAGES, "tests", "bench", "tools")
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert not long, f"{FUNCTION_LINES_MAX} lines are the limit"


def test_time_and_chance_come_from_the_clock() -> None:
    found = [
        f"{name_of(path)}:{line} {what}"
        for path in sources(*PACKAGES)
        if name_of(path) not in OWN_CLOCK
        for line, what in chance(tree(path))
    ]
    assert not found, "take the Clock that is passed in (process/clock.py)"


def chance(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Each import or call by which a module would ask the system for time or chance."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name in CHANCE_MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in CHANCE_MODULES and not node.level:
            if [alias.name for alias in node.names] != ["Random"]:  # its name alone is a parameter's type
                yield node.lineno, node.module or ""
        elif isinstance(node, ast.Call) and dotted(node.func) in CHANCE_CALLS:
            yield node.lineno, dotted(node.func)


def dotted(node: ast.expr) -> str:
    """The last two parts of a call's name: ``datetime.datetime.now`` is ``datetime.now``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value).rpartition('.')[2]}.{node.attr}"
    return ""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import time", ["time"]),
        ("from random import Random, choice", ["random"]),
        ("from random import Random\nRandom()", ["Random"]),
        ("from random import Random\ndef choose(chance: Random): ...", []),
        ("import datetime\ndatetime.datetime.now()", ["datetime.now"]),
        ("import uuid\nuuid.uuid4()\nuuid.uuid5(a, b)", ["uuid.uuid4"]),
        ("clock.now()\nclock.uuid()\nclock.random.choice(x)", []),
    ],
)
def test_the_search_for_time_and_chance_finds_them(code: str, found: list[str]) -> None:
    assert [what for _, what in chance(ast.parse(code))] == found


def test_a_module_says_what_it_is_for() -> None:
    bare = [name_of(path) for path in sources(*PACKAGES) if not ast.get_docstring(tree(path))]
    assert not bare, "say what it is for and what must not go in"


def test_every_struct_of_the_protocol_is_documented() -> None:
    bare = [
        f"{name_of(path)}:{node.lineno} {node.name}"
        for path in sources("protocol")
        for node in tree(path).body
        if isinstance(node, ast.ClassDef) and not ast.get_docstring(node)
    ]
    assert not bare, "say what it means, when it is sent and by whom"


def test_no_module_is_an_orphan() -> None:
    modules = {module_of(path): path for path in sources(*PACKAGES)}
    imported = {name for path in modules.values() for name in imports(module_of(path), tree(path))}
    orphans = sorted(
        module
        for module, path in modules.items()
        if path.name != "__init__.py" and module not in imported and module not in ENTRANCES
    )
    assert not orphans, "nobody imports them"


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(importer: str, module: ast.Module) -> Iterator[str]:
    """Every module, or member of a module, that this one imports."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = importer.rsplit(".", node.level)[0] if node.level else ""
            origin = ".".join(part for part in (parent, node.module or "") if part)
            yield origin
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def texts() -> Iterator[tuple[str, str]]:
    """Every file that people wrote, by name."""
    written = (".py", ".pyi", ".md", ".sql", ".toml", ".yaml", ".txt", ".sh", "")
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.iterdir())
    for path in sorted(files):
        if (
            path.is_file()
            and path.suffix in written
            and "egg-info" not in str(path)
            and path != Path(__file__)
        ):
            yield name_of(path), path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (("TODO", "FIXME", "XXX"), "finish it, or write down in docs/status.md what is not there"),
        (("/work/", "../shared"), "a path of one machine says nothing on another"),
        (
            ("pypi.org", "pythonhosted", "deb.debian.org", "npmjs"),
            "the machine's configuration names registries",
        ),
    ],
)
def test_the_tree_speaks_of_the_product_alone(words: tuple[str, ...], instead: str) -> None:
    found = [f"{name}: {word}" for name, text in texts() for word in words if word in text]
    assert not found, instead
