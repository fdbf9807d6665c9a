"""Statements that PostgreSQL refuses to run in a transaction, such as CREATE INDEX CONCURRENTLY.

Their record can't be committed with them. So an intent is committed first (`aurora_migrations.intents`), then the
statement runs, then the unit's record is committed, which deletes the intent. Where the run ended in between, `settle`
asks the catalogue how far the statement got: it is done, is run again, or a person has to decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from aurora_migrations.engine.errors import Cancelled, InvalidInput, MigrationFailed, NextCommand
from aurora_migrations.engine.history_format import SCHEMA, WITH_INTENTS, read, read_format
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.progress import Progress, read_progress
from aurora_migrations.engine.postgres.protocol import BatchError, Command, Row
from aurora_migrations.engine.postgres.session import (
    AS_OURSELVES,
    BEGIN,
    COMMIT,
    HELD_BY_US,
    OURS,
    Holder,
    Session,
    find_holder,
)
from aurora_migrations.engine.postgres.sqlstate import named_error
from aurora_migrations.engine.script import PROBE, Job, Nontransactional

_POLL = 0.5  # seconds between two checks whether somebody else's build has ended
_BUILDING = "waiting for another session's index build"
_MEASURED = 1.1  # seconds
_IN_DOUBT = f"FROM {SCHEMA}.intents WHERE version = $1::numeric AND statement ->> 'settlement' = 'unknown'"


class LeftToServer(Exception):
    """The run's time is up before its statement has ended. The server goes on with it, and keeps the run lock as long;
    the next run reads in the catalogue how it ended."""


@dataclass(frozen=True)
class Intent:
    """A statement that was begun and isn't recorded as done."""

    number: int  # of the unit in its file, from 0
    tokens: str  # the unit's token hash
    statement: Nontransactional
    facts: dict[str, Any]  # the catalogue before it: see `describe`

    def matches(self, job: Job) -> bool:
        """Whether the file still has this statement at this place."""
        return self.number < len(job.script.units) and job.unit(self.number).tokens == self.tokens


def read_intents(session: Session, job: Job) -> list[Intent]:
    """The intents of earlier attempts at the file."""
    query = f"SELECT number, tokens, statement, facts FROM {SCHEMA}.intents WHERE version = $1::numeric AND action = $2"
    rows = _as_ourselves(session, Command(query, [job.migration.version, job.action]))
    return [_intent(row) for row in rows]


def _intent(row: Row) -> Intent:
    number, tokens, statement, facts = (str(value) for value in row)
    return Intent(int(number), tokens, Nontransactional(**json.loads(statement)), json.loads(facts))


@dataclass(frozen=True)
class Running:
    """A statement that outlives a run: its name and its object, and how far it is where the server shows that."""

    statement: str
    progress: Progress | None

    def __str__(self) -> str:
        return f"{self.statement}: {self.progress}" if self.progress else self.statement


def read_running(session: Session, pid: int, before: Running | None = None) -> Running | None:
    """The statement outside any transaction that another run's process is at.

    Args:
        before: what was read before, to compute the speed from.
    """
    if read_format(session) < WITH_INTENTS:
        return None
    query = f"SELECT statement FROM {SCHEMA}.intents WHERE lock_holder = $1::int ORDER BY started_at DESC LIMIT 1"
    (rows,) = read(session, Command(query, [pid]))
    if not rows:
        return None
    statement = Nontransactional(**json.loads(str(rows[0][0])))
    name = f"{statement.name} {statement.object}".rstrip()
    known = before.progress if before and before.statement == name else None
    return Running(name, read_progress(session, pid, known))


def find_running(session: Session) -> Holder | None:
    """Who has the run lock, with the statement outside any transaction that it runs, if it does. Takes a second more
    where the speed of one can be measured."""
    holder = find_holder(session)
    running = read_running(session, holder.pid) if holder else None
    if holder is None or running is None:
        return holder
    if running.progress and running.progress.percent is not None and not running.progress.waits_for:
        session.pause(_MEASURED, "measuring the speed of a statement")
        running = read_running(session, holder.pid, running) or running
    return replace(holder, doing=str(running))


def find_what_to_cancel(session: Session) -> Holder:
    """Who has the run lock, and what it runs. Raises InvalidInput if nobody has it."""
    if holder := find_running(session):
        return holder
    raise InvalidInput(
        "No run is in progress.",
        cause="The run lock is free: neither a run nor a statement that one has left to the server is there.",
        solution="See what is applied and what has failed.",
        next_command=NextCommand("status"),
    )


