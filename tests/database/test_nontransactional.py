"""Statements outside any transaction: an intent before, the record after, and the catalogue decides in between."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from aurora_migrations import engine
from aurora_migrations.compiler.compile import compile_text
from aurora_migrations.engine import Listener
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    Cancelled,
    ConnectionLost,
    InDoubt,
    InvalidFile,
    InvalidInput,
    MigrationChanged,
    MigrationFailed,
    VerificationFailed,
)
from aurora_migrations.engine.nontransactional.intents import find_running
from aurora_migrations.engine.options import Limits, Options
from aurora_migrations.engine.postgres.session import RUN_LOCK, Holder, Session
from aurora_migrations.engine.script import RunningStatement
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    applied,
    apply,
    ask,
    attempts,
    backend,
    backends,
    exists,
    holding,
    labels,
    request,
    roll_back,
    start_runner,
    units,
    until,
)
from tests.proxy import Action as Cut
from tests.proxy import Trap
from tests.servers import Database, Migrations

INDEX = "CREATE INDEX CONCURRENTLY book_title_idx ON book (title);"
DROP = "DROP INDEX CONCURRENTLY book_title_idx;"
BOOKS = """
    CREATE TABLE book (id int, title text, isbn text);
    INSERT INTO book SELECT n, n::text, n FROM generate_series(1, 50) n;
