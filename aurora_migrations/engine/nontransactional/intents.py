"""Intents: the statements outside any transaction that were begun and aren't recorded as done (the history's table
`intents`); who runs one now, and how a person cancels or resolves one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from aurora_migrations.engine.errors import Cancelled, InDoubt, InvalidInput, NextCommand, StatementTimeout
from aurora_migrations.engine.history_format import SCHEMA, WITH_INTENTS, read, read_format
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.options import format_duration
from aurora_migrations.engine.postgres.progress import Progress, read_progress
from aurora_migrations.engine.postgres.protocol import Command, Row
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
from aurora_migrations.engine.script import Job, NontransactionalStatement

COLUMNS = "version, action, number, tokens, statement, facts"
_MEASURED = 1.1  # seconds
_IN_DOUBT = f"FROM {SCHEMA}.intents WHERE version = $1::numeric AND statement ->> 'settlement' = 'unknown'"


@dataclass(frozen=True)
class Intent:
    """A statement that was begun and isn't recorded as done."""

    version: int
    action: str
    number: int  # of the unit in its file, from 0
    tokens: str  # the unit's token hash
    statement: NontransactionalStatement
    facts: dict[str, Any]  # the catalogue before it: see `settlement.describe`

    def matches(self, job: Job) -> bool:
        """Whether the file still has this statement at this place."""
        return self.number < len(job.script.units) and job.unit(self.number).tokens == self.tokens


def read_intents(session: Session, job: Job) -> list[Intent]:
    """The intents of earlier attempts at the file."""
    query = f"SELECT {COLUMNS} FROM {SCHEMA}.intents WHERE version = $1::numeric AND action = $2"
    rows = as_ourselves(session, Command(query, [job.migration.version, job.action]))
    return [intent_of(row) for row in rows]


def find_in_missing_file(session: Session, job: Job, number: int) -> str:
    """The name of another migration's file in which a unit's statement was begun of which only a person can find out
    how far it got; empty if there is none. That file is missing, as such a one is settled before those after it."""
    query = (
        f"SELECT a.name FROM {SCHEMA}.intents i JOIN {SCHEMA}.attempts a ON a.id = i.attempt"
        " WHERE i.version <> $1::numeric AND i.action = $2 AND i.tokens = $3"
        " AND i.statement ->> 'settlement' = 'unknown' LIMIT 1"
    )
    key = [job.migration.version, job.action, job.unit(number).tokens]
    return next((str(name) for (name,) in as_ourselves(session, Command(query, key))), "")


def read_begun(session: Session) -> set[tuple[str, int]]:
    """The actions and versions of files of which a statement was begun and isn't recorded as done."""
    (rows,) = read(session, Command(f"SELECT DISTINCT action, version FROM {SCHEMA}.intents"))
    return {(str(action), int(str(version))) for action, version in rows}


def intent_of(row: Row) -> Intent:
    """The intent of a row of `COLUMNS`."""
    version, action, number, tokens, statement, facts = (str(value) for value in row)
    found = NontransactionalStatement(**json.loads(statement))
    return Intent(int(version), action, int(number), tokens, found, json.loads(facts))


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
    # Another process may have had this one's id before it began, and have left an intent.
    began = "coalesce((SELECT backend_start FROM pg_stat_activity WHERE pid = $1::int), '-infinity')"
    query = (
        f"SELECT statement FROM {SCHEMA}.intents WHERE lock_holder = $1::int AND started_at >= {began}"
        " ORDER BY started_at DESC LIMIT 1"
    )
    (rows,) = read(session, Command(query, [pid]))
    if not rows:
        return None
    statement = NontransactionalStatement(**json.loads(str(rows[0][0])))
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
    return holder._replace(doing=str(running))


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


def find_in_doubt(session: Session, migration: Migration, began: str = "") -> str:
    """The name of the migration's statement of which only a person can find out how far it got; or which this execution
    has resolved in a call whose answer was lost. Raises InvalidInput if there is none.

    Args:
        began: when the execution began.
    """
    if read_format(session) >= WITH_INTENTS:
        done = f"FROM {SCHEMA}.attempts WHERE version = $1::numeric AND error -> 'resolved_by' = $2::jsonb"
        query = f"SELECT statement ->> 'name' {_IN_DOUBT} UNION ALL SELECT error ->> 'statement' {done}"
        for (name,) in read(session, Command(query, [migration.version, _own(session, began)]))[0]:
            return str(name)
    raise InvalidInput(
        f"Nothing of migration {migration.label} is in doubt.",
        cause="No statement of it that commits on its own was interrupted, or it has been resolved.",
        solution="See what is applied and what has failed.",
        next_command=NextCommand("status"),
        migration=migration.label,
    )


def add_intent(
    job: Job, number: int, statement: NontransactionalStatement, attempt: int, facts: dict[str, Any]
) -> Command:
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


def _own(session: Session, began: str) -> str:
    """This execution, as the history keeps it of what it has cancelled or resolved."""
    return json.dumps({"execution": session.execution, "began": began})