def find_in_doubt(session: Session, migration: Migration) -> str:
    """The name of the migration's statement of which only a person can find out how far it got. Raises InvalidInput if
    there is none."""
    if read_format(session) >= WITH_INTENTS:
        query = f"SELECT statement ->> 'name' {_IN_DOUBT}"
        for (name,) in read(session, Command(query, [migration.version]))[0]:
            return str(name)
    raise InvalidInput(
        f"Nothing of migration {migration.label} is in doubt.",
        cause="No statement of it that commits by itself was interrupted, or it has been resolved.",
        solution="See what is applied and what has failed.",
        next_command=NextCommand("status"),
        migration=migration.label,
    )


def add_intent(job: Job, number: int, statement: Nontransactional, attempt: int, facts: dict[str, Any]) -> Command:
    """Records the intent to run a unit; it replaces that of an earlier attempt."""
    unit = job.unit(number)
    return Command(
        f"INSERT INTO {SCHEMA}.intents (version, action, number, tokens, statement, facts, attempt, lock_holder)"
        f" VALUES ($1::numeric, $2, $3::integer, $4, $5::jsonb, $6::jsonb, $7::bigint, {HELD_BY_US})"
        " ON CONFLICT (version, action, number) DO UPDATE SET (tokens, statement, facts, attempt, lock_holder,"
        " started_at) = (excluded.tokens, excluded.statement, excluded.facts, excluded.attempt, excluded.lock_holder,"
        " excluded.started_at)",
        [
            *(job.migration.version, job.action, number, unit.tokens),
            *(json.dumps(vars(statement)), json.dumps(facts), attempt),
        ],
    )


def resolve(session: Session, migration: Migration, outcome: Literal["applied", "again"]) -> str:
    """Settles a statement of which only a person can find out how far it got; returns its name.

    Args:
        outcome: `applied` records its unit as done; with `again` the next run starts it from its beginning.

    Raises:
        InvalidInput: nothing of the migration is in doubt.
    """
    name, version = find_in_doubt(session, migration), migration.version
    record = Command(
        f"INSERT INTO {SCHEMA}.units (first_attempt, number, tokens, attempt, lock_holder) "
        f"SELECT coalesce(a.resumes, a.id), i.number + 1, i.tokens, a.id, {HELD_BY_US} "
        f"FROM {SCHEMA}.attempts a, (SELECT * {_IN_DOUBT}) i WHERE a.id = i.attempt",
        [version],
    )
    records = [record] if outcome == "applied" else []
    session.execute(BEGIN, OURS, *records, Command(f"DELETE {_IN_DOUBT}", [version]), COMMIT)
    return name


def mark_cancelled(session: Session, pid: int) -> None:
    """Marks what another run's process is at: runs that began before this don't start it again."""
    marked = "facts || jsonb_build_object('cancelled', extract(epoch FROM clock_timestamp()))"
    update = Command(f"UPDATE {SCHEMA}.intents SET facts = {marked} WHERE lock_holder = $1::int", [pid])
    session.execute(BEGIN, OURS, update, COMMIT)


def check_cancelled(session: Session, job: Job, number: int) -> None:
    """Raises Cancelled where a unit was cancelled after this run had begun."""
    began = "coalesce(nullif($4, '')::timestamptz, backend_start)"
    query = Command(
        f"SELECT FROM {SCHEMA}.intents, pg_stat_activity WHERE version = $1::numeric AND action = $2"
        " AND number = $3::int AND pid = pg_backend_pid()"
        f" AND (facts ->> 'cancelled')::numeric > extract(epoch FROM {began})",
        [job.migration.version, job.action, number, job.execution_start],
    )
    if _as_ourselves(session, query):
        raise Cancelled(
            f"{job.file}:{job.at(job.messages(number)[0]).line} was cancelled while this run waited for its end.",
            cause="Somebody has ended it with `aurora-migrations cancel`, so this run doesn't start it again.",
            solution="Find out who and why. A new run starts it again.",
            ended_by="aurora-migrations cancel",
            **job.facts,
        )


def remove_intent(job: Job, number: int) -> Command:
    """Removes the intent of a unit that is done, or of which nothing is left."""
    key = [job.migration.version, job.action, number]
    return Command(
        f"DELETE FROM {SCHEMA}.intents WHERE version = $1::numeric AND action = $2 AND number = $3::integer", key
    )


