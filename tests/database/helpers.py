"""What the tests of the engine share: runs in this process, in threads and in processes of their own, and what is true.

The engine is called as the command line calls it. Nothing here stands in for a database.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

import aurora_migrations.engine as engine
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import Listener, Migration, Request, RunResult, Session, discover
from aurora_migrations.engine.interface import FileDone
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.session import RUN_LOCK, Holder
from aurora_migrations.engine.status import Entry
from tests.servers import Database, Migrations

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds for what should take a fraction of one; a test that needs them all fails
ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."
UNDER_WAY = "pid <> pg_backend_pid() AND application_name LIKE 'aurora-migrations %%' AND state = 'active'"


# Runs


def request(database: Database, migrations: Migrations, **changes: Any) -> Request:
    """What the command line would ask for; `changes` are attributes of `Request`."""
    parts = {"url": database.url, "execution": "test-1", "requested_by": "tester@here"}
    parts |= {"wait": PATIENCE, "limits": Limits(lock_wait=0)} | changes  # what is in the way is told at once
    package = parts.pop("package", None)
    return Request(**{"source": Compiler(package or discover(migrations.dir)), **parts})


def apply(database: Database, migrations: Migrations, target: str | None = None, **changes: Any) -> RunResult:
    """Apply what is pending. `changes` are attributes of `Request`."""
    return engine.apply(request(database, migrations, **changes), target)


def roll_back(database: Database, migrations: Migrations, target: str, confirm: str, **changes: Any) -> RunResult:
    """Roll back from the newest to the target. `changes` are attributes of `Request`."""
    return engine.roll_back(request(database, migrations, **changes), target, confirm)


def entries(database: Database, migrations: Migrations, url: str | None = None) -> tuple[Entry, ...]:
    """What `list` would show."""
    with Session(url or database.url, "list-1") as session:
        return engine.read_entries(session, Compiler(discover(migrations.dir)))


def labels(result: RunResult) -> list[str]:
    """The numbers of the migrations that a run applied or rolled back, in its order."""
    return [file.migration for file in result.applied]


class Watcher(Listener):
    """Keeps what it is told, and does what a test wants done at that moment."""

    def __init__(
        self,
        executing: Callable[[Migration], object] | None = None,
        executed: Callable[[Migration], object] | None = None,
        blocked: Callable[[LockWait], object] | None = None,
        waiting: Callable[[Holder | None], object] | None = None,
    ) -> None:
        self.waited_for: list[Holder | None] = []
        self.heard: list[tuple[str, str]] = []
        self._executing = executing
        self._executed = executed
        self._blocked = blocked
        self._waiting = waiting

    def waiting(self, holder: Holder | None) -> None:
        self.waited_for.append(holder)
        if self._waiting:
            self._waiting(holder)

    def blocked(self, wait: LockWait) -> None:
        if self._blocked:
            self._blocked(wait)

    def executing(self, action: str, migration: Migration) -> None:
        self.heard.append(("executing", migration.label))
        if self._executing:
            self._executing(migration)

    def executed(self, action: str, migration: Migration, done: FileDone) -> None:
        self.heard.append(("executed", migration.label))
        if self._executed:
            self._executed(migration)


def at(label: str, do: Callable[[], object]) -> Callable[[Migration], None]:
    """For a `Watcher`: does it when that migration's turn comes."""

    def when(migration: Migration) -> None:
        if migration.label == label:
            do()

    return when


class Task(threading.Thread):
    """Something that runs beside the test; `result` waits for it, and raises what it raised."""

    def __init__(self, work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._work = lambda: work(*args, **kwargs)
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self, timeout: float = PATIENCE) -> Any:
        self.join(timeout)
        assert not self.is_alive(), f"still at work after {timeout} s"
        if self._error is not None:
            raise self._error
        return self._result


class Runner:
    """`aurora-migrations` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as `kill -9` does: it gets no say."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self.process.send_signal(signal.SIGINT)

    def finish(self, timeout: float = PATIENCE) -> tuple[int, dict[str, Any]]:
        """Its exit code and its answer, once it has ended."""
        out, err = self.process.communicate(timeout=timeout)
        assert "Traceback" not in err, err
        return self.process.returncode, json.loads(out) if out.strip() else {"said": err}


@contextlib.contextmanager
def start_runner(
    database: Database, migrations: Migrations, *arguments: str, verb: str = "run", url: str | None = None
) -> Iterator[Runner]:
    """`python -m aurora_migrations run` on its own; killed at the end if it is still there."""
    options = ["--database-url", url or database.url, "--migrations", str(migrations.dir), "--output", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_migrations", verb, "--lock-wait", "0s", *arguments, *options],
        cwd=migrations.dir.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **_undisturbed(),
    )
    try:
        yield Runner(process)
    finally:
        process.kill()
        process.communicate()


def _undisturbed() -> dict[str, Any]:
    """Ctrl-C works in it even if the tests run in the background of a shell, which has it ignored."""
    if sys.platform == "win32":
        return {}
    return {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}


# Waiting


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer; looks every hundredth of a second."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)
    return answer


def backend(database: Database, doing: str) -> int:
    """The process of the server that runs a statement of a run with this in its text; waits for it to begin."""
    query = f"SELECT pid FROM pg_stat_activity WHERE {UNDER_WAY} AND datname = %s AND strpos(query, %s) > 0"
    rows = until(lambda: ask(database, query, (database.name, doing)), f"a run is at {doing}")
    return int(rows[0][0])


def backends(database: Database) -> int:
    """How many sessions of runs the database has."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'aurora-migrations %%' AND datname = %s"
    return int(ask(database, query, (database.name,))[0][0])


