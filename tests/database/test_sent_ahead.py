"""Statements that are sent with the COMMIT of the file before: as good as a message of their own, where that fails."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Any

import pytest

from aurora_migrations.engine.errors import Cancelled, MigrationFailed, StatementTimeout
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command, Wire
from aurora_migrations.engine.running import transaction
from tests.database.helpers import (
    ROLLED_BACK,
    Watcher,
    applied,
    apply,
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
TRACE = "CREATE TABLE traced AS SELECT nextval('trace');"


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The statements that were sent ahead, by file."""
    sent: list[list[str]] = []
    send = Wire.execute_pipeline

    def sends(wire: Wire, commands: Sequence[Command], *more: Any) -> Any:
        sent.extend([[text.decode() for text in more[-1]]] if len(more) == 3 and more[-1] else [])
        return send(wire, commands, *more)

    monkeypatch.setattr(Wire, "execute_pipeline", sends)
    return sent


def test_statements_of_small_files_go_with_the_commit_before_one_by_one(
    database: Database, migrations: Migrations, ahead: list[list[str]]
) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write(
        "002_b.sql", "-- ünïts 😀\nBEGIN;\nCREATE TABLE b (t text);\nINSERT INTO b VALUES ('ü;');\nCOMMIT;"
    )
    migrations.write("003_c.sql", "-- nothing\n")
    migrations.write("004_d.sql", "INSERT INTO b SELECT 'd' RETURNING t; CREATE INDEX ON b (t);")
    migrations.write("005_e.sql", "CREATE TABLE e ();")
    heard = Watcher()
    assert labels(apply(database, migrations, listener=heard)) == ["001", "002", "003", "004", "005"]
    assert ahead == [["CREATE TABLE b (t text)", "INSERT INTO b VALUES ('ü;')"], ["CREATE TABLE e ()"]]
    assert database.query("TABLE b") == [("ü;",), ("d",)]
    assert heard.heard == [(word, f"00{number}") for number in range(1, 6) for word in ("executing", "executed")]


@pytest.mark.parametrize(
    "text",
    [
        "SET client_encoding = 'LATIN1'; INSERT INTO a VALUES ('ü');",
        "SELECT set_config('client_encoding', 'LATIN1', true); INSERT INTO a VALUES ('ü');",
        r"DO $$ BEGIN SET LOCAL standard_conforming_strings = off; END $$; INSERT INTO a VALUES ('ü\n');",
        "COPY (SELECT 1) TO STDOUT;",
        "CREATE INDEX ON b (id);",
        "DISCARD PLANS;",
        "BEGIN;\nINSERT INTO a VALUES ('a');\nCOMMIT;\nINSERT INTO a VALUES ('b');",
        "".join(f"INSERT INTO a VALUES ('{number}');" for number in range(21)),
    ],
)
def test_what_needs_one_message_or_a_limit_of_its_own_is_not_sent_ahead(
    database: Database, migrations: Migrations, ahead: list[list[str]], text: str
) -> None:
    """All of a message is read as the session was set when it arrived, whatever its statements then set."""
    database.execute("CREATE TABLE a (t text); CREATE TABLE b (id int)")
    migrations.write("001_first.sql", "CREATE TABLE first ();")
    migrations.write("002_alone.sql", text)
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert ahead == []
    if "ü" in text:
        assert database.query("TABLE a") == [("ü" + (r"\n" if r"\n" in text else ""),)]


@pytest.mark.parametrize("replayed", [False, True])
def test_nothing_is_run_ahead_of_a_file_that_fails_at_its_commit(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch, ahead: list[list[str]], replayed: bool
) -> None:
    """Also where the server is to report the rows of a replayed file, and goes on after COMMIT in any case."""
    tables_before = (
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE SEQUENCE trace;"
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


def test_a_statement_that_takes_too_long_is_ended_and_said_to(
    database: Database, migrations: Migrations, ahead: list[list[str]]
) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", SLOW)
    with pytest.raises(StatementTimeout, match=r"002_b\.sql:1:1") as caught:
        apply(database, migrations, limits=Limits(lock_timeout=200, statement_timeout=300, lock_wait=0))
    assert "(300 ms)" in caught.value.cause
    assert len(ahead) == 1
    assert tables(database) == ["a"]


def test_the_end_of_a_file_is_told_while_the_next_one_is_running(
    database: Database, migrations: Migrations, ahead: list[list[str]]
) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", SLOW.replace("30", "1"))
    told: list[float] = []
    heard = Watcher(executed=lambda migration: told.append(time.monotonic()))
    assert labels(apply(database, migrations, listener=heard)) == ["001", "002"]
    assert len(ahead) == 1
    assert told[1] - told[0] > 0.8


def test_ctrl_c_ends_what_was_sent_ahead(database: Database, migrations: Migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", SLOW)
    with start_runner(database, migrations) as runner:
        backend(database, "pg_sleep(30)")
        runner.interrupt()
        code, answer = runner.finish(10)
    assert (code, answer["error"]) == (1, "Cancelled")
    assert re.search(r"002_b.sql:1:1: stopped by Ctrl-C|by Ctrl-C at the beginning of 002_b.sql", answer["message"])
    assert tables(database) == ["a"]


def test_a_run_that_stops_before_a_file_ends_what_was_sent_of_it(
    database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C came when the server had committed: nothing of the next file stays, and nobody waits for it."""
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    migrations.write("002_b.sql", SLOW)
    read = Wire.read_ahead

    def pressed(wire: Wire) -> Any:
        wire.interrupted = True  # as Ctrl-C leaves it
        return read(wire)

    monkeypatch.setattr(Wire, "read_ahead", pressed)
    began = time.monotonic()
    with pytest.raises(Cancelled, match=r"at the beginning of 002_b\.sql"):
        apply(database, migrations)
    assert time.monotonic() - began < 10
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    assert tables(database) == ["a"]
