"""The history: what is applied, and every attempt, in the schema `aurora_migrations` of the target database.

    applied    one row a migration that is in; written in the file's own transaction, so both are in or neither
    attempts   one row a try, written before it, finished with it; a try that never finished was interrupted

Made and upgraded only under the run lock. Its format has a number, kept as the comment of the table `applied`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from functions.migrator.errors import HistoryUnreadable, InsufficientPrivilege, MigratorError
from functions.migrator.files import Migration
from functions.migrator.job import Job
from functions.migrator.runlock import HELD_BY_US
from functions.migrator.session import BEGIN, COMMIT, OURS, Session
from functions.migrator.sqlstate import diagnose, named_error
from functions.migrator.wire import BatchError, Command

SCHEMA = "aurora_migrations"
# What brings a history from one format to the next, from nothing on. Only ever append: databases out there are at any
# of these. `lock_holder` is NOT NULL and read from pg_locks, so that no row can be written without the run lock.
FORMATS: list[tuple[str, ...]] = [
    (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"""
        CREATE TABLE {SCHEMA}.attempts (
            id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            action       text NOT NULL CHECK (action IN ('apply', 'rollback')),
            version      numeric NOT NULL,
            name         text NOT NULL,
            sha256       text NOT NULL,
            package      text NOT NULL,
            execution    text NOT NULL,
            requested_by text NOT NULL,
            database_user text NOT NULL DEFAULT session_user,
            lock_holder  integer NOT NULL,
            started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
            finished_at  timestamptz,
            result       text CHECK (result IN ('applied', 'rolled back', 'failed', 'interrupted')),
            error        jsonb,
            CHECK ((result IS NULL) = (finished_at IS NULL))
        )
        """,
        f"CREATE INDEX attempts_version_idx ON {SCHEMA}.attempts (version, id)",
        f"CREATE INDEX attempts_unfinished_idx ON {SCHEMA}.attempts (id) WHERE result IS NULL",
        f"""
        CREATE TABLE {SCHEMA}.applied (
            version      numeric PRIMARY KEY,
            name         text NOT NULL,
            sha256       text NOT NULL,
            sql          text NOT NULL,
            attempt      bigint NOT NULL REFERENCES {SCHEMA}.attempts,
            execution    text NOT NULL,
            requested_by text NOT NULL,
            applied_at   timestamptz NOT NULL DEFAULT clock_timestamp()
        )
        """,
        f"COMMENT ON SCHEMA {SCHEMA} IS 'History of aurora-migrations; read it freely, change nothing'",
    ),
    (
        # Token hashes: of an applied text, to tell a changed meaning from a changed comment; of the units of a file
        # that are in, so that the next attempt goes on behind them.
        f"ALTER TABLE {SCHEMA}.applied ADD COLUMN tokens text",
        f"ALTER TABLE {SCHEMA}.attempts ADD COLUMN units text[] NOT NULL DEFAULT '{{}}'",
    ),
    (
        # An execution's name may come again; together with when it began it is one execution's alone.
        f"ALTER TABLE {SCHEMA}.attempts ADD COLUMN execution_start text NOT NULL DEFAULT ''",
    ),
]
# Of one snapshot: a history in the making is there with its comment, or isn't there.
_FORMAT = """
    SELECT d.description
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_description d ON d.objoid = c.oid AND d.classoid = 'pg_class'::regclass AND d.objsubid = 0
     WHERE n.nspname = $1 AND c.relname = 'applied'
"""
_COMMENT = "aurora-migrations history, format "
_WITH_UNITS = 2  # the format from which on `attempts` has them
WITH_STARTS = 3  # the format from which on `attempts` tells executions of one name apart
_APPLIED = f"SELECT version, name, sha256, applied_at, execution FROM {SCHEMA}.applied ORDER BY version"
# The newest attempt of each version, where it didn't get to the end and left units behind that are in.
_UNFINISHED = f"""
    SELECT version, action, result, array_to_string(units, ','), name FROM {SCHEMA}.attempts AS tried
     WHERE units <> '{{}}' AND coalesce(result, 'interrupted') IN ('failed', 'interrupted')
       AND NOT EXISTS (
           SELECT 1 FROM {SCHEMA}.attempts AS later WHERE later.version = tried.version AND later.id > tried.id
       )
