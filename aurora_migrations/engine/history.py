"""The history: records of applied migrations and of every attempt, in the schema `aurora_migrations` of the database.

    applied    one row per applied migration, written in the file's own transaction: both are committed or neither
    attempts   one row per attempt, written before it and finished with it; one that never finished was interrupted
    units      one row per committed unit of a file of several units, but the last; the next attempt resumes after them
    intents    one row per statement outside a transaction that was begun and isn't recorded as done
    origins    one row per row of another tool's history, as it was when that was adopted
    accepted   one row per object that wasn't as the files make it then, and was accepted so

Created and upgraded only under the run lock. Its format has a number, kept as the comment of the table `applied`.

Every transaction that records something ends with a proof (`prove`): a trigger, a rule or the file itself may have
changed the history.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.history_format import (
    BACKUP,
    BEFORE_FILES,
    BY_HAND,
    SCHEMA,
    SHOWN,
    WITH_ACCEPTED,
    WITH_ORIGINS,
    WITH_STARTS,
    WITH_UNIT_ROWS,
    WITH_UNITS,
    changed_by_hand,
    read,
    read_format,
)
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.protocol import Command, Param
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, HELD_BY_US, OURS, Session, ours_and_limits

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Action, Job

_APPLIED = f"SELECT version, name, sha256, applied_at, execution, {{origin}} FROM {SCHEMA}.applied ORDER BY version"
_ORIGINS = f"SELECT source, tool, key FROM {SCHEMA}.origins ORDER BY source"
# The token hashes of an attempt's committed units, with those of the attempts that it resumes; the last one's number.
_UNITS = f"""
    SELECT pg_catalog.string_agg(tokens, ',' ORDER BY number) AS tokens, pg_catalog.max(number) AS last
      FROM {SCHEMA}.units WHERE first_attempt = coalesce(tried.resumes, tried.id)
"""
_UNITS_IN_ARRAY = "SELECT pg_catalog.array_to_string(tried.units, ',') AS tokens, cardinality(tried.units) AS last"


# The newest attempt of each version, where it didn't reach the end and has units that are committed.
_UNFINISHED = f"""
    SELECT version, action, result, name, unit.tokens, unit.last
      FROM (SELECT * FROM {SCHEMA}.attempts AS newest
             WHERE coalesce(result, 'interrupted') NOT IN ('applied', 'rolled back')
               AND NOT EXISTS (SELECT FROM {SCHEMA}.attempts AS later
                                WHERE later.version = newest.version AND later.id > newest.id)
            OFFSET 0) AS tried
           CROSS JOIN LATERAL ({{units}}) AS unit
     WHERE unit.last > 0
"""
# Of a record: its text's hash and its version. Only compared within a run, so that it may differ between servers.
_HASH = 'pg_catalog.hashtextextended({0} COLLATE "C", pg_catalog.hash_numeric({1}::numeric))'
_RECORDS = f"pg_catalog.count(*), coalesce(pg_catalog.sum({_HASH.format('sha256', 'version')}), 0)"
_READ_RECORDS = Command(f"SELECT {_RECORDS} FROM {SCHEMA}.applied")
_DIGITS = 249  # of a version, at most: a file's name has 255 bytes
_COURSE = f"""
    SELECT id, version, name, action, sha256 FROM (
           SELECT attempt AS id, version, name, 'apply' AS action, sha256 FROM {SCHEMA}.applied
            UNION ALL
           SELECT id, version, name, action, sha256 FROM {SCHEMA}.attempts
            WHERE action = 'rollback' AND result = 'rolled back') AS changes
     ORDER BY id
"""
_ACCEPTED = f"SELECT kind, identity, found, attempt, major FROM {SCHEMA}.accepted ORDER BY number"
_DONE = f"""
    SELECT version, name, finished_at,
           pg_catalog.round(EXTRACT(epoch FROM finished_at - started_at) * 1000, 1)
      FROM {SCHEMA}.attempts
     WHERE execution = $1 AND execution_start = $2 AND action = $3 AND result = $4 ORDER BY id
"""
# Files that others have changed the database by, since an execution undid its first one.
_OTHERS = f"""
    SELECT name FROM {SCHEMA}.attempts AS tried
     WHERE (execution, execution_start) <> ($1, $2) AND (result IN ('applied', 'rolled back') OR {{committed}})
       AND id > (SELECT pg_catalog.min(id) FROM {SCHEMA}.attempts
                  WHERE execution = $1 AND execution_start = $2 AND action = 'rollback' AND result = 'rolled back')
     GROUP BY name ORDER BY pg_catalog.min(id)
