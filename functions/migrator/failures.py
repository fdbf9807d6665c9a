"""What went wrong with a file, where in it, and in what state that leaves the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from functions.migrator.errors import (
    Cancelled,
    ConnectionLost,
    HazardRefused,
    MigrationFailed,
    MigratorError,
    NotAWriter,
)
from functions.migrator.excerpts import excerpt, position
from functions.migrator.job import Job
from functions.migrator.script import Hazard
from functions.migrator.session import Session
from functions.migrator.sqlstate import VALUE_CLASSES, Diagnosis, connection_lost, diagnose, kind_of
from functions.migrator.wire import BatchError, ScriptError

CTRL_C = "Ctrl-C was pressed while this statement was running."
_HELP = "\n      "
AT_COMMIT = -1  # in place of a unit's number: all of its statements had run


def hazards_refused(hazards: Sequence[Hazard]) -> HazardRefused:
    """The error that lists these hazards, one a line, each with what to write instead."""
    lines = [f"{hazard}{_HELP}{hazard.help}" if hazard.help else str(hazard) for hazard in hazards]
    message = lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} hazards:", *lines])
    return HazardRefused(message, hazards=[asdict(hazard) for hazard in hazards])


def runner_error(session: Session, job: Job, error: BatchError) -> MigratorError:
    """An error that a statement of ours met around a file."""
    found = diagnose(error.error)
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "23502" and "lock_holder" in found.message:
        return MigrationFailed(
            f"{job.file} released the run lock.",
            cause="The file unlocks advisory locks that it didn't take (pg_advisory_unlock_all, DISCARD ALL).",
            solution="Unlock by key what the file itself locked, with pg_advisory_unlock(key).",
            state=_ROLLED_BACK,
            **_where(job),
        )
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    if found.sqlstate == "22012" and job.action == "rollback":
        return MigrationFailed(
            f"{job.file}: the migration's record had vanished from the history.",
            cause="Somebody changed the schema aurora_migrations by hand while the run was under way.",
            state=_ROLLED_BACK,
            **_where(job),
        )
    if found.sqlstate in ("57014", "55P03", "40P01"):
        kind = kind_of(found, 0, 0)
        return kind(
            f"{job.file}: while its record was being written: {found.message} ({found.sqlstate}).",
            state=_ROLLED_BACK,
            sqlstate=found.sqlstate,
            **_where(job),
        )
    return MigrationFailed(
        f"{job.file}: its record can't be written: {found.message} ({found.sqlstate}).",
        cause="A statement of the runner failed in the file's transaction; the file may have changed the history.",
        solution="Leave the schema aurora_migrations alone in migrations; see what the message says.",
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
        **_where(job),
    )


def _read_only(session: Session, job: Job, found: Diagnosis) -> MigratorError:
    try:
        session.roll_back()
        standby = session.query("SELECT pg_catalog.pg_is_in_recovery()") == [("t",)]
    except MigratorError:
        standby = False
    if standby:
        return NotAWriter("The server has become a standby: a failover is under way.", **_where(job))
    return MigrationFailed(
        f"{job.file}: {found.message} (25006).",
        cause="The transaction is read-only: the file, the role or the database says so.",
        solution="Take SET TRANSACTION READ ONLY out of the file, or default_transaction_read_only off the role.",
        state=_ROLLED_BACK,
        sqlstate="25006",
        **_where(job),
    )


def file_error(session: Session, job: Job, unit: int, error: ScriptError) -> MigratorError:
    """An error that a statement of a unit met, with its place in the file."""
    found = diagnose(error.error)
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    place = _locate(job, unit, error.completed, found)
    kind = kind_of(found, error.elapsed_ms, job.script.options.statement_timeout)
    where = f"{job.file}:{place.line}:{place.column}" if place else job.file
    if unit == AT_COMMIT:
        where = f"{job.file}, at COMMIT"
    elif place is None and not job.script.statements:  # a large file that was sent unparsed
        where = f"{job.file}, statement {error.completed + 1}"
    hint = f" {found.hint.rstrip('.')}." if found.hint else ""
    ours = kind is Cancelled and session.wire.interrupted
    return kind(
        f"{where}: {'stopped by Ctrl-C' if ours else found.message} ({found.sqlstate}).",
        cause=CTRL_C if ours else _causes(job).get(kind.__name__, f"{kind.cause}{hint}"),
        solution="Run again when you like." if ours else None,
        state=_ROLLED_BACK,
        line=place.line if place else None,
        column=place.column if place else None,
        statement=place.number if place else None,
        excerpt=place.excerpt if place else None,
        sqlstate=found.sqlstate,
        hint=found.hint,
        **_where(job),
    )


@dataclass(frozen=True)
class _Place:
    """Where in a file a statement failed; line and column from 1, `number` counts statements from 1."""

    line: int
    column: int
    number: int | None
    excerpt: str


def _locate(job: Job, unit: int, completed: int, found: Diagnosis) -> _Place | None:
    """The place that PostgreSQL names, else the beginning of the statement that failed; None at COMMIT."""
    if unit == AT_COMMIT:
        return None
    part, statements = job.unit(unit), job.script.statements
    number: int | None = part.statements[0] + completed
    if found.offset is not None:
        offset = part.start + len(job.unit_text(unit).decode()[: found.offset].encode())
        number = next((i for i, s in enumerate(statements) if s.start <= offset <= s.end), None)
    elif number is not None and number < len(statements):
        offset = statements[number].start
    else:
        return None
    line, column = position(job.text, offset)
    known = statements[number] if number is not None and number < len(statements) else None
    span = (known.start, known.end) if known else None
    about_rows = (found.sqlstate or "").startswith(VALUE_CLASSES)
    return _Place(line, column, None if number is None else number + 1, excerpt(job.text, offset, span, about_rows))


def _causes(job: Job) -> dict[str, str]:
    lock, statement = job.script.options.lock_timeout, job.script.options.statement_timeout
    return {
        "LockTimeout": f"Another session holds a lock that the statement needs; lock_timeout is {lock} ms.",
        "StatementTimeout": f"The statement takes longer than statement_timeout allows, which is {statement} ms.",
    }


def _lost(job: Job, found: Diagnosis) -> ConnectionLost:
    return ConnectionLost(
        f"The connection was lost while {job.file} was running: {found.message}.",
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
        **_where(job),
    )


def _where(job: Job) -> dict[str, str]:
    return {"migration": job.migration.label, "file": job.file}


_ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."


def partly_in(job: Job, number: int) -> str:
    """In what state a file is whose first `number` units are in."""
    of = len(job.script.units)
    before = "part 1 is" if number == 1 else f"parts 1 to {number} are"
    return (
        f"{job.file} has {of} parts that commit by themselves: {before} in; the rest isn't. The next run goes on there."
    )


def gone_with_session(job: Job) -> str:
    """What the parts that are in had left in a session that is gone; empty if nothing."""
    upto = job.unit(job.done - 1).statements[1] if job.done else 0
    kept = [f"line {s.line} made {s.keeps}" for s in job.script.statements[:upto] if s.keeps]
    if not kept:
        return ""
    gone = ", ".join(kept)
    return f" It went on behind parts that are in, in a new session; what they had left in theirs is gone: {gone}."


def in_doubt(job: Job, number: int) -> str | None:
    """In what state a file is, if nobody can tell whether unit `number` (from 0) is in."""
    if len(job.script.units) < 2:
        return None
    before = partly_in(job, number) if number else ""
    return f"{before} Part {number + 1} of {job.file} is either in or not; the next run finds out.".strip()
