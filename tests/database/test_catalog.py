"""The facts of a catalogue: which there are, how they read, and what is made of them."""

import itertools
import re
from pathlib import Path

import psycopg
import pytest

from aurora_migrations.engine import Session
from aurora_migrations.engine.catalog.change import Change, difference, fold
from aurora_migrations.engine.catalog.facts import Facts, container, read_facts, same
from tests.servers import Database

# An object of every kind, and the facts of them all: kind | identity | definition.
OBJECTS = (Path(__file__).parent / "catalog.sql").read_text("utf-8")
FACTS = (Path(__file__).parent / "catalog.txt").read_text("utf-8").splitlines()


def facts(database: Database) -> Facts:
    with Session(database.url, "facts-1") as session:
        return read_facts(session)


def listed(found: Facts) -> list[str]:
    """One a line; the hash of a query differs between major versions."""
    lines = (" | ".join((*key, definition)).rstrip() for key, definition in found.items())
    return sorted(re.sub(r"query [0-9a-f]{32}", "query *", line) for line in lines)


def test_every_kind_of_object_is_a_fact_with_its_definition(database: Database):
    database.execute(OBJECTS)
    assert listed(facts(database)) == FACTS


def test_an_empty_database_has_its_first_schema_only(database: Database):
    assert set(facts(database)) == {("schema", "public"), ("comment", "schema public")}


def test_facts_of_some_objects_are_the_same_as_among_all(database: Database):
    database.execute(OBJECTS)
    everything = facts(database)
    with Session(database.url, "facts-1") as session:
        assert read_facts(session, everything) == everything
        for key, definition in everything.items():
            assert read_facts(session, [key, ("table", "public.nowhere")]) == {key: definition}
        assert read_facts(session, []) == {}


def test_what_a_query_is_the_hash_of_is_compared_within_a_major_version_only():
    one, other = f"USING (query {'a' * 32})", f"USING (query {'b' * 32})"
    assert same(one, one, same_major=True)
    assert not same(one, other, same_major=True)
    assert same(one, other, same_major=False)
    assert not same(one, f"AS RESTRICTIVE {other}", same_major=False)


@pytest.mark.parametrize(
    ("kind", "identity", "found"),
    [
        ("table", "public.orders", "public.orders"),
        ("column", "public.orders.total", "public.orders"),
        ("column", '"a.""b"."T (x)"."c.d"', '"a.""b"."T (x)"'),
        ("function", "app.f(public.mood, integer)", "app.f"),
        ("comment", "operator class public.oc for access method btree", "public.oc"),
        ("comment", "column public.orders.total", "public.orders"),
        ("schema", "app", "app"),
    ],
)
def test_a_fact_belongs_to_an_object(kind: str, identity: str, found: str):
    assert container((kind, identity)) == found


def test_a_change_is_what_is_created_changed_and_dropped(database: Database):
    database.execute("CREATE TABLE a (id int, name text); CREATE TABLE b (id int); CREATE INDEX i ON a (id)")
    before = facts(database)
    database.execute("ALTER TABLE a ALTER id TYPE bigint; DROP TABLE b; CREATE VIEW v AS SELECT id FROM a")
    change = difference(before, facts(database))
    assert list(change.created) == [("view", "public.v"), ("column", "public.v.id")]
    assert change.changed == {("column", "public.a.id"): "bigint"}
    assert change.dropped == (("column", "public.b.id"), ("table", "public.b"))
    assert Change.from_json(change.to_json()) == change
    assert change.keys == {*change.created, *change.changed, *change.dropped}


def test_several_changes_leave_what_the_last_of_each_fact_says(database: Database):
    states = [facts(database)]
    for statement in (
        "CREATE TABLE a (id int, name text); CREATE TABLE b (id int)",
        "ALTER TABLE a ALTER id TYPE bigint; DROP TABLE b",
        "CREATE TABLE b (id text); ALTER TABLE a RENAME TO c",
    ):
        database.execute(statement)
        states.append(facts(database))
    changes = [difference(before, after) for before, after in itertools.pairwise(states)]
    assert {**states[0], **fold(changes)} == states[-1]
    assert fold(changes[1:]) == {key: states[-1][key] for key in fold(changes[1:])}  # of a part of a history, too
    assert difference(states[-1], states[-1]) == Change()


def test_what_differs_between_environments_is_no_fact(database: Database, roles):
    database.execute("CREATE TABLE a (id int); CREATE EXTENSION pg_trgm VERSION '1.5'; CREATE SCHEMA aurora_migrations")
    before = facts(database)
    role = roles.create()
    database.execute(f"ALTER TABLE a OWNER TO {role.name}; GRANT SELECT ON a TO PUBLIC")
    database.execute("ALTER EXTENSION pg_trgm UPDATE; CREATE TABLE aurora_migrations.x (id int)")
    assert facts(database) == before


def test_temporary_objects_of_any_session_are_no_facts(database: Database):
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE TEMPORARY TABLE t (id int PRIMARY KEY)")
        connection.commit()
        assert set(facts(database)) == {("schema", "public"), ("comment", "schema public")}


def test_an_identity_is_its_tables_and_no_partitions(database: Database):
    """Since PostgreSQL 17 a partition's column has it too, so a replay there would differ from an older server."""
    database.execute(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (id)) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (1) TO (9)"
    )
    found = facts(database)
    assert found["column", "public.t.id"] == "bigint NOT NULL GENERATED ALWAYS AS IDENTITY"
    assert found["column", "public.t_1.id"] == "bigint NOT NULL"
