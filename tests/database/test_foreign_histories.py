"""Adoption of other tools' histories, each with tables as the tool's source makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import RunResult
from aurora_migrations.engine.adoption import adopt as adoption
from aurora_migrations.engine.adoption import histories
from aurora_migrations.engine.adoption.adopt import Wanted
from aurora_migrations.engine.adoption.proof import Expected
from aurora_migrations.engine.adoption.tools import TOOLS, _java_hash
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.errors import AnotherRunInProgress, InvalidInput, MigrationMissing, MigratorError
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.session import Session
from tests.database.foreign_histories import COUNT, HISTORIES, Foreign, sql
from tests.database.helpers import apply, holding, request
from tests.servers import Database, Migrations

ALL = pytest.mark.parametrize("foreign", HISTORIES, ids=[each.tool for each in HISTORIES])


def make(foreign: Foreign, database: Database, migrations: Migrations, count: int = COUNT) -> None:
    """Has the tool's history say that `count` migrations are applied, and they are."""
    database.execute(foreign.tables)
    for number in range(1, count + 1):
        migrations.write(foreign.file(number), sql(number))
        database.execute(sql(number))
        database.execute(foreign.row(number, sql(number)))


@pytest.fixture(scope="module", autouse=True)
def replayed(server: Server) -> Iterator[None]:
    """What the first files make: the same for all tools, so it is found out once."""
    scratch = Database(server)
    scratch.create()
    with Session(scratch.url, "scratch") as session:
        for number in range(COUNT + 2):
            FACTS[number] = Expected(read_facts(session), int(server.version.partition(".")[0]))
            scratch.execute(sql(number + 1))
    yield
    scratch.drop()


FACTS: dict[int, Expected] = {}  # by how many files


def expect(migrations: Sequence[Migration]) -> Expected:
    return FACTS[len(migrations)]


def adopt(database: Database, migrations: Migrations, confirm: str, **wanted: Any) -> RunResult:
    return adoption.adopt(request(database, migrations), Wanted("adopt", **wanted), confirm, expect)


def refused(database: Database, migrations: Migrations, kind: type[MigratorError], **wanted: str) -> str:
    """The message of the error; and nothing of ours is in the database."""
    with pytest.raises(kind) as caught:
        adopt(database, migrations, "9", **wanted)
    assert database.query("SELECT to_regnamespace('aurora_migrations')::text") == [(None,)]
    return caught.value.message


def test_every_tool_has_a_history_here() -> None:
    assert sorted(tool.name for tool in TOOLS) == sorted(foreign.tool for foreign in HISTORIES)


def test_javas_hash_is_signed() -> None:
    """Values that Java's documentation and folklore give."""
    assert (_java_hash("hello"), _java_hash("polygenelubricants")) == (99162322, -(2**31))


@ALL
def test_what_a_tool_has_applied_is_recorded(foreign: Foreign, database: Database, migrations: Migrations) -> None:
    make(foreign, database, migrations)
    migrations.write(foreign.file(COUNT + 1), sql(COUNT + 1))
    before = database.query(f"SELECT * FROM {foreign.source}")
    label = foreign.file(COUNT).partition("_")[0]
    result = adopt(database, migrations, label)
    first = foreign.file(1).partition("_")[0]
    assert result.message == f"Recorded {COUNT} migrations as applied by {foreign.tool}: {first} to {label}"
    assert database.query(f"SELECT * FROM {foreign.source}") == before
    names = [foreign.file(number) for number in range(1, COUNT + 1)]
    assert database.query("SELECT name, origin FROM aurora_migrations.applied ORDER BY version") == [
        (name, foreign.tool) for name in names
    ]
    rows = database.query("SELECT source, tool, version FROM aurora_migrations.origins WHERE version IS NOT NULL")
    assert {(source, tool) for source, tool, _ in rows} == {(foreign.source, foreign.tool)}
    assert COUNT in {len(rows), COUNT * (len(rows) == 1)}, "a row per file, or one for all"
    again = adopt(database, migrations, label)
    assert again.message == "Nothing to record: every migration is applied already"
    assert [file.file for file in apply(database, migrations).applied] == [foreign.file(COUNT + 1)]