"""


@pytest.fixture
def books(database: Database) -> Database:
    """A database with a table that an application uses."""
    database.execute(BOOKS)
    return database


def indexes(database: Database, table: str = "book") -> list[tuple[str, bool]]:
    """The indexes of a table, and whether each is valid."""
    query = "SELECT indexrelid::regclass::text, indisvalid FROM pg_index WHERE indrelid = %s::regclass ORDER BY 1"
    return ask(database, query, [table])


def intents(database: Database) -> list[tuple[Any, ...]]:
    return ask(database, "SELECT version::int, number FROM aurora_migrations.intents")


def invalid(database: Database, definition: str = "CREATE INDEX CONCURRENTLY book_title_idx ON book (title)") -> None:
    """Leaves an invalid index behind, as a build does that was ended half-way."""
    with (
        holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"),
        psycopg.connect(database.url, autocommit=True) as connection,
        contextlib.suppress(psycopg.Error),
    ):
        connection.execute("SET statement_timeout = 100")
        connection.execute(definition)


def test_a_file_of_all_kinds_runs_in_the_order_written(database, migrations) -> None:
    text = f"""{BOOKS}
        CREATE INDEX CONCURRENTLY book_title_idx ON book (title);
        CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "Book_Id" ON public.book USING btree (id) WHERE id > 0;
        REINDEX INDEX CONCURRENTLY book_title_idx;
        REINDEX (CONCURRENTLY) TABLE book;
        REINDEX SCHEMA CONCURRENTLY public;
        VACUUM (ANALYZE) book;
        DROP INDEX CONCURRENTLY book_title_idx;
        CREATE TABLE sale (at date) PARTITION BY RANGE (at);
        CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        ALTER TABLE sale DETACH PARTITION sale_1 CONCURRENTLY;
        CREATE DATABASE {database.name}_b;
        ALTER DATABASE {database.name}_b SET TABLESPACE pg_default;
        DROP DATABASE {database.name}_b;
        ALTER SYSTEM SET work_mem = '5MB';
        ALTER SYSTEM RESET work_mem;
        CLUSTER;"""
    migrations.write("001_all.sql", text)
    assert labels(apply(database, migrations)) == ["001"]
    assert indexes(database) == [('"Book_Id"', True)]
    assert ask(database, "SELECT count(*) FROM pg_inherits WHERE inhparent = 'sale'::regclass") == [(0,)]
    assert units(database) == [("applied", 18)]
    assert intents(database) == []


def test_an_index_is_made_and_dropped_and_its_record_with_it(books, migrations) -> None:
    migrations.write("001_index.sql", INDEX)
    migrations.write("001_index.down.sql", "DROP INDEX CONCURRENTLY book_title_idx;")
    apply(books, migrations)
    assert indexes(books) == [("book_title_idx", True)]
    roll_back(books, migrations, "001", "001")
    assert (indexes(books), applied(books), intents(books)) == ([], [], [])


# ---- what is there before -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", ["", "IF NOT EXISTS "], ids=["", "if not exists"])
def test_a_valid_index_of_the_same_definition_is_recorded_as_done(books, migrations, exists: str) -> None:
    definition = "book_title_idx ON book USING btree (lower(title) DESC, id) INCLUDE (isbn) WHERE id > 3"
    books.execute(f"CREATE UNIQUE INDEX {definition}")
    (before,) = ask(books, "SELECT 'book_title_idx'::regclass::oid")
    migrations.write("001_index.sql", f"CREATE UNIQUE INDEX CONCURRENTLY {exists}{definition};")
    assert labels(apply(books, migrations)) == ["001"]
    assert ask(books, "SELECT 'book_title_idx'::regclass::oid") == [before], "it wasn't made again"


def test_an_index_that_names_its_table_is_compared_too(books, migrations) -> None:
    definition = "book_title_idx ON book (lower(book.title), (public.book.id + 1)) WHERE book.isbn <> 'a'"
    books.execute(f"CREATE INDEX {definition}")
    migrations.write("001_a.sql", f"CREATE INDEX CONCURRENTLY {definition};")
    assert labels(apply(books, migrations)) == ["001"]


def test_an_index_that_cannot_be_compared_stops_the_run_and_stays(books, migrations) -> None:
    books.execute("CREATE FUNCTION f(book) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.title'")
    books.execute("CREATE INDEX book_title_idx ON book (f(book.*))")
    migrations.write("001_a.sql", "CREATE INDEX CONCURRENTLY book_title_idx ON book (f(book.*));")
    with pytest.raises(MigrationFailed, match=r"public\.book_title_idx already exists") as caught:
        apply(books, migrations)
    assert "can't be compared" in caught.value.cause
    assert indexes(books) == [("book_title_idx", True)]


DIFFERENT = {
    "columns": "CREATE INDEX book_title_idx ON book (isbn)",
    "uniqueness": "CREATE UNIQUE INDEX book_title_idx ON book (title)",
    "predicate": "CREATE INDEX book_title_idx ON book (title) WHERE id > 1",
    "method": "CREATE INDEX book_title_idx ON book USING hash (title)",
    "collation": 'CREATE INDEX book_title_idx ON book (title COLLATE "POSIX")',
    "operator class": "CREATE INDEX book_title_idx ON book (title text_pattern_ops)",
    "storage": "CREATE INDEX book_title_idx ON book (title) WITH (fillfactor = 50)",
    "another table": "CREATE TABLE other (title text); CREATE INDEX book_title_idx ON other (title)",
    "no index": "CREATE TABLE book_title_idx ()",
}


@pytest.mark.parametrize("exists", ["", "IF NOT EXISTS "], ids=["", "if not exists"])
@pytest.mark.parametrize("there", DIFFERENT.values(), ids=DIFFERENT)
def test_anything_else_of_that_name_stops_the_run_and_stays(books, migrations, there: str, exists: str) -> None:
    books.execute(there)
    migrations.write("001_index.sql", INDEX.replace("book_title_idx", f"{exists}book_title_idx", 1))
    with pytest.raises(MigrationFailed, match=r"001_index.sql: public.book_title_idx already exists") as caught:
        apply(books, migrations)
    assert "another name" in caught.value.solution
    assert ask(books, "SELECT to_regclass('book_title_idx') IS NOT NULL") == [(True,)]
    assert (applied(books), intents(books)) == ([], [])


@pytest.mark.parametrize("exists", ["", "IF NOT EXISTS "], ids=["", "if not exists"])
def test_an_invalid_index_that_no_run_has_begun_stops_the_run_and_stays(books, migrations, exists: str) -> None:
    invalid(books)
    assert indexes(books) == [("book_title_idx", False)]
    migrations.write("001_index.sql", INDEX.replace("book_title_idx", f"{exists}book_title_idx", 1))
    with pytest.raises(MigrationFailed) as caught:
        apply(books, migrations)
    assert caught.value.solution == "Drop it and run again: DROP INDEX CONCURRENTLY public.book_title_idx;"
    assert indexes(books) == [("book_title_idx", False)]


def test_a_build_by_somebody_else_is_waited_for(books, migrations) -> None:
    migrations.write("001_index.sql", INDEX)
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        other = Task(books.execute, INDEX)
        until(lambda: indexes(books) == [("book_title_idx", False)], "the other build")
        left = apply(books, migrations, is_time_up=lambda: True)
        assert (left.remaining, left.running) == (
            1,
            "001_index.sql: waiting for another session's index build of public.book_title_idx",
        )
        run = Task(apply, books, migrations)
        until(lambda: len(attempts(books)) == 2, "the run")
        holder.rollback()
        assert labels(run.result()) == ["001"]
        other.result()
    assert indexes(books) == [("book_title_idx", True)]


# ---- failures -------------------------------------------------------------------------------------------------------


def test_a_unique_index_over_duplicates_leaves_nothing(books, migrations) -> None:
    books.execute("INSERT INTO book VALUES (1, '1', '1')")
    migrations.write("001_a.sql", "CREATE TABLE a ();\nCREATE UNIQUE INDEX CONCURRENTLY book_id ON book (id);")
    with pytest.raises(MigrationFailed) as caught:
        apply(books, migrations)
    assert caught.value.facts["sqlstate"] == "23505"
    assert caught.value.facts["line"] == 2
    assert caught.value.cause.endswith("It left public.book_id invalid, which has been dropped.")
    assert (indexes(books), intents(books), units(books)) == ([], [], [("failed", 1)])
    books.execute("DELETE FROM book WHERE id = 1")
    assert labels(apply(books, migrations)) == ["001"]
    assert indexes(books) == [("book_id", True)]


@pytest.mark.parametrize(
    ("changed", "index"),
    [
        ("CREATE INDEX CONCURRENTLY book_isbn_idx ON book (isbn);", "book_isbn_idx"),
        ("CREATE INDEX IF NOT EXISTS book_title_idx ON book (title);", "book_title_idx"),
    ],
)
def test_what_a_killed_attempt_left_is_dropped_though_the_file_was_changed(books, migrations, changed, index) -> None:
    """Also where it has no statement outside a transaction now."""
    migrations.write("001_a.sql", INDEX)
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"), start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        runner.kill()
        books.execute(f"SELECT pg_terminate_backend({backend(books, 'CREATE INDEX')})")
    migrations.write("001_a.sql", changed)
    assert labels(apply(books, migrations)) == ["001"]
    assert (indexes(books), intents(books)) == ([(index, True)], [])


@pytest.mark.parametrize("text", [INDEX, "SELECT 1;"], ids=["another number", "removed"])
def test_what_a_killed_attempt_left_is_dropped_though_its_file_is_gone(books, migrations, text: str) -> None:
    migrations.write("001_a.sql", INDEX)
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"), start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        runner.kill()
        books.execute(f"SELECT pg_terminate_backend({backend(books, 'CREATE INDEX')})")
    (migrations.dir / "001_a.sql").unlink()
    migrations.write("002_a.sql", text)
    assert labels(apply(books, migrations)) == ["002"]
    assert (indexes(books), intents(books)) == ([("book_title_idx", True)] if text == INDEX else [], [])


def test_an_index_that_is_half_dropped_is_dropped_by_the_next_run(books, migrations) -> None:
    books.execute("CREATE INDEX book_title_idx ON book (title)")
    migrations.write("001_a.sql", DROP)
    with holding(books.url, "LOCK TABLE book IN ACCESS SHARE MODE"):
        run = Task(apply, books, migrations)
        until(lambda: indexes(books) == [("book_title_idx", False)], "the drop")
        books.execute(f"SELECT pg_cancel_backend({backend(books, 'DROP INDEX')})")
        with pytest.raises(Cancelled) as caught:
            run.result()
    assert "It left public.book_title_idx invalid. The next run drops it." in caught.value.cause
    assert labels(apply(books, migrations)) == ["001"]
    assert (indexes(books), intents(books)) == ([], [])


@pytest.mark.parametrize("was_valid", [True, False])
def test_an_index_that_is_half_dropped_goes_with_its_file(books, migrations, was_valid: bool) -> None:
    """Nothing makes it valid again. One that was invalid before stays as it was."""
    books.execute("CREATE INDEX book_title_idx ON book (title)")
    if not was_valid:
        books.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'book_title_idx'::regclass")
    migrations.write("001_a.sql", DROP)
    with holding(books.url, "LOCK TABLE book IN ACCESS SHARE MODE"), start_runner(books, migrations) as runner:
        pid = backend(books, "DROP INDEX")
        until(lambda: indexes(books) == [("book_title_idx", False)], "the drop")
        runner.kill()
        books.execute(f"SELECT pg_terminate_backend({pid})")
    migrations.write("001_a.sql", "SELECT 1;")
    assert labels(apply(books, migrations)) == ["001"]
    assert (indexes(books), intents(books)) == ([] if was_valid else [("book_title_idx", False)], [])


def test_a_build_in_another_database_is_not_waited_for(books, migrations) -> None:
    """Though its index has the same number, as that database is a copy."""
    books.execute(
        "CREATE FUNCTION halt(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_advisory_xact_lock_shared(5); RETURN id; END $$;"
        "CREATE INDEX book_title_idx ON book (halt(id));"
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'book_title_idx'::regclass"
    )
    migrations.write("001_a.sql", INDEX)
    copy = Database(books.server, f"{books.name}_copy")
    Database(books.server, "postgres").execute(f"CREATE DATABASE {copy.name} TEMPLATE {books.name}")
    try:
        with holding(copy.url, "SELECT pg_advisory_lock(5)"):
            building = Task(copy.execute, "REINDEX INDEX book_title_idx")
            until(lambda: copy.query("SELECT FROM pg_stat_progress_create_index WHERE index_relid <> 0"), "the build")
            ends = time.monotonic() + 5
            with pytest.raises(MigrationFailed, match="already exists"):
                apply(books, migrations, is_time_up=lambda: time.monotonic() > ends)
        building.result()
    finally:
        copy.drop()


def test_an_invalid_index_that_another_tool_left_meanwhile_stays(books, migrations, proxy) -> None:
    """Under our name, while our statement waits for the table, or after our run has died before it made anything."""
    migrations.write("001_a.sql", INDEX)
    others = "CREATE INDEX book_title_idx ON book (id)"
    fails = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'book_title_idx'::regclass"
    with holding(books.url, "LOCK TABLE book IN SHARE UPDATE EXCLUSIVE MODE") as other:
        run = Task(apply, books, migrations)
        backend(books, "CREATE INDEX")
        other.execute(f"{others}; {fails}; COMMIT")
    with pytest.raises(MigrationFailed, match="already exists"):
        run.result()
    assert indexes(books) == [("book_title_idx", False)]
    books.execute("DROP INDEX book_title_idx")
    proxy.set(Trap((b"CONCURRENTLY book_title_idx ON",), Cut.CUT_BEFORE))
    with pytest.raises(ConnectionLost):
        apply(books, migrations, url=proxy.url(books.url))
    assert intents(books) == [(1, 0)]
    books.execute(f"{others}; {fails}")
    for _ in range(2):
        with pytest.raises(MigrationFailed, match="already exists"):
            apply(books, migrations)
    assert indexes(books) == [("book_title_idx", False)]


def test_a_database_that_was_there_before_is_not_taken_for_ours(books, migrations, proxy) -> None:
    migrations.write("001_a.sql", f"CREATE DATABASE {books.name};")
    proxy.set(Trap((b"CREATE DATABASE test",), Cut.CUT_BEFORE))
    with pytest.raises(ConnectionLost):
        apply(books, migrations, url=proxy.url(books.url))
    assert intents(books) == [(1, 0)]
    with pytest.raises(MigrationFailed, match="already exists"):
        apply(books, migrations)
    assert applied(books) == []


def test_a_drop_of_a_leftover_claims_its_own_migration_only(books, migrations) -> None:
    """Another one may have the same statement at the same place."""
    migrations.write("001_a.sql", INDEX)
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"), start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        runner.kill()
        books.execute(f"SELECT pg_terminate_backend({backend(books, 'CREATE INDEX')})")
    copy = "SELECT 2, action, number, tokens, statement, facts, attempt, 0, started_at FROM aurora_migrations.intents"
    books.execute(f"INSERT INTO aurora_migrations.intents {copy}")
    migrations.write("002_b.sql", INDEX)
    assert labels(apply(books, migrations, "001")) == ["001"]
    assert books.query("SELECT version, lock_holder FROM aurora_migrations.intents") == [(2, 0)]


@pytest.mark.parametrize("by", ["the server", "cancel"])
def test_a_partition_that_is_detached_by_half_is_detached_by_the_next_run(database, migrations, by: str) -> None:
    """PostgreSQL refuses the same statement again: only FINALIZE goes on."""
    database.execute(
        "CREATE TABLE sale (at int) PARTITION BY LIST (at); CREATE TABLE sale_1 PARTITION OF sale FOR VALUES IN (1)"
    )
    migrations.write("001_a.sql", "ALTER TABLE sale DETACH PARTITION sale_1 CONCURRENTLY;")
    pending = "SELECT FROM pg_inherits WHERE inhdetachpending"
    with holding(database.url, "LOCK TABLE ONLY sale IN ACCESS SHARE MODE"):
        run = Task(apply, database, migrations)
        until(lambda: ask(database, pending), "the first half")
        if by == "the server":
            database.execute(f"SELECT pg_cancel_backend({backend(database, 'DETACH')})")
        else:
            engine.cancel(request(database, migrations))
        with pytest.raises(Cancelled):
            run.result()
    assert (len(ask(database, pending)), intents(database)) == (1, [])
    migrations.write("001_a.sql", "CREATE TABLE a ();\nALTER TABLE sale DETACH PARTITION sale_1 CONCURRENTLY;")
    assert labels(apply(database, migrations)) == ["001"]
    assert (ask(database, "SELECT FROM pg_inherits"), intents(database)) == ([], [])


def test_what_a_killed_reindex_left_on_a_toast_table_is_dropped(books, migrations) -> None:
    migrations.write("001_a.sql", "REINDEX TABLE CONCURRENTLY book;")
    invalid = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"):
        run = Task(apply, books, migrations)
        until(lambda: ask(books, invalid), "the new index")
        assert [name.startswith("pg_toast.") for (name,) in ask(books, invalid)] == [True]
        books.execute(f"SELECT pg_cancel_backend({backend(books, 'REINDEX')})")
        with pytest.raises(Cancelled) as caught:
            run.result()
    assert caught.value.cause.endswith("invalid, which has been dropped.")
    assert ask(books, invalid) == []


def test_what_a_killed_reindex_left_is_dropped_also_after_one_that_had_ended(books, migrations, proxy) -> None:
    """The index has another oid since."""
    books.execute("CREATE INDEX book_title_idx ON book (title)")
    migrations.write("001_a.sql", "REINDEX INDEX CONCURRENTLY book_title_idx;")
    proxy.cut_before(b"DELETE FROM aurora_migrations.intents")
    with pytest.raises(ConnectionLost):
        apply(books, migrations, url=proxy.url(books.url))
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"):
        run = Task(apply, books, migrations)
        until(lambda: len(indexes(books)) == 2, "the new index")
        books.execute(f"SELECT pg_terminate_backend({backend(books, 'REINDEX')})")
        with pytest.raises(ConnectionLost):
            run.result()
    assert indexes(books) == [("book_title_idx", True), ("book_title_idx_ccnew", False)]
    assert labels(apply(books, migrations)) == ["001"]
    assert indexes(books) == [("book_title_idx", True)]


def test_limits_of_the_environment_do_not_end_a_build(books, migrations) -> None:
    migrations.write("001_a.sql", INDEX)
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        run = Task(apply, books, migrations, limits=Limits(lock_timeout=100, statement_timeout=300, lock_wait=0))
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        psycopg.connect(books.url, autocommit=True).execute("SELECT pg_sleep(1)").connection.close()
        holder.rollback()
        assert labels(run.result()) == ["001"]


def test_a_transaction_timeout_does_not_end_a_build(books, migrations) -> None:
    if not books.query("SELECT FROM pg_settings WHERE name = 'transaction_timeout'"):
        pytest.skip("PostgreSQL 17 brought it")
    books.execute(f"ALTER DATABASE {books.name} SET transaction_timeout = 300")
    migrations.write("001_a.sql", INDEX)
    others = "SET LOCAL transaction_timeout = 0; LOCK TABLE book IN ROW EXCLUSIVE MODE"
    with holding(books.url, others):
        run = Task(apply, books, migrations)
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        time.sleep(1)
    assert labels(run.result()) == ["001"]
    assert indexes(books) == [("book_title_idx", True)]


def test_settings_of_the_file_hold_after_a_build(books, migrations) -> None:
    migrations.write(
        "001_a.sql",
        f"SET lock_timeout = '3s';\nSET statement_timeout = '7s';\n{INDEX}\n"
        "CREATE TABLE seen AS SELECT current_setting('lock_timeout') l, current_setting('statement_timeout') s;",
    )
    apply(books, migrations)
    assert books.query("TABLE seen") == [("3s", "7s")]


def test_a_file_that_has_set_a_role_keeps_it(books, migrations) -> None:
    role = f"{books.name}_owner"
    books.execute(f"CREATE ROLE {role}; ALTER TABLE book OWNER TO {role}; GRANT CREATE ON SCHEMA public TO {role}")
    try:
        migrations.write("001_a.sql", f"SET ROLE {role};\n{INDEX}\nCREATE TABLE made ();")
        apply(books, migrations)
        assert ask(books, "SELECT tableowner FROM pg_tables WHERE tablename = 'made'") == [(role,)]
    finally:
        books.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


# ---- longer than its run --------------------------------------------------------------------------------------------


@pytest.fixture
def stuck(books: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session that a build on the table waits for, until its transaction ends."""
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        yield holder


