"""The proof of an adoption, and baselines: what the files make on an empty server against what is in the database."""

from __future__ import annotations

from typing import Any

import pytest

import aurora_migrations.engine as engine
from aurora_migrations.engine import RunResult, Session
from aurora_migrations.engine.adoption.adopt import Wanted, adopt, plan_adoption
from aurora_migrations.engine.errors import AnotherRunInProgress, InsufficientPrivilege, InvalidInput
from aurora_migrations.replay.expectations import expect_by_replay
from tests.database.helpers import applied, apply, holding, request, roll_back
from tests.servers import Database, Migrations, Roles

pytestmark = pytest.mark.usefixtures("replays")
SCHEMA = """
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, state state NOT NULL DEFAULT 'new',
    total numeric(10, 2) CHECK (total >= 0));
CREATE INDEX orders_total_idx ON orders (total) WHERE state = 'paid';
CREATE VIEW paid AS SELECT id, total FROM orders WHERE state = 'paid';
CREATE FUNCTION sum_of(bigint) RETURNS numeric LANGUAGE sql AS 'SELECT sum(total) FROM public.orders WHERE id = $1';
"""
DBMATE = (
    "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY); INSERT INTO schema_migrations VALUES ('001')"
)
PRISMA = """
    CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY NOT NULL, checksum varchar(64) NOT NULL,
        finished_at timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz,
        started_at timestamptz NOT NULL DEFAULT now(), applied_steps_count integer NOT NULL DEFAULT 0);
    INSERT INTO _prisma_migrations VALUES ('1', 'cafe', now(), '001_shop');
"""


@pytest.fixture
def shop(database: Database, migrations: Migrations) -> Migrations:
    """A database that was made by hand, and the file that makes the same."""
    database.execute(SCHEMA)
    migrations.write("001_shop.sql", SCHEMA)
    return migrations


def take_over(verb: str, database: Database, migrations: Migrations, confirm: str = "001", **more: Any) -> RunResult:
    asked = request(database, migrations, **({"url": more.pop("url")} if "url" in more else {}))
    target = more.pop("target", "001" if verb == "baseline" else None)
    wanted = Wanted(verb, target, more.pop("table", None), tuple(more.pop("accept", ())))
    return adopt(asked, wanted, confirm, expect_by_replay(asked.source, lambda done, count, name: None))


def names(error: InvalidInput) -> list[str]:
    return sorted({str(each["name"]) for each in error.facts["differences"]})


def test_a_baseline_is_recorded_without_being_run(shop: Migrations, database: Database) -> None:
    result = take_over("baseline", database, shop)
    assert (result.message, result.action) == ("Recorded 1 migration as applied: 001", "baseline")
    assert database.query("SELECT version, origin, sql FROM aurora_migrations.applied") == [(1, "baseline", SCHEMA)]
    assert database.query("SELECT result, finished_at IS NOT NULL FROM aurora_migrations.attempts") == [
        ("applied", True)
    ]
    shop.write("002_more.sql", "ALTER TABLE orders ADD COLUMN note text;")
    shop.write("002_more.down.sql", "ALTER TABLE orders DROP COLUMN note;")
    apply(database, shop)
    roll_back(database, shop, "2", "2")
    assert applied(database) == ["001"]
    assert take_over("baseline", database, shop).message == "Nothing to record: every migration is applied already"


DIFFERENCES = {
    "a column's type": ("ALTER TABLE orders ADD COLUMN x int", "public.orders", "column public.orders.x: it is there"),
    "a default": (
        "ALTER TABLE orders ALTER state SET DEFAULT 'paid'",
        "public.orders",
        "column public.orders.state: public.state NOT NULL DEFAULT 'new'::public.state by the files, public.state "
        "NOT NULL DEFAULT 'paid'::public.state here",
    ),
    "an index that is gone": (
        "DROP INDEX orders_total_idx",
        "public.orders",
        "index public.orders_total_idx: the files make it, but it isn't there",
    ),
    "an index that nobody made": ("CREATE INDEX i ON orders (id)", "public.orders", "index public.i: it is there"),
    "a table that is gone": ("DROP TABLE orders CASCADE", "public.orders", "table public.orders: the files make it"),
    "a table that nobody made": (
        "CREATE TABLE old (id int PRIMARY KEY)",
        "public.old",
        "table public.old: it is there",
    ),
    "a function's body": (
        "CREATE OR REPLACE FUNCTION sum_of(bigint) RETURNS numeric LANGUAGE sql AS 'SELECT 1.0'",
        "public.sum_of",
        "function public.sum_of(bigint): ",
    ),
    "an enum's values": (
        "ALTER TYPE state ADD VALUE 'sent'",
        "public.state",
        "enum public.state: 'new', 'paid' by the",
    ),
}


