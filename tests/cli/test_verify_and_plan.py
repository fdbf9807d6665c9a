"""`aurora-migrations plan` and `verify` on a database that one can reach: they look and change nothing."""

from __future__ import annotations

import json
import re

import pytest
from rich.table import Table

from aurora_migrations.compiler import squawk
from aurora_migrations.embedded.server import Server
from tests.cli.conftest import Call
from tests.cli.test_read_only_verbs import table
from tests.cli.test_schemas import fits
from tests.database.helpers import exists, holding
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


def test_plan_tells_what_a_run_would_do_and_does_nothing(on: Call, two: Migrations, database: Database) -> None:
    two.write("003_c.sql", "ALTER TABLE orders DROP COLUMN id;\n")
    two.write("004_d.sql", "CREATE INDEX CONCURRENTLY orders_idx ON orders (id);\n")
    answer = on("plan")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[0] == "4 migrations to run: 001 to 004"
    assert "001_users.sql: 1 statement, one transaction" in lines
    assert "004_d.sql: 1 statement, outside any transaction" in lines
    assert "  ACCESS EXCLUSIVE on orders" in lines
    assert "[ban-drop-column]" in answer.out
    assert database.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'aurora_migrations'") == [(0,)]


def test_plan_shows_what_the_replay_has_shown_of_the_catalogue(on: Call, two: Migrations, database: Database) -> None:
    two.write("003_c.sql", "ALTER TABLE orders DROP COLUMN id;\nALTER TABLE users ADD COLUMN age int;\n")
    Replayed(two, database).write_manifest()
    lines = on("plan").out.splitlines()
    assert "  Creates column public.users.age; drops column public.orders.id" in lines
    assert any(line.startswith("  Creates table public.orders") for line in lines)
    files = json.loads(on("plan", "--output", "json").out)["pending"]
    assert files[2]["change"] == "creates column public.users.age; drops column public.orders.id"
    assert files[2]["unreplayed"] is None


def test_plan_shows_rows_size_and_who_is_in_the_way_and_waits_for_nobody(
    on: Call, two: Migrations, database: Database
) -> None:
    on("run")
    database.execute("INSERT INTO orders SELECT generate_series(1, 1000)")
    two.write("003_c.sql", "ALTER TABLE orders ADD COLUMN c int;\nCREATE INDEX ON users (id);\n")
    unknown = {file["table"]: file for file in json.loads(on("plan", "--output", "json").out)["pending"][0]["existing"]}
    assert unknown["users"]["bytes"] is None
    database.execute("ANALYZE orders")
    with holding(database.url, "SELECT FROM users; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"):
        (file,) = json.loads(on("plan", "--output", "json").out)["pending"]
        text = on("plan").out
        locks = database.query("SELECT count(*) FROM pg_locks WHERE relation = 'orders'::regclass AND NOT granted")
    orders, users = file["existing"]
    assert (orders["table"], orders["rows"], orders["bytes"]) == ("orders", 1000, 40960)
    (blocker,) = orders["blockers"]
    assert "idle in transaction" in blocker
    assert blocker.endswith("ACCESS EXCLUSIVE)")
    assert users["blockers"] == []  # who reads doesn't stop an index from being built
    assert "  ACCESS EXCLUSIVE on orders (about 1000 rows, 40 kB)" in text.splitlines()
    assert "  Blockers of orders now: a session of postgres (pid " in text
    assert "users now" not in text
    assert locks == [(0,)]


def test_plan_names_who_holds_a_lock_on_a_partition_once(on: Call, two: Migrations, database: Database) -> None:
    database.execute(
        "CREATE TABLE events (id int, x int) PARTITION BY RANGE (id);"
        "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10)"
    )
    two.write("003_c.sql", "ALTER TABLE events ADD COLUMN y int;\n")
    with holding(database.url, "LOCK TABLE events_1 IN SHARE MODE; INSERT INTO events_1 VALUES (1)"):
        files = json.loads(on("plan", "--output", "json").out)["pending"]
    (events,) = files[-1]["existing"]
    assert len(events["blockers"]) == 1


def test_plan_names_privileges_that_the_role_lacks(call: Call, two: Migrations, database: Database, roles) -> None:
    database.execute("CREATE TABLE theirs (id int)")
    role = roles.create()
    two.write("003_c.sql", "ALTER TABLE theirs ADD COLUMN note text;\n")
    words = ("--database-url", database.url_as(role), "--migrations", str(two.dir))
    answer = call("plan", *words, "--output", "json")
    fits("plan", answer.json)
    owner = "to be the owner of theirs, which belongs to postgres"
    assert owner in answer.json["pending"][-1]["missing"]
    assert f"Missing privileges: {owner}" in " ".join(call("plan", *words).out.split())


def test_rehearsal_shows_times_locks_and_rows_and_changes_nothing(
    on: Call, two: Migrations, database: Database
) -> None:
    two.write("003_c.sql", "CREATE TABLE made AS SELECT 1 AS a;\nSELECT pg_sleep(0.02);\n")
    two.write("004_d.sql", "CREATE INDEX CONCURRENTLY i ON made (a);\n")
    answer = on("plan", "--rehearse")
    assert answer.code == 0
    lines = answer.out.partition("Rehearsed in a transaction that was rolled back:")[2].splitlines()
    assert any(re.fullmatch(r"  003_c\.sql: done in [\d.]+ ms", line) for line in lines)
    assert any(re.fullmatch(r"    2:1 took [\d.]+ ms", line) for line in lines)
    assert "    public.made: 1 inserted" in lines
    assert "  004_d.sql: not rehearsed" in lines
    assert not exists(database, "made")
    told = on("plan", "--rehearse", "--output", "json").json
    fits("plan", told)
    assert [file["result"] for file in told["rehearsal"]["files"]] == ["done", "done", "done", "skipped"]
    two.write("003_c.sql", "SELECT 1 / 0;\n")
    failed = on("plan", "--rehearse")
    assert (failed.code, "003_c.sql: failed" in failed.out) == (1, True)
    assert "division by zero (22012)" in failed.out


