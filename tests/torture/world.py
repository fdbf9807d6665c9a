"""A server with databases to start from, and the states to compare with: after every unit of every file, as psql leaves
it."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

import aurora_migrations.engine as engine
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine.history import SCHEMA
from aurora_migrations.engine.script import Action
from tests import servers
from tests.database.helpers import ask, request, roll_back
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations
from tests.torture.files import BEFORE, FILES, OWNER, File

ALL = len(FILES)


@dataclass(frozen=True)
class Step:
    """One unit of a file, as it is run.

    Attributes:
        number: of the file, from 1.
        unit, of: which of how many units of the file, from 1.
    """

    number: int
    unit: int
    of: int
    text: str

    @property
    def file(self) -> File:
        return FILES[self.number - 1]


def pauses(steps: Sequence[Step]) -> int:
    """How often these pause."""
    return sum(step.text.count("pause()") for step in steps)


@dataclass(frozen=True)
class Way:
    """What a run without a fault does.

    Attributes:
        start, goal: how many files are applied at its beginning and at its end.
        snapshots: the database after each number of steps, from 0.
    """

    action: Action
    start: int
    goal: int
    steps: tuple[Step, ...]
    snapshots: tuple[frozenset[str], ...]

    def steps_until(self, applied: int, units: int) -> int:
        """How many steps have been done where so many files are applied, and so many units of the next one done."""
        numbers = [step.number for step in self.steps]
        done = [n <= applied if self.action == "apply" else n > applied for n in numbers]
        return sum(done) + units


@dataclass
class World:
    """What cases share on one server.

    Attributes:
        migrations, replayed: folders with the files, one without and one with a manifest, by which the effects of each
            file are compared with those of its replay before its COMMIT.
        folder: for what runs print.
        longest: seconds that a fault lasts at most.
    """

    server: Server
    migrations: Migrations
    replayed: Migrations
    folder: Path
    longest: float
    _walked: dict[tuple[Action, int], tuple[frozenset[str], ...]] = field(default_factory=dict)
    _forward: dict[tuple[int, int], frozenset[str]] = field(default_factory=dict)
    _dumps: dict[tuple[Action, int, int], str] = field(default_factory=dict)
    _admin: psycopg.Connection[Any] | None = None

    def make_starts(self) -> None:
        """Databases in which the first files are applied, by the product: one for each number of files."""
        self._on_server("CREATE ROLE {}", OWNER)
        work = Database(self.server, "work")
        work.create()
        work.execute(BEFORE)
        undisturbed = request(work, self.migrations, execution="undisturbed")
        for number in range(ALL + 1):
            if number:
                engine.apply(undisturbed, FILES[number - 1].label)
            self._on_server("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", _start(number), work.name)

    # By files: copied through the log, a sequence doesn't log the next numbers that it gives out, and a server that
    # crashes gives them out again.
    @contextlib.contextmanager
    def database(self, start: int, name: str = "torture") -> Iterator[Database]:
        """A database in which so many files are applied."""
        made = Database(self.server, name)
        self._on_server("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, _start(start))
        try:
            yield made
        finally:
            made.drop()

    def way(self, action: Action, start: int, goal: int) -> Way:
        """What such a run does, with each unit run as psql runs it, without the product."""
        origin, end = (0, ALL) if action == "apply" else (start, 0)
        if (action, origin) not in self._walked:
            self._walked[action, origin] = tuple(self._walk(origin, _steps(action, origin, end)))
        steps, first = _steps(action, start, goal), len(_steps(action, origin, start))
        return Way(action, start, goal, steps, self._walked[action, origin][first : first + len(steps) + 1])

    def forward_again(self, start: int, low: int) -> frozenset[str]:
        """The database after a rollback from `start` files to `low`, and a run that applies them again."""
        if (start, low) not in self._forward:
            steps = (*_steps("rollback", start, low), *_steps("apply", low, start))
            *_, self._forward[start, low] = self._walk(start, steps)
        return self._forward[start, low]

    def dump_after(self, action: Action, start: int, goal: int) -> str:
        """What pg_dump writes of a database after such a run of the product without a fault."""
        key = (action, start if action == "rollback" else 0, goal)
        if key not in self._dumps:
            with self.database(goal if action == "apply" else start, "undisturbed") as database:
                if action == "rollback":
                    roll_back(database, self.migrations, FILES[goal].label, FILES[start - 1].label)
                self._dumps[key] = self.dump(database)
        return self._dumps[key]

    def dump(self, database: Database) -> str:
        """Schema and rows of a database without the history. The rows of each table are sorted: those rolled back leave
        room that others fill."""
        command = ("--restrict-key=torture", f"--exclude-schema={SCHEMA}", database.url)
        program = shutil.which("pg_dump", path=str(self.server.bindir))
        assert program is not None
        done = subprocess.run([program, *command], capture_output=True, text=True, check=True)
        return sorted_rows(done.stdout)

    def _walk(self, start: int, steps: Sequence[Step]) -> Iterator[frozenset[str]]:
        with self.database(start, "walked") as database:
            yield snapshot(database)
            connection = database.connect()
            for step in steps:
                if step.unit == 1:
                    connection.close()
                    connection = database.connect()
                connection.execute(step.text.encode())
                yield snapshot(database)

    def _on_server(self, statement: LiteralString, *names: str) -> None:
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.server.url(), autocommit=True)
        try:
            self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        except psycopg.OperationalError:
            if not self._admin.broken:
                raise
            self._on_server(statement, *names)  # the server was restarted


@contextlib.contextmanager
def world(programs: Installation, folder: Path, longest: float) -> Iterator[World]:
    """A world of one's own."""
    migrations, replayed = (Migrations(folder / name) for name in ("migrations", "replayed"))
    for each in (migrations, replayed):
        each.dir.mkdir()
        for file in FILES:
            file.write(each.dir)
    with servers.started(programs) as server:
        made = World(server, migrations, replayed, folder, longest)
        made.make_starts()
        Replayed(replayed, Database(server), before=BEFORE).write_manifest()
        yield made


