"""Hundreds of changes of a catalogue: by somebody's hand, each is found by name; by a migration, none is a false alarm.

Every change is made in a transaction that is rolled back, on a database with an object of every kind.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

import psycopg
import pytest

from aurora_migrations.engine.catalog.change import Change, difference
from aurora_migrations.engine.catalog.compare import deviations
from aurora_migrations.engine.catalog.drift import Expected, find_drift
from aurora_migrations.engine.catalog.facts import Facts, Key, assertion, container
from aurora_migrations.engine.errors import VerificationFailed
from aurora_migrations.engine.postgres.session import OURS
from tests import servers
from tests.database.helpers import apply
from tests.database.replayed import Replayed
from tests.database.sabotage import OBJECTS, STATEMENTS, Sabotage, all_sabotage, done, read
from tests.servers import Database, Migrations


@contextlib.contextmanager
def prepared(database: Database) -> Iterator[psycopg.Connection[object]]:
    """A connection to a database with all objects. Its transactions are to be rolled back."""
    database.execute(f"{OBJECTS}; CREATE SCHEMA other; ALTER EVENT TRIGGER evt DISABLE")
    with psycopg.connect(database.url) as connection:
        yield connection
        connection.rollback()


def test_whatever_is_changed_by_hand_is_found_by_name_and_asserted_by_the_server_no_more(database: Database):
    counted, missed, passed = Counter[str](), list[Sabotage](), list[tuple[Sabotage, Key]]()
    with prepared(database) as connection:
        facts = read(connection)
        expected = Expected(facts=dict(facts), since=dict.fromkeys(facts, "001_a.sql"))
        assert not find_drift(expected, facts, same_major=True).findings
        asserted = {key for key in facts if is_asserted(connection, {key: facts[key]}, ())}
        # Of what isn't, the definition has a query in it.
        assert all("query" in facts[key] for key in facts.keys() - asserted)
        assert {kind for kind, _ in facts} - {kind for kind, _ in asserted} == {"policy"}
        one_of_each = {key[0]: key for key in facts}.values()
        assert not any(is_asserted(connection, {}, [key]) for key in one_of_each)
        for sabotage in all_sabotage(facts):
            connection.rollback()
            if not done(connection, sabotage):
                continue
            found = read(connection)
            if found == facts:
                continue  # as it was: such as DISABLE of what is disabled
            # As after the commit, by verify, and as before it, by what a file has changed.
            later = {each.deviation.key for each in find_drift(expected, found, same_major=True).findings}
            before = {each.key for each in deviations(facts, (), read(connection, facts), same_major=True)}
            counted[sabotage.key[0]] += 1
            if later != before or not named(sabotage, later, found):
                missed.append(sabotage)
            passed += [(sabotage, key) for key in before if is_asserted(connection, {key: facts[key]}, ())]
    assert missed == []
    assert passed == []
    assert counted.total() >= 300, counted
    assert set(counted) == {*STATEMENTS, "comment"}


def is_asserted(connection: psycopg.Connection[object], expected: Facts, gone: Sequence[Key]) -> bool:
    """Whether the server finds these facts, and not those, in the connection's transaction."""
    connection.execute(OURS.sql)
    command = assertion(expected, gone)
    try:
        with connection.transaction():
            psycopg.RawCursor(connection).execute(command.sql, command.params)
        return True
    except psycopg.errors.DivisionByZero:
        return False


def named(sabotage: Sabotage, found: set[tuple[str, str]], facts: Facts) -> bool:
    """Whether a finding names what was changed: the object itself, or the table that went away with it."""
    gone = {key for key in found if key not in facts}
    return sabotage.key in found or container(sabotage.key) in {identity for _, identity in gone}