"""
_COMMITTED = f"EXISTS (SELECT FROM {SCHEMA}.units WHERE first_attempt = coalesce(resumes, id) AND attempt = id)"

# Written for each file: built once, and so hashed once, which looking up its prepared statement takes.
_ADD_UNIT = (
    f"INSERT INTO {SCHEMA}.units (first_attempt, number, tokens, attempt, lock_holder) "
    f"VALUES ($1::bigint, $2::integer, $3, $4::bigint, {HELD_BY_US})"
)
_FINISH_ATTEMPT = (
    f"UPDATE {SCHEMA}.attempts SET finished_at = clock_timestamp(), result = $2, "
    "error = CASE WHEN $3::jsonb IS NOT NULL THEN coalesce(error, '{}') || $3::jsonb END, "
    f"lock_holder = {HELD_BY_US} WHERE id = $1::bigint"
)
_ADD_APPLIED = (
    f"INSERT INTO {SCHEMA}.applied (version, name, sha256, tokens, sql, attempt, execution, requested_by) "
    "VALUES ($1::numeric, $2, $3, $4, $5, $6::bigint, $7, $8)"
)
_REMOVE_APPLIED = (
    f"WITH gone AS (DELETE FROM {SCHEMA}.applied WHERE version = $1::numeric RETURNING 1) SELECT 1 / count(*) FROM gone"
)


def _label(name: str) -> str:
    """A migration's version as its file's name writes it: `017`."""
    return name.partition("_")[0]


class Applied(NamedTuple):
    """The record of an applied migration. `applied_at` is UTC, ISO 8601; `origin` is the tool that has applied it, or
    `baseline`, if it was recorded without being run."""

    version: int
    name: str
    sha256: str
    applied_at: str
    execution: str
    origin: str | None = None

    @property
    def label(self) -> str:
        return _label(self.name)


class Change(NamedTuple):
    """An applied migration, or a completed rollback; with the hash of the migration's file at that time."""

    attempt: int
    version: int
    action: str
    sha256: str


class Accepted(NamedTuple):
    """Where the database wasn't as the files make it when they were recorded without being run, by kind and identity:
    what was there, None if nothing was."""

    found: Mapping[tuple[str, str], str | None]
    attempt: int = 0  # the newest by then
    major: int = 0  # the server's version


class Attempt(NamedTuple):
    """An attempt to apply or to roll back a file. Times are UTC, ISO 8601; `result` None: under way or interrupted."""

    id: int
    action: str
    name: str
    execution: str
    requested_by: str
    started_at: str
    finished_at: str | None
    result: str | None
    error: dict[str, object] | None


class Progress(NamedTuple):
    """How far an attempt got: its result, if it has one, and the token hashes of its committed units."""

    action: str
    result: str | None
    units: tuple[str, ...]
    name: str = ""

    @property
    def label(self) -> str:
        return _label(self.name)


class Records(NamedTuple):
    """The contents of `applied` in two numbers: how many records, and the sum of their hashes (version and text)."""

    number: int
    hashes: int


class Origin(NamedTuple):
    """Another tool's history that was adopted: its table, qualified and quoted, and the rows that it had."""

    source: str
    tool: str
    keys: frozenset[str]


class State(NamedTuple):
    """Records by version; of files that are applied, or rolled back, in part, their newest attempts; and the histories
    of other tools that were adopted."""

    applied: dict[int, Applied]
    unfinished: dict[int, Progress]
    origins: tuple[Origin, ...] = ()