def test_a_build_outlives_its_killed_run_and_the_next_one_waits_for_it(books, stuck, migrations) -> None:
    migrations.write("001_a.sql", INDEX)
    with start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        runner.kill()
    (index,) = ask(books, "SELECT 'book_title_idx'::regclass::oid")
    told: list[Holder | None] = []
    run = Task(apply, books, migrations, wait=0.1, listener=Watcher(waiting=told.append))
    until(lambda: told, "the wait")
    time.sleep(1)
    assert run.is_alive(), "it waits, though longer than it would for another run"
    assert "running CREATE INDEX CONCURRENTLY book_title_idx: waiting for" in str(told[-1])
    stuck.rollback()
    assert labels(run.result()) == ["001"]
    assert ask(books, "SELECT 'book_title_idx'::regclass::oid") == [index], "it wasn't built again"
    assert (indexes(books), intents(books)) == ([("book_title_idx", True)], [])
    assert attempts(books) == [("001", "interrupted"), ("001", "applied")]


@pytest.mark.parametrize("how", ["time is up", "killed"])
def test_a_run_waits_for_what_another_was_dropping(books, migrations, how: str) -> None:
    """The server finishes also the DROP INDEX CONCURRENTLY of what an attempt before had left."""
    migrations.write("001_a.sql", INDEX)
    with start_runner(books, migrations) as runner, holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"):
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        runner.kill()
        books.execute(f"SELECT pg_terminate_backend({backend(books, 'CREATE INDEX')})")
        until(lambda: not backends(books), "its end")
    with holding(books.url, "LOCK TABLE book IN ACCESS SHARE MODE") as reader:
        if how == "killed":
            with start_runner(books, migrations) as runner:
                backend(books, "DROP INDEX")
                runner.kill()
        else:
            left = apply(books, migrations, is_time_up=lambda: bool(backend(books, "DROP INDEX")))
            assert (left.remaining, left.running) == (1, "DROP INDEX CONCURRENTLY IF EXISTS public.book_title_idx")
        told: list[Holder | None] = []
        run = Task(apply, books, migrations, wait=0.1, listener=Watcher(waiting=told.append))
        until(lambda: told, "the wait")
        time.sleep(1)
        assert run.is_alive(), run.result()
        reader.rollback()
        assert labels(run.result()) == ["001"]
    assert (indexes(books), intents(books)) == ([("book_title_idx", True)], [])