"""
_COURSE = f"""
    SELECT version, action, sha256 FROM (
           SELECT attempt AS id, version, 'apply' AS action, sha256 FROM {SCHEMA}.applied
            UNION ALL
           SELECT id, version, action, sha256 FROM {SCHEMA}.attempts
            WHERE action = 'rollback' AND result = 'rolled back') AS changes
     ORDER BY id
"""


@dataclass(frozen=True)
class Applied:
    """A migration that is in. `applied_at` is UTC, ISO 8601."""

    version: int
    name: str
    sha256: str
    applied_at: str
    execution: str

    @property
    def label(self) -> str:
        """Its version as its file's name writes it: `017`."""
        return self.name.partition("_")[0]


@dataclass(frozen=True)
class Change:
    """A migration that is in, or a rollback that went through; with the hash of the migration's file at that time."""

    version: int
    action: str
    sha256: str


@dataclass(frozen=True)
class Attempt:
    """A try to apply or to roll back a file. Times are UTC, ISO 8601; `result` None: under way or interrupted."""

    id: int
    action: str
    name: str
    execution: str
    requested_by: str
    started_at: str
    finished_at: str | None
    result: str | None
    error: dict[str, object] | None


def read_format(session: Session) -> int:
    """The format of the database's history; 0 if there is none.

    Raises:
        HistoryUnreadable: it is newer than this version of the product, or the schema is somebody else's.
    """
    rows = session.query(_FORMAT, SCHEMA)
    return _format(*rows[0]) if rows else 0


@dataclass(frozen=True)
class Progress:
    """How far an attempt got: its result, if it has one, and the token hashes of the units that are in."""

    action: str
    result: str | None
    units: tuple[str, ...]
    name: str = ""


@dataclass(frozen=True)
class State:
    """What is in, by version; and files of several units that are in, or out, in part: their newest attempts."""

    applied: dict[int, Applied]
    unfinished: dict[int, Progress]


def read_state(session: Session) -> State:
    """What is in, and what is so in part.

    Raises:
        HistoryUnreadable: see `read_format`.
        InsufficientPrivilege: the role may not read the history.
    """
    number = read_format(session)
    if number == 0:
        return State({}, {})
    commands = [Command(_APPLIED), Command(_UNFINISHED)][: 1 if number < _WITH_UNITS else 2]
    rows, *parts = session.read(commands)
    found = (Applied(int(str(v)), str(n), str(s), iso(str(at)), str(by)) for v, n, s, at, by in rows)
    unfinished = {int(str(version)): _progress(rest) for version, *rest in (parts[0] if parts else [])}
    return State({applied.version: applied for applied in found}, unfinished)


def read_applied(session: Session) -> dict[int, Applied]:
    """Everything that is in, by version; see `read_state`."""
    return read_state(session).applied


def read_course(session: Session) -> list[Change]:
    """What is in and what was ever rolled back, in the order in which it happened."""
    if read_format(session) == 0:
        return []
    return [Change(int(str(v)), str(action), str(sha)) for v, action, sha in session.query(_COURSE)]


def read_attempts(session: Session, newest: int) -> list[Attempt]:
    """The newest attempts, newest first."""
    if read_format(session) == 0:
        return []
    rows = session.query(
        f"SELECT id, action, name, execution, requested_by, started_at, finished_at, result, error "
        f"FROM {SCHEMA}.attempts ORDER BY id DESC LIMIT $1::bigint",
        newest,
    )
    return [_attempt([*row]) for row in rows]


