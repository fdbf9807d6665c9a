"""The entrance: help and wrong use."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cli import options
from aurora_migrations.cli.main import VERBS
from aurora_migrations.local.cloud.discovery import Access, found_by_others
from functions.remediation import deploy_command
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
    assert f"there is no verb {verb!r}." in answer.err
    assert "The verbs: run, list, status" in answer.err or "Did you mean 'run'?" in answer.err


@pytest.mark.parametrize(("typed", "meant"), [("runn", "run"), ("stauts", "status"), ("Check", "check")])
def test_typo_in_a_verb_suggests_one(call: Call, typed: str, meant: str) -> None:
    assert f"Did you mean {meant!r}?" in call(typed).err


_ONE_EXAMPLE = ("check", "build", "synth", "deploy", "init", "completion")


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
        assert len(examples) == (1 if verb in _ONE_EXAMPLE else 2)
        if verb in ("logs", "doctor"):
            assert all("--env dev" in example for example in examples)
        elif verb not in ("new", "import", "replay", "up", "diff", *_ONE_EXAMPLE):
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


# Where somebody types the address of a database, and it doesn't belong there.
MISPLACED = [
    "ADDRESS",
    "help ADDRESS",
    "run ADDRESS",
    "run 1 ADDRESS",
    "run --env ADDRESS",
    "run --wait ADDRESS",
    "run --output ADDRESS",
    "run --migrations ADDRESS",
    "run --url=ADDRESS",
    "run --hurry=ADDRESS",
    "run --l=ADDRESS",
    "list ADDRESS",
    "plan ADDRESS --env dev",
    "verify ADDRESS --local",
    "status --env dev --region ADDRESS",
    "status --env dev --profile ADDRESS",
    "history --last ADDRESS",
    "logs ADDRESS --env dev",
    "rollback ADDRESS",
    "rollback 1 --confirm ADDRESS",
    "rollback 1 --confirm ADDRESS --env dev",
    "check ADDRESS",
    "build --architecture ADDRESS",
    "deploy --env ADDRESS",
    "up ADDRESS",
    "new ADDRESS",
    "new x --template ADDRESS",
    "new x --template rename --batches ADDRESS",
    "new x --template index --table ADDRESS",
]


@pytest.mark.parametrize("words", MISPLACED)
def test_password_of_an_address_in_the_wrong_place_is_not_shown(call: Call, two: Migrations, words: str) -> None:
    for address in ("postgresql://app:p@hunter2/x:y@h:5432/shop", "host=h user=app password=hunter2 dbname=shop"):
        answer = call(*(word.replace("ADDRESS", address) for word in words.split()))
        assert (answer.code, answer.out) == (2, "")
        assert "error: " in answer.err or "there is no verb" in answer.err
        assert "hunter2" not in answer.err
        assert len(list(two.dir.iterdir())) == 4, "a file would be named by it"


def test_address_in_the_wrong_place_is_said_to_have_another(call: Call) -> None:
    answer = call("run", "postgresql://app:hunter2@h/shop")
    assert (
        "error: argument TARGET: 'postgresql://app:...@h/shop' contains a password: give the database's URL "
        "with --database-url" in answer.err
    )


def test_value_of_a_template_may_speak_of_passwords(call: Call, two: Migrations) -> None:
    """It is SQL, and goes into a file that is read by people first."""
    words = ("--template", "backfill", "--table", "users", "--column", "url", "--key", "id")
    answer = call("new", "fill urls", *words, "--value", "'https://app:secret@example.com'")
    assert (answer.code, answer.err) == (0, "")


FOLDERS = {
    "too long": "x" * 5_000,
    "NUL": "a\0b",
    "surrogate": "\ud800",
    "missing": "nowhere",
    "file": "migrations/001_users.sql",
}


READ_BY = ["run", "list", "status", "plan", "verify", "rollback 1", "check", "new x"]
CANNOT_BE_READ = [
    pytest.param(verb, folder, id=f"{verb}-{id}")
    for verb in READ_BY
    for id, folder in FOLDERS.items()
    if (verb, id) != ("new x", "missing")  # it is made
]


@pytest.mark.parametrize(("verb", "folder"), CANNOT_BE_READ)
def test_folder_that_cannot_be_read_is_a_named_error(call: Call, two: Migrations, verb: str, folder: str) -> None:
    database = [] if verb in ("check", "new x") else ["--database-url", "postgresql://app@127.0.0.1:1/shop"]
    answer = call(*verb.split(), "--migrations", folder, *database)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("\nInvalidInput: The migrations folder ")
    assert "--migrations DIR" in answer.err
    assert len(answer.err) < 1_000


@pytest.mark.parametrize("verb", ["check", "new x"])
def test_next_command_names_a_folder_as_it_is_typed(call: Call, tmp_path: Path, verb: str) -> None:
    folder = tmp_path / "my migrations"
    folder.mkdir()
    (folder / "users.sql").touch()
    answer = call(*verb.split(), "--migrations", str(folder))
    typed = f'"{folder}"' if sys.platform == "win32" else f"'{folder}'"
    assert answer.code == 1
    assert answer.err.endswith(f"  Next   aurora-migrations check --migrations {typed}\n")


def test_empty_folder_name_is_not_the_current_folder(call: Call, two: Migrations) -> None:
    """As a variable of a script may be empty."""
    answer = call("check", "--migrations", "")
    assert (answer.code, answer.out) == (2, "")
    assert "error: argument --migrations: the folder's name is empty" in answer.err


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


GIVEN = vars(options.make_parser("run", "").parse_args(["--migrations", "migrations"]))


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
    arguments = argparse.Namespace(**GIVEN | {"local": True} | typed)
    following = deploy_command("local")
    with found_by_others(tmp_path, Access("http://127.0.0.1:1", "secret")) if is_up else contextlib.nullcontext():
        assert str(options.with_current_flags(following, arguments)) == f"aurora-migrations {command}"


def test_command_of_another_program_stays_as_it_is() -> None:
    arguments = argparse.Namespace(**GIVEN | {"env": "prod", "region": "eu-west-1", "profile": "ana"})
    command = deploy_command("prod")
    assert options.with_current_flags(command, arguments) == command
