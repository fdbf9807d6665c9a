"""The verb diff: what two databases have in common, and what not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import Session
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.catalog.pages import digest, read_page, without_secrets, write_pages
from tests.cli.cloud import Cloud
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


# ---- environments ---------------------------------------------------------------------------------------------------


def answers(database: Database, most: int = 3_000) -> list[dict[str, Any]]:
    """What the action facts answers, page by page."""
    with Session(database.url, "facts") as session:
        facts, version = without_secrets(read_facts(session)), session.server.version
    pages = write_pages(facts, most)
    about = {"status": "success", "migration": None, "message": "m", "database": "shop", "server_version": version}
    return [
        {**about, "facts": page, "page": number, "pages": len(pages), "digest": digest(facts), "count": len(facts)}
        for number, page in enumerate(pages, 1)
    ]


def by_page(pages: list[dict[str, Any]]) -> dict[str, Any]:
    """A state machine that answers with them."""
    choices = [
        {
            "And": [
                {"Variable": "$.page", "IsPresent": True},
                {"Variable": "$.page", "StringEquals": str(page["page"])},
            ],
            "Next": f"Page {page['page']}",
        }
        for page in pages[1:]
    ]
    states = {f"Page {page['page']}": {"Type": "Pass", "Result": page, "End": True} for page in pages}
    choice = {"Which?": {"Type": "Choice", "Choices": choices, "Default": "Page 1"}} if choices else {}
    return {"StartAt": "Which?" if choices else "Page 1", "States": {**choice, **states}}


def test_environments_are_compared_page_by_page(call: Call, cloud: Cloud, database: Database, other: Database) -> None:
    for each in (database, other):
        each.execute(SHOP + "".join(f"CREATE TABLE t{n} (id int PRIMARY KEY, a{n} text);" for n in range(30)))
    pages = answers(database, most=600)
    assert len(pages) > 2
    cloud.deploy(by_page(pages))
    Cloud("prod").deploy(by_page(answers(other)))
    same = call("diff", "dev", "prod")
    assert (same.code, same.out.splitlines()[-1]) == (0, "The schemas are the same.")
    assert same.out.startswith("First:   dev: shop (PostgreSQL ")
    assert "dev: account 123456789012 as" in same.err
    assert [each["input"].get("page") for each in reversed(cloud.executions())] == [
        None,
        *(str(n) for n in range(2, len(pages) + 1)),
    ]
    assert all(each["input"]["action"] == "facts" for each in cloud.executions())
    other.execute("ALTER TABLE t7 ALTER a7 TYPE varchar(9)")
    mixed = call("diff", "dev", "--database-url", other.url, "--output", "json")
    assert mixed.code == 1
    fits("diff", mixed.json)
    assert mixed.json["differences"] == [
        {"kind": "column", "object": "public.t7.a7", "first": "text", "second": "character varying(9)"}
    ]


def test_a_schema_that_changes_between_two_pages_is_read_again_and_then_refused(
    call: Call, cloud: Cloud, database: Database
) -> None:
    database.execute(SHOP)
    first = answers(database, most=150)
    database.execute("ALTER TABLE orders ADD more int")
    cloud.deploy(by_page([first[0], *answers(database, most=150)[1:]]))
    answer = call("diff", "dev", "--database-url", database.url)
    assert answer.code == 1
    assert "AnotherRunInProgress: The schema of dev changes while it is read." in answer.err
    assert len(cloud.executions()) > len(first)


@pytest.mark.parametrize("lacking", ["facts", "pages", "digest"])
def test_an_answer_without_facts_is_an_error(call: Call, cloud: Cloud, database: Database, lacking: str) -> None:
    (page,) = answers(database)
    cloud.deploy(by_page([{key: value for key, value in page.items() if key != lacking}]))
    answer = call("diff", "dev", "--database-url", database.url)
    assert answer.code == 1
    assert "its answer has no facts that can be read" in answer.err
    assert re.search(r"Next +aurora-migrations logs read-\S+ --env dev$", answer.err, re.MULTILINE)


def test_facts_are_kept_without_secrets_and_at_most_so_long(database: Database) -> None:
    database.execute("CREATE TABLE a (password text DEFAULT 'open sesame'); COMMENT ON TABLE a IS 'x'")
    database.execute(f"COMMENT ON COLUMN a.password IS '{'long ' * 5_000}'")
    with Session(database.url, "facts") as session:
        facts = read_facts(session)
    kept = without_secrets(facts)
    assert "sesame" not in str(kept)
    assert kept["comment", "table public.a"] == "'x'"
    assert len(kept["comment", "column public.a.password"]) < 5_000
    pages = write_pages(kept, 200)
    assert len(pages) > 1
    assert {key: text for page in pages for key, text in read_page(page).items()} == kept
    assert write_pages({}) == [write_pages({})[0]]
    assert read_page(write_pages({})[0]) == {}
    for wrong in ("", "!", "eJw=", "eJyrVspWslLKVqoFAA=="):
        with pytest.raises(ValueError):  # noqa: PT011
            read_page(wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dev"], "1 environment and 0 URLs were given"),
        (["dev", "prod", "--database-url", "postgresql://x/y"], "2 environments and 1 URL were given"),
        (["Dev", "prod"], "isn't the name of an environment"),
        (["dev", "prod", *["--profile", "p"] * 3], "--profile was given 3 times for 2 environments on AWS"),
        (["local", "--database-url", "postgresql://x/y", "--region", "r"], "--region was given 1 time for 0"),
    ],
)
def test_wrong_usage_is_named(call: Call, words: list[str], said: str) -> None:
    answer = call("diff", *words)
    assert (answer.code, said in answer.err) == (2, True), answer.err
