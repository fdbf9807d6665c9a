"""Every way to fail: each class tells enough, and the tree that the module draws is the one there is."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_migrations.engine import errors
from aurora_migrations.engine.errors import InvalidFile, LockTimeout, MigratorError, NextCommand
from aurora_migrations.engine.interface import failure

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("input", "package", "secret", "connection", "contention", "history", "sql", "verify", "internal")


def classes(base: type[MigratorError] = MigratorError) -> Iterator[type[MigratorError]]:
    """The engine's. The command line has more of its own, in cli/remote/aws_errors.py: see test_remote_errors.py."""
    for kind in base.__subclasses__():
        if not kind.__module__.startswith("aurora_migrations.cli."):
            yield kind
            yield from classes(kind)


ALL = sorted(set(classes()), key=lambda kind: kind.__name__)
each = pytest.mark.parametrize("kind", ALL, ids=[kind.__name__ for kind in ALL])


def drawn() -> dict[str, str]:
    """Each class in the tree of the module's docstring, with its family."""
    found, family = {}, ""
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r" {4}[├└│](?:── (\w+))? +(.+)", line)
        if match:
            family = match[1] or family
            found |= dict.fromkeys(re.findall(r"\w+", match[2]), family)
    return found


def test_tree_in_the_docstring_is_the_one_there_is() -> None:
    assert drawn() == {kind.__name__: kind.family for kind in ALL}


TRANSIENT = {
    *("DatabaseUnreachable", "DatabaseBusy", "ConnectionLost", "NotAWriter", "LockTimeout", "Deadlock"),
    *("AnotherRunInProgress", "SecretsUnreachable"),
}


@each
def test_class_tells_people_and_programs_all_they_need(kind: type[MigratorError]) -> None:
    error = kind("It went wrong.", line=3, blockers=[{"pid": 7}], nothing=None)
    for words in (error.message, error.cause, error.state, error.solution):
        assert re.search(r"[\w)`*][.;]$", words), words
        assert words[0] in "`-" or words[0].isupper(), words
    assert error.next_command.program == "aurora-migrations"
    assert kind.family in FAMILIES
    assert kind.__doc__
    assert kind.__doc__ != MigratorError.__doc__
    assert kind.retryable == (kind.__name__ in TRANSIENT)
    told = json.loads(json.dumps(error.to_dict()))
    assert (told["error"], told["message"], told["line"]) == (kind.__name__, "It went wrong.", 3)
    assert told["blockers"] == [{"pid": 7}]
    assert "nothing" not in told
    assert {"cause", "state", "solution", "next_command"} <= told.keys()
    better = kind("a", cause="b", state="c", solution="d")
    assert (str(better), better.cause, better.state, better.solution) == ("a", "b", "c", "d")
    assert (error.cause, error.state, error.solution) == (kind.cause, kind.state, kind.solution)


def test_invalid_file_tells_its_problems_as_facts() -> None:
    from aurora_migrations.engine.migrations import Problem, invalid_files

    error = invalid_files([Problem("1_a.sql", "is wrong", 2, 3), Problem("b.sql", "is misnamed")])
    assert isinstance(error, InvalidFile)
    assert json.loads(json.dumps(error.to_dict()))["files"] == [
        {"file": "1_a.sql", "line": 2, "column": 3, "reason": "is wrong"},
        {"file": "b.sql", "line": 0, "column": 0, "reason": "is misnamed"},
    ]


def test_failed_run_has_the_shape_of_one_that_went_well() -> None:
    told = failure(LockTimeout("It waits.", file="017_a.sql"), "017", "cli-1")
    assert (told["status"], told["migration"], told["execution"]) == ("failed", "017", "cli-1")
    assert (told["error"], told["file"]) == ("LockTimeout", "017_a.sql")


def test_failed_run_is_about_the_target_though_an_earlier_file_failed() -> None:
    told = failure(LockTimeout("It waits.", migration="017", file="017_a.sql"), "018", "cli-1")
    assert told["migration"] == "018"


def test_error_with_more_facts_is_another_error() -> None:
    error = LockTimeout("It waits.", about="a wait", line=3)
    more = error.but(message="It waited.", state="Nothing was applied.", applied=["017"])
    assert (str(more), more.message, more.state, more.about) == (
        "It waited.",
        "It waited.",
        "Nothing was applied.",
        "a wait",
    )
    assert more.facts == {"line": 3, "applied": ["017"]}
    assert (str(error), error.state, error.facts) == ("It waits.", LockTimeout.state, {"line": 3})


def test_engine_changes_no_error_once_it_is_made() -> None:
    """Else nobody can read where an error is made what it says in the end."""
    words = {"message", "cause", "solution", "state", "next_command", "by_deployment", "about", "facts"}
    paths = [path for top in ("aurora_migrations/engine", "functions") for path in sorted((ROOT / top).rglob("*.py"))]
    assert len(paths) > 40
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) else []:
                place = target.value if isinstance(target, ast.Subscript) else target
                is_self = isinstance(place, ast.Attribute) and ast.unparse(place.value) == "self"
                assert is_self or getattr(place, "attr", None) not in words, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize("typed", ["aurora-migrations rollback 017 --confirm 018", "aws sso login", "npx aws-cdk@2 ls"])
def test_command_is_written_as_it_was_typed(typed: str) -> None:
    assert str(NextCommand.parse(typed)) == typed
    assert str(NextCommand.parse(typed).plus("--env", "dev")) == f"{typed} --env dev"