def upgrade(session: Session) -> None:
    """Makes the history, or brings it to this version's format, in one transaction. The run lock must be held.

    Raises:
        HistoryUnreadable: it is newer than this version of the product.
        InsufficientPrivilege: the role may not make it; the solution says which grant it needs.
    """
    current = read_format(session)
    if current == len(FORMATS):
        return
    steps = [Command(sql) for step in FORMATS[current:] for sql in step]
    mark = Command(f"COMMENT ON TABLE {SCHEMA}.applied IS '{_COMMENT}{len(FORMATS)}'")
    try:
        session.wire.batch([BEGIN, OURS, *_without_needless_create(session, steps), mark, COMMIT])
    except BatchError as error:
        session.roll_back()
        raise _why_not_upgraded(session, error) from error


def close_interrupted(session: Session, keep: int = 0) -> None:
    """Marks attempts that never finished as interrupted: under the run lock their runners can't be alive."""
    close = Command(
        f"UPDATE {SCHEMA}.attempts SET result = 'interrupted', finished_at = clock_timestamp() "
        "WHERE result IS NULL AND id <> $1::bigint",
        [keep],
    )
    write(session, [close])


def begin_attempt(session: Session, job: Job) -> list[Command]:
    """Commands of a transaction that records the intent; the fourth one's row is the attempt's id.

    It commits asynchronously: losing the record of an intent in a server's crash harms nobody, and it costs no wait.
    """
    insert = Command(
        f"INSERT INTO {SCHEMA}.attempts"
        " (action, version, name, sha256, package, execution, execution_start, requested_by, units, lock_holder) "
        f"SELECT $1, $2::numeric, $3, $4, $5, $6, $7, $8, $9::text[], ({HELD_BY_US}) RETURNING id",
        [
            job.action,
            job.migration.version,
            job.migration.name,
            job.migration.sha256,
            job.package,
            session.execution,
            job.execution_start,
            job.requested_by,
            _array(job.unit(number).tokens for number in range(job.done)),
        ],
    )
    return [BEGIN, OURS, Command("SET LOCAL synchronous_commit = off"), insert, COMMIT]


def add_unit(attempt: int, tokens: str) -> Command:
    """Records that a unit is in, though the file isn't yet; belongs into the unit's own transaction."""
    return Command(
        f"UPDATE {SCHEMA}.attempts SET units = units || $2::text, lock_holder = ({HELD_BY_US}) WHERE id = $1::bigint",
        [attempt, tokens],
    )


def finish_attempt(attempt: int, result: str, error: MigratorError | None = None) -> Command:
    """Records how an attempt ended."""
    told = None if error is None else json.dumps(error.to_dict())
    return Command(
        f"UPDATE {SCHEMA}.attempts SET finished_at = clock_timestamp(), result = $2, error = $3::jsonb, "
        f"lock_holder = ({HELD_BY_US}) WHERE id = $1::bigint",
        [attempt, result, told],
    )


def add_applied(session: Session, attempt: int, job: Job) -> Command:
    """Records that a migration is in; belongs into the transaction of its last unit."""
    migration = job.migration
    return Command(
        f"INSERT INTO {SCHEMA}.applied (version, name, sha256, tokens, sql, attempt, execution, requested_by) "
        "VALUES ($1::numeric, $2, $3, $4, $5, $6::bigint, $7, $8)",
        [
            migration.version,
            migration.name,
            job.script.sha256,
            job.script.tokens,
            job.text,
            attempt,
            session.execution,
            job.requested_by,
        ],
    )


def remove_applied(migration: Migration) -> Command:
    """Records that a migration is out again; belongs into the transaction of its down file.

    Fails (22012, division by zero) if it isn't in: nothing else may change the history under the run lock.
    """
    gone = f"DELETE FROM {SCHEMA}.applied WHERE version = $1::numeric RETURNING 1"
    return Command(f"WITH gone AS ({gone}) SELECT 1 / count(*) FROM gone", [migration.version])


def read_attempt(session: Session, attempt: int) -> Progress | None:
    """How far this attempt got."""
    rows = session.query(
        f"SELECT action, result, array_to_string(units, ','), name FROM {SCHEMA}.attempts WHERE id = $1::bigint",
        attempt,
    )
    return _progress(rows[0]) if rows else None


