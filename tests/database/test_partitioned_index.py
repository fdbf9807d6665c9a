"""The index of a partitioned table, as `new --template index --partitioned` writes it: it runs and resumes."""

from __future__ import annotations

import pytest

from aurora_migrations.cli.verbs.new import draft
from aurora_migrations.engine.errors import LockTimeout
from tests.database.helpers import apply, ask, attempts, holding, labels, roll_back, start_runner, units, until
from tests.servers import Database, Migrations

SALES = """
    CREATE TABLE sale (at date, item int) PARTITION BY RANGE (at);
    CREATE TABLE sale_1 PARTITION OF sale FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
    CREATE TABLE sale_2 PARTITION OF sale FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
    CREATE TABLE sale_3 PARTITION OF sale FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
    INSERT INTO sale SELECT date '2026-01-01' + n % 90, n FROM generate_series(1, 300) n;
"""
PARTITIONS = ["sale_1", "sale_2", "sale_3"]
WHOLE = [("sale_at_idx", True, None), *((f"{name}_at_idx", True, "sale_at_idx") for name in PARTITIONS)]


@pytest.fixture
def sales(database: Database, migrations: Migrations) -> Database:
    """A database with a partitioned table, and the template's files to run on it."""
    database.execute(SALES)
    for each in draft("index", {"table": "sale", "column": "at", "partition": PARTITIONS}):
        migrations.write(f"001_index{each.role}.sql", each.text)
    return database


def indexes(database: Database) -> list[tuple[str, bool, str | None]]:
    """The indexes, whether each is valid, and the one that it is attached to; the parent's first."""
    query = """
        SELECT i.indexrelid::regclass::text, indisvalid, inhparent::regclass::text
          FROM pg_index i JOIN pg_class t ON t.oid = indrelid LEFT JOIN pg_inherits ON inhrelid = i.indexrelid
         WHERE t.relname LIKE 'sale%%' ORDER BY t.relname
    """
    return ask(database, query)


def interrupted(database: Database, migrations: Migrations, *, is_ended: bool) -> None:
    """A run that is killed while it builds the second partition's index: that becomes valid, or with `is_ended` stays
    invalid."""
    with holding(database.url, "LOCK TABLE sale_2 IN ROW EXCLUSIVE MODE") as writer:
        with start_runner(database, migrations) as runner:
            until(lambda: ("sale_2_at_idx", False, None) in indexes(database), "the build")
            runner.kill()
        if is_ended:
            database.query("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index")
        writer.rollback()
    until(lambda: not ask(database, "SELECT FROM pg_stat_progress_create_index"), "the end of the build")
    assert indexes(database) == [
        ("sale_at_idx", False, None),
        ("sale_1_at_idx", True, "sale_at_idx"),
        ("sale_2_at_idx", not is_ended, None),
    ]


def test_the_whole_recipe_runs_and_is_undone(sales, migrations) -> None:
    assert labels(apply(sales, migrations)) == ["001"]
    assert (indexes(sales), units(sales)) == (WHOLE, [("applied", 6)])
    plan = "\n".join(line for (line,) in ask(sales, "EXPLAIN SELECT FROM sale WHERE at = '2026-02-02'"))
    assert "sale_2" in plan
    roll_back(sales, migrations, "001", "001")
    assert indexes(sales) == []
    assert labels(apply(sales, migrations)) == ["001"]
    assert indexes(sales) == WHOLE


@pytest.mark.parametrize("is_ended", [False, True], ids=["the build goes on", "the build is ended"])
def test_a_run_killed_between_two_partitions_is_resumed(sales, migrations, is_ended: bool) -> None:
    interrupted(sales, migrations, is_ended=is_ended)
    first = ask(sales, "SELECT 'sale_at_idx'::regclass::oid, 'sale_1_at_idx'::regclass::oid")
    assert labels(apply(sales, migrations)) == ["001"]
    assert ask(sales, "SELECT 'sale_at_idx'::regclass::oid, 'sale_1_at_idx'::regclass::oid") == first
    assert indexes(sales) == WHOLE
    assert attempts(sales) == [("001", "interrupted"), ("001", "applied")]


def test_an_index_that_is_attached_already_is_no_error(sales, migrations) -> None:
    interrupted(sales, migrations, is_ended=False)
    sales.execute("ALTER INDEX sale_at_idx ATTACH PARTITION sale_2_at_idx")
    assert labels(apply(sales, migrations)) == ["001"]
    assert indexes(sales) == WHOLE


def test_an_attachment_that_waited_too_long_is_tried_again(sales, migrations) -> None:
    interrupted(sales, migrations, is_ended=False)
    with holding(sales.url, "SELECT FROM sale_2"), pytest.raises(LockTimeout) as caught:
        apply(sales, migrations)
    assert caught.value.message.startswith("001_index.sql:20:1: ")  # attaches it
    assert indexes(sales)[1:] == [WHOLE[1], ("sale_2_at_idx", True, None)]
    assert labels(apply(sales, migrations)) == ["001"]
    assert indexes(sales) == WHOLE


def test_a_partition_that_is_made_meanwhile_has_its_index(sales, migrations) -> None:
    interrupted(sales, migrations, is_ended=False)
    sales.execute("CREATE TABLE sale_0 PARTITION OF sale FOR VALUES FROM ('2025-12-01') TO ('2026-01-01')")
    assert labels(apply(sales, migrations)) == ["001"]
    assert indexes(sales) == [WHOLE[0], ("sale_0_at_idx", True, "sale_at_idx"), *WHOLE[1:]]


def test_a_partition_that_was_forgotten_leaves_the_parent_invalid(sales, migrations) -> None:
    for each in draft("index", {"table": "sale", "column": "at", "partition": PARTITIONS[:2]}):
        migrations.write(f"001_index{each.role}.sql", each.text)
    apply(sales, migrations)
    assert indexes(sales)[0] == ("sale_at_idx", False, None)