def read_state(session: Session) -> State:
    """Everything that is applied, completely or in part."""
    number = read_format(session)
    if number == 0:
        return State({}, {})
    unfinished_sql = _UNFINISHED.format(units=_UNITS if number >= WITH_UNIT_ROWS else _UNITS_IN_ARRAY)
    applied_sql = _APPLIED.format(origin="origin" if number >= WITH_ORIGINS else "NULL")
    queries = [applied_sql, *([unfinished_sql] if number >= WITH_UNITS else [])]
    rows, *parts = read(session, *map(Command, [*queries, *([_ORIGINS] if number >= WITH_ORIGINS else [])]))
    applied: dict[int, Applied] = {}
    for text, name, sha256, at, execution, origin in rows:
        version = _version_of(text, "applied", name)
        if version in applied:
            raise changed_by_hand(
                f"{SCHEMA}.applied has more than one row with the version {version}.",
                cause=f"{BY_HAND} Its primary key is gone.",
                solution=f"Look at them: SELECT * FROM {SCHEMA}.applied WHERE version = {version}; Delete those "
                f"that no run has written, and add the key again: ALTER TABLE {SCHEMA}.applied ADD PRIMARY KEY "
                "(version);",
            )
        applied[version] = Applied(version, str(name), str(sha256), _iso(str(at)), str(execution), origin)
    unfinished = {
        _version_of(version, "attempts", name): _progress(action, result, name, tokens, last)
        for version, action, result, name, tokens, last in (parts[0] if parts else [])
    }
    keys: dict[tuple[str, str], set[str]] = {}
    for source, tool, key in parts[1] if number >= WITH_ORIGINS else []:
        keys.setdefault((str(source), str(tool)), set()).add(str(key))
    return State(applied, unfinished, tuple(Origin(*names, frozenset(found)) for names, found in keys.items()))


def read_applied(session: Session) -> dict[int, Applied]:
    """Every applied migration, by version; see `read_state`."""
    return read_state(session).applied


def read_course(session: Session) -> list[Change]:
    """Everything that was applied or rolled back, in the order in which it happened."""
    if read_format(session) == 0:
        return []
    (rows,) = read(session, Command(_COURSE))
    return [
        Change(int(str(id)), _version_of(version, "attempts", name), str(action), str(sha256))
        for id, version, name, action, sha256 in rows
    ]


def read_accepted(session: Session) -> Accepted:
    """The differences that were accepted with the newest adoption or baseline."""
    if read_format(session) < WITH_ACCEPTED:
        return Accepted({})
    (rows,) = read(session, Command(_ACCEPTED))
    found = {(str(kind), str(identity)): text for kind, identity, text, _, _ in rows}
    return Accepted(found, int(str(rows[0][3])), int(str(rows[0][4]))) if rows else Accepted({})


def read_attempts(session: Session, newest: int) -> list[Attempt]:
    """The newest attempts, newest first."""
    if read_format(session) == 0:
        return []
    columns = "id, action, name, execution, requested_by, started_at, finished_at, result, error"
    query = f"SELECT {columns} FROM {SCHEMA}.attempts ORDER BY id DESC LIMIT $1::bigint"
    (rows,) = read(session, Command(query, [newest]))
    return [
        Attempt(
            id=int(str(number)),
            action=str(action),
            name=str(name),
            execution=str(execution),
            requested_by=str(requested_by),
            started_at=_iso(str(started)),
            finished_at=_iso(finished) if finished else None,
            result=result,
            error=kept if isinstance(kept := json.loads(error or "null"), dict) else None,
        )
        for number, action, name, execution, requested_by, started, finished, result, error in rows
    ]


def _version_of(version: str | None, table: str, name: str | None) -> int:
    """The migration number of a row; an error if no file name can have it."""
    if version is None or not (version.isascii() and version.isdecimal() and len(version) <= _DIGITS):
        shown = str(version) if len(str(version)) <= SHOWN else f"{str(version)[:SHOWN]}..."
        raise changed_by_hand(
            f"{SCHEMA}.{table} has a row with the version {shown} (name {str(name)[:SHOWN]!r}), which isn't a "
            "migration's number.",
            solution=f"Find such rows: SELECT version, name FROM {SCHEMA}.{table} WHERE version::text !~ "
            f"'^[0-9]{{1,{_DIGITS}}}$'; Give a row that belongs to a migration its version back, and delete one that "
            "doesn't.",
        )
    return int(version)


def close_interrupted(session: Session) -> None:
    """Marks attempts that never finished as interrupted: under the run lock their runners can't be alive."""
    set_result = "SET result = 'interrupted', finished_at = clock_timestamp() WHERE result IS NULL"
    try:
        session.execute(BEGIN, OURS, Command(f"UPDATE {SCHEMA}.attempts {set_result}"), COMMIT)
    except MigratorError as error:
        raise error.but(state=BEFORE_FILES) from error


