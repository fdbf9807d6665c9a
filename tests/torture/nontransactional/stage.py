"""A server with databases to start from, the migrations of each kind, and what a run without a fault leaves."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
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
from tests.database.helpers import ask, request
from tests.servers import Database, Migrations, Role
from tests.torture.nontransactional.kinds import BEFORE, DATABASES, KINDS, SPACES, Kind
from tests.torture.nontransactional.phases import LATE_ROW
from tests.torture.world import snapshot, sorted_rows

TARGET = "torture"
OWNER = Role("torture_owner", "secret")  # of everything; no superuser, as there is none for users of Aurora
_SIGNS = "INSERT INTO ledger VALUES ('{}');\n"
# What `snapshot` doesn't see: every flag of an index, what is half-way, what a view holds, and other databases.
_MORE = """
    SELECT format('index %s: %s %s %s', indexrelid::regclass, indisvalid, indisready, indislive) FROM pg_index
     WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
        OR NOT (indisvalid AND indisready AND indislive)
     UNION ALL
    SELECT format('%s is a partition of %s, %s', inhrelid::regclass, inhparent::regclass, inhdetachpending)
      FROM pg_inherits
     UNION ALL
    SELECT format('constraint %s, %s', conname, convalidated) FROM pg_constraint
     WHERE contype = 'c' AND connamespace = 'public'::regnamespace
     UNION ALL
    SELECT format('database %s, %s in %s', datname, datconnlimit, spcname)
      FROM pg_database JOIN pg_tablespace s ON s.oid = dattablespace WHERE datname IN ('wanted', 'unwanted')
     UNION ALL
    SELECT format('tablespace %s', spcname) FROM pg_tablespace WHERE spcname IN ('wanted_space', 'unwanted_space')
     UNION ALL
    SELECT format('value %s of %s', enumlabel, enumtypid::regtype) FROM pg_enum
     UNION ALL
    SELECT format('subscription %s, slot %s', subname, subslotname)
      FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     UNION ALL
    SELECT format('a subscription has %s', srrelid::regclass) FROM pg_subscription_rel
     UNION ALL
    SELECT format('setting %s = %s', name, setting) FROM pg_file_settings WHERE name = 'cursor_tuple_fraction'
"""
_SUBSCRIPTIONS = "SELECT subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE datname = %s"


@dataclass(frozen=True)
class Traces:
    """What a statement that can be run twice leaves: how often it ran isn't seen, that it has run is."""

    file: object  # of the index that is built anew
    visible: object  # how many pages of the table VACUUM found visible to all