@ALL
def test_what_a_tool_has_applied_is_not_run_again(foreign: Foreign, database: Database, migrations: Migrations) -> None:
    make(foreign, database, migrations, 1)
    with pytest.raises(InvalidInput) as caught:
        apply(database, migrations)
    assert caught.value.message.startswith(f"{foreign.tool} has applied {foreign.shown(1)}")
    assert caught.value.message.endswith(f", which is {foreign.file(1)} here: it would run again.")


def test_other_migrations_than_the_tools_are_run(database: Database, migrations: Migrations) -> None:
    for foreign in (each for each in HISTORIES if each.tool in ("tern", "drizzle", "knex")):
        database.execute(foreign.tables + "; " + foreign.row(1, "-- other"))
    migrations.write("0002_item_2.sql", sql(2))
    assert [file.file for file in apply(database, migrations).applied] == ["0002_item_2.sql"]


@ALL
def test_a_row_that_comes_later_stops_runs_until_it_is_adopted(
    foreign: Foreign, database: Database, migrations: Migrations
) -> None:
    make(foreign, database, migrations)
    label, newest = (foreign.file(number).partition("_")[0] for number in (COUNT, COUNT + 1))
    adopt(database, migrations, label)
    migrations.write(foreign.file(COUNT + 1), sql(COUNT + 1))
    database.execute(sql(COUNT + 1))
    database.execute(foreign.row(COUNT + 1, sql(COUNT + 1)))
    with pytest.raises(MigrationMissing) as caught:
        apply(database, migrations)
    assert caught.value.message.startswith(
        f"Since its history ({foreign.source}) was adopted, {foreign.tool} has applied {foreign.shown(COUNT + 1)}"
    )
    adopt(database, migrations, newest)
    assert apply(database, migrations).message == "Nothing to do: every migration is applied"


BAD = [(foreign, *bad) for foreign in HISTORIES for bad in foreign.bad]


@pytest.mark.parametrize(("foreign", "statement", "shown"), BAD, ids=[f"{b[0].tool}-{n}" for n, b in enumerate(BAD)])
def test_failed_dirty_and_locked_states_are_refused_with_the_row(
    foreign: Foreign, statement: str, shown: str, database: Database, migrations: Migrations
) -> None:
    make(foreign, database, migrations)
    database.execute(statement)
    kind = AnotherRunInProgress if "locked" in shown else InvalidInput
    assert shown in refused(database, migrations, kind)


LOCKS = [foreign for foreign in HISTORIES if foreign.lock]


@pytest.mark.parametrize("foreign", LOCKS, ids=[each.tool for each in LOCKS])
def test_a_tool_at_work_is_seen_by_its_lock(
    foreign: Foreign, database: Database, migrations: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histories, "_CLOSING", 0.2)  # a session that was just closed has two seconds
    make(foreign, database, migrations)
    with holding(database.url, foreign.lock):
        found = refused(database, migrations, AnotherRunInProgress)
    assert found == f"{foreign.tool} is at work: another session holds its lock."


@ALL
def test_a_row_without_a_file_is_named(foreign: Foreign, database: Database, migrations: Migrations) -> None:
    make(foreign, database, migrations)
    (migrations.dir / foreign.file(COUNT)).unlink()
    if foreign.tool == "drizzle":  # whose rows have no names
        assert "1 more" not in refused(database, migrations, InvalidInput)
    found = refused(database, migrations, InvalidInput)
    missing = f"{foreign.tool} has applied migrations that no file here corresponds to: {foreign.shown(COUNT)}"
    assert found.startswith(missing)


SINGLE = ("alembic", "golang-migrate", "tern")  # one row that stands for all
BRANCHED = [foreign for foreign in HISTORIES if foreign.tool not in (*SINGLE, "drizzle")]


@pytest.mark.parametrize("foreign", BRANCHED, ids=[each.tool for each in BRANCHED])
def test_a_file_that_the_tool_has_skipped_is_named(
    foreign: Foreign, database: Database, migrations: Migrations
) -> None:
    database.execute(foreign.tables)
    for number in (1, 2, 3):
        migrations.write(foreign.file(number), sql(number))
    for number in (1, 3):
        database.execute(sql(number) + foreign.row(number, sql(number)))
    found = refused(database, migrations, InvalidInput)
    older = f"older than {foreign.file(3)}, which is in it: {foreign.file(2)}."
    assert found == f"Not in {foreign.tool}'s history, but {older}"
