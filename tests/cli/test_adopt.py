"""`aurora-migrations adopt` and `baseline`: they show what they would record, and ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aurora_migrations.embedded.server import Server
from tests.cli.cloud import Cloud, answering
from tests.cli.conftest import Call
from tests.cli.test_remote_run import Keyboard
from tests.cli.test_schemas import fits
from tests.database.helpers import applied
from tests.servers import Database, Migrations

DBMATE = "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)"


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: tests/database/test_adoption.py has both."""
    return any_server


@pytest.fixture
def shop(two: Migrations, database: Database) -> Migrations:
    """Both migrations of `two` were applied by dbmate."""
    database.execute(f"{DBMATE}; INSERT INTO schema_migrations VALUES ('001'), ('002')")
    database.execute("CREATE TABLE users (id integer); CREATE TABLE orders (id integer)")
    return two


def test_adopt_shows_what_it_would_record_and_asks(
    on: Call, shop: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("yes\n"))
    answer = on("adopt")
    assert answer.code == 1
    assert answer.out == (
        "Migration       In dbmate's history\n001_users.sql   001\n002_orders.sql  002\n\n"
        "To record as applied: 2 migrations, 001 to 002, from public.schema_migrations (dbmate); no differences\n"
    )
    assert "None of them is run. Type 002, the newest number, to record them as applied: " in answer.err
    assert "`adopt` was not confirmed, so nothing was recorded." in answer.err
    monkeypatch.setattr("sys.stdin", Keyboard("2\n"))
    answer = on("adopt")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Recorded 2 migrations as applied by dbmate: 001 to 002")
    assert applied(database) == ["001", "002"]
    answer = on("adopt")
    assert (answer.code, answer.out.splitlines()[-1]) == (0, "Nothing to record: every migration is applied already")
    assert on("run").out == "Nothing to do: every migration is applied\n"
    shop.write("003_more.sql", "SELECT 1;")
    rows = [line.split() for line in on("list").out.splitlines()]
    assert rows[0] == ["State", "Applied", "at", "By", "Migration"]
    assert [(row[0], row[-2:]) for row in rows[1:]] == [
        ("applied", ["dbmate", "001_users.sql"]),
        ("applied", ["dbmate", "002_orders.sql"]),
        ("pending", ["pending", "003_more.sql"]),
    ]
    assert "Adopted    2 (dbmate)\n" in on("status").out
    fits("status", on("status", "--output", "json").json)
    fits("list", on("list", "--output", "json").json)


def test_without_a_terminal_the_number_must_be_given(
    on: Call, shop: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path(os.devnull).open() as nobody:
        monkeypatch.setattr("sys.stdin", nobody)
        answer = on("adopt")
        assert (answer.code, "aurora-migrations adopt --confirm 002" in answer.err) == (2, True)
        fits("adopt", on("adopt", "--output", "json").json, failed=True)
        answer = on("adopt", "--confirm", "002", "--output", "json")
    fits("adopt", answer.json)
    assert answer.json["migration"] == "002"


def test_differences_are_shown_and_the_next_command_accepts_them(
    on: Call, shop: Migrations, database: Database
) -> None:
    database.execute('DROP TABLE schema_migrations; CREATE TABLE "Old stuff" (id int)')
    database.execute("ALTER TABLE orders ADD COLUMN note text DEFAULT '-'")
    answer = on("baseline", "2", "--confirm", "2")
    assert answer.code == 2
    assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
        "Migration",
        "001_users.sql",
        "002_orders.sql",
        "",
        "Differs By the files Here",
        "column public.orders.note - text DEFAULT '-'::text",
        'table public."Old stuff" - there',
        "",
        "To record as applied: 2 migrations, 001 to 002; 2 differences",
    ]
    accepting = """--accept public.orders --accept 'public."Old stuff"'"""
    assert f"aurora-migrations baseline 2 {accepting}" in answer.err
    fits("baseline", on("baseline", "2", "--confirm", "2", "--output", "json").json, failed=True)
    accepted = "--accept", "public.orders", "--accept", 'public."Old stuff"'
    answer = on("baseline", "2", *accepted, "--confirm", "2", "--output", "json")
    fits("baseline", answer.json)
    assert len(answer.json["warnings"]) == 2
    assert applied(database) == ["001", "002"]


def test_adopt_lays_out_the_other_tools_files_first(on: Call, here: Migrations, database: Database) -> None:
    folder = here.dir.parent / "db"
    folder.mkdir()
    up_and_down = "-- migrate:up\nCREATE TABLE users (id int);\n\n-- migrate:down\nDROP TABLE users;\n"
    (folder / "001_users.sql").write_text(up_and_down)
    (folder / "readme.txt").write_text("Ours")
    database.execute(f"{DBMATE}; INSERT INTO schema_migrations VALUES ('001'); CREATE TABLE users (id int)")
    answer = on("adopt", "--from", "db", "--confirm", "2")
    assert answer.code == 2
    assert "Wrote 2 files to migrations, from dbmate's in db.\n  left out: readme.txt: not a migration\n" in answer.err
    assert sorted(path.name for path in here.dir.iterdir()) == ["001_users.down.sql", "001_users.sql"]
    again = on("adopt", "--from", "db", "--confirm", "1")
    assert again.code == 0, again.err
    assert "Wrote 0 files to migrations" in again.err
    here.write("001_users.sql", "SELECT 1;")
    assert "can't be written" in on("adopt", "--from", "db", "--confirm", "1").err, "nothing is overwritten"


PLAN = {
    "status": "success",
    "migration": "002",
    "message": "To record as applied: migration 002; 1 difference",
    "tool": "dbmate",
    "table": "public.schema_migrations",
    "migrations": [{"migration": "002", "name": "002_orders.sql", "rows": ["002"]}],
    "differences": [{"name": "public.old", "object": "table public.old", "expected": None, "found": ""}],
    "accept": ["public.old"],
    "warnings": [],
}


def test_an_environment_is_asked_first_and_then_told(
    cloud: Cloud, call: Call, two: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(answering({"adopt": PLAN}))
    answer = call("adopt", "--env", "dev")
    assert (answer.code, "aurora-migrations adopt --accept public.old --env dev" in answer.err) == (2, True)
    (first,) = cloud.executions()
    assert (first["input"]["action"], "confirm" in first["input"]) == ("adopt", False)
    monkeypatch.setattr("sys.stdin", Keyboard("002\n"))
    answer = call("adopt", "--accept", "public.old", "--table", "public.schema_migrations", "--env", "dev")
    assert answer.code == 0, answer.err
    last = max(cloud.executions(), key=lambda each: len(each["input"]))
    asked = {"action": "adopt", "accept": ["public.old"], "table": "public.schema_migrations", "confirm": "002"}
    assert asked.items() <= last["input"].items()
