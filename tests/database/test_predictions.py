"""The locks, rewrites and scans that `check` predicts, over all statements of the tests of locks and of sabotage: how
many predictions come true (precision), and how much of what happens was predicted (recall). The tests' summary has the
figures.

Compared are tables that were there before the statement, each with its partitions and heirs: the strongest lock that
blocks readers or writers, by its exact mode; whether rows are rewritten; whether all are read. A `maybe` counts as
predicted where it comes true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import psycopg

from aurora_migrations.compiler.locks.effects import Answer, Effect, file_effects
from aurora_migrations.compiler.parser import parse
from tests.database.sabotage import OBJECTS, all_sabotage, read
from tests.database.test_effects import CASES, TABLES, Measured, Session
from tests.servers import Database

BLOCKING = ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")
# What is reached at least, on each version. A rule that is lost, or a lock that is forgotten, falls below it.
LEAST = {"locks": (0.97, 0.85), "rewrites": (0.9, 0.9), "scans": (0.95, 0.85)}
# Of each relation in `public`: its kind, and its table, which of an index, a partition or an heir is another.
_RELATIONS = """
    WITH RECURSIVE up (oid, top) AS (
        SELECT c.oid, COALESCE(i.indrelid, c.oid) FROM pg_class c LEFT JOIN pg_index i ON indexrelid = c.oid
         WHERE relnamespace = 'public'::regnamespace
        UNION SELECT up.oid, inhparent FROM up JOIN pg_inherits ON inhrelid = top)
    SELECT c.relname, c.relkind, t.relname FROM up JOIN pg_class c USING (oid) JOIN pg_class t ON t.oid = top
     WHERE NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = top)
"""


def statements(connection: psycopg.Connection[object], database: Database) -> Iterator[str]:
    """First on the tables of the rules' tests, then on an object of every kind."""
    database.execute(TABLES)
    yield from (case.sql for case in CASES if not case.setup)
    connection.execute("DROP SCHEMA public CASCADE; DROP SCHEMA elsewhere CASCADE; DROP FOREIGN DATA WRAPPER w CASCADE")
    connection.execute("DROP PUBLICATION pub; DROP ACCESS METHOD other_heap")
    connection.execute("CREATE SCHEMA public")
    database.execute(f"{OBJECTS}; CREATE SCHEMA other")
    with psycopg.connect(database.url) as reading:
        facts = read(reading)
    # Without changes by hand of the catalogue itself, and what does nothing where it is so already.
    nothing = ("UPDATE", "SET LOGGED", "SET UNLOGGED", "VALIDATE")
    found = dict.fromkeys(each.statement for each in all_sabotage(facts))
    yield from (each for each in found if not any(words in each for words in nothing))


def test_what_is_predicted_is_what_happens(database: Database, record_property: Callable[[str, object], None]) -> None:
    counted = Counter[str]()
    connection = database.connect()
    session = Session(connection)
    for sql in statements(connection, database):
        try:
            measured = session.measure(sql)
        except psycopg.Error:
            continue
        counted["statements"] += 1
        relations = {str(name): (str(kind), str(top)) for name, kind, top in connection.execute(_RELATIONS).fetchall()}
        effects = [each for found in file_effects(parse(sql.encode())).effects for each in found]
        tables: dict[str, Measured] = {}
        for name, happened in measured.items():
            kind, table = relations[name]
            if kind in ("r", "p", "m"):
                tables[table] = merged(tables.get(table, Measured()), happened)
        for table, happened in tables.items():
            count(counted, [each for each in effects if of(each, relations) == table], happened)
    shown = []
    for what, (precision, recall) in LEAST.items():
        right, found = counted[f"{what} right"], counted[f"{what} right"] + counted[f"{what} perhaps"]
        reached = right / counted[f"{what} predicted"], found / counted[f"{what} seen"]
        shown.append(f"{what} {reached[0]:.3f} and {reached[1]:.3f} of {counted[f'{what} seen']}")
        assert reached >= (precision, 0), (what, counted)
        assert reached[1] >= recall, (what, counted)
    record_property(
        "measured", f"predictions, precision and recall over {counted['statements']} statements: {'; '.join(shown)}"
    )
    assert counted["statements"] > 500


def of(effect: Effect, relations: dict[str, tuple[str, str]]) -> str:
    """The table that an effect is on."""
    name = effect.table.removeprefix("public.").strip('"')
    return relations.get(name, ("", name))[1]


def merged(one: Measured, other: Measured) -> Measured:
    """What happened to a table and to another one that belongs to it."""
    lock = max(one.lock, other.lock, key=lambda mode: BLOCKING.index(mode) if mode in BLOCKING else -1)
    return Measured(lock, one.scanned or other.scanned, one.new_file or other.new_file)


def count(counted: Counter[str], effects: list[Effect], happened: Measured) -> None:
    lock = max((each.lock for each in effects if each.lock in BLOCKING), key=BLOCKING.index, default="")
    held = happened.lock if happened.lock in BLOCKING else ""
    counted["locks predicted"] += bool(lock)
    counted["locks seen"] += bool(held)
    counted["locks right"] += bool(lock) and lock == held
    # A rewrite reads all rows, though the server counts no scan where it copies files.
    for what, fact, seen in (
        ("rewrites", "rewrites", happened.new_file),
        ("scans", "scans", happened.scanned or happened.new_file),
    ):
        answers = {getattr(each, fact) for each in effects}
        sure = Answer.YES in answers
        counted[f"{what} predicted"] += sure
        counted[f"{what} seen"] += seen
        counted[f"{what} right"] += sure and seen
        counted[f"{what} perhaps"] += seen and not sure and Answer.MAYBE in answers
