"""The verb diff: what two databases have in common, and what not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from aurora_migrations.embedded.server import Server
from tests.cli.conftest import Call
from tests.cli.test_schemas import fits
from tests.servers import Database

SHOP = """
    CREATE TABLE orders (id bigint PRIMARY KEY, total numeric NOT NULL DEFAULT 0);
    CREATE INDEX orders_total ON orders (total);
    CREATE VIEW cheap AS SELECT id FROM orders WHERE total < 5;
"""


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    return any_server


@pytest.fixture
def other(server: Server) -> Iterator[Database]:
    made = Database(server)
    made.create()
    yield made
    made.drop()


def urls(*databases: Database) -> list[str]:
    return [word for each in databases for word in ("--database-url", each.url)]


def test_two_databases_with_the_same_schema_are_the_same(call: Call, database: Database, other: Database) -> None:
    for each in (database, other):
        each.execute(SHOP)
    other.execute(
        "INSERT INTO orders VALUES (1); ALTER VIEW cheap OWNER TO CURRENT_USER; GRANT ALL ON orders TO PUBLIC"
    )
    answer = call("diff", *urls(database, other))
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "The schemas are the same."


def test_each_difference_is_named_with_both_definitions(call: Call, database: Database, other: Database) -> None:
    database.execute(SHOP)
    other.execute(SHOP)
    other.execute("DROP VIEW cheap; DROP INDEX orders_total; CREATE TABLE extra (id int)")
    other.execute("ALTER TABLE orders ALTER total TYPE bigint USING 1")
    other.execute("CREATE VIEW cheap AS SELECT id FROM orders WHERE total < 5")
    answer = call("diff", *urls(database, other), "--output", "json")
    told = json.loads(answer.out)
    fits("diff", told)
    assert (answer.code, told["same"]) == (1, False)
    found = {f"{each['kind']} {each['object']}": (each["first"], each["second"]) for each in told["differences"]}
    assert found.pop("view public.cheap")[0].startswith("query ")  # which casts now
    assert found == {
        "column public.orders.total": ("numeric NOT NULL DEFAULT 0", "bigint NOT NULL DEFAULT 0"),
        "index public.orders_total": ("CREATE INDEX orders_total ON public.orders USING btree (total)", None),
        "table public.extra": (None, "there"),
    }
    shown = call("diff", *urls(database, other)).out
    assert "index public.orders_total" in shown
    assert shown.splitlines()[-1] == "4 differences"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_it_takes_two(call: Call, database: Database, count: int) -> None:
    answer = call("diff", *urls(*[database] * count))
    assert answer.code == 2
    assert "two databases are compared" in answer.err


def test_a_database_that_is_not_there_is_an_error(call: Call, database: Database) -> None:
    answer = call(
        "diff", *urls(database), "--database-url", database.url.replace(database.name, "nowhere"), "--output", "json"
    )
    told = json.loads(answer.out)
    fits("diff", told, failed=True)
    assert (answer.code, told["error"]) == (1, "DatabaseNotFound")