def test_plan_up_to_a_target_and_after_the_run(on: Call, two: Migrations) -> None:
    assert on("plan", "1").out.splitlines()[0] == "1 migration to run: 001"
    on("run")
    assert on("plan").out == "Nothing to do: every migration is applied\n"


def test_plan_is_refused_as_the_run_would_be(on: Call, two: Migrations) -> None:
    on("run")
    two.write("002_orders.sql", "SELECT 'changed';")
    answer = on("plan")
    assert answer.code == 1
    assert "\nMigrationChanged: " in answer.err
    answer = on("plan", "9")
    assert answer.code == 2
    assert "There is no migration 9" in answer.err


@pytest.mark.parametrize("gone", [False, True])
def test_verify_runs_no_linter_however_many_files_are_applied(
    on: Call, two: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """It took five milliseconds a file."""
    Replayed(two, database).write_manifest()
    on("run")
    if gone:
        database.execute("DROP TABLE users")
    monkeypatch.delattr(squawk, "lint")
    answer = on("verify")
    assert (answer.code, "\nVerificationFailed: " in answer.err) == (int(gone), gone)


def test_list_lays_out_its_lines_itself(on: Call, two: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich took a quarter of a millisecond for each."""
    monkeypatch.delattr(Table, "add_row")
    two.write("003_größe.sql", "SELECT 3;")
    on("run", "2")
    header, *lines = on("list").out.splitlines()
    assert header.split() == ["State", "Applied", "at", "Migration"]
    assert [line[header.index("Migration") :] for line in lines] == ["001_users.sql", "002_orders.sql", "003_größe.sql"]
    assert lines[-1].startswith("pending  ")


def test_verify_tells_tables_rows_and_indexes(on: Call, two: Migrations, database: Database) -> None:
    two.write("003_index.sql", "CREATE INDEX orders_id ON orders (id);\n")
    on("run")
    database.execute("INSERT INTO orders VALUES (1), (2)")
    answer = on("verify")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("Verified 2 tables and 0 lasting expectations: all is as it should be\n")
    rows = table("\n".join(answer.out.splitlines()[1:]))
    assert sorted(row[:2] for row in rows) == [["orders", "2"], ["users", "0"]]
    assert {row[-1] for row in rows} == {"orders_id", "none"}
    first, *rest = on("verify", "1").out.splitlines()
    assert first == "Verified 1 table and 0 lasting expectations: all is as it should be"
    assert [row[0] for row in table("\n".join(rest))] == ["users"]


def test_lasting_promise_that_is_not_kept_fails_the_verification(
    on: Call, here: Migrations, database: Database
) -> None:
    here.write("001_users.sql", "-- verify always: rows users = 0\nCREATE TABLE users (id integer);\n")
    on("run")
    assert "Holds: rows users = 0 (found 0)" in on("verify").out
    database.execute("INSERT INTO users VALUES (1)")
    answer = on("verify")
    assert answer.code == 1
    assert "VerificationFailed: rows users = 0: expected = 0, found 1 or more (001_users.sql)." in answer.err
    assert "  Next   aurora-migrations verify --database-url URL\n" in answer.err


def test_index_that_is_not_fit_for_use_fails_the_verification(on: Call, two: Migrations, database: Database) -> None:
    two.write("003_index.sql", "CREATE INDEX orders_id ON orders (id);\n")
    on("run")
    database.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id'::regclass")
    answer = on("verify")
    assert answer.code == 1
    assert "index orders_id on orders" in answer.err
    assert "REINDEX INDEX CONCURRENTLY" in answer.err


def test_verify_before_anything_is_applied(on: Call, two: Migrations) -> None:
    answer = on("verify")
    assert (answer.code, answer.out) == (
        0,
        "Verified 0 tables and 0 lasting expectations: all is as it should be\n",
    )


def test_verify_of_a_migration_that_is_not_applied_fails(on: Call, two: Migrations) -> None:
    on("run", "1")
    answer = on("verify", "2")
    assert (answer.code, answer.out) == (1, "")
    assert "VerificationFailed: Migration 002 isn't applied here." in answer.err
    assert "  Next   aurora-migrations run 002 --database-url URL\n" in answer.err


def test_table_that_is_missing_fails_the_verification(on: Call, two: Migrations, database: Database) -> None:
    Replayed(two, database).write_manifest()
    on("run")
    database.execute("DROP TABLE orders")
    for target in ([], ["2"]):
        answer = on("verify", *target)
        assert (answer.code, answer.out) == (1, "")
        assert (
            "VerificationFailed: table public.orders: expected there, found not there (002_orders.sql)." in answer.err
        )
        assert "change it back" in answer.err
    answer = on("verify", "1")  # which is about another table
    assert answer.code == 0
    assert "Drift: table public.orders: expected there, found not there (002_orders.sql)" in answer.err


def test_verify_without_a_replay_only_says_that_a_table_is_not_there(
    on: Call, two: Migrations, database: Database
) -> None:
    on("run")
    database.execute("DROP TABLE orders")
    answer = on("verify")
    first = answer.out.splitlines()[0]
    assert answer.code == 0
    assert first == "Verified 2 tables and 0 lasting expectations: 1 of 2 tables is not there"