@dataclass
class Stage:
    """What cases share on one server. `folder` is for what runs print."""

    server: Server
    folder: Path
    longest: float
    programs: Installation
    _servers: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _publisher: Server | None = None
    _starts: set[tuple[str, Action]] = field(default_factory=set)
    _ends: dict[tuple[str, Action], tuple[frozenset[str], str]] = field(default_factory=dict)
    _admin: psycopg.Connection[Any] | None = None

    def make_owner(self) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}")
            connection.execute(statement.format(sql.Identifier(OWNER.name), sql.Literal(OWNER.password)))

    def migrations(self, kind: Kind, action: Action) -> Path:
        """Three migrations. Of the second, the file that the action runs has the statement between two units that
        can't run twice without a trace."""
        path = self.folder / f"{action}-{KINDS.index(kind)}"
        if not path.exists():
            path.mkdir()
            statement = self._with_publisher(kind.statement)
            tried = f"{kind.option}{_SIGNS.format('before')}{statement};\n{_SIGNS.format('after')}"
            made = Migrations(path)
            for number, text in ((1, _SIGNS.format("first")), (2, tried), (3, _SIGNS.format("last"))):
                up, down = (text, "SELECT 1;") if action == "apply" else ("SELECT 1;", text)
                made.write(f"00{number}_step.sql", up)
                made.write(f"00{number}_step.down.sql", down)
        return path

    @contextlib.contextmanager
    def database(self, kind: Kind, action: Action, name: str = TARGET) -> Iterator[Database]:
        """A database in which the action can begin."""
        start = f"start_{action}_{KINDS.index(kind)}"
        if (kind.name, action) not in self._starts:
            self._make_start(kind, action, start)
        self._on_server("CREATE DATABASE {} TEMPLATE {} OWNER {} STRATEGY file_copy", name, start, OWNER.name)
        self._drop_others()
        for other in kind.databases:
            self._on_server("CREATE DATABASE {} OWNER {}", other, OWNER.name)
        made = Database(self.server, name)
        if kind.prepare:
            made.execute(self._with_publisher(kind.prepare))
        try:
            yield made
        finally:
            self._drop_subscriptions(made)
            made.drop()
            self._drop_others()

    def end(self, kind: Kind, action: Action) -> tuple[frozenset[str], str]:
        """The database, and its pg_dump, after all units were run as psql runs them, without the product."""
        key = (kind.name, action)
        if key not in self._ends:
            with self.database(kind, action, "undisturbed") as database:
                with psycopg.connect(database.url, autocommit=True) as connection:
                    # A rollback ends with the second file, as 001 isn't part of it.
                    steps = (
                        ("first", "before", "", "after", "last")
                        if action == "apply"
                        else ("last", "before", "", "after")
                    )
                    for step in steps:
                        text = _SIGNS.format(step) if step else self._with_publisher(kind.statement)
                        connection.execute(text.encode())
                self._ends[key] = self.read(database)
        return self._ends[key]

    def read(self, database: Database) -> tuple[frozenset[str], str]:
        """What there is in a database, twice: by the catalogue, and by pg_dump."""
        database.execute(LATE_ROW)
        found = snapshot(database) | {line for (line,) in ask(database, _MORE)}
        command = ("--restrict-key=torture", f"--exclude-schema={SCHEMA}", database.url)
        program = shutil.which("pg_dump", path=str(self.server.bindir))
        assert program is not None
        done = subprocess.run([program, *command], capture_output=True, text=True, check=True)
        return found, sorted_rows(done.stdout)

    def _make_start(self, kind: Kind, action: Action, name: str) -> None:
        made = Database(self.server, name)
        self._on_server("CREATE DATABASE {} OWNER {}", name, OWNER.name)
        with psycopg.connect(made.url_as(OWNER), autocommit=True) as connection:
            connection.execute((BEFORE + kind.setup).encode())
        if action == "rollback":
            undisturbed = {"url": made.url_as(OWNER), "execution": "undisturbed"}
            engine.apply(request(made, Migrations(self.migrations(kind, action)), **undisturbed))
        self._starts.add((kind.name, action))

    def _drop_others(self) -> None:
        for name in DATABASES:
            self._on_server("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        for name in SPACES:
            self._on_server("DROP TABLESPACE IF EXISTS {}", name)
        self._on_server("ALTER SYSTEM RESET cursor_tuple_fraction")

    def _with_publisher(self, text: str) -> str:
        """The text, with the server that its subscription is to."""
        if "{publisher}" not in text:
            return text
        if self._publisher is None:
            wanted = {"wal_level": "logical"}
            self._publisher = self._servers.enter_context(servers.started(self.programs, wanted))
            made = Database(self._publisher, "postgres")
            made.execute("CREATE TABLE items (id int PRIMARY KEY, note text); CREATE PUBLICATION news FOR ALL TABLES")
        return text.replace("{publisher}", self._publisher.url())

    def _drop_subscriptions(self, database: Database) -> None:
        self.settle_slot(database)
        for (name,) in ask(database, _SUBSCRIPTIONS, (database.name,)):
            database.execute(f"DROP SUBSCRIPTION {name}")

    def settle_slot(self, database: Database) -> None:
        """Takes the slots from the subscriptions, and drops them all, also one whose subscription was rolled back."""
        for (name,) in ask(database, _SUBSCRIPTIONS, (database.name,)):
            database.execute(f"ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
        if self._publisher:
            with psycopg.connect(self._publisher.url(), autocommit=True) as connection:
                connection.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")

    def close(self) -> None:
        self._servers.close()

    def _on_server(self, statement: LiteralString, *names: str) -> None:
        if self._admin is None or self._admin.closed:
            self._admin = psycopg.connect(self.server.url(), autocommit=True)
        try:
            self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
        except psycopg.OperationalError:
            if not self._admin.broken:
                raise
            self._on_server(statement, *names)  # the server was restarted


def traces(database: Database, kind: Kind) -> Traces:
    query = "SELECT pg_relation_filenode(to_regclass(%s)), (SELECT relallvisible FROM pg_class WHERE relname = 'items')"
    ((file, visible),) = ask(database, query, (kind.renews or "none",))
    return Traces(file, visible)


@contextlib.contextmanager
def stage(programs: Installation, folder: Path, longest: float) -> Iterator[Stage]:
    """A stage of one's own."""
    with servers.started(programs, {"allow_in_place_tablespaces": "on"}) as server:
        made = Stage(server, folder, longest, programs)
        made.make_owner()
        with contextlib.closing(made):
            yield made