def test_a_failed_build_is_reported_while_the_server_still_drops_what_it_left(books, migrations) -> None:
    books.execute("INSERT INTO book VALUES (1)")
    migrations.write("001_a.sql", "CREATE UNIQUE INDEX CONCURRENTLY book_id_idx ON book (id);")
    dropping = "SELECT FROM pg_stat_activity WHERE query LIKE 'DROP INDEX%' AND state = 'active'"
    with holding(books.url, "LOCK TABLE book IN ACCESS SHARE MODE") as reader:
        with pytest.raises(MigrationFailed) as caught:
            apply(books, migrations, is_time_up=lambda: bool(books.query(dropping)))
        assert caught.value.facts["sqlstate"] == "23505"
        assert "DROP INDEX CONCURRENTLY IF EXISTS public.book_id_idx" in caught.value.cause
        assert books.query(dropping)
        reader.rollback()
    until(lambda: indexes(books) == [], "its end")
    books.execute("DELETE FROM book WHERE title IS NULL")
    assert labels(apply(books, migrations)) == ["001"]
    assert (indexes(books), intents(books)) == ([("book_id_idx", True)], [])


def test_sixteen_runs_at_once_run_each_unit_once(books, migrations) -> None:
    """A run that waits for another is in the way of none of its statements."""
    books.execute("CREATE TABLE ledger (step text)")
    kinds = [
        "CREATE INDEX CONCURRENTLY {0}_a ON book (title, {1});",
        "CREATE UNIQUE INDEX CONCURRENTLY {0}_b ON book (id, {1});",
    ]
    kinds += ["REINDEX INDEX CONCURRENTLY {0}_a;", "VACUUM book;", "DROP INDEX CONCURRENTLY {0}_b;"]
    steps = []
    for number in range(1, 5):
        text = ""
        for at, kind in enumerate(kinds):
            steps.append(f"{number}.{at}")
            text += f"{kind.format(f'i{number}', f'({number})')}\nINSERT INTO ledger VALUES ('{steps[-1]}');\n"
        migrations.write(f"00{number}_step.sql", text)
    runs = [Task(apply, books, migrations, execution=f"test-{n}") for n in range(16)]
    done = sorted(label for run in runs for label in labels(run.result(120)))
    assert done == ["001", "002", "003", "004"]
    assert books.query("SELECT step FROM ledger ORDER BY 1") == [(step,) for step in steps]
    assert indexes(books) == [(f"i{number}_a", True) for number in range(1, 5)]
    assert attempts(books) == [(label, "applied") for label in done]
    assert intents(books) == []