def begin_attempt(session: Session, job: Job, after: int | None = None) -> list[Command]:
    """Commands of a transaction that records the intent, and sets the session's limits. The third one's row is the
    attempt's id, and that of the attempt that began with the file's first unit: the same, unless this one resumes.
    `after`: the attempt of the file before, if they are sent with its COMMIT: unless that was successful, they fail
    (22012, division by zero), so that nothing after them is run either."""
    file = job.migration.version, job.migration.name, job.migration.sha256
    insert = Command(
        _insert_attempt(bool(job.done)),
        [job.action, *file, job.package, session.execution, job.execution_start, job.requested_by, after],
        keep=True,
    )
    # The limits are the session's, so that a SET of the file's own overrides them in all of its units. The reset undoes
    # them.
    return [BEGIN, ours_and_limits(job.limits.lock_timeout, job.limits.statement_timeout), insert, COMMIT]


@cache
def _insert_attempt(resumes: bool) -> str:
    newest = f"SELECT coalesce(resumes, id) FROM {SCHEMA}.attempts WHERE version = $2::numeric ORDER BY id DESC LIMIT 1"
    return (
        f"INSERT INTO {SCHEMA}.attempts"
        " (action, version, name, sha256, package, execution, execution_start, requested_by, resumes, lock_holder) "
        f"SELECT $1, $2::numeric, $3, $4, $5, $6, $7, $8, {f'({newest})' if resumes else 'NULL::bigint'}, "
        f"{HELD_BY_US} WHERE CASE WHEN $9::bigint IS NULL THEN true ELSE "
        f"1 / (EXISTS (SELECT FROM {SCHEMA}.attempts WHERE id = $9::bigint AND result IS NOT NULL))::integer = 1 END "
        "RETURNING id, coalesce(resumes, id)"
    )


def add_unit(attempt: int, first: int, number: int, tokens: str) -> Command:
    """Records that a unit (`number` from 1), but not the last one, is committed; belongs into its transaction."""
    return Command(_ADD_UNIT, [first, number, tokens, attempt], keep=True)


def finish_attempt(attempt: int, result: str, error: MigratorError | None = None) -> Command:
    """Records how an attempt ended. Of one that failed, who has cancelled it stays."""
    document = None if error is None else json.dumps(error.to_dict())
    return Command(_FINISH_ATTEMPT, [attempt, result, document], keep=True)


def add_applied(session: Session, attempt: int, job: Job) -> Command:
    """Records that a migration is applied; belongs into the transaction of its last unit."""
    migration, script = job.migration, job.script
    file = migration.version, migration.name, script.sha256, script.tokens, job.text
    return Command(_ADD_APPLIED, [*file, attempt, session.execution, job.requested_by], keep=True)


def remove_applied(migration: Migration) -> Command:
    """Removes the record of a migration; belongs into the transaction of its down file. Fails (22012, division by zero)
    if there is none: nothing else may change the history under the run lock."""
    return Command(_REMOVE_APPLIED, [migration.version], keep=True)


def read_records(job: Job) -> list[Command]:
    """What `Records` are made of; and, to roll back, the hash of the text in this migration's record."""
    if job.action == "apply":
        return [_READ_RECORDS]
    own = Command(f"SELECT sha256 FROM {SCHEMA}.applied WHERE version = $1::numeric", [job.migration.version])
    return [_READ_RECORDS, own]


def prove(job: Job, number: int, attempt: int, first: int, records: Records, sha256: str) -> Command:
    """Fails (22012, division by zero) unless what a unit has just recorded is there, and `applied` has these records
    and, after the last unit, one more or one less, that of this text. Belongs right before COMMIT. Its row ends with
    the records that there are now. It reads all of `applied`: 2 ms where that has 10,000 rows."""
    params: list[Param] = [first, number + 1, job.unit(number).tokens]
    if job.is_last(number):
        params = [attempt, job.result, job.migration.version, sha256]
    return Command(_proof(job.action if job.is_last(number) else None), [*params, *records], keep=True)


@cache
def _proof(action: Action | None) -> str:
    """Of the last unit of a file that is applied or rolled back, or else of another unit."""
    if action is None:
        made = "units WHERE first_attempt = $1::bigint AND number = $2::integer AND tokens = $3"
        expected = "($4::bigint, $5::numeric)"
    else:
        made, sign = "attempts WHERE id = $1::bigint AND result = $2", "+" if action == "apply" else "-"
        expected = f"($5::bigint {sign} 1, $6::numeric {sign} (SELECT {_HASH.format('$4::text', '$3')}))"
    return (
        f"SELECT 1 / (EXISTS (SELECT FROM {SCHEMA}.{made}) AND ({_RECORDS}) = {expected})::integer, {_RECORDS} "
        f"FROM {SCHEMA}.applied"
    )