def _start(number: int) -> str:
    return f"start_{number}"


@cache
def _steps(action: Action, start: int, goal: int) -> tuple[Step, ...]:
    numbers = range(start + 1, goal + 1) if action == "apply" else range(start, goal, -1)
    return tuple(step for number in numbers for step in _of_file(number, action))


def _of_file(number: int, action: Action) -> Iterator[Step]:
    file = FILES[number - 1]
    texts = file.up if action == "apply" else file.down
    for unit, text in enumerate(texts, 1):
        yield Step(number, unit, len(texts), text)


def sorted_rows(dump: str) -> str:
    """A dump with the rows of each table sorted."""
    lines: list[str] = []
    rows: list[str] | None = None
    for line in dump.splitlines():
        if rows is not None and line != "\\.":
            rows.append(line)
            continue
        lines += [*sorted(rows or []), line]
        rows = [] if line.startswith("COPY ") else None
    return "\n".join(lines)


# What is in a database

_OURS = rf"n.nspname !~ '^(pg_|information_schema$|{SCHEMA}$)'"
_CATALOGUE = f"""
    SELECT format('relation %s.%s %s of %s, %s', n.nspname, relname, relkind, relowner::regrole, relacl)
      FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS}
     UNION ALL
    SELECT format('column %s.%s.%s %s %s %s', n.nspname, relname, attname, format_type(atttypid, atttypmod), attnotnull,
                  pg_get_expr(adbin, adrelid))
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN pg_namespace n ON n.oid = relnamespace
           LEFT JOIN pg_attrdef d ON (adrelid, adnum) = (attrelid, attnum)
     WHERE {_OURS} AND attnum > 0 AND NOT attisdropped
     UNION ALL
    SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(o.oid))
      FROM pg_constraint o JOIN pg_namespace n ON n.oid = connamespace WHERE {_OURS}
     UNION ALL
    SELECT format('index %s, valid: %s', pg_get_indexdef(indexrelid), indisvalid)
      FROM pg_index i JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace WHERE {_OURS}
     UNION ALL
    SELECT format('trigger %s', pg_get_triggerdef(t.oid))
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
     WHERE {_OURS} AND NOT tgisinternal
     UNION ALL
    SELECT format('function %s %s', p.oid::regprocedure, prosrc)
      FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace WHERE {_OURS}
"""
_TABLES = f"""
    SELECT n.nspname, relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE {_OURS} AND relkind = 'r'
"""


def snapshot(database: Database) -> frozenset[str]:
    """What there is in a database, and every row, but for the history; a row that is there twice is counted."""
    found = [line for (line,) in ask(database, _CATALOGUE)]
    tables = [f"{schema}.{name}" for schema, name in ask(database, _TABLES)]
    one = "SELECT '{0}', t::text, count(*) FROM {0} AS t GROUP BY 2"
    rows = ask(database, " UNION ALL ".join(one.format(table) for table in tables))
    return frozenset([*found, *(f"row of {table}, {times} times: {row}" for table, row, times in rows)])