def resolve(session: Session, migration: Migration, outcome: Literal["applied", "again"], began: str = "") -> str:
    """Settles a statement of which only a person can find out how far it got; returns its name. It can be repeated by
    the same execution: the attempt that was interrupted keeps who has resolved it.

    Args:
        outcome: `applied` records its unit as done; with `again` the next run starts it from its beginning.
        began: when the execution began.

    Raises:
        InvalidInput: nothing of the migration is in doubt.
    """
    name, version = find_in_doubt(session, migration, began), migration.version
    facts = {
        "error": InDoubt.__name__,
        "message": f"It wasn't known how far {name} got. It was resolved: {outcome}.",
        "statement": name,
        "resolved_by": json.loads(_own(session, began)),
    }
    mark = Command(
        f"UPDATE {SCHEMA}.attempts SET error = $2::jsonb || coalesce(error, '{{}}') "
        f"WHERE id IN (SELECT attempt {_IN_DOUBT})",
        [version, json.dumps(facts)],
    )
    record = Command(
        f"INSERT INTO {SCHEMA}.units (first_attempt, number, tokens, attempt, lock_holder) "
        f"SELECT coalesce(a.resumes, a.id), i.number + 1, i.tokens, a.id, {HELD_BY_US} "
        f"FROM {SCHEMA}.attempts a, (SELECT * {_IN_DOUBT}) i WHERE a.id = i.attempt",
        [version],
    )
    records = [record] if outcome == "applied" else []
    session.execute(BEGIN, OURS, mark, *records, Command(f"DELETE {_IN_DOUBT}", [version]), COMMIT)
    return name


def mark_cancelled(session: Session, pid: int, message: str, began: str) -> None:
    """Marks the attempt that another run's process is at, so that runs that began before this don't start it again, and
    this execution can cancel it again in a call after a lost answer.

    Args:
        message: what was done.
        began: when our execution began.
    """
    facts = {"error": Cancelled.__name__, "message": message, "cancelled_by": json.loads(_own(session, began))}
    facts["cancelled"] = message  # kept where the run that is cancelled writes a message of its own
    now = "jsonb_build_object('cancelled_at', extract(epoch FROM clock_timestamp()))"
    marked = f"$2::jsonb || {now} || coalesce(error, '{{}}')"
    update = f"UPDATE {SCHEMA}.attempts SET error = {marked} WHERE lock_holder = $1::int AND result IS NULL"
    updates = [Command(update, [pid, json.dumps(facts)])] if read_format(session) else []
    session.execute(BEGIN, OURS, *updates, COMMIT)


def find_own_cancel(session: Session, began: str) -> tuple[int, str] | None:
    """The process that this execution has begun to cancel in an earlier call, and what that was to report."""
    if not read_format(session):
        return None
    said = "coalesce(error ->> 'cancelled', error ->> 'message')"
    query = f"SELECT lock_holder, {said} FROM {SCHEMA}.attempts WHERE error -> 'cancelled_by' = $1::jsonb"
    for pid, message in read(session, Command(query, [_own(session, began)]))[0]:
        return int(str(pid)), str(message)
    return None


def check_cancelled(session: Session, job: Job, number: int) -> None:
    """Raises Cancelled where a run was cancelled in this file after ours had begun."""
    began = "coalesce(nullif($3, '')::timestamptz, backend_start)"
    query = Command(
        f"SELECT FROM {SCHEMA}.attempts, pg_stat_activity WHERE version = $1::numeric AND action = $2"
        f" AND pid = pg_backend_pid() AND (error ->> 'cancelled_at')::numeric > extract(epoch FROM {began})",
        [job.migration.version, job.action, job.execution_start],
    )
    if as_ourselves(session, query):
        raise Cancelled(
            f"{job.file}:{job.at(job.messages(number)[0]).line} was cancelled while this run waited for its end.",
            cause="Somebody has ended it with `aurora-migrations cancel`, so this run doesn't start it again.",
            solution="Find out who and why. A new run starts it again.",
            ended_by="aurora-migrations cancel",
            **job.facts,
        )


def find_ended_by_limit(session: Session, job: Job, number: int) -> StatementTimeout | None:
    """The error of a unit that this execution has left to the server, if it isn't done: whether the file's own limit
    has passed since it was begun, which has ended it between two calls. Each call would begin it again. Where the
    server was restarted since, that has ended it."""
    limit = job.script.options.statement_timeout
    query = Command(
        f"SELECT FROM {SCHEMA}.intents, pg_stat_activity WHERE version = $1::numeric AND action = $2"
        " AND number = $3::int AND pid = pg_backend_pid()"
        " AND started_at >= coalesce(nullif($4, '')::timestamptz, backend_start)"
        " AND started_at + $5::int * interval '1 ms' <= clock_timestamp() AND started_at > pg_postmaster_start_time()",
        [job.migration.version, job.action, number, job.execution_start, limit],
    )
    if not (limit and as_ourselves(session, query)):
        return None
    return StatementTimeout(
        f"{job.file}:{job.at(job.messages(number)[0]).line} took longer than statement_timeout allows "
        f"({format_duration(limit)}).",
        cause="The server has ended it by the file's own limit, after the call that had begun it.",
        solution="Raise the file's statement_timeout, or take it out: what outlives a call then has no limit.",
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
    as_ourselves(session, remove_intent(job, number))


def as_ourselves(session: Session, command: Command) -> list[Row]:
    """Reads or writes the history in the middle of a file, which may have set a role."""
    return session.execute(BEGIN, *AS_OURSELVES, command, COMMIT)[-2]