def locks(database: Database) -> list[tuple[Any, ...]]:
    """The locks on this database that sessions other than the one that asks hold or wait for."""
    query = """
        SELECT l.pid, l.locktype, l.relation::regclass::text, l.mode, a.application_name FROM pg_locks l
          JOIN pg_database d ON d.oid = l.database LEFT JOIN pg_stat_activity a USING (pid)
         WHERE d.datname = %s AND l.pid <> pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
    """
    return ask(database, query, (database.name,))


# What is true in the database

_connections: dict[str, psycopg.Connection[Any]] = {}


def ask(database: Database, query: str, params: Any = None) -> list[tuple[Any, ...]]:
    """The rows of a query, on a connection kept for the test: opening one takes longer than most queries."""
    connection = _connections.get(database.url)
    if connection is None or connection.closed:
        connection = _connections[database.url] = database.connect()
    try:
        return connection.execute(query, params).fetchall()
    except psycopg.OperationalError:  # the server was restarted, or somebody ended the session
        connection.close()
        return ask(database, query, params)


def on_server(server: Server) -> Database:
    """An empty database on a server that is the test's own."""
    made = Database(server)
    made.create()
    return made


def exists(database: Database, name: str) -> bool:
    """Whether there is a relation of that name."""
    return bool(ask(database, "SELECT to_regclass(%s) IS NOT NULL", (name,))[0][0])


def tables(database: Database) -> list[str]:
    """The tables in `public`."""
    return sorted(name for (name,) in ask(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))


def applied(database: Database) -> list[str]:
    """The numbers in the history, in their order."""
    if not exists(database, "aurora_migrations.applied"):
        return []
    rows = ask(database, "SELECT split_part(name, '_', 1) FROM aurora_migrations.applied ORDER BY version")
    return [label for (label,) in rows]


def attempts(database: Database) -> list[tuple[str, str | None]]:
    """Number and result of every attempt, oldest first."""
    query = "SELECT split_part(name, '_', 1), result FROM aurora_migrations.attempts ORDER BY id"
    return ask(database, query)  # type: ignore[return-value]


def units(database: Database) -> list[tuple[str | None, int]]:
    """Result of every attempt, oldest first, and how many units of its file are in by then but its last."""
    query = """
        SELECT result, (SELECT count(*)::integer FROM aurora_migrations.units
                         WHERE first_attempt = coalesce(a.resumes, a.id) AND attempt <= a.id)
          FROM aurora_migrations.attempts a ORDER BY id
    """
    return ask(database, query)  # type: ignore[return-value]


def last_error(database: Database) -> dict[str, Any]:
    """The error that the newest attempt keeps."""
    return ask(database, "SELECT error FROM aurora_migrations.attempts ORDER BY id DESC LIMIT 1")[0][0]


def write_steps(migrations: Migrations, count: int, more: str = "") -> list[str]:
    """Migrations each of which makes a table and signs a ledger that would show a second run of it."""
    for number in range(1, count + 1):
        label = f"{number:03}"
        first = "CREATE TABLE IF NOT EXISTS ledger (step text);\n" if number == 1 else ""
        text = f"{first}CREATE TABLE t{label} (id integer);\nINSERT INTO ledger VALUES ('{label}');\n{more}"
        migrations.write(f"{label}_step.sql", text)
        down = f"DROP TABLE t{label};\nDELETE FROM ledger WHERE step = '{label}';\n"
        migrations.write(f"{label}_step.down.sql", down)
    return [f"{number:03}" for number in range(1, count + 1)]


def agreed(database: Database) -> list[str]:
    """The numbers applied of `write_steps`, after seeing to it that history, schema and rows tell the same story."""
    known = applied(database)
    assert [name[1:] for name in tables(database) if name != "ledger"] == known
    if exists(database, "ledger"):
        assert [step for (step,) in ask(database, "SELECT step FROM ledger ORDER BY step")] == known
    return known


# Somebody else


@contextlib.contextmanager
def holding(url: str, statement: str) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody else that has run a statement, and has its transaction open until the end."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute(statement)
        yield connection
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")


@contextlib.contextmanager
def released_after(database: Database, statement: str, seconds: float) -> Iterator[psycopg.Connection[object]]:
    """Somebody else's transaction with a lock, which ends after a while, at the latest with the block."""
    with holding(database.url, statement) as connection:
        timer = threading.Timer(seconds, lambda: connection.execute("ROLLBACK"))
        timer.start()
        try:
            yield connection
        finally:
            timer.cancel()
            timer.join()


@contextlib.contextmanager
def holding_run_lock(url: str, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """A session of somebody else that has the run lock, as one gets it in psql."""
    with psycopg.connect(url, autocommit=True, **options) as connection:
        connection.execute(sql.SQL("SELECT pg_advisory_lock({})").format(RUN_LOCK))
        yield connection
