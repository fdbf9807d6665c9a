"""`aurora-migrations rollback`: it asks first, and undoes newest first."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.cli.test_remote_run import Keyboard
from tests.cli.test_run import TOOK
from tests.database.helpers import applied, tables
from tests.servers import Database, Migrations


@pytest.fixture
def ran(on: Call, two: Migrations) -> Migrations:
    assert on("run").code == 0
    return two


def test_confirmed_rollback_undoes_newest_first(on: Call, ran: Migrations, database: Database) -> None:
    answer = on("rollback", "001", "--confirm", "002")
    assert (answer.code, answer.err) == (0, "")
    assert re.fullmatch(
        rf"✓ 002_orders rolled back  {TOOK}\n✓ 001_users rolled back  {TOOK}\n"
        rf"Migrations 002, 001 rolled back successfully\n2 migrations rolled back, database \w+, {TOOK}\n",
        answer.out,
    )
    assert (applied(database), tables(database)) == ([], [])
    assert on("run").code == 0


def test_programs_get_one_document(on: Call, ran: Migrations) -> None:
    answer = on("rollback", "2", "--confirm", "2", "--output", "json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json["message"] == "Migration 002 rolled back successfully"
    assert [file["file"] for file in answer.json["rolled_back"]] == ["002_orders.down.sql"]
    assert answer.json["action"] == "rollback"


@pytest.mark.parametrize("confirm", ["1", "001", "3", "yes", "two"])
def test_wrong_confirmation_undoes_nothing(on: Call, ran: Migrations, database: Database, confirm: str) -> None:
    answer = on("rollback", "1", "--confirm", confirm)
    assert answer.code == 2
    assert "the newest applied migration is 002_orders.sql" in answer.err
    assert (applied(database), tables(database)) == (["001", "002"], ["orders", "users"])


def test_without_a_terminal_the_next_command_has_the_confirmation(
    on: Call, ran: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        answer = on("rollback", "001")
    assert answer.code == 2
    assert "it would run: 002_orders.down.sql, 001_users.down.sql." in answer.err
    assert "Next   aurora-migrations rollback 001 --confirm 002" in answer.err
    assert applied(database) == ["001", "002"]


def test_wrong_number_at_the_prompt_undoes_nothing(
    on: Call, ran: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    for typed, code, left in (("001", 2, ["001", "002"]), ("2", 0, ["001"])):
        monkeypatch.setattr("sys.stdin", Keyboard(f"{typed}\n"))
        assert on("rollback", "2").code == code
        assert applied(database) == left


def test_missing_down_file_undoes_nothing(on: Call, ran: Migrations, database: Database) -> None:
    (ran.dir / "001_users.down.sql").unlink()
    answer = on("rollback", "1", "--confirm", "2")
    assert answer.code == 2
    assert "There is no down file for: 001_users.sql." in answer.err
    assert applied(database) == ["001", "002"]


def test_missing_down_file_is_reported_before_anything_is_asked(
    on: Call, ran: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ran.dir / "001_users.down.sql").unlink()
    monkeypatch.setattr("sys.stdin", Keyboard("002\n"))
    answer = on("rollback", "1")
    assert answer.code == 2
    assert "There is no down file for: 001_users.sql." in answer.err
    assert "Type" not in answer.err


def test_failing_down_file_says_what_is_rolled_back_and_stays_so(on: Call, ran: Migrations, database: Database) -> None:
    ran.write("001_users.down.sql", "DROP TABLE nothing;")
    answer = on("rollback", "1", "--confirm", "2")
    assert answer.code == 1
    assert '001_users.down.sql:1:1: table "nothing" does not exist' in answer.err
    assert "Rolled back by this run: 002." in answer.err
    assert "aurora-migrations rollback 1" in answer.err
    assert (applied(database), tables(database)) == (["001"], ["users"])