def read_text(session: Session, version: int) -> tuple[bytes, str | None]:
    """The text of a migration as it was applied, and its token hash."""
    # Through JSON, as the column isn't there yet in a history that this run hasn't upgraded.
    query = f"SELECT sql, to_jsonb(a) ->> 'tokens' FROM {SCHEMA}.applied AS a WHERE version = $1::numeric"
    ((sql, tokens),) = session.query(query, version)
    return (sql or "").encode(), tokens


def write(session: Session, commands: Sequence[Command]) -> None:
    """Writes to the history in a transaction of its own."""
    try:
        session.wire.batch([BEGIN, OURS, *commands, COMMIT])
    except BatchError as error:
        session.roll_back()
        raise _before_files(named_error(error.error)) from error


def iso(timestamp: str) -> str:
    """PostgreSQL's `2026-11-23 04:00:17.123456+00` as `2026-11-23T04:00:17Z`."""
    return timestamp[:19].replace(" ", "T") + "Z"


def _format(comment: str | None) -> int:
    number = (comment or "").removeprefix(_COMMENT)
    if comment is None or not comment.startswith(_COMMENT) or not number.isdecimal():
        raise _no_history()
    if int(number) > len(FORMATS):
        raise HistoryUnreadable(
            f"The history has format {number}; this version of aurora-migrations knows formats up to {len(FORMATS)}.",
            cause="A newer version of aurora-migrations has worked on this database.",
        )
    return int(number)


def _no_history() -> HistoryUnreadable:
    """What is in the way here is in the database: no deployment takes it away."""
    error = HistoryUnreadable(
        f"There is a table {SCHEMA}.applied, but it isn't a history of this product.",
        cause="Something else made it, or the comment on it that says its format was changed.",
        solution=f"See what it is (\\d+ {SCHEMA}.applied) and rename or drop it if it isn't needed.",
    )
    error.by_deployment = False
    return error


def _without_needless_create(session: Session, steps: list[Command]) -> list[Command]:
    """Leaves CREATE SCHEMA out where it's there: even with IF NOT EXISTS it needs CREATE on the database."""
    exists = session.query("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1", SCHEMA)
    return [step for step in steps if not (exists and step.sql.startswith(("CREATE SCHEMA", "COMMENT ON SCHEMA")))]


def _why_not_upgraded(session: Session, error: BatchError) -> MigratorError:
    found = diagnose(error.error)
    if found.sqlstate != "42501":
        return _before_files(named_error(error.error))
    database, user = (name.replace('"', '""') for name in (session.server.database, session.server.user))
    return InsufficientPrivilege(
        f"The role {session.server.user} may not make the history: {found.message}.",
        solution=f'As its owner: GRANT CREATE ON DATABASE "{database}" TO "{user}"; or make the schema for it: '
        f'CREATE SCHEMA {SCHEMA} AUTHORIZATION "{user}";',
        user=session.server.user,
    )


def _before_files(error: MigratorError) -> MigratorError:
    """An error that was met while the history was made or put in order; whether that went through isn't known."""
    error.state = "No file was begun; the history may have been made, or brought up to date."
    return error


def _progress(row: Sequence[str | None]) -> Progress:
    action, result, units, name = row
    return Progress(str(action), result, tuple(units.split(",")) if units else (), str(name))


def _array(values: Iterable[str]) -> str:
    """An array's literal; token hashes need no quotes."""
    return "{" + ",".join(values) + "}"


def _attempt(row: list[str | None]) -> Attempt:
    number, action, name, execution, requested_by, started, finished, result, error = row
    told = json.loads(error) if error else None
    ended = iso(finished) if finished else None
    return Attempt(
        int(number or 0),
        str(action),
        str(name),
        str(execution),
        str(requested_by),
        iso(str(started)),
        ended,
        result,
        told,
    )
