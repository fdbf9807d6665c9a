"""The entrance: help and wrong use."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import where
from cli.main import VERBS
from functions.remedy import deploy_command
from local.cloud.running import Access, found_by_others
from tests.cli.conftest import Call
from tests.servers import Migrations

# ---- help and wrong use ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["help"]])
def test_help_names_every_verb(call: Call, words: list[str]) -> None:
    answer = call(*words)
    assert (answer.code, answer.err) == (0, "")
    assert all(f"  {verb} " in answer.out for verb in VERBS)


def test_help_of_a_verb_may_be_asked_for_in_front(call: Call) -> None:
    assert call("help", "run") == call("run", "--help")
    answer = call("help", "frob")
    assert (answer.code, answer.out) == (2, "")
    assert "there is no verb 'frob'" in answer.err


def test_without_arguments_it_helps_and_exits_with_2(call: Call) -> None:
    answer = call()
    assert answer.code == 2
    assert "usage: aurora-migrations VERB" in answer.out + answer.err


@pytest.mark.parametrize("verb", ["frob", "", "Run", "--frob", "run.py"])
def test_unknown_verb_exits_with_2_and_names_those_there_are(call: Call, verb: str) -> None:
    answer = call(verb)
    assert (answer.code, answer.out) == (2, "")
    assert f"there is no verb {verb!r}; there are: run, list, status" in answer.err


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_has_an_example_that_can_be_copied(
    call: Call, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        answer = call(verb, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert answer.out.startswith(f"usage: aurora-migrations {verb} ")
        examples = [line for line in answer.out.splitlines() if f"aurora-migrations {verb} " in f"{line} "][1:]
        assert len(examples) == (1 if verb in ("check", "build", "deploy") else 2)
        if verb in ("logs", "doctor"):
            assert all("--env dev" in example for example in examples)
        elif verb not in ("new", "check", "build", "deploy", "up"):
            assert examples[0].endswith("--env dev")
            assert examples[1].endswith("postgresql://app:secret@localhost/shop")


WRONG = [
    ["run", "1", "2"],
    ["run", "--frob"],
    ["run", "--output", "yaml"],
    ["run", "--wait", "5"],
    ["run", "--wait", "soon"],
    ["run", "--wait", "-1s"],
    ["run", "--database-url"],
    ["list", "1"],
    ["status", "--wait", "1s"],
    ["history", "--last", "0"],
    ["rollback"],
    ["rollback", "--confirm", "1"],
    ["new"],
    ["new", "add", "users"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_wrong_use_of_a_verb_exits_with_2_and_shows_its_use(call: Call, words: list[str]) -> None:
    answer = call(*words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"usage: aurora-migrations {words[0]} ")
    assert f"aurora-migrations {words[0]}: error: " in answer.err


def test_version_is_told(call: Call) -> None:
    answer = call("--version")
    assert answer.code == 0
    assert answer.out.startswith("aurora-migrations ")


def test_help_does_not_show_the_address_of_the_environment(spawn: Call) -> None:
    answer = spawn("run", "--help", DATABASE_URL="postgresql://app:Tr0ub4dor@db/shop")
    assert (answer.code, answer.err) == (0, "")
    assert "Tr0ub4dor" not in answer.out


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes file names that are no text")
def test_file_name_that_is_no_text_is_a_named_error(call: Call, two: Migrations) -> None:
    (two.dir / "003_caf\udce9.sql").write_bytes(b"SELECT 1;")
    for output in ("text", "json"):
        answer = call("run", "--output", output, "--database-url", "postgresql://app@127.0.0.1:1/shop")
        assert answer.code == 1
        assert "InvalidFile" in answer.out + answer.err


@pytest.mark.parametrize(
    ("typed", "is_up", "command"),
    [
        ({"verb": "run", "target": "018"}, False, "run 018 --local"),
        ({"verb": "run", "target": "018"}, True, "deploy --local"),
        ({"verb": "plan", "target": None}, False, "plan --local"),
        ({"verb": "rollback", "target": "018"}, False, "deploy --local"),
    ],
)
def test_corrected_files_are_deployed_to_the_local_cloud_that_is_up(
    typed: dict[str, Any], is_up: bool, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One for the moment packs them anew with the same command."""
    monkeypatch.setenv("AURORA_MIGRATIONS_LOCAL", str(tmp_path))
    arguments = argparse.Namespace(local=True, env=None, migrations=Path("migrations"), **typed)
    following = deploy_command("local")
    with found_by_others(tmp_path, Access("http://127.0.0.1:1", "secret")) if is_up else contextlib.nullcontext():
        assert where.as_asked(following, arguments) == f"aurora-migrations {command}"


def test_command_of_another_program_stays_as_it_is() -> None:
    arguments = argparse.Namespace(env="prod", region="eu-west-1", profile="ana", migrations=Path("migrations"))
    command = deploy_command("prod")
    assert where.as_asked(command, arguments) == command