def test_a_run_whose_time_is_up_leaves_a_build_to_the_server(books, stuck, migrations) -> None:
    migrations.write("001_a.sql", f"CREATE TABLE a ();\n{INDEX}\nCREATE TABLE b ();")
    for _ in range(2):
        began = time.monotonic()
        left = apply(books, migrations, is_time_up=lambda began=began: time.monotonic() > began + 0.7)
        assert (left.applied, left.remaining) == ((), 1)
        assert "CREATE INDEX" in str(left.running) or "001_a.sql:2" in str(left.running)
        assert indexes(books) == [("book_title_idx", False)]
    stuck.rollback()
    assert labels(apply(books, migrations)) == ["001"]
    assert indexes(books) == [("book_title_idx", True)]
    assert attempts(books) == [("001", "interrupted"), ("001", "applied")]


def test_a_run_that_loses_its_connection_in_a_build_waits_for_its_end(books, stuck, migrations, proxy) -> None:
    migrations.write("001_a.sql", INDEX)
    run = Task(apply, books, migrations, url=proxy.url(books.url), limits=Limits(lock_wait=20_000))
    until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
    proxy.reset_now()
    time.sleep(1)
    stuck.rollback()
    assert labels(run.result()) == ["001"]
    assert (indexes(books), intents(books)) == ([("book_title_idx", True)], [])


def test_ctrl_c_ends_a_build_and_drops_what_it_left(books, stuck, migrations) -> None:
    migrations.write("001_a.sql", INDEX)
    with start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        Task(lambda: (time.sleep(1), stuck.rollback()))  # its DROP INDEX CONCURRENTLY waits, too
        runner.interrupt()
        code, answer = runner.finish()
    assert (code, answer["error"]) == (1, "Cancelled")
    assert (indexes(books), intents(books)) == ([], [])


def test_progress_names_whom_a_build_waits_for(books, stuck, migrations) -> None:
    class Watching(Listener):
        def statement_running(self, at: RunningStatement) -> None:
            reports.append(str(at))
            stuck.rollback()

    reports: list[str] = []
    migrations.write("001_a.sql", f"\n{INDEX}")
    apply(books, migrations, listener=Watching())
    assert re.fullmatch(
        r"001_a.sql:2, statement 1 of 1, waiting for writers before build: .+ \(pid \d+, idle in transaction, "
        r"transaction .+ old\) \(1 of 1\)",
        reports[0],
    )


def test_how_fast_another_run_is_and_how_long_it_still_takes_is_measured(database, migrations) -> None:
    database.execute("CREATE TABLE big AS SELECT n, repeat('x', 500) FROM generate_series(1, 40000) n")
    slow = "SET vacuum_cost_delay = '20ms'; SET vacuum_cost_limit = 100;"
    migrations.write("001_a.sql", f"{slow}\nVACUUM big;")
    with start_runner(database, migrations) as runner, Session(database.url, "status") as session:
        until(
            lambda: database.query("SELECT 1 FROM pg_stat_progress_vacuum WHERE heap_blks_scanned > 0"), "its progress"
        )
        found = find_running(session)
        runner.interrupt()
        runner.finish()
    assert found
    match = re.search(
        r"scanning heap \d+ % \([\d,]+ of ([\d,]+) blocks, ([\d,]+)/s, about .+ left\)", found.doing or ""
    )
    assert match, found
    total, speed = (int(number.replace(",", "")) for number in match.groups())
    assert 0 < speed < total, "what was done before it was looked at doesn't count"