@pytest.mark.parametrize("versions", [*itertools.combinations(servers.available(), 2)])
def test_no_migration_replayed_on_another_version_is_a_false_alarm(versions):
    """Each change as a migration: what it does on one version is expected on the other, and the other way round."""
    counted, alarms = 0, list[tuple[Sabotage, object]]()
    with contextlib.ExitStack() as stack:
        one, other = (
            stack.enter_context(prepared(stack.enter_context(made(stack.enter_context(servers.started(programs))))))
            for programs in versions
        )
        before = read(one), read(other)
        for replayed, there in (before, before[::-1]):
            assert not list(deviations(difference({}, replayed).expected, (), there, same_major=False))
        for sabotage in {each.statement: each for facts in before for each in all_sabotage(facts)}.values():
            one.rollback(), other.rollback()
            if not (done(one, sabotage) and done(other, sabotage)):
                continue
            after = read(one), read(other)
            for replay, target in ((0, 1), (1, 0)):
                change: Change = difference(before[replay], after[replay])
                wrong = list(deviations(change.expected, change.dropped, after[target], same_major=False))
                if wrong:
                    alarms.append((sabotage, wrong))
            counted += 1
    assert alarms == []
    assert counted >= 300


@contextlib.contextmanager
def made(server: servers.Server) -> Iterator[Database]:
    database = Database(server)
    database.create()
    yield database
    database.drop()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("ALTER TABLE u DROP COLUMN a CASCADE", "column public.u.a"),
        ("DROP INDEX mvi", "index public.mvi"),
        ("ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'", "enum public.mood"),
        ("ALTER TABLE orders ENABLE TRIGGER tr", "trigger public.orders.tr"),
        ("ALTER TABLE orders DROP CONSTRAINT orders_total_check", "constraint public.orders.orders_total_check"),
        ("DROP VIEW v", "view public.v"),
        ("DROP FUNCTION h(int)", "function public.h(integer)"),
        ("ALTER TABLE orders DISABLE ROW LEVEL SECURITY", "table public.orders"),
        ("DROP POLICY po ON orders", "policy public.orders.po"),
        ("DROP SEQUENCE sq", "sequence public.sq"),
        ("COMMENT ON TABLE orders IS NULL", "comment table public.orders"),
        ("DROP STATISTICS st", "statistics public.st"),
    ],
)
def test_a_file_that_does_more_than_its_replay_did_does_not_commit(
    database: Database, migrations: Migrations, statement: str, found: str
):
    migrations.write("001_a.sql", OBJECTS)
    source = Replayed(migrations, database)
    migrations.write("001_a.sql", f"{OBJECTS}\n{statement};")
    with pytest.raises(VerificationFailed) as caught:
        apply(database, migrations, source=Replayed(migrations, database, source.changes))
    assert found in [check["promise"] for check in caught.value.facts["checks"]]
    assert all(check["place"] for check in caught.value.facts["checks"])
    assert database.query("SELECT count(*) FROM pg_class WHERE relname = 'orders'") == [(0,)]


def test_the_sql_that_repairs_drift_repairs_it_or_drops_nothing(database: Database):
    """Statement by statement, as a person runs it: of several findings one may need another one's SQL first, and fails
    until then; but then nothing that was there is gone."""
    repaired, wrong = Counter[str](), list[tuple[str, str]]()
    with prepared(database) as connection:
        facts = read(connection)
        expected = Expected(facts=dict(facts), since=dict.fromkeys(facts, "001_a.sql"))
        for sabotage in all_sabotage(facts):
            connection.rollback()
            if not done(connection, sabotage):
                continue
            found = read(connection)
            for finding in find_drift(expected, found, same_major=True).findings:
                key, there = finding.deviation.key, finding.deviation.found
                for statement in filter(None, map(str.strip, finding.sql.split(";"))):
                    try:
                        with connection.transaction():
                            connection.execute("SET LOCAL search_path = public")
                            connection.execute(statement.replace(" CONCURRENTLY", ""))
                    except psycopg.Error:
                        if there is not None and key not in read(connection, {key: there}):
                            wrong.append((sabotage.statement, finding.sql))
                        break
                else:
                    repaired[key[0]] += bool(finding.sql) and read(connection, {key: ""}).get(key) == facts.get(key)
    assert wrong == []
    assert repaired.total() >= 200, repaired
    assert len(+repaired) >= 11, repaired


def test_no_sql_names_public_where_another_schema_stands_for_it():
    key = ("sequence", "public.s")
    expected = Expected(facts={key: "AS bigint START 1"}, since={key: "001_a.sql"})
    assert [each.sql for each in find_drift(expected, {}, same_major=True, schema="app").findings] == [""]
    (finding,) = find_drift(expected, {}, same_major=True).findings
    assert finding.sql == "CREATE SEQUENCE public.s AS bigint START 1;"