def forget(session: Session, job: Job, number: int) -> None:
    """Removes an intent of which nothing is left, in a transaction of its own."""
    _as_ourselves(session, remove_intent(job, number))


def _as_ourselves(session: Session, command: Command) -> list[Row]:
    """Reads or writes the history in the middle of a file, which may have set a role."""
    return session.execute(BEGIN, *AS_OURSELVES, command, COMMIT)[-2]


# ---- the catalogue before the statement, and what it shows after an interruption ------------------------------------

# The tables on whose indexes, and on whose TOAST table's, a killed REINDEX CONCURRENTLY may leave others. $1 is the
# scope's oid.
_TABLE = "t.oid IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid))"
_SCOPES = {
    "INDEX": _TABLE,
    "TABLE": _TABLE,
    "SCHEMA": "t.relnamespace = $1::oid",
    "DATABASE": "$1::oid IS NOT NULL",
}
# Only a superuser may drop the index of a TOAST table: nobody else may use its schema.
_LEFTOVERS = """
    SELECT i.indexrelid, i.indexrelid::regclass
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
     WHERE NOT i.indisvalid AND c.relname ~ '_cc(new|old)[0-9]*$' AND has_schema_privilege(c.relnamespace, 'USAGE')
       AND EXISTS (SELECT FROM pg_class t WHERE i.indrelid IN (t.oid, t.reltoastrelid) AND {scope})
     ORDER BY 1
"""
# The relation of this name where the index of a table would be; and who builds it, if somebody does. What another role
# builds isn't shown, but its lock on the table is.
_INDEX = """
    SELECT c.oid, c.oid::regclass, i.indrelid = t.oid, i.indisvalid,
           (SELECT min(p.pid) FROM pg_stat_progress_create_index p
             WHERE p.index_relid = c.oid OR p.index_relid IS NULL AND EXISTS (
                   SELECT FROM pg_locks l WHERE l.pid = p.pid AND l.relation = t.oid
                      AND l.mode = 'ShareUpdateExclusiveLock'))
      FROM pg_class t JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = $2
           LEFT JOIN pg_index i ON i.indexrelid = c.oid
     WHERE t.oid = $1::oid
"""
_DEFINITION = """
    SELECT indisunique, quote_ident(c.relname), quote_ident(t.relname), pg_get_indexdef(c.oid)
      FROM pg_index i JOIN pg_class c ON c.oid = indexrelid JOIN pg_class t ON t.oid = indrelid WHERE indexrelid = {oid}
"""
_CATALOGUES = {
    "DATABASE": "SELECT FROM pg_database WHERE datname = $1",
    "TABLESPACE": "SELECT FROM pg_tablespace WHERE spcname = $1",
    "SUBSCRIPTION": "SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid"
    " WHERE subname = $1 AND datname = current_database()",
}
_ATTACHED = "SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = $1::oid AND inhparent = $2::oid"
_KIND = re.compile(r"(?:CREATE|DROP) (\w+)")


def describe(session: Session, statement: Nontransactional) -> dict[str, Any]:
    """The facts that an intent keeps: which objects the names mean now, and what was already invalid."""
    if statement.settlement == "create index":
        return {"table": _oid(session, statement.relation)}
    if statement.settlement == "drop index":
        return {"index": _oid(session, statement.object)}
    if statement.settlement == "detach partition":
        return {"partition": _oid(session, statement.object), "parent": _oid(session, statement.relation)}
    if statement.settlement == "reindex":
        scope = _scope(session, statement)
        return {"scope": scope, "invalid": [oid for oid, _ in _leftovers(session, statement, scope)]}
    return {}