def read_attempt(session: Session, attempt: int, job: Job) -> Progress | None:
    """How far this attempt of a file got. If the server crashed before the attempt was on disk, there is none, and
    another run may have one with the same id."""
    query = (
        f"SELECT action, result, name, unit.tokens, unit.last "
        f"FROM {SCHEMA}.attempts AS tried CROSS JOIN LATERAL ({_UNITS}) AS unit "
        "WHERE id = $1::bigint AND version = $2::numeric AND action = $3 AND execution = $4 AND execution_start = $5"
    )
    known = [attempt, job.migration.version, job.action, session.execution, job.execution_start]
    (rows,) = read(session, Command(query, known))
    return _progress(*rows[0]) if rows else None


def read_applied_text(session: Session, version: int) -> tuple[bytes, str | None]:
    """The text of a migration as it was applied, and its token hash."""
    # Through JSON, as the column isn't there yet in a history that this run hasn't upgraded.
    query = f"SELECT sql, to_jsonb(a) ->> 'tokens' FROM {SCHEMA}.applied AS a WHERE version = $1::numeric"
    (rows,) = read(session, Command(query, [version]))
    if not rows:
        raise changed_by_hand(
            f"The record of version {version} vanished from {SCHEMA}.applied while it was being read.",
            cause="Another run has just rolled that migration back, or somebody has deleted its record.",
            solution="Look again; `aurora-migrations history` shows what was rolled back.",
        )
    ((sql, tokens),) = rows
    return (sql or "").encode(), tokens


def _iso(timestamp: str) -> str:
    """PostgreSQL's `2026-11-23 04:00:17.123456+00` as `2026-11-23T04:00:17Z`."""
    return timestamp[:19].replace(" ", "T") + "Z"


def _progress(
    action: str | None, result: str | None, name: str | None, tokens: str | None, last: str | None
) -> Progress:
    units = tuple(tokens.split(",")) if tokens else ()
    if len(units) != int(last or 0):
        raise changed_by_hand(
            f"{SCHEMA}.units has {len(units)} of the {last} units of {str(name)[:SHOWN]!r} that were committed.",
            solution=f"Bring {BACKUP}; or see in the database how far the file got, and finish the rest by hand.",
        )
    return Progress(str(action), result, units, str(name))


class Done(NamedTuple):
    """A migration that an execution applied or rolled back. `at` is UTC, ISO 8601."""

    version: int
    name: str
    at: str
    duration_ms: float

    @property
    def label(self) -> str:
        return _label(self.name)

    def to_dict(self) -> dict[str, object]:
        """The migration as JSON-able data."""
        return {"migration": self.label, "file": self.name, "at": self.at, "duration_ms": self.duration_ms}


class Undone(NamedTuple):
    """What an execution has rolled back in calls before this one, also in those that failed after it."""

    versions: frozenset[int] = frozenset()
    # Names of files that others have applied or rolled back since the first of them, wholly or in part.
    others: tuple[str, ...] = ()


NOTHING_UNDONE = Undone()


def read_done(session: Session, execution: str, start: str, action: Action) -> tuple[Done, ...]:
    """What the execution of this name that began then has applied or rolled back, in that order."""
    from aurora_migrations.engine.script import PAST

    if read_format(session) < WITH_STARTS:
        return ()  # made by an earlier version of the product, and so by earlier executions
    (rows,) = read(session, Command(_DONE, [execution, start, action, PAST[action].replace("_", " ")]))
    return tuple(
        Done(_version_of(version, "attempts", name), str(name), _iso(str(at)), float(str(ms)))
        for version, name, at, ms in rows
    )


def read_undone(session: Session, execution: str, start: str) -> Undone:
    """What the execution has rolled back, and what others have done since."""
    done = read_done(session, execution, start, "rollback")
    if not done:
        return NOTHING_UNDONE
    committed = _COMMITTED if read_format(session) >= WITH_UNIT_ROWS else "units <> '{}'"
    (others,) = read(session, Command(_OTHERS.format(committed=committed), [execution, start]))
    return Undone(frozenset(each.version for each in done), tuple(str(name) for (name,) in others))
