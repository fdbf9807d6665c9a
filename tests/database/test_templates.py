"""What the templates of `new` write does its work on a table with rows, step by step, and is undone step by step."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from psycopg import errors

from aurora_migrations.cli.verbs.new import Draft, draft
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Request, apply, discover, roll_back
from aurora_migrations.engine.errors import LockTimeout, MigrationFailed, VerificationFailed
from aurora_migrations.engine.options import Limits
from tests.database.helpers import applied
from tests.servers import Database, Migrations

ROWS = 1_000
TABLES = f"""
CREATE TABLE users (id integer PRIMARY KEY, name text NOT NULL, mail text NOT NULL, "order" integer);
INSERT INTO users SELECT n, 'Name ' || n, 'u' || n || '@example.com', n FROM generate_series(1, {ROWS}) AS n;
CREATE SCHEMA app;
CREATE TABLE app."Order" ("end" uuid PRIMARY KEY DEFAULT gen_random_uuid(), "user" integer, "Ação $$" text);
INSERT INTO app."Order" ("user", "Ação $$") SELECT n, 'a' || n FROM generate_series(1, {ROWS}) AS n;
"""
ODD = {"table": "app.Order", "column": "user"}
CASES = {
    "index": {"table": "users", "column": "mail"},
    "index, odd names": {"table": "app.Order", "column": '"Ação $$"'},
    "not-null": {"table": "users", "column": "order"},
    "not-null, odd names": ODD,
    "foreign-key": {"table": "app.Order", "column": "user", "references": "users"},
    "foreign-key, to itself": {"table": "users", "column": "order", "references": "users"},
    "rename": {"table": "users", "column": "mail", "to": "email", "type": "text", "key": "id"},
    "rename, odd names": {"table": "app.Order", "column": '"Ação $$"', "to": "To", "type": "text", "key": "end"},
    "backfill": {"table": "users", "column": "late", "key": "id", "value": "lower(name)"},
    "backfill, odd names": {
        "table": "app.Order",
        "column": "Late",
        "key": "end",
        "value": "\"Ação $$\" || ':key {count}'",
    },
}

# All that a template changes: columns, constraints, indexes, triggers, functions and what tables there are.
CATALOGUE = """
SELECT 'table ' || c.oid::regclass FROM pg_class c WHERE relkind = 'r' AND relnamespace IN (SELECT * FROM ours)
UNION ALL
SELECT format('column %s %s %s %s', attrelid::regclass, attname, atttypid::regtype, attnotnull)
FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
WHERE relkind = 'r' AND relnamespace IN (SELECT * FROM ours) AND attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint %s %s %s', conname, convalidated, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE connamespace IN (SELECT * FROM ours)
UNION ALL
SELECT pg_get_indexdef(indexrelid) || indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid
WHERE relnamespace IN (SELECT * FROM ours)
UNION ALL
SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t WHERE NOT tgisinternal
UNION ALL
SELECT pg_get_functiondef(p.oid) FROM pg_proc p WHERE pronamespace IN (SELECT * FROM ours)
ORDER BY 1
"""


@dataclass(frozen=True)
class State:
    """What a database holds: its catalogue, and a hash of each table's rows, their columns by name."""

    catalogue: list[str]
    rows: list[str]