def settle(session: Session, job: Job, number: int, statement: Nontransactional, intent: Intent | None) -> bytes | None:
    """The text to run for a unit, after whatever an earlier attempt has left is cleared away; None if it is done.

    Args:
        intent: that of an earlier attempt at this unit.

    Raises:
        MigrationFailed: something that isn't ours has the name.
    """
    unit = job.unit(number)
    text = job.text[unit.start : unit.end]
    if statement.settlement == "create index":
        return None if _is_index_there(session, job, statement, intent) else text
    if statement.settlement == "detach partition":
        facts = intent.facts if intent else describe(session, statement)
        attached = session.query(_ATTACHED, facts["partition"], facts["parent"])
        if attached == [("t",)]:  # PostgreSQL refuses the statement then, whoever began it
            return f"ALTER TABLE {statement.relation} DETACH PARTITION {statement.object} FINALIZE".encode()
        return None if intent and facts["partition"] and not attached else text
    if intent is None:
        return text
    clear(session, intent, job.is_time_up)
    if statement.settlement == "drop index":
        gone = not session.query("SELECT FROM pg_class WHERE oid = $1::oid", intent.facts["index"])
        return None if intent.facts["index"] and gone else text
    if statement.settlement in ("create", "drop"):
        kind = _KIND.match(statement.name)
        exists = bool(kind and session.query(_CATALOGUES[kind[1]], statement.object))
        return None if exists == (statement.settlement == "create") else text
    return text


def clear_all(session: Session) -> list[str]:
    """Drops what all interrupted statements have left invalid, forgets them, and returns the names of the indexes. One
    that only a person can settle stays."""
    settled = f"FROM {SCHEMA}.intents WHERE statement ->> 'settlement' <> 'unknown'"
    marked = "facts ? 'cancelled'"  # these stay for the runs that wait for it: see `check_cancelled`
    (rows,) = read(session, Command(f"SELECT number, tokens, statement, facts {settled}"))
    dropped = [name for row in rows for name in clear(session, _intent(row))]
    session.execute(BEGIN, OURS, Command(f"DELETE {settled} AND NOT {marked}"), COMMIT)
    return dropped


def clear(session: Session, intent: Intent, is_time_up: Callable[[], bool] = lambda: False) -> list[str]:
    """Drops the invalid indexes that an interrupted statement has left, and returns their names.

    Raises:
        LeftToServer: the run's time is up before that.
    """
    statement, facts = intent.statement, intent.facts
    if statement.settlement == "create index":
        found = _find_index(session, facts["table"], statement.object)
        names = [found.name] if found and found.is_on_table and not found.is_valid and not found.builder else []
    elif statement.settlement == "reindex":
        names = [name for oid, name in _leftovers(session, statement, facts["scope"]) if oid not in facts["invalid"]]
    else:
        names = []
    for name in names:
        text = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"

        def check(elapsed: float, text: str = text) -> tuple[bool, float]:
            if is_time_up():
                raise LeftToServer(text)
            return False, _POLL

        # It waits for all readers of the table, and outlives its run as the statement does: the next one waits for it.
        claim = f"UPDATE {SCHEMA}.intents SET lock_holder = {HELD_BY_US} WHERE number = $1::integer AND tokens = $2"
        _as_ourselves(session, Command(claim, [intent.number, intent.tokens]))
        with without_limits(session):
            try:
                session.wire.execute_pipeline([Command(text)], check)
            except BatchError as error:
                raise named_error(error.error) from error
    return names


@dataclass(frozen=True)
class _Index:
    """A relation that has an index's name."""

    oid: int
    name: str
    is_on_table: bool  # whether it is an index of the table
    is_valid: bool
    builder: int | None  # the process that builds it


def _find_index(session: Session, table: int | None, name: str) -> _Index | None:
    for oid, found, on_table, valid, builder in session.query(_INDEX, table, name) if table else []:
        return _Index(int(str(oid)), str(found), on_table == "t", valid == "t", int(builder) if builder else None)
    return None


def _is_index_there(session: Session, job: Job, statement: Nontransactional, intent: Intent | None) -> bool:
    """Whether the index that a statement makes is there, valid and as the statement defines it. An invalid one that we
    have begun is dropped; another session's build is waited for."""
    table = _oid(session, statement.relation)
    while (found := _find_index(session, table, statement.object)) and not found.is_valid and found.builder:
        if job.is_time_up():
            raise LeftToServer(f"{job.file}: {_BUILDING} of {found.name}")
        session.pause(_POLL, _BUILDING)
    if found is None:
        return False
    if not found.is_on_table:
        raise _not_ours(job, found, "Something else has the index's name.", "Give the index another name.")
    if not found.is_valid and intent is None:
        raise _not_ours(
            job,
            found,
            "The index is invalid, and none of our runs has begun it: a build by hand or by another tool failed.",
            f"Drop it and run again: DROP INDEX CONCURRENTLY {found.name};",
        )
    if not found.is_valid and intent:
        clear(session, intent, job.is_time_up)
        return False
    if not _same_definition(session, statement, found.oid):
        raise _not_ours(
            job,
            found,
            "An index of this name is there, with another definition.",
            f"Give the index another name, or drop the one that is there: DROP INDEX CONCURRENTLY {found.name};",
        )
    return True


