"""The house: rooms of a size that one can survey, and dependencies that point one way."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.paths import ROOT

MOST = 16  # files of a folder: about fifteen
# Which rooms a room may import.
MAY = {
    "engine": set(),
    "project": {"engine"},
    "compiler": {"engine"},
    "adoption": {"compiler", "engine"},
    "embedded": {"project"},
    "replay": {"compiler", "embedded", "engine", "project"},
    "cdk": {"compiler", "engine", "project", "replay"},
    "local": {"cdk", "compiler", "embedded", "engine", "project"},
    "cli": {"adoption", "local", "cdk", "compiler", "embedded", "engine", "project", "replay"},
    "": {"cli", "compiler", "engine"},  # the package's own __init__.py and __main__.py
    "functions": {"engine"},
    "infra": {"cdk", "compiler", "engine", "project"},
}


@cache
def modules() -> dict[str, Path]:
    paths = [path for top in ("aurora_migrations", "functions", "infra") for path in (ROOT / top).rglob("*.py")]
    return {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imports(module: str) -> Iterator[str]:
    """The modules of ours that one imports, wherever in it, but for types only."""
    tree = ast.parse(modules()[module].read_text("utf-8"))
    for_types = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively, which isn't followed here"
            assert node.module
            for name in node.names:
                full = f"{node.module}.{name.name}"
                yield full if full in modules() else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def graph() -> dict[str, set[str]]:
    return {module: {name for name in imports(module) if name in modules()} - {module} for module in modules()}


def room(module: str) -> str:
    top, _, rest = module.partition(".")
    return rest.partition(".")[0].replace("__main__", "") if top == "aurora_migrations" else top


def test_no_module_imports_itself_by_way_of_others() -> None:
    assert len(graph()) > 100
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_dependencies_point_one_way() -> None:
    wrong = {
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if room(other) != room(module) and room(other) not in MAY[room(module)]
    }
    assert wrong == set()


def test_no_folder_holds_more_than_one_can_survey() -> None:
    tops = ("aurora_migrations", "functions", "infra")
    files = [path for top in tops for path in (ROOT / top).rglob("*") if path.is_file() and path.suffix != ".pyc"]
    counted = Counter(path.parent.relative_to(ROOT).as_posix() for path in files)
    assert {folder: count for folder, count in counted.items() if count > MOST} == {}


def test_every_folder_says_what_is_in_it() -> None:
    silent = [
        folder
        for folder in {path.parent for path in modules().values()}
        if not ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    ]
    assert silent == []


def contents(folder: Path) -> set[str]:
    """The words of a folder's own description."""
    text = (folder / "__init__.py").read_text("utf-8")
    return set(re.findall(r"\w+", ast.get_docstring(ast.parse(text)) or ""))


def test_every_folders_table_of_contents_names_its_modules() -> None:
    verbs = ROOT / "aurora_migrations" / "cli" / "verbs"  # which says that each is a verb
    missing = {
        module
        for module, path in modules().items()
        if path.parent != verbs and not path.stem.startswith("__") and path.stem not in contents(path.parent)
    }
    assert missing == {"infra.app"}  # the only one there


def test_one_module_of_the_command_prints() -> None:
    """But for `main`, which prints before anything else is loaded."""
    printing = {
        module
        for module, path in modules().items()
        if room(module) == "cli"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert printing == {"aurora_migrations.cli.main", "aurora_migrations.cli.output"}