@dataclass
class Deployment:
    """A database with the tables above, and a template's files to deploy to it one after the other."""

    database: Database
    folder: Migrations
    connection: psycopg.Connection[Any]

    def write(self, drafts: list[Draft]) -> list[str]:
        """Writes the files; returns the steps' numbers."""
        steps = list(dict.fromkeys(each.step for each in drafts))
        for each in drafts:
            text = each.text.replace("because ...", "because the table is small")
            self.folder.write(f"{steps.index(each.step) + 1:03}_x{each.step}{each.role}.sql", text)
        return [f"{number:03}" for number, _ in enumerate(steps, 1)]

    def change(self, name: str, old: str, new: str) -> None:
        path = next(self.folder.dir.glob(name))
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new), "utf-8", newline="\n")

    def request(self) -> Request:
        return Request(
            self.database.url, Compiler(discover(self.folder.dir)), "test", "tests", limits=Limits(lock_wait=0)
        )

    def apply(self, target: str | None = None) -> None:
        apply(self.request(), target)

    def roll_back(self, target: str) -> None:
        roll_back(self.request(), target, target)

    def catalogue(self) -> list[str]:
        ours = "WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'app'))"
        return [row[0] for row in self.query(ours + CATALOGUE)]

    def state(self) -> State:
        rows = """SELECT md5(string_agg(to_jsonb(u)::text, ' ' ORDER BY id)) FROM users u
                  UNION ALL SELECT md5(string_agg(to_jsonb(o)::text, ' ' ORDER BY o."end")) FROM app."Order" o"""
        return State(self.catalogue(), [row[0] for row in self.query(rows)])

    def query(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def value(self, query: str) -> Any:
        return self.query(query)[0][0]


@pytest.fixture
def deployment(database: Database, migrations: Migrations) -> Deployment:
    connection = database.connect()
    connection.execute(TABLES)
    return Deployment(database, migrations, connection)


@pytest.fixture
def of(deployment: Deployment) -> Callable[..., list[str]]:
    """Writes a template's files with the names of a case, or others; returns the steps' numbers."""

    def write(case: str, batches: int | None = None, **names: str) -> list[str]:
        if case.startswith("backfill"):
            table = 'app."Order" ADD "Late" text' if "odd" in case else "users ADD late text"
            deployment.connection.execute(f"ALTER TABLE {table}")
        given = CASES[case] | names | ({} if batches is None else {"batches": batches})
        return deployment.write(draft(case.partition(",")[0], given))

    return write


@pytest.mark.parametrize("case", CASES)
def test_each_step_does_something_and_its_down_file_undoes_it(deployment: Deployment, of, case: str) -> None:
    deployment.connection.execute("ALTER TABLE users ALTER mail DROP NOT NULL")  # renamed back, a column has lost it
    steps = of(case)
    seen = [deployment.state()]
    for step in steps:
        deployment.apply(step)
        seen.append(deployment.state())
        assert seen[-1] != seen[-2]
    for number, step in reversed(list(enumerate(steps))):
        deployment.roll_back(step)
        assert deployment.state().catalogue == seen[number].catalogue
    if not case.startswith("backfill"):
        assert deployment.state() == seen[0]
    deployment.apply()
    assert deployment.state() == seen[-1]


@pytest.mark.parametrize("case", ["rename", "backfill"])
def test_empty_table_is_fine(deployment: Deployment, of, case: str) -> None:
    deployment.connection.execute('TRUNCATE users, app."Order"')
    steps = of(case)
    deployment.apply()
    assert applied(deployment.database) == steps
    for step in reversed(steps):
        deployment.roll_back(step)
    assert applied(deployment.database) == []


# ---- index ----------------------------------------------------------------------------------------------------------


def test_index_is_used(deployment: Deployment, of) -> None:
    of("index")
    deployment.apply()
    plan = "\n".join(row[0] for row in deployment.query("EXPLAIN SELECT FROM users WHERE mail = 'x'"))
    assert "users_mail_idx" in plan


# ---- not-null -------------------------------------------------------------------------------------------------------


def test_not_null_holds_for_new_rows_from_the_first_step_on(deployment: Deployment, of) -> None:
    deployment.connection.execute('UPDATE users SET "order" = NULL WHERE id = 7')
    first, second, third = of("not-null")
    deployment.apply(first)
    with pytest.raises(errors.CheckViolation):
        deployment.connection.execute("INSERT INTO users VALUES (0, 'a', 'a', NULL)")
    with pytest.raises(MigrationFailed):
        deployment.apply(second)
    deployment.connection.execute('UPDATE users SET "order" = 7 WHERE id = 7')
    deployment.apply(third)
    with pytest.raises(errors.NotNullViolation):
        deployment.connection.execute("INSERT INTO users VALUES (0, 'a', 'a', NULL)")


def scans(deployment: Deployment) -> int:
    """How often users was read as a whole, once no session that may still report is left, and ours has reported."""
    deployment.value("SELECT pg_stat_force_next_flush()")
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + 10
    while deployment.value(others) and time.monotonic() < deadline:
        time.sleep(0.01)
    return int(deployment.value("SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'users'"))


def test_not_null_reads_the_table_in_the_second_step_only(deployment: Deployment, of) -> None:
    counts = [scans(deployment)]
    for step in of("not-null"):
        deployment.apply(step)
        counts.append(scans(deployment))
    assert [after - before for before, after in pairwise(counts)] == [0, 1, 0]


# ---- foreign-key ----------------------------------------------------------------------------------------------------


def test_foreign_key_holds_for_new_rows_from_the_first_step_on(deployment: Deployment, of) -> None:
    deployment.connection.execute('INSERT INTO app."Order" ("user") VALUES (-1)')
    first, second = of("foreign-key")
    deployment.apply(first)
    with pytest.raises(errors.ForeignKeyViolation):
        deployment.connection.execute('INSERT INTO app."Order" ("user") VALUES (-2)')
    with pytest.raises(MigrationFailed):
        deployment.apply(second)
    deployment.connection.execute('DELETE FROM app."Order" WHERE "user" = -1')
    deployment.apply(second)
    with pytest.raises(errors.ForeignKeyViolation):
        deployment.connection.execute("DELETE FROM users WHERE id = 1")


# ---- rename ---------------------------------------------------------------------------------------------------------


def both(deployment: Deployment, which: int) -> tuple[Any, ...]:
    return deployment.query(f"SELECT mail, email FROM users WHERE id = {which}")[0]


def test_rename_lets_releases_of_both_names_run_side_by_side(deployment: Deployment, of) -> None:
    first, second, _ = of("rename")
    deployment.apply(first)
    execute = deployment.connection.execute
    execute("INSERT INTO users (id, name, mail) VALUES (-1, 'a', 'old@a')")
    execute("INSERT INTO users (id, name, email) VALUES (-2, 'a', 'new@a')")
    assert (both(deployment, -1), both(deployment, -2)) == (("old@a", "old@a"), ("new@a", "new@a"))
    execute("UPDATE users SET mail = 'old@b' WHERE id IN (-1, 1)")  # 1 has no value in the new column yet
    execute("UPDATE users SET email = 'new@b' WHERE id IN (-2, 2)")
    execute("UPDATE users SET name = 'b' WHERE id = 3")
    assert (both(deployment, -1), both(deployment, 1)) == (("old@b", "old@b"), ("old@b", "old@b"))
    assert (both(deployment, -2), both(deployment, 2)) == (("new@b", "new@b"), ("new@b", "new@b"))
    assert both(deployment, 3) == ("u3@example.com", None)
    deployment.apply(second)
    assert deployment.value("SELECT count(*) FROM users WHERE mail IS DISTINCT FROM email OR email IS NULL") == 0
    assert (both(deployment, 1), both(deployment, 2)) == (("old@b", "old@b"), ("new@b", "new@b"))


def test_rename_copies_null_as_null(deployment: Deployment, of) -> None:
    deployment.connection.execute(
        "ALTER TABLE users ALTER mail DROP NOT NULL; UPDATE users SET mail = NULL WHERE id < 9"
    )
    _, second, _ = of("rename")
    deployment.apply(second)
    deployment.connection.execute(
        "UPDATE users SET email = NULL WHERE id = 9; UPDATE users SET mail = NULL WHERE id = 10"
    )
    assert deployment.value("SELECT count(*) FROM users WHERE mail IS NULL AND email IS NULL") == 10


def test_rename_undone_has_the_values_of_both_releases(deployment: Deployment, of) -> None:
    steps = of("rename")
    deployment.apply()
    deployment.connection.execute("INSERT INTO users (id, name, email) VALUES (-1, 'a', 'new@a')")
    deployment.connection.execute("UPDATE users SET email = 'new@b' WHERE id = 1")
    deployment.roll_back(steps[-1])
    assert (both(deployment, -1), both(deployment, 1)) == (("new@a", "new@a"), ("new@b", "new@b"))
    assert deployment.value("SELECT count(*) FROM users WHERE mail IS DISTINCT FROM email") == 0
    deployment.connection.execute("UPDATE users SET mail = 'old@b' WHERE id = 1")
    assert both(deployment, 1) == ("old@b", "old@b")
    deployment.roll_back(steps[1])
    deployment.roll_back(steps[0])
    assert deployment.value("SELECT mail FROM users WHERE id = 1") == "old@b"


def test_rename_of_a_type_that_cannot_be_compared_fails_before_anybody_notices(deployment: Deployment, of) -> None:
    """With triggers that compare in their body it would come in, and fail each UPDATE of the application."""
    deployment.connection.execute("ALTER TABLE users ADD data json")
    of("rename", column="data", to="document", type="json")
    before = deployment.catalogue()
    with pytest.raises(MigrationFailed, match="json"):
        deployment.apply()
    assert deployment.catalogue() == before


def test_rename_goes_no_further_while_a_row_differs(deployment: Deployment, of) -> None:
    first, second, _ = of("rename")
    deployment.apply(first)
    deployment.connection.execute("ALTER TABLE users DISABLE TRIGGER users_mail_sync_update")
    deployment.change(f"{second}_x_2_backfill.sql", "SET email = mail", "SET email = upper(mail)")
    with pytest.raises(VerificationFailed, match="Every row has the same value under both names"):
        deployment.apply()


# ---- backfill -------------------------------------------------------------------------------------------------------


def test_backfill_keeps_what_is_there_and_fills_the_rest(deployment: Deployment, of) -> None:
    of("backfill")
    deployment.connection.execute("UPDATE users SET late = 'mine' WHERE id = 5")
    deployment.apply()
    assert deployment.value("SELECT count(*) FROM users WHERE late = lower(name)") == ROWS - 1
    assert deployment.value("SELECT late FROM users WHERE id = 5") == "mine"


@pytest.mark.parametrize(("rows", "batches"), [(1, 7), (6, 7), (8, 7), (8, 1)])
def test_backfill_reaches_each_row_whatever_the_number(deployment: Deployment, of, rows: int, batches: int) -> None:
    of("backfill", batches)
    deployment.connection.execute(f"DELETE FROM users WHERE id > {rows}")
    deployment.apply()
    assert deployment.value("SELECT count(*) FROM users WHERE late IS NULL") == 0


def test_batches_are_transactions_of_their_own_and_of_like_size(deployment: Deployment, of) -> None:
    of("backfill", 4)
    deployment.connection.execute("UPDATE users SET id = id * id WHERE id > 500")  # keys with gaps
    deployment.apply()
    sizes = deployment.query("SELECT count(*) FROM users GROUP BY xmin::text ORDER BY min(id)")
    assert sizes == [(250,)] * 4


def test_batch_finds_its_rows_by_the_key(deployment: Deployment, of) -> None:
    of("backfill")
    path = next(deployment.folder.dir.glob("001_x.sql"))
    create, *_, last = [part for part in path.read_text("utf-8").split(";\n") if "users_late_batches" in part][:-1]
    with deployment.database.connect() as connection:
        connection.execute(create)
        connection.execute("ANALYZE users")
        plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {bare(last)}").fetchall())
    assert re.search(r"Index Scan (using|on) users_pkey", plan), plan


def bare(statement: str) -> str:
    return re.sub(r"(?m)^--.*\n", "", statement)


def test_backfill_that_fails_goes_on_where_it_was(deployment: Deployment, of) -> None:
    of("backfill", 10)
    execute = deployment.connection.execute
    execute("ALTER TABLE users ADD CONSTRAINT not_yet CHECK (id <> 555 OR late IS NULL)")
    with pytest.raises(MigrationFailed) as caught:
        deployment.apply()
    assert "units 1 to 6 are applied" in caught.value.state
    assert deployment.value("SELECT count(*) FROM users WHERE late IS NOT NULL") == 500
    done = deployment.query("SELECT id, xmin::text FROM users WHERE late IS NOT NULL ORDER BY id")
    execute("ALTER TABLE users DROP CONSTRAINT not_yet")
    deployment.apply()
    assert deployment.value("SELECT count(*) FROM users WHERE late IS NULL") == 0
    assert deployment.query("SELECT id, xmin::text FROM users WHERE id <= 500 ORDER BY id") == done
    assert deployment.value("SELECT to_regclass('users_late_batches')") is None


def test_writers_of_rows_of_another_batch_go_on(deployment: Deployment, of) -> None:
    """A row that somebody holds stops its batch, not those before; and a batch holds only its own rows."""
    of("backfill", 2)
    deployment.change("001_x.sql", "transaction = off", "transaction = off\n-- migration: lock_timeout = 100ms")
    holder = deployment.database.connect(autocommit=False)
    holder.execute("UPDATE users SET name = 'held' WHERE id = 900")
    with pytest.raises(LockTimeout):
        deployment.apply()
    assert deployment.value("SELECT count(*) FROM users WHERE late IS NOT NULL") == 500
    holder.commit()
    deployment.apply()
    assert deployment.value("SELECT late FROM users WHERE id = 900") == "held"