def _not_ours(job: Job, found: _Index, cause: str, solution: str) -> MigrationFailed:
    return MigrationFailed(
        f"{job.file}: {found.name} already exists.",
        cause=cause,
        solution=solution,
        migration=job.migration.label,
        file=job.file,
        index=found.name,
    )


def _same_definition(session: Session, statement: Nontransactional, oid: int) -> bool:
    """Whether an index is as the statement defines it: by the server, which makes it once more on an empty table."""
    table = f"CREATE TEMPORARY TABLE {PROBE} (LIKE {statement.relation})"
    definitions = [Command(_DEFINITION.format(oid=each)) for each in (oid, f"'pg_temp.{PROBE}_index'::regclass")]
    commands = [BEGIN, Command(table), Command(statement.probe), OURS]
    answers = session.execute(*commands, *definitions)
    session.roll_back()
    first, second = (_definition(rows[0]) for rows in answers[-2:])
    return first == second


def _definition(row: Row) -> tuple[bool, str]:
    """An index's definition without its name and its table."""
    unique, index, table, text = (str(value) for value in row)
    start = len(f"CREATE {'UNIQUE ' if unique == 't' else ''}INDEX {index} ON ")
    return unique == "t", text[text.index(f"{table} USING ", start) + len(table) :]


def _oid(session: Session, name: str) -> int | None:
    """What a relation's name means in the session, whose search_path the file may have set."""
    (rows,) = session.execute(Command("SELECT pg_catalog.to_regclass($1)::oid", [name]))
    return int(rows[0][0]) if rows[0][0] else None


def _scope(session: Session, statement: Nontransactional) -> int | None:
    if statement.relation == "TABLE":
        return _oid(session, statement.object)
    if statement.relation == "INDEX":  # its table: the index that a REINDEX CONCURRENTLY has built is another one
        index = _oid(session, statement.object)
        rows = session.query("SELECT indrelid FROM pg_index WHERE indexrelid = $1::oid", index)
        return int(str(rows[0][0])) if rows else None
    rows = session.query("SELECT oid FROM pg_namespace WHERE nspname = $1", statement.object)
    return int(str(rows[0][0])) if rows and statement.relation == "SCHEMA" else 0


def _leftovers(session: Session, statement: Nontransactional, scope: int | None) -> list[tuple[int, str]]:
    rows = session.query(_LEFTOVERS.format(scope=_SCOPES[statement.relation]), scope)
    return [(int(str(oid)), str(name)) for oid, name in rows]


# ---- running it -----------------------------------------------------------------------------------------------------

_LIMITS = ("lock_timeout", "statement_timeout", "client_connection_check_interval")


def limits_of(job: Job, number: int) -> list[str]:
    """The limits that don't hold for a unit's statement. A file's own statement_timeout does, and lock_timeout where
    a statement that gives up leaves nothing behind."""
    holding = {"statement_timeout": job.script.options.statement_timeout is not None}
    statement = job.unit(number).nontransactional
    holding |= {"lock_timeout": not (statement and statement.is_concurrent)}
    return [name for name in _LIMITS if not holding.get(name)]


@contextmanager
def without_limits(session: Session, settings: Sequence[str] = _LIMITS) -> Iterator[None]:
    """Runs the block without time limits: one that ends a statement with CONCURRENTLY leaves an invalid index. Nor does
    the server look after its client: it finishes a build whose runner has died, and holds the run lock as long."""
    names = ", ".join(f"pg_catalog.current_setting('{name}', true)" for name in settings)
    ((values,),) = session.execute(Command(f"SELECT {names}"))
    known = [(name, value) for name, value in zip(settings, values, strict=True) if value is not None]
    _set(session, [(name, "0") for name, _ in known])
    try:
        yield
    finally:
        if session.is_idle:  # not where the connection is lost, or the statement is left to the server
            _set(session, known)


def _set(session: Session, values: Sequence[tuple[str, str]]) -> None:
    calls = ", ".join(f"pg_catalog.set_config('{name}', ${n}, false)" for n, (name, _) in enumerate(values, 1))
    session.execute(Command(f"SELECT {calls}", [value for _, value in values]))
