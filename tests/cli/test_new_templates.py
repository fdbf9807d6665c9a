"""`aurora-migrations new --template`: which files it writes, what it says, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cli.main import main
from aurora_migrations.cli.verbs.new import TEMPLATES
from aurora_migrations.engine.options import Options, read_options
from tests.servers import Migrations


@dataclass(frozen=True)
class Answer:
    """What a call said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Say = Callable[..., Answer]
INDEX = ("--template", "index", "--table", "users", "--column", "email")
NOT_NULL = ("--template", "not-null", "--table", "users", "--column", "email")


@pytest.fixture
def say(migrations: Migrations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Calls the command line beside an empty folder `migrations`."""
    monkeypatch.chdir(migrations.dir.parent)
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def call(*arguments: str) -> Answer:
        code = main(arguments)
        return Answer(code, *capsys.readouterr())

    return call


def names(folder: Migrations) -> list[str]:
    return sorted(path.name for path in folder.dir.iterdir())


def test_steps_are_migrations_of_their_own_with_the_next_numbers(say: Say, migrations: Migrations) -> None:
    migrations.write("0099_users.sql", "CREATE TABLE users (id int);")
    answer = say("new", "Require e-mail", *NOT_NULL)
    assert (answer.code, answer.err) == (0, "")
    assert names(migrations)[1:] == [
        "0100_require_e_mail_1_check.down.sql",
        "0100_require_e_mail_1_check.sql",
        "0101_require_e_mail_2_validate.down.sql",
        "0101_require_e_mail_2_validate.sql",
        "0102_require_e_mail_3_not_null.down.sql",
        "0102_require_e_mail_3_not_null.sql",
    ]
    assert answer.out.count("Wrote ") == 6
    assert "Fill in" not in answer.out


def test_steps_where_the_folder_numbers_by_time(say: Say, migrations: Migrations) -> None:
    migrations.write("29991231235959_a.sql", "SELECT 1;")
    say("new", "require email", *NOT_NULL)
    numbers = sorted({name.partition("_")[0] for name in names(migrations)})
    assert numbers == ["29991231235959", "29991231235960", "29991231235961", "29991231235962"]


def test_one_file_keeps_its_name(say: Say, migrations: Migrations) -> None:
    say("new", "index users by email", *INDEX)
    assert names(migrations) == ["001_index_users_by_email.down.sql", "001_index_users_by_email.sql"]
    assert (
        (migrations.dir / "001_index_users_by_email.sql").read_bytes().startswith(b"-- index users by email\n-- Runs")
    )


def test_json_lists_the_files_and_what_is_to_be_filled_in(say: Say, migrations: Migrations) -> None:
    found = say("new", "rename mail", "--template", "rename", "--table", "users", "--output", "json").json
    assert [path.rpartition("rename_mail")[2] for path in found["files"]] == [
        "_1_expand.sql",
        "_1_expand.down.sql",
        "_2_backfill.sql",
        "_2_backfill.down.sql",
        "_2_backfill.verify.sql",
        "_3_contract.sql",
        "_3_contract.down.sql",
    ]
    made_up = [":batches", ":on_insert", ":on_update", ":sync"]
    assert found["fill_in"] == sorted([":column", ":key", ":to", ":type", *made_up])
    assert say("new", "index", *INDEX, "--output", "json").json["fill_in"] == []


def test_check_and_run_refuse_what_is_not_filled_in(say: Say, migrations: Migrations) -> None:
    answer = say("new", "require email", "--template", "not-null", "--table", "users")
    assert "Fill in :column, :not_null; until then `check` and `run` refuse these files." in answer.out
    checked = say("check")
    assert checked.code == 1
    for line in (
        "Variables of psql aren't replaced here",
        "--> 001_require_email_1_check.sql:8:34",
        "ALTER TABLE users ADD CONSTRAINT :not_null CHECK",
    ):
        assert line in checked.out


def test_the_index_of_a_partitioned_table_is_one_file(say: Say, migrations: Migrations) -> None:
    answer = say("new", "index users by email", *INDEX, "--partition", "users_1", "--partition", "users_2")
    assert (answer.code, answer.err) == (0, "")
    assert names(migrations) == ["001_index_users_by_email.down.sql", "001_index_users_by_email.sql"]
    assert (migrations.dir / "001_index_users_by_email.sql").read_text("utf-8").count("ATTACH PARTITION") == 2
    checked = say("check", "--hazards", "refuse", "--locks")
    assert (checked.code, checked.err) == (0, "")
    assert "accepted: require-concurrent-index-creation, because with ON ONLY nothing is built" in checked.out


def test_partitions_can_be_filled_in_later(say: Say, migrations: Migrations) -> None:
    answer = say("new", "index users by email", *INDEX, "--partitioned")
    assert "Fill in :partition, :partition_index; until then" in answer.out


@pytest.mark.parametrize("template", TEMPLATES)
def test_check_finds_nothing_to_say_of_what_is_filled_in(say: Say, migrations: Migrations, template: str) -> None:
    values = {
        "column": "a",
        "table": "b",
        "references": "c",
        "to": "d",
        "type": "text",
        "key": "id",
        "value": "'x'",
        "batches": "3",
    }
    names_ = [word for name in TEMPLATES[template].takes if name in values for word in (f"--{name}", values[name])]
    assert say("new", "change", "--template", template, *names_).code == 0
    checked = say("check", "--hazards", "refuse")
    assert (checked.code, checked.err) == (0, "")
    assert checked.out.endswith("nothing wrong\n")


def test_help_shows_the_templates_and_an_example(say: Say) -> None:
    answer = say("new", "--help")
    assert answer.code == 0
    for name, template in TEMPLATES.items():
        assert f"  {name:12} {template.summary}\n" in answer.out
    assert 'aurora-migrations new "index users by email" --template index --table users --column email\n' in answer.out
    assert max(map(len, answer.out.splitlines())) <= 120


REFUSED = [
    (("--template", "indx"), "There is no template 'indx'", "Did you mean index?"),
    (("--table", "users", "--batches", "3"), "--table, --batches: only used with a template", "--template"),
    ((*INDEX, "--to", "x"), "The template index doesn't take --to", "It takes --table, --column"),
    ((*INDEX, "--batches", "2"), "The template index doesn't take --batches", "It takes --table, --column"),
    (("--template", "index", "--table", "a b"), "--table 'a b' is not a name", "--table '\"odd name\"'"),
    (("--template", "index", "--table", ""), "--table '' is not a name", "double quotes"),
    (("--template", "index", "--column", "a.b"), "--column 'a.b' is not a name", "double quotes"),
    (("--template", "rename", "--type", ""), "--type '' can't be written into a file", "leave it out"),
    (("--template", "backfill", "--batches", "0"), "--batches must be from 1 to 1000, not 0", "a few seconds"),
    (("--partitioned",), "--partitioned: only used with a template", "--template"),
    ((*NOT_NULL, "--partitioned"), "The template not-null doesn't take --partitioned", "It takes --table, --column"),
    ((*INDEX, "--partition", "a b"), "--partition 'a b' is not a name", "double quotes"),
    ((*INDEX, "--down"), "--down can't be combined with --template", "Leave --down out"),
    ((*INDEX, "--verify", "--down"), "--down and --verify can't be combined", "Leave --down and --verify out"),
]


@pytest.mark.parametrize(("arguments", "message", "more"), REFUSED, ids=[message for _, message, _ in REFUSED])
def test_wrong_use_exits_with_2_and_writes_nothing(
    say: Say, migrations: Migrations, arguments: tuple[str, ...], message: str, more: str
) -> None:
    answer = say("new", "change", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
    assert more in answer.err
    assert names(migrations) == []
    as_data = say("new", "change", *arguments, "--output", "json")
    assert (as_data.code, as_data.err, as_data.json["error"]) == (2, "", "InvalidInput")


def test_all_steps_are_written_or_none(say: Say, migrations: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations.write("003_change_3_not_null.down.sql", "-- precious\n")
    monkeypatch.setattr("aurora_migrations.cli.verbs.new.next_label", lambda folder: "001")
    answer = say("new", "change", *NOT_NULL)
    assert answer.code == 2
    assert "003_change_3_not_null.down.sql can't be written" in answer.err
    assert names(migrations) == ["003_change_3_not_null.down.sql"]
    assert (migrations.dir / "003_change_3_not_null.down.sql").read_text("utf-8") == "-- precious\n"


def test_templates_stay_out_of_the_way_of_who_needs_none(say: Say, migrations: Migrations) -> None:
    answer = say("new", "add users", "--output", "json")
    assert answer.json == {"files": [str(Path("migrations") / "001_add_users.sql")]}
    assert names(migrations) == ["001_add_users.sql"]


def test_options_shown_to_who_needs_no_template_are_not_in_force(say: Say, migrations: Migrations) -> None:
    say("new", "add users")
    (path,) = migrations.dir.iterdir()
    options, problems = read_options(path.name, path.read_bytes(), Options())
    assert (options, problems) == (Options(), [])
    text = path.read_text("utf-8").replace("--   --", "--")
    options, problems = read_options(path.name, text.encode(), Options())
    assert (options.statement_timeout, [str(each) for each in options.rows], problems) == (
        600_000,
        ["rows some_table = 0"],
        [],
    )


@pytest.mark.parametrize("arguments", [(), INDEX], ids=["plain", "index"])
def test_description_is_never_an_option(say: Say, migrations: Migrations, arguments: tuple[str, ...]) -> None:
    say("new", "verify: rows users = 0", *arguments)
    path = migrations.dir / "001_verify_rows_users_0.sql"
    assert path.read_text("utf-8").startswith('-- "verify: rows users = 0"\n')
    options, problems = read_options(path.name, path.read_bytes(), Options())
    assert (options.rows, problems) == ((), [])