@pytest.mark.parametrize(("statement", "name", "shown"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_every_difference_is_listed_and_must_be_accepted_by_name(
    statement: str, name: str, shown: str, shop: Migrations, database: Database
) -> None:
    database.execute(statement)
    with pytest.raises(InvalidInput) as caught:
        take_over("baseline", database, shop)
    assert shown in caught.value.message
    assert name in names(caught.value)
    assert database.query("SELECT to_regnamespace('aurora_migrations')::text") == [(None,)]
    with pytest.raises(InvalidInput, match=r"^Accepted, but not different: public\.elsewhere\.$"):
        take_over("baseline", database, shop, accept=[*names(caught.value), "public.elsewhere"])
    result = take_over("baseline", database, shop, accept=names(caught.value))
    assert any(notice.startswith(f"Accepted: {shown}") for notice in result.notices)
    assert applied(database) == ["001"]


def test_a_table_that_no_file_makes_is_one_difference(shop: Migrations, database: Database) -> None:
    database.execute("CREATE TABLE old (id serial PRIMARY KEY, a int REFERENCES old, b text UNIQUE)")
    with pytest.raises(InvalidInput) as caught:
        take_over("baseline", database, shop)
    assert caught.value.message == (
        "The database isn't what the files make: table public.old: it is there, but no file makes it."
    )


def test_the_schema_of_the_roles_search_path_stands_for_public(database: Database, migrations: Migrations) -> None:
    """Where the files name no schema, they make things where the role's search_path says."""
    sql = SCHEMA.partition("CREATE VIEW")[0]  # a view's query is a hash, which holds the schema
    database.execute(f"CREATE SCHEMA shop; ALTER DATABASE {database.name} SET search_path = shop")
    database.execute(f"SET search_path = shop; {sql}")
    migrations.write("001_shop.sql", sql)
    database.execute("CREATE TABLE public.old (id int); CREATE INDEX i ON shop.orders (id)")
    with pytest.raises(InvalidInput) as caught:
        take_over("baseline", database, migrations)
    assert names(caught.value) == ["public.old", "shop.orders"]
    database.execute("DROP TABLE public.old; DROP INDEX shop.i")
    assert take_over("baseline", database, migrations).notices == ()


def test_only_what_was_seen_is_recorded(shop: Migrations, database: Database) -> None:
    with pytest.raises(InvalidInput) as caught:
        take_over("baseline", database, shop, confirm="002")
    assert caught.value.message == "The confirmation is '002', but the newest migration to record is 001_shop.sql."


def test_an_older_file_that_was_applied_by_hand_is_confirmed_by_its_own_number(
    shop: Migrations, database: Database
) -> None:
    take_over("baseline", database, shop)
    shop.write("003_third.sql", "CREATE TABLE third (id int);")
    apply(database, shop)
    shop.write("002_second.sql", "CREATE TABLE second (id int);")
    database.execute("CREATE TABLE second (id int)")
    with pytest.raises(InvalidInput, match=r"'003', but the newest migration to record is 002_second\.sql\.$"):
        take_over("baseline", database, shop, "003", target="2")
    found = take_over("baseline", database, shop, "002", target="2")
    assert (found.message, found.migration) == ("Recorded 1 migration as applied: 002", "002")
    assert apply(database, shop).message == "Nothing to do: every migration is applied"


def test_a_database_without_a_foreign_history_isnt_adopted(shop: Migrations, database: Database) -> None:
    with pytest.raises(InvalidInput) as caught:
        take_over("adopt", database, shop)
    assert caught.value.message == "The database has no history of another tool."
    database.execute("CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY)")
    with pytest.raises(InvalidInput) as caught:
        take_over("adopt", database, shop)
    assert caught.value.message.startswith("dbmate has applied nothing here")


def test_of_several_histories_one_must_be_named(shop: Migrations, database: Database) -> None:
    database.execute(f"{DBMATE}; CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    with pytest.raises(InvalidInput) as caught:
        take_over("adopt", database, shop)
    assert caught.value.message == (
        "The database has several histories: public.alembic_version (alembic), public.schema_migrations (dbmate)."
    )
    with pytest.raises(InvalidInput, match=r"^public\.orders isn't the history of a tool that is known here\.$"):
        take_over("adopt", database, shop, table="public.orders")
    table, other = "public.schema_migrations", "public.alembic_version"
    assert take_over("adopt", database, shop, table=table, accept=[other]).message.endswith("by dbmate: 001")


def test_another_text_than_the_tool_has_applied_is_a_difference(shop: Migrations, database: Database) -> None:
    database.execute(PRISMA)
    with pytest.raises(InvalidInput) as caught:
        take_over("adopt", database, shop)
    assert names(caught.value) == ["001_shop.sql"]
    assert "another text than the one that prisma has applied" in caught.value.message
    take_over("adopt", database, shop, accept=["001_shop.sql"])


def test_a_version_stands_for_the_whole_history_where_files_arent_one_for_one(
    shop: Migrations, database: Database
) -> None:
    database.execute(f"{DBMATE}, ('002'), ('003')")
    with pytest.raises(InvalidInput, match=r"^dbmate has applied .* no file here corresponds to: 002, 003\.$"):
        take_over("adopt", database, shop)
    assert take_over("adopt", database, shop, target="001").message == "Recorded 1 migration as applied by dbmate: 001"
    database.execute("INSERT INTO schema_migrations VALUES ('004')")
    with pytest.raises(engine.MigratorError, match="has applied 004"):
        apply(database, shop)
    database.execute("DROP TABLE schema_migrations")
    assert apply(database, shop).message == "Nothing to do: every migration is applied"


def test_a_row_that_is_gone_stops_runs_too(shop: Migrations, database: Database) -> None:
    database.execute(DBMATE)
    take_over("adopt", database, shop)
    database.execute("DELETE FROM schema_migrations")
    shop.write("001_shop.down.sql", "DROP FUNCTION sum_of; DROP VIEW paid; DROP TABLE orders; DROP TYPE state;")
    for run in (lambda: apply(database, shop), lambda: roll_back(database, shop, "1", "1")):
        with pytest.raises(engine.MigratorError, match=r"adopted, dbmate has undone 001\.$"):
            run()


def test_the_tools_table_is_locked_while_records_are_written(shop: Migrations, database: Database) -> None:
    database.execute(DBMATE)
    with (
        holding(database.url, "INSERT INTO schema_migrations VALUES ('002')"),
        pytest.raises(AnotherRunInProgress) as caught,
    ):
        take_over("adopt", database, shop)
    assert caught.value.message == "dbmate is at work: another session is changing public.schema_migrations."
    assert database.query("SELECT count(*) FROM aurora_migrations.applied") == [(0,)]


def test_a_role_that_may_not_lock_the_tools_table_is_told_what_to_grant(
    shop: Migrations, database: Database, roles: Roles
) -> None:
    role = roles.create()
    database.execute(
        f"{DBMATE}; GRANT SELECT ON schema_migrations TO {role.name}; "
        f"GRANT CREATE ON DATABASE {database.name} TO {role.name}"
    )
    with pytest.raises(InsufficientPrivilege) as caught:
        take_over("adopt", database, shop, url=database.url_as(role))
    assert "GRANT SELECT, UPDATE ON public.schema_migrations" in caught.value.solution
    database.execute(f"GRANT UPDATE ON schema_migrations TO {role.name}")
    take_over("adopt", database, shop, url=database.url_as(role))


def test_a_file_that_an_earlier_run_has_applied_in_part_isnt_recorded(shop: Migrations, database: Database) -> None:
    shop.write("002_more.sql", "-- migration: transaction = off\nCREATE TABLE a (id int);\nSELECT 1 / 0;\n")
    take_over("baseline", database, shop)
    with pytest.raises(engine.MigratorError):
        apply(database, shop)
    with pytest.raises(InvalidInput, match=r"^Partly applied by an earlier run: 002_more\.sql\.$"):
        take_over("baseline", database, shop, confirm="002", target="2")


def test_a_plan_changes_nothing_and_leaves_no_lock(shop: Migrations, database: Database) -> None:
    database.execute(DBMATE)
    source = request(database, shop).source
    expect = expect_by_replay(source, lambda done, count, name: None)
    with Session(database.url, "plan") as session:
        found = plan_adoption(session, source, Wanted("adopt"), expect)
    assert found.message == (
        "To record as applied: migration 001, from public.schema_migrations (dbmate); no differences"
    )
    assert database.query("SELECT to_regnamespace('aurora_migrations')::text") == [(None,)]
    assert database.query("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == [(0,)]