def test_a_build_that_fails_names_whom_it_was_waiting_for(books, stuck, migrations) -> None:
    migrations.write("001_a.sql", INDEX)
    reports: list[RunningStatement] = []

    class Watching(Listener):
        def statement_running(self, at: RunningStatement) -> None:
            reports.append(at)

    run = Task(apply, books, migrations, listener=Watching())
    until(lambda: reports, "the progress")
    books.query("SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index")
    stuck.rollback()
    with pytest.raises(Cancelled) as caught:
        run.result()
    last = reports[-1].progress
    assert last is not None
    assert caught.value.facts["waits_for"] == last.waits_for
    assert f"It was waiting for {last.waits_for}." in caught.value.cause


def test_an_error_about_a_slot_on_another_server_says_what_to_do(database, migrations) -> None:
    """The test's server can't make a slot, nor reach one that was made."""
    database.execute("CREATE PUBLICATION news")
    migrations.write("001_a.sql", f"CREATE SUBSCRIPTION a CONNECTION '{database.url}' PUBLICATION news;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert "SELECT pg_drop_replication_slot('a');" in caught.value.solution
    database.execute("CREATE SUBSCRIPTION a CONNECTION 'port=1' PUBLICATION news WITH (connect = false)")
    migrations.write("001_a.sql", "DROP SUBSCRIPTION a;")
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert "ALTER SUBSCRIPTION a SET (slot_name = NONE);" in caught.value.solution
    database.execute("ALTER SUBSCRIPTION a SET (slot_name = NONE)")
    assert labels(apply(database, migrations)) == ["001"]


# ---- statements that commit by themselves ---------------------------------------------------------------------------

FILL = """
-- migration: transaction = off
CREATE TABLE step (n int);
DO $$ BEGIN FOR n IN 1 .. 3 LOOP INSERT INTO step VALUES (n); COMMIT; LOCK TABLE book; END LOOP; END $$;
CREATE TABLE after ();
"""


def killed_in_a_block(books: Database, migrations: Migrations, text: str = FILL) -> None:
    """A run that is killed while its DO waits for a lock, after its first COMMIT."""
    migrations.write("001_fill.sql", text.lstrip())
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE"), start_runner(books, migrations) as runner:
        until(lambda: exists(books, "step") and books.query("TABLE step"), "the first step")
        runner.kill()
        until(lambda: not books.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "the end of its statement")


@pytest.mark.parametrize(("outcome", "steps"), [("applied", [1]), ("again", [1, 1, 2, 3])])
def test_a_block_that_was_killed_waits_for_a_person_who_resolves_it(books, migrations, outcome: Any, steps) -> None:
    killed_in_a_block(books, migrations)
    for _ in range(2):
        with pytest.raises(InDoubt) as caught:
            apply(books, migrations)
    assert caught.value.message == "001_fill.sql:3: it isn't known how far DO got: its run ended first."
    assert str(caught.value.next_command) == "aurora-migrations resolve 001 again"
    assert [n for (n,) in books.query("TABLE step")] == [1], "nothing was run again"
    engine.resolve(request(books, migrations), "1", outcome)
    assert labels(apply(books, migrations)) == ["001"]
    assert [n for (n,) in books.query("TABLE step ORDER BY 1")] == steps
    assert (intents(books), exists(books, "after")) == ([], True)


def test_an_intent_of_a_process_that_had_the_id_before_is_nothing_that_runs(books, migrations) -> None:
    killed_in_a_block(books, migrations)
    with holding(books.url, f"SELECT pg_advisory_lock({RUN_LOCK})") as other:
        books.execute(f"UPDATE aurora_migrations.intents SET lock_holder = {other.info.backend_pid}")
        with Session(books.url, "test-2") as session:
            assert find_running(session).doing is None
        with pytest.raises(AnotherRunInProgress):
            apply(books, migrations, wait=0)


@pytest.mark.parametrize("changed", [FILL.replace("1 .. 3", "2 .. 3"), "CREATE TABLE step (n int);\nTABLE step;"])
def test_a_block_that_was_killed_stays_in_doubt_though_the_file_was_changed(books, migrations, changed) -> None:
    killed_in_a_block(books, migrations)
    migrations.write("001_fill.sql", f"-- migration: transaction = off\n{changed.rpartition('off')[2].lstrip()}")
    with pytest.raises(InDoubt, match=r"001_fill.sql: it isn't known how far DO got") as caught:
        apply(books, migrations)
    assert "changed since" in caught.value.cause
    assert books.query("TABLE step") == [(1,)], "nothing was run again"
    engine.resolve(request(books, migrations), "1", "again")
    assert labels(apply(books, migrations)) == ["001"]
    assert intents(books) == []


def test_a_block_that_was_killed_stays_in_doubt_though_the_file_has_another_number(books, migrations) -> None:
    """Also where it is the first unit, so that none is recorded."""
    books.execute("CREATE TABLE step (n int)")
    fill = FILL.replace("CREATE TABLE step (n int);\n", "")
    killed_in_a_block(books, migrations, fill)
    (migrations.dir / "001_fill.sql").rename(migrations.dir / "002_fill.sql")
    with pytest.raises(InDoubt, match=r"002_fill.sql:2: it isn't known how far DO got") as caught:
        apply(books, migrations)
    assert "That was in 001_fill.sql, which isn't in this folder" in caught.value.cause
    assert books.query("TABLE step") == [(1,)], "nothing was run again"
    (migrations.dir / "002_fill.sql").rename(migrations.dir / "001_fill.sql")
    engine.resolve(request(books, migrations), "1", "applied")
    assert labels(apply(books, migrations)) == ["001"]
    assert books.query("TABLE step") == [(1,)]


def test_a_block_in_doubt_that_is_resolved_as_applied_needs_its_text(books, migrations) -> None:
    killed_in_a_block(books, migrations)
    migrations.write("001_fill.sql", FILL.lstrip().replace("1 .. 3", "2 .. 3"))
    engine.resolve(request(books, migrations), "1", "applied")
    with pytest.raises(MigrationChanged):
        apply(books, migrations)
    assert books.query("TABLE step") == [(1,)]


def test_nothing_is_resolved_where_nothing_is_in_doubt(books, migrations) -> None:
    migrations.write("001_a.sql", "SELECT 1;")
    with pytest.raises(InvalidInput, match="Nothing of migration 001 is in doubt"):
        engine.resolve(request(books, migrations), "001", "applied")
    with pytest.raises(InvalidInput, match="002"):
        engine.resolve(request(books, migrations), "002", "applied")


# ---- ended on purpose -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alive", [False, True], ids=["left to the server", "of a living run"])
def test_cancel_ends_a_build_and_leaves_nothing_invalid(books, stuck, migrations, alive: bool) -> None:
    migrations.write("001_a.sql", f"CREATE TABLE a ();\n{INDEX}")
    with start_runner(books, migrations) as runner:
        until(lambda: indexes(books) == [("book_title_idx", False)], "the build")
        if not alive:
            runner.kill()
        cancelling = Task(engine.cancel, request(books, migrations))
        until(
            lambda: (
                not books.query("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND state = 'active'")
            ),
            "the end of the build",
        )
        stuck.rollback()
        message = cancelling.result().message
        assert message.startswith("Cancelled CREATE INDEX CONCURRENTLY book_title_idx: waiting for writers")
        again = engine.cancel(request(books, migrations))  # by the same execution, as its answer was lost
        assert message.startswith(again.message)
        if alive:
            assert runner.finish()[1]["error"] == "Cancelled"
    assert indexes(books) == []
    assert labels(apply(books, migrations)) == ["001"]
    assert (indexes(books), intents(books)) == ([("book_title_idx", True)], [])


@pytest.mark.parametrize("alive", [False, True], ids=["left to the server", "of a living run"])
def test_cancel_of_a_drop_leaves_nothing_invalid(books, migrations, alive: bool) -> None:
    books.execute("CREATE INDEX book_title_idx ON book (title)")
    migrations.write("001_a.sql", DROP)
    with (
        holding(books.url, "LOCK TABLE book IN ACCESS SHARE MODE") as reader,
        start_runner(books, migrations) as runner,
    ):
        pid = backend(books, "DROP INDEX")
        until(lambda: indexes(books) == [("book_title_idx", False)], "the drop")
        if not alive:
            runner.kill()
        cancelling = Task(engine.cancel, request(books, migrations))
        until(lambda: not ask(books, "SELECT FROM pg_stat_activity WHERE pid = %s", [pid]), "its end")
        reader.rollback()
        assert cancelling.result().message.endswith("; dropped public.book_title_idx, which it had left invalid")
        if alive:
            assert runner.finish()[1]["error"] == "Cancelled"
    assert indexes(books) == []
    assert labels(apply(books, migrations)) == ["001"]
    assert intents(books) == []


PATIENT = "-- migration: lock_timeout = 1min\n"
CANCELLED = {
    "a build": f"CREATE TABLE a ();\n{INDEX}",
    "a detached transaction": f"{PATIENT}-- migration: detach = on\nCREATE TABLE a ();\nLOCK TABLE book;",
    "a transaction": f"{PATIENT}CREATE TABLE a ();\nLOCK TABLE book;",
}


@pytest.mark.parametrize(("what", "alive"), [(what, alive) for what in CANCELLED for alive in (True, False)][:-1])
def test_a_run_that_waits_for_what_is_cancelled_does_not_start_it_again(
    books, stuck, migrations, what: str, alive: bool
) -> None:
    """An ordinary transaction ends with its run, so only that of a living one is cancelled."""
    migrations.write("001_a.sql", CANCELLED[what])
    with start_runner(books, migrations) as runner:
        waits = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query NOT LIKE 'DROP INDEX%'"
        until(lambda: books.query(waits), "the statement")
        if not alive:
            runner.kill()
        seen: list[Holder | None] = []
        waiting = Task(apply, books, migrations, listener=Watcher(waiting=seen.append))
        until(lambda: seen, "the run that waits")
        cancelling = Task(engine.cancel, request(books, migrations))
        until(lambda: not books.query(waits), "the end of the statement")
        stuck.rollback()
        assert cancelling.result().message.startswith("Cancelled ")
        with pytest.raises(Cancelled, match=r"001_a.sql:[1-3] was cancelled while this run waited for its end"):
            waiting.result()
    assert indexes(books) == []
    assert labels(apply(books, migrations)) == ["001"]
    assert (exists(books, "a"), intents(books)) == (True, [])


def test_cancel_needs_something_to_cancel(books, migrations) -> None:
    migrations.write("001_a.sql", "SELECT 1;")
    with pytest.raises(InvalidInput, match="No run is in progress"):
        engine.cancel(request(books, migrations))


# ---- a transaction that may outlive its run -------------------------------------------------------------------------

DETACHED = "-- migration: detach = on\n"
SLOW = f"{DETACHED}CREATE TABLE a (b text);\nINSERT INTO a VALUES ('it''s $1');\nLOCK TABLE book;\n"
# Notices to a client that is gone.
SLOW += "DO $$ BEGIN FOR n IN 1 .. 20 LOOP RAISE NOTICE '%', n; PERFORM pg_sleep(0.01); END LOOP; END $$;\n"
SLOW += "SET ROLE pg_monitor;"


@pytest.mark.parametrize("how", ["time is up", "killed"])
def test_a_detached_transaction_outlives_its_run_and_is_applied_once(books, stuck, migrations, how: str) -> None:
    migrations.write("001_a.sql", SLOW)
    limits = Limits(lock_timeout=25_000, statement_timeout=26_000)
    if how == "killed":
        with start_runner(books, migrations, "--lock-timeout", "25s") as runner:
            until(lambda: books.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "the wait")
            runner.kill()
    else:
        ends = time.monotonic() + 1
        left = apply(books, migrations, limits=limits, is_time_up=lambda: time.monotonic() > ends)
        assert (left.remaining, left.running) == (1, "001_a.sql:2, statements 1 to 5 of 5")
    told: list[Holder | None] = []
    run = Task(apply, books, migrations, wait=0.1, listener=Watcher(waiting=told.append))
    until(lambda: told, "the wait")
    assert "running the transaction of 001_a.sql" in str(told[-1])
    assert not exists(books, "a")
    stuck.rollback()
    assert labels(run.result()) == []
    assert (applied(books), intents(books), books.query("TABLE a")) == (["001"], [], [("it's $1",)])
    assert attempts(books) == [("001", "applied")]


def test_a_detached_transaction_is_tried_again_after_its_own_limit_has_passed(books, migrations) -> None:
    """It was ended by lock_timeout, and not by that limit."""
    limits = "-- migration: lock_timeout = 200ms\n-- migration: statement_timeout = 400ms\n"
    migrations.write("001_a.sql", f"{limits}{DETACHED}LOCK TABLE book;\nCREATE TABLE a ();")
    with holding(books.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        retries = Limits(lock_wait=30_000)
        run = Task(apply, books, migrations, limits=retries, execution_start="2020-01-01T00:00:00Z")
        until(lambda: exists(books, "aurora_migrations.attempts") and len(attempts(books)) > 1, "the second attempt")
        time.sleep(0.5)
        holder.rollback()
    assert labels(run.result()) == ["001"]


def test_a_detached_transaction_that_fails_is_rolled_back_and_told_with_its_place(books, migrations) -> None:
    migrations.write("001_a.sql", f"{DETACHED}CREATE TABLE a ();\n\n  SELECT nothing;\nSELECT 1;")
    with pytest.raises(MigrationFailed) as caught:
        apply(books, migrations)
    assert (caught.value.facts["line"], caught.value.facts["column"]) == (4, 10)
    assert caught.value.state == ROLLED_BACK
    assert (exists(books, "a"), applied(books)) == (False, [])
    migrations.write("001_a.sql", f"{DETACHED}CREATE TABLE a ();")
    assert labels(apply(books, migrations)) == ["001"]
    assert intents(books) == []


def test_what_a_detached_transaction_deferred_rolls_it_back(books, migrations) -> None:
    books.execute("ALTER TABLE book ADD UNIQUE (id) DEFERRABLE INITIALLY DEFERRED")
    migrations.write("001_a.sql", f"{DETACHED}INSERT INTO book VALUES (1);")
    with pytest.raises(MigrationFailed) as caught:
        apply(books, migrations)
    assert caught.value.facts["sqlstate"] == "23505"
    assert applied(books) == []


@pytest.mark.parametrize(("rows", "fails"), [(0, False), (1, True)])
def test_a_detached_transaction_is_checked_after_its_commit(books, migrations, rows: int, fails: bool) -> None:
    migrations.write("001_a.sql", f"-- verify: rows a = {rows}\n{DETACHED}CREATE TABLE a ();")
    with pytest.raises(VerificationFailed) if fails else contextlib.nullcontext() as caught:
        apply(books, migrations)
    if caught:
        assert caught.value.state.startswith("001_a.sql is applied")
    assert applied(books) == ["001"]


@pytest.mark.parametrize("expects", [False, True])
def test_a_connection_lost_after_a_detached_commit_is_no_other_run(books, migrations, proxy, expects: bool) -> None:
    """Where there is nothing to check, nothing is sent then."""
    checked = "-- verify: rows a = 0\n" if expects else ""
    migrations.write("001_a.sql", f"{checked}{DETACHED}CREATE TABLE a ();")
    migrations.write("002_b.sql", "CREATE TABLE b ();")
    needle = b"DELETE FROM aurora_migrations.intents"  # of the message with the record; its answer still comes
    proxy.set(Trap((needle,), Cut.CUT_AFTER, share=1.0))
    with pytest.raises(VerificationFailed) if expects else contextlib.nullcontext() as caught:
        apply(books, migrations, url=proxy.url(books.url), limits=Limits(lock_wait=20_000))
    if caught:
        assert "what it did wasn't checked" in caught.value.message
        assert caught.value.state.startswith("001_a.sql is applied")
    assert applied(books) == (["001"] if expects else ["001", "002"])


VALIDATE = "ALTER TABLE book VALIDATE CONSTRAINT positive;"


def test_a_file_that_only_validates_constraints_outlives_its_run(books, migrations) -> None:
    """It reads for long and blocks nobody. With an expectation it doesn't, which would be checked after its COMMIT."""
    slow = "CREATE FUNCTION slow(int) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT pg_sleep(0.05) IS NOT NULL'"
    books.execute(f"{slow}; INSERT INTO book VALUES (1)")
    books.execute("ALTER TABLE book ADD CONSTRAINT positive CHECK (slow(id)) NOT VALID")
    validated = "SELECT convalidated FROM pg_constraint WHERE conname = 'positive'"
    migrations.write("001_a.sql", f"{VALIDATE}\n{VALIDATE}")
    ends = time.monotonic() + 1
    left = apply(books, migrations, is_time_up=lambda: time.monotonic() > ends)
    assert (left.remaining, left.running) == (1, "001_a.sql:1, statements 1 to 2 of 2")
    assert books.query(validated) == [(False,)]
    assert labels(apply(books, migrations)) == []
    assert (applied(books), books.query(validated), intents(books)) == (["001"], [(True,)], [])
    assert attempts(books) == [("001", "applied")]


@pytest.mark.parametrize(
    ("text", "detaches"),
    [
        (VALIDATE, True),
        (f"BEGIN;\n{VALIDATE}\nCOMMIT;", True),
        (f"-- migration: detach = off\n{VALIDATE}", False),
        (f"-- verify: rows book = 0\n{VALIDATE}", False),
        (f"{VALIDATE}\nSELECT 1;", False),
        ("ALTER TABLE book VALIDATE CONSTRAINT positive, ADD a int;", False),
        ("-- nothing", False),
    ],
)
def test_which_files_outlive_their_run_without_saying_so(text: str, detaches: bool) -> None:
    assert bool(compile_text("001_a.sql", text.encode(), Options()).script.options.detach) == detaches


@pytest.mark.parametrize("text", [INDEX, "BEGIN; SELECT 1; COMMIT; SELECT 2;"])
def test_detach_is_refused_where_a_file_is_not_one_transaction(books, migrations, text: str) -> None:
    migrations.write("001_a.sql", f"{DETACHED}{text}")
    with pytest.raises(InvalidFile, match="detach = on is for a file that runs in one transaction"):
        apply(books, migrations)
