"""Statements that are sent with the COMMIT of the file before: as good as a message of their own, where that fails."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from aurora_migrations.engine import Migration
from aurora_migrations.engine.errors import Cancelled, MigrationFailed, StatementTimeout
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command, Wire
from aurora_migrations.engine.running import transaction
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    applied,
    apply,
    ask,
    attempts,
    backend,
    labels,
    start_runner,
    tables,
)
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations

SLOW = "CREATE TABLE slow AS SELECT pg_sleep(30)::text;"
# A sequence keeps what a rolled back transaction has taken of it: a statement that was run is seen.
TRACE = "CREATE TABLE traced AS SELECT trace() AS n;"


@pytest.fixture
def slow(migrations: Migrations) -> Migrations:
    """Two files, the second of which takes long."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", SLOW)
    return migrations


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements that were sent ahead, by file."""
    sent: list[list[str]] = []
    send = Wire.execute_pipeline

    def sends(wire: Wire, commands: Sequence[Command], *more: Any, **ahead: Any) -> Any:
        sent.extend([[text.decode() for text in ahead["statements"]]] if ahead.get("statements") else [])
        return send(wire, commands, *more, **ahead)

    monkeypatch.setattr(Wire, "execute_pipeline", sends)
    return sent


def test_statements_that_make_something_new_go_with_the_commit_before_one_by_one(
    database: Database, migrations: Migrations, ahead: list[list[str]]
) -> None:
    database.execute("CREATE TABLE old (t text)")
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    block = "/*+ hint */ CREATE TABLE b (t text)\n;-- note\n INSERT INTO b VALUES ('ü;') RETURNING t;"
    migrations.write("002_b.sql", f"-- ü 😀\nBEGIN;\n{block}\nCOMMIT;")
    migrations.write("003_c.sql", "-- nothing\n")
    migrations.write("004_d.sql", "CREATE VIEW d AS SELECT t FROM old;")
    heard = Watcher()
    assert labels(apply(database, migrations, listener=heard)) == ["001", "002", "003", "004"]
    assert ahead == [
        ["/*+ hint */ CREATE TABLE b (t text)", "-- note\n INSERT INTO b VALUES ('ü;') RETURNING t"],
        ["CREATE VIEW d AS SELECT t FROM old"],
    ]
    assert database.query("TABLE b") == [("ü;",)]
    assert heard.heard == [(word, f"00{number}") for number in range(1, 5) for word in ("executing", "executed")]


@pytest.mark.parametrize(
    "text",
    [
        # Nobody waits for what holds no lock.
        "INSERT INTO old VALUES ('a');",
        "UPDATE old SET t = 'a';",
        "CREATE TABLE new AS SELECT * FROM old FOR UPDATE;",
        "WITH gone AS (DELETE FROM old RETURNING t) SELECT t INTO new FROM gone;",
        "CREATE INDEX ON old (t);",
        # All of a message is read as the session was set when it came, whatever its statements then set.
        "SET client_encoding = 'LATIN1'; CREATE TABLE new AS SELECT 'ü' AS t;",
        "CREATE VIEW v AS SELECT set_config('client_encoding', 'LATIN1', true); CREATE TABLE new AS SELECT 'ü' AS t;",
        "DO $$ BEGIN SET LOCAL client_encoding = 'LATIN1'; END $$; CREATE TABLE new AS SELECT 'ü' AS t;",
        "COPY (SELECT 1) TO STDOUT;",
        "DISCARD PLANS;",
        "BEGIN;\nCREATE TABLE new ();\nCOMMIT;\nCREATE TABLE newer ();",
        "".join(f"CREATE TABLE new{number} ();" for number in range(21)),
    ],
)
def test_other_files_are_sent_when_they_have_begun(
    database: Database, migrations: Migrations, ahead: list[list[str]], text: str
) -> None:
    database.execute("CREATE TABLE old (t text)")
    migrations.write("001_first.sql", "CREATE TABLE a ();")
    migrations.write("002_other.sql", text)
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert ahead == []
    if "ü" in text:
        assert database.query("TABLE new") == [("ü",)]


def test_a_parameter_is_the_error_that_it_is_in_one_message(database: Database, migrations: Migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", "CREATE TABLE b (id int); INSERT INTO b VALUES ($1);")
    with pytest.raises(MigrationFailed, match=r"002_b\.sql:1:48: there is no parameter \$1 \(42P02\)"):
        apply(database, migrations)


@pytest.mark.parametrize("replayed", [False, True])
def test_nothing_is_run_ahead_of_a_file_that_fails_at_its_commit(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch, ahead: list[list[str]], replayed: bool
) -> None:
    """Also where the server is to report the rows of a replayed file, and goes on after COMMIT in any case."""
    tables_before = (
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE SEQUENCE trace;"
        "CREATE FUNCTION trace() RETURNS bigint LANGUAGE sql AS 'SELECT nextval(''public.trace'')';"
        "CREATE TABLE child (parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);"
    )
    database.execute(tables_before)
    migrations.write("001_a.sql", "INSERT INTO child VALUES (1);")
    migrations.write("002_b.sql", TRACE)
    with_parent = f"{tables_before} INSERT INTO parent VALUES (1)"
    changes = {"source": Replayed(migrations, database, before=with_parent)} if replayed else {}
    ahead.clear()
    monkeypatch.setattr(transaction, "DEFERRED", Command("SELECT 1"))  # which would find out before COMMIT
    with pytest.raises(MigrationFailed, match=r"001_a\.sql, at COMMIT: .*violates foreign key"):
        apply(database, migrations, **changes)
    assert ahead == [[TRACE.rstrip(";")]]
    assert database.query("SELECT is_called FROM trace") == [(False,)]
    assert attempts(database) == [("001", "failed")]
    database.execute("INSERT INTO parent VALUES (1)")
    assert labels(apply(database, migrations, **changes)) == ["001", "002"]


def test_an_error_is_that_of_the_file_and_its_statement(
    database: Database, migrations: Migrations, ahead: list[list[str]]
) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write(
        "002_b.sql", "-- ünïts 😀\nCREATE TABLE b (t text);\nINSERT INTO b\n  SELECT 'é', nowhere FROM b;\n"
    )
    migrations.write("003_c.sql", "CREATE TABLE c ();")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    facts = caught.value.facts
    assert [facts[name] for name in ("file", "line", "column", "statement", "sqlstate")] == [
        "002_b.sql",
        4,
        15,
        2,
        "42703",
    ]
    assert caught.value.state == ROLLED_BACK
    assert len(ahead) == 1
    assert (applied(database), tables(database)) == (["001"], ["a"])
    assert attempts(database) == [("001", "applied"), ("002", "failed")]


def test_a_statement_that_takes_too_long_is_ended_with_its_limit_named(
    database: Database, slow: Migrations, ahead: list[list[str]]
) -> None:
    with pytest.raises(StatementTimeout, match=r"002_b\.sql:1:1") as caught:
        apply(database, slow, limits=Limits(lock_timeout=200, statement_timeout=300, lock_wait=0))
    assert "(300 ms)" in caught.value.cause
    assert len(ahead) == 1
    assert tables(database) == ["a"]


def test_the_end_of_a_file_is_reported_while_the_next_one_is_running(
    database: Database, slow: Migrations, ahead: list[list[str]]
) -> None:
    def end_next(migration: Migration) -> None:
        ask(database, "SELECT pg_cancel_backend(%s)", (backend(database, "pg_sleep(30)"),))

    heard = Watcher(executed=end_next)
    with pytest.raises(Cancelled, match=r"002_b\.sql:1:1"):
        apply(database, slow, listener=heard)
    assert ("executed", "001") in heard.heard
    assert len(ahead) == 1


def test_ctrl_c_ends_what_was_sent_ahead(database: Database, slow: Migrations) -> None:
    with start_runner(database, slow) as runner:
        backend(database, "pg_sleep(30)")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled")
    assert re.search(r"002_b.sql:1:1: stopped by Ctrl-C|by Ctrl-C at the beginning of 002_b.sql", answer["message"])
    assert tables(database) == ["a"]


def test_a_run_that_stops_before_a_file_ends_what_was_sent_of_it(
    database: Database, slow: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C came when the server had committed: nothing of the next file stays, and nobody waits for it."""
    read = Wire.read_ahead

    def pressed(wire: Wire) -> Any:
        wire.interrupted = True  # as Ctrl-C leaves it
        return read(wire)

    monkeypatch.setattr(Wire, "read_ahead", pressed)
    began = time.monotonic()
    with pytest.raises(Cancelled, match=r"at the beginning of 002_b\.sql"):
        apply(database, slow)
    assert time.monotonic() - began < 10
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    assert tables(database) == ["a"]


def test_ctrl_c_between_two_statements_is_not_lost(
    database: Database, slow: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the server takes no notice of a cancel request: it is repeated."""
    cancel, tried = psycopg.Connection.cancel_safe, list[float]()

    def too_early(connection: psycopg.Connection[Any], **how: Any) -> None:
        tried.append(time.monotonic())
        if len(tried) > 2:  # the first ones come to nothing
            cancel(connection, **how)

    monkeypatch.setattr(psycopg.Connection, "cancel_safe", too_early)
    wait, pressed = Wire._select, list[bool]()

    def press(wire: Wire, events: int) -> int:
        if wire.unread and wire.unread.statements and not pressed and threading.current_thread() is run_:
            pressed.append(True)
            raise KeyboardInterrupt
        return wait(wire, events)

    monkeypatch.setattr(Wire, "_select", press)
    run_ = Task(apply, database, slow)
    with pytest.raises(Cancelled):
        run_.result(10)
    assert len(tried) > 2
    assert tables(database) == ["a"]
