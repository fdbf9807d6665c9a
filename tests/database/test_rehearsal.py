"""A rehearsal runs pending files, measures them, and leaves nothing; it holds and waits for no lock for long."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Session, discover
from aurora_migrations.engine.errors import AnotherRunInProgress
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.session import acquire_run_lock
from aurora_migrations.engine.preview.rehearsal import Rehearsal, jobs_of, rehearse
from tests.database.helpers import applied, apply, exists, holding
from tests.servers import Database, Migrations


def rehearsed(
    database: Database, migrations: Migrations, *, block_ms: int = 2_000, partly: Any = None, **more: Any
) -> Rehearsal:
    source = Compiler(discover(migrations.dir))
    pending = [each for each in source.package.migrations if each.label not in applied(database)]
    with Session(database.url, "rehearsal") as session:
        return rehearse(session, jobs_of(source, pending, Limits()), partly or {}, block_ms, **more)


@pytest.fixture
def orders(database: Database, migrations: Migrations) -> Database:
    """A database with a table that a migration has made."""
    migrations.write("001_orders.sql", "CREATE TABLE orders (id serial PRIMARY KEY, b int);")
    apply(database, migrations)
    database.execute("INSERT INTO orders (b) SELECT generate_series(1, 100)")
    return database


def results(found: Rehearsal) -> list[str]:
    return [each.result for each in found.files]


def test_files_run_after_each_other_and_leave_nothing(orders: Database, migrations: Migrations) -> None:
    migrations.write(
        "002_a.sql",
        "ALTER TABLE orders ADD c int;\nUPDATE orders SET c = b WHERE b <= 7;\nSELECT pg_sleep(0.05);\n"
        "CREATE TABLE made (id int);",
    )
    migrations.write("003_b.sql", "INSERT INTO made VALUES (1), (2);\nINSERT INTO orders (b) VALUES (1);")
    migrations.write("004_c.sql", "BEGIN;\nSET search_path = nowhere;\nCOMMIT;\nBEGIN;\nSET ROLE pg_monitor;\nCOMMIT;")
    migrations.write("005_d.sql", "CREATE INDEX ON orders (c);\nDELETE FROM made;")
    found = rehearsed(orders, migrations)
    assert results(found) == ["done"] * 4
    first, second, _, fourth = found.files
    assert [(each.line, each.locks) for each in first.statements] == [
        (1, ("ACCESS EXCLUSIVE on public.orders",)),
        (2, ()),
        (3, ()),
        (4, ()),
    ]
    assert first.statements[2].duration_ms >= 50
    assert first.duration_ms >= 50
    assert first.rows == ["public.orders: 7 updated"]
    assert sorted(second.rows) == ["public.made: 2 inserted", "public.orders: 1 inserted"]
    assert fourth.rows == ["public.made: 2 deleted"]
    assert found.sequences == ("public.orders_id_seq",)
    assert found.blocked_ms >= 50
    assert applied(orders) == ["001"]
    assert not exists(orders, "made")
    assert orders.query("SELECT count(*), count(*) FILTER (WHERE b <= 7) FROM orders") == [(100, 7)]
    assert orders.query(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ) == [(0,)]


CANNOT = {
    "CREATE INDEX CONCURRENTLY i ON orders (b);": "CREATE INDEX CONCURRENTLY runs outside of transactions",
    "-- migration: transaction = off\nDO $$ BEGIN COMMIT; END $$;": "it has a CALL or DO block outside of transactions",
    "BEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;\nCOMMIT;": "its transaction has modes of its own",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;\nSELECT 1;": "its transaction has modes of its own",
    "SELECT aws_lambda.invoke('x', '{}');": "it may act outside of the database: aws_lambda",
    "COPY orders TO PROGRAM 'cat';": "it may act outside of the database: TO PROGRAM",
}


@pytest.mark.parametrize("text", CANNOT)
def test_what_cannot_be_rehearsed_is_named_and_the_rest_goes_on(
    orders: Database, migrations: Migrations, text: str
) -> None:
    migrations.write("002_a.sql", text)
    migrations.write("003_b.sql", "ALTER TABLE orders ADD c int;")
    migrations.write("004_c.sql", "DROP INDEX i;")
    found = rehearsed(orders, migrations)
    assert results(found) == ["skipped", "done", "skipped"]
    assert found.files[0].reason.startswith(CANNOT[text])
    assert found.files[2].reason.startswith("it may need what 002_a.sql makes, which wasn't rehearsed: 004_c.sql:1:1:")


def test_file_that_fails_ends_it(orders: Database, migrations: Migrations) -> None:
    migrations.write("002_a.sql", "SELECT 1;\nALTER TABLE orders ADD CONSTRAINT few CHECK (b < 50);")
    migrations.write("003_b.sql", "SELECT 1;")
    found = rehearsed(orders, migrations)
    assert results(found) == ["failed", "skipped"]
    assert "002_a.sql:2:1: check constraint" in found.files[0].reason
    assert found.files[1].reason == "the rehearsal ended in 002_a.sql"
    assert not found.succeeded


def test_what_is_deferred_to_the_commit_is_checked(orders: Database, migrations: Migrations) -> None:
    migrations.write(
        "002_a.sql",
        "CREATE TABLE c (o int REFERENCES orders DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO c VALUES (-1);",
    )
    found = rehearsed(orders, migrations)
    assert results(found) == ["failed"]
    assert "at COMMIT" in found.files[0].reason


def test_a_lock_is_waited_for_no_longer_than_100_ms(orders: Database, migrations: Migrations) -> None:
    migrations.write("002_a.sql", "SET lock_timeout = '30s';\nALTER TABLE orders ADD c int;")
    began = time.monotonic()
    with holding(orders.url, "SELECT 1 FROM orders"):
        found = rehearsed(orders, migrations)
    assert results(found) == ["blocked"]
    assert found.files[0].reason.startswith("it waited 100 ms for a lock: 002_a.sql:2:1")
    assert found.succeeded
    assert time.monotonic() - began < 5


HIDDEN = "DO $$ BEGIN ALTER TABLE orders ADD c int; PERFORM pg_sleep(30); END $$;"


@pytest.mark.parametrize("text", ["ALTER TABLE orders ADD c int;\n{0}", "SET statement_timeout = 0;\n{0}", HIDDEN])
def test_it_ends_in_time(orders: Database, migrations: Migrations, text: str) -> None:
    """Where the application is blocked, sooner than in all."""
    migrations.write("002_a.sql", text.replace("{0}", "SELECT pg_sleep(30);"))
    waited: list[float] = []

    def read() -> None:
        time.sleep(0.2)
        began = time.monotonic()
        orders.query("SELECT count(*) FROM orders")
        waited.append(time.monotonic() - began)

    reader = threading.Thread(target=read)
    reader.start()
    found = rehearsed(orders, migrations, block_ms=600, longest=5)
    reader.join()
    assert results(found) == ["cut"]
    assert "cancelled here" in found.files[0].reason
    blocks = text.startswith("ALTER")
    assert (found.blocked_ms > 0) == blocks
    assert found.blocked_ms < 3_000
    assert waited[0] < 3


def test_no_run_is_disturbed(orders: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aurora_migrations.engine.preview.rehearsal._LOCK_WAIT", 0.1)
    migrations.write("002_a.sql", "SELECT 1;")
    with Session(orders.url, "a run") as running:
        acquire_run_lock(running, 1, lambda holder: None)
        with pytest.raises(AnotherRunInProgress):
            rehearsed(orders, migrations)


def test_file_that_is_partly_applied_is_not_rehearsed(orders: Database, migrations: Migrations) -> None:
    migrations.write("002_a.sql", "SELECT 1;")
    found = rehearsed(orders, migrations, partly={2: None})
    assert (results(found), found.files[0].reason) == (["skipped"], "some of its units are applied already")


def test_a_value_in_an_error_is_not_shown(orders: Database, migrations: Migrations) -> None:
    migrations.write("002_a.sql", "INSERT INTO orders (id, b) VALUES (1, 4711);")
    found = rehearsed(orders, migrations)
    assert results(found) == ["failed"]
    assert "4711" not in str(found)
