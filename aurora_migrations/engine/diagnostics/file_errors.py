"""Errors of a file: what failed, where in the file, and the state of the database after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aurora_migrations.engine.diagnostics.frames import find_frame, find_query
from aurora_migrations.engine.diagnostics.redaction import VALUE_CLASSES, excerpt, position
from aurora_migrations.engine.errors import (
    Cancelled,
    ConnectionLost,
    HazardRefused,
    InDoubt,
    InvalidInput,
    LockTimeout,
    MigrationFailed,
    MigratorError,
    NextCommand,
    NotAWriter,
    StatementTimeout,
)
from aurora_migrations.engine.options import Limits, format_duration, write_duration
from aurora_migrations.engine.postgres.protocol import BatchError, ScriptError
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.postgres.sqlstate import (
    WHO_LOCKS_HISTORY,
    Diagnosis,
    Explanation,
    connection_lost,
    diagnose,
    explain,
    is_prepared,
    kind_of,
)

if TYPE_CHECKING:
    from aurora_migrations.engine.locks.blockers import LockWait
    from aurora_migrations.engine.locks.budget import Budget
    from aurora_migrations.engine.script import Hazard, Job, Message, NontransactionalStatement, Script

CTRL_C = "Ctrl-C was pressed while this statement was running."
_OWN_LIMIT = "The statement took longer than the statement_timeout that the file itself set."
_OWN_LIMIT_RAISED = "Raise it where the file sets it, or split the work into several files or batches."
CLOCKS = 100  # milliseconds by which the server's clock may be ahead of ours
_WORTH_IT = 1.25  # raising a limit by less than this factor is no remedy
_HELP = "\n      "
# Triggers and rules on the history's tables, which aren't ours, and how to drop them.
_TRIGGERS_AND_RULES = """
    SELECT initcap(kind) || ' ' || quote_ident(name) || ' on aurora_migrations.' || relname,
           'DROP ' || upper(kind) || ' ' || quote_ident(name) || ' ON aurora_migrations.' || quote_ident(relname) || ';'
      FROM (SELECT tgrelid, tgname, 'trigger' FROM pg_trigger WHERE NOT tgisinternal
             UNION ALL SELECT ev_class, rulename, 'rule' FROM pg_rewrite WHERE rulename <> '_RETURN'
           ) AS found (relation, name, kind)
           JOIN pg_class c ON c.oid = relation JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE nspname = 'aurora_migrations' ORDER BY relname, name
"""
_TAMPERED = Explanation(
    "The file, or somebody by hand, changed the schema aurora_migrations during the run.",
    "Don't change that schema. See `aurora-migrations history`, then run again.",
)
_HISTORY_CHANGED = Explanation(
    "A statement of the runner failed in the file's transaction; the file may have changed the history.",
    "Don't change the schema aurora_migrations in migrations; the message above has the details.",
)


def hazards_refused(hazards: Sequence[Hazard]) -> HazardRefused:
    """The error that lists these hazards, one per line, each with what to write instead."""
    lines = [f"{hazard}{_HELP}{hazard.help}" if hazard.help else str(hazard) for hazard in hazards]
    message = lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} hazards:", *lines])
    return HazardRefused(message, hazards=[asdict(hazard) for hazard in hazards])


def check_limits(limits: Limits, scripts: Iterable[Script], longest: int | None) -> None:
    """Checks the limits of files, together with the environment's: a statement_timeout that ends a statement before its
    lock_timeout would hide the blockers; one that is longer than the call (`longest`, in milliseconds) is never
    reached."""
    wrong: list[str] = []
    too_long: list[tuple[Script, int, int]] = []
    for script in scripts:
        own = script.options.statement_timeout
        outlives = all(unit.nontransactional and not unit.may_commit for unit in script.units)
        if limits.of(script.options).contradict:
            wrong.append(script.file)
        if own and longest is not None and own > longest and not (script.options.detach or outlives):
            too_long.append((script, own, longest))
    if wrong:
        raise InvalidInput(
            f"lock_timeout must be below statement_timeout, but isn't for: {', '.join(wrong[:5])}.",
            cause="One comes from the file, the other from the environment or from lock_timeout's default of 2 s.",
            solution="Raise statement_timeout, or lower lock_timeout, in the file or for the run.",
            next_command=NextCommand("check"),
        )
    for script, own, call in too_long[:1]:
        detach = "Let the file outlive the call (`-- migration: detach = on`), lower its statement_timeout, or "
        if len(script.units) > 1 or script.units[0].nontransactional:  # where that option is refused
            detach = "Lower its statement_timeout, or "
        raise InvalidInput(
            f"{script.file} allows a statement {write_duration(own)}, but a function call lasts "
            f"{format_duration(call)}.",
            cause="The call would end and roll back the statement before its own limit is reached.",
            solution=f"{detach}split the work into several files.",
            file=script.file,
        )


def runner_error(session: Session, job: Job, error: BatchError) -> MigratorError:
    """The error for one of our own statements that failed around a file."""
    found = diagnose(error.error)
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "23502" and "lock_holder" in found.message:
        return MigrationFailed(
            f"{job.file} released the run lock.",
            cause="The file releases advisory locks that it didn't take (pg_advisory_unlock_all, DISCARD ALL).",
            solution="Release only the file's own locks, by key: pg_advisory_unlock(key).",
            state=_ROLLED_BACK,
            **job.facts,
        )
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    if found.sqlstate == "22012":
        return history_changed(session, job)
    if found.sqlstate in ("57014", "55P03", "40P01"):
        kind = kind_of(found, 0, 0)
        return kind(
            f"{job.file}: while its record was being written: {found.message} ({found.sqlstate}).",
            solution=WHO_LOCKS_HISTORY if kind is LockTimeout else None,
            state=_ROLLED_BACK,
            sqlstate=found.sqlstate,
            **job.facts,
        )
    explanation = explain(found.sqlstate)
    return _unrecorded(
        session,
        job,
        f"its record can't be written: {found.message} ({found.sqlstate})",
        explanation or _HISTORY_CHANGED,
        check_triggers=explanation is None,
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
    )


def history_changed(session: Session, job: Job, state: str | None = None) -> MigrationFailed:
    """The error if the record isn't as it was written, or another record was added, changed or removed. `state`: the
    state of the database, if the file hasn't been rolled back."""
    what = "its record in the history differs from what was written, or records of other migrations have changed"
    return _unrecorded(session, job, what, _TAMPERED, state=state or _ROLLED_BACK)


def _unrecorded(
    session: Session, job: Job, what: str, explanation: Explanation, check_triggers: bool = True, **facts: Any
) -> MigrationFailed:
    """The error of a file whose record couldn't be written to the history. With `check_triggers`, a trigger or a rule
    on its tables may be the cause."""
    session.roll_back()
    try:
        found = session.query(_TRIGGERS_AND_RULES) if check_triggers else []
    except MigratorError:
        found = []
    cause, solution = explanation.cause, explanation.solution
    if found:
        cause = f"{', '.join(str(name) for name, _ in found)} may discard or change what is written."
        solution = f"Remove it and run again: {' '.join(str(drop) for _, drop in found)}"
    return MigrationFailed(f"{job.file}: {what}.", cause=cause, solution=solution, **facts, **job.facts)


def _read_only(session: Session, job: Job, found: Diagnosis) -> MigratorError:
    try:
        session.roll_back()
        standby = session.query("SELECT pg_catalog.pg_is_in_recovery()") == [("t",)]
    except MigratorError:
        standby = False
    if standby:
        return NotAWriter("The server has become a standby: a failover is under way.", **job.facts)
    return MigrationFailed(
        f"{job.file}: {found.message} (25006).",
        cause="The transaction is read-only, as set by the file, the role or the database.",
        solution="Remove SET TRANSACTION READ ONLY from the file, or default_transaction_read_only from the role.",
        state=_ROLLED_BACK,
        sqlstate="25006",
        **job.facts,
    )


def file_error(
    session: Session, job: Job, sent: Message | None, error: ScriptError, budget: Budget | None = None
) -> MigratorError:
    """The error of a statement of a file, with its place in the file. `sent` is the message that failed, None if it was
    the commit; `budget` knows how long the statement could wait, and the blockers that were seen."""
    number, offset = _failed(job, sent, error) if sent else (None, None)
    statement = job.script.statements[number] if number is not None else None
    found = diagnose(error.error, job.text, job.text[statement.start : statement.end] if statement else b"")
    if connection_lost(error.error):
        return _lost(job, found)
    if found.sqlstate == "25006":
        return _read_only(session, job, found)
    place, in_body = ({}, False) if offset is None else _place(job, number, offset, found)
    where = f"{job.file}, at COMMIT" if sent is None else job.file
    known: dict[str, Any] = {
        "sqlstate": found.sqlstate,
        "hint": found.hint,
        "detail": found.detail,
        "state": _ROLLED_BACK,
        **job.facts,
        **place,
    }
    if place:
        where = f"{job.file}:{place['line']}:{place['column']}"
    wait = budget.last if budget else None
    if budget and found.sqlstate == "57014" and not session.wire.interrupted:
        if budget.overran:
            return _held_too_long(job, where, known)
        if budget.stopped and wait:
            return _waited_too_long(job, where, known, wait)
    kind = kind_of(found, error.elapsed_ms, job.limits.statement_timeout)
    if kind is LockTimeout and wait:
        return _waited_too_long(job, where, known, wait)
    ours = kind is Cancelled and session.wire.interrupted
    explanation = explain(found.sqlstate) if kind is MigrationFailed else None
    cause, solution = explanation.cause if explanation else kind.cause, explanation.solution if explanation else None
    if ours:
        cause, solution = CTRL_C, "Run again when you want."
    elif kind is LockTimeout:
        limit = format_duration(job.limits.lock_timeout)
        cause = f"Another session holds a lock that the statement needs; lock_timeout is {limit}."
    elif kind is StatementTimeout:
        limit = format_duration(job.limits.statement_timeout)
        early = sent is not None and error.elapsed_ms + CLOCKS < job.limits.statement_timeout
        cause, solution = _OWN_LIMIT, _OWN_LIMIT_RAISED
        if job.limits.statement_timeout and not early:
            cause = f"The statement took longer than statement_timeout allows ({limit})."
            solution = more_time(job.limits)
    else:
        for words in (found.detail if kind is MigrationFailed else None, found.hint):
            cause += f" {words[0].upper()}{words[1:].rstrip('.')}." if words else ""
    if found.function and not in_body:
        cause += f" The error is in {found.function}."
    message = f"{where}: {'stopped by Ctrl-C' if ours else found.message} ({found.sqlstate})."
    in_file = explanation.in_file if explanation else None
    return kind(message, cause=cause, solution=solution, by_deployment=in_file, **known)


def slot_error(statement: NontransactionalStatement, error: MigratorError) -> MigratorError:
    """The error of a statement on a subscription, with what to do about its slot. The publisher makes and drops slots
    outside the subscriber's transaction: an interrupted statement leaves one, or leaves a subscription without one."""
    name, state = statement.object, error.facts.get("sqlstate")
    if statement.name.startswith("CREATE SUBSCRIPTION") and state == "08P01":
        solution = "If an interrupted run has left the slot, drop it on the publisher, then run again: "
        return error.but(solution=f"{solution}SELECT pg_drop_replication_slot('{name}');")
    if statement.name == "DROP SUBSCRIPTION" and state == "08006":
        solution = "If the publisher or the slot is gone, take the slot from the subscription, then run again: "
        return error.but(solution=f"{solution}ALTER SUBSCRIPTION {name} SET (slot_name = NONE);")
    return error


def _waited_too_long(job: Job, where: str, known: dict[str, Any], wait: LockWait) -> LockTimeout:
    """The error of a lock timeout, with the blockers."""
    from aurora_migrations.engine.locks.blockers import GRANT

    ended = [blocker.pid for blocker in wait.blockers if blocker.pid and blocker.kind is None]  # no autovacuum
    ends = [f"SELECT pg_terminate_backend({pid});" for pid in ended]
    hidden = any(blocker.state is None and blocker.kind is None for blocker in wait.blockers)
    grant = f" {GRANT.format(user='the role')}." if hidden else ""
    never = any(blocker.never_yields for blocker in wait.blockers)
    against = " An autovacuum to prevent wraparound doesn't yield: let it finish." if never else ""
    limit = format_duration(job.limits.lock_timeout)
    return LockTimeout(
        f"{where}: waited {format_duration(wait.waited_ms)} for {wait} (55P03).",
        cause=f"Other sessions hold conflicting locks; lock_timeout is {limit}.{against}{grant}",
        solution=f"Run again when those sessions have ended, or end them: {' '.join(ends)}" if ends else None,
        table=wait.table,
        mode=wait.mode,
        waited_ms=round(wait.waited_ms, 1),
        blockers=[asdict(blocker) for blocker in wait.blockers],
        about=wait,
        **known,
    )


def held_too_long(job: Job, sent: Message) -> StatementTimeout:
    """The error if locks had been held for as long as allowed before the next message was sent."""
    first, statements = sent.statements[0], job.script.statements
    line, column = (statements[first].line, statements[first].column) if first < len(statements) else (0, 0)
    known = {"state": _ROLLED_BACK, "line": line, "column": column, "statement": first + 1, **job.facts}
    return _held_too_long(job, f"{job.file}:{line}:{column}", known)


def _held_too_long(job: Job, where: str, known: dict[str, Any]) -> StatementTimeout:
    limit = format_duration(job.limits.lock_timeout)
    return StatementTimeout(
        f"{where}: stopped, because the file had held locks that block the application for {limit}.",
        cause=f"No query may wait longer than lock_timeout ({limit}) for a migration; statements after the one that "
        "took the lock were still running.",
        solution=f"Move slow statements into a file of their own, before or after{_more_waiting(job.limits)}.",
        **known,
    )


def _more_waiting(limits: Limits) -> str:
    """The other remedy, where there is one: lock_timeout must stay below statement_timeout."""
    wanted = max(30_000, _in_steps(2 * limits.lock_timeout))
    if any(limit and wanted >= limit for limit in (limits.statement_timeout, limits.longest)):
        return ""
    line = f"`-- migration: lock_timeout = {write_duration(wanted)}`"
    return f"; or, if nobody waits for the table, raise the limit with a first line {line}"


def _failed(job: Job, sent: Message, error: ScriptError) -> tuple[int | None, int | None]:
    """Which statement failed, from 0, and where: at the place that PostgreSQL names, else at its beginning."""
    statements = job.script.statements
    number = sent.statements[0] + error.completed
    at_work = statements[number] if number < len(statements) else None
    named = error.error.diag.statement_position
    if named and not (at_work and is_prepared(job.text[at_work.start : at_work.end])):
        text = job.text[sent.start : sent.end].decode()
        offset = sent.start + len(text[: int(named) - 1].encode())
        return next((i for i, s in enumerate(statements) if s.start <= offset <= s.end), None), offset
    return (number, at_work.start) if at_work else (None, None)


def _place(job: Job, number: int | None, offset: int, found: Diagnosis) -> tuple[dict[str, Any], bool]:
    """Where a statement failed, as facts, and whether that is inside a PL/pgSQL block or function whose text is in the
    file. Line and column count from 1, and so do statements."""
    statements = job.script.statements
    span, inner = None, None
    if number is not None:
        span = (statements[number].start, statements[number].end)
        made = [(s.start, s.end) for s in statements[:number] if s.kind == "CreateFunctionStmt"]
        inner = find_frame(found.frames, job.text, made, span if statements[number].kind == "DoStmt" else None)
    if inner and found.offset is None:
        offset, span = inner
        query, within = found.query or ("", 0)
        start = find_query(query.encode(), job.text, (offset, span[1]))
        offset = offset if start is None else start + len(query[:within].encode())
    line, column = position(job.text, offset)
    about_rows = (found.sqlstate or "").startswith(VALUE_CLASSES)
    shown = excerpt(job.text, offset, span, about_rows)
    statement = None if number is None else number + 1
    return {"line": line, "column": column, "statement": statement, "excerpt": shown}, inner is not None


def more_time(limits: Limits) -> str:
    """The solution for a statement that ran into these limits. It names a value only if that would help."""
    hit, longest = limits.statement_timeout, limits.longest
    wanted = _in_steps(2 * hit)
    if longest is not None and wanted >= longest:
        wanted = (longest - 1) // 60_000 * 60_000
    if wanted >= hit * _WORTH_IT:
        line = f"`-- migration: statement_timeout = {write_duration(wanted)}`"
        return f"Raise it for this file with a first line {line}, or split the work into several files or batches."
    limit = format_duration(longest or hit)
    return (
        f"Split the work into several files or batches. A statement can run for at most {limit} here (one Lambda "
        "call), except in a file with `-- migration: detach = on`, which keeps its locks until its end."
    )


def _in_steps(milliseconds: int) -> int:
    """A round duration: whole minutes, or below a minute whole seconds."""
    step = 60_000 if milliseconds >= 60_000 else 1_000
    return -(-milliseconds // step) * step


def _lost(job: Job, found: Diagnosis) -> ConnectionLost:
    return ConnectionLost(
        f"The connection was lost while {job.file} was running: {found.message}.",
        state=_ROLLED_BACK,
        sqlstate=found.sqlstate,
        **job.facts,
    )


_ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."


def with_expectations_state(job: Job, error: MigratorError) -> MigratorError:
    """An error while a file's expectations were checked, with its file."""
    timed_out = isinstance(error, StatementTimeout) and job.limits.statement_timeout
    found = error.but(solution=more_time(job.limits) if timed_out else None)
    if "file" in error.facts:
        return found
    message = f"{job.file}, while its expectations were checked: {error.message}"
    return found.but(message=message, state=_ROLLED_BACK, **job.facts)


def with_unit_state(job: Job, number: int, error: MigratorError) -> MigratorError:
    """An error in a unit, with the state of its file."""
    upto = job.unit(job.done - 1).statements[1] if job.done else 0
    gone = [f"line {s.line} made {s.keeps}" for s in job.script.statements[:upto] if s.keeps]
    behind = "It resumed after the units already applied, in a new session; what those units set in theirs is gone"
    cause = f"{error.cause} {behind}: {', '.join(gone)}." if gone else None
    # Until a statement in doubt is resolved, no run continues; its error says so.
    return error.but(state=None if isinstance(error, InDoubt) else partial_state(job, number), cause=cause)


def partial_state(job: Job, number: int) -> str | None:
    """The state of a file whose first `number` units are committed; None if nothing of it can be."""
    run = "run" if job.action == "apply" else "rollback"  # a run that applies is refused until then
    again = (
        f"What unit {number + 1} has committed stays, and the next {run} starts it again from its beginning."
        if job.unit(number).may_commit
        else f"The next {run} continues there."
    )
    if number == 0:
        return f"Nothing of {job.file} is recorded. {again}" if job.unit(0).nontransactional else None
    if number >= len(job.script.units):
        return f"All units of {job.file} are applied, but not recorded. The next {run} checks and records them."
    return f"{_committed_units(job, number)}; the rest isn't. {again}"


def _committed_units(job: Job, number: int) -> str:
    which = "unit 1 is" if number == 1 else f"units 1 to {number} are"
    return f"{job.file} has {len(job.script.units)} units that commit separately: {which} applied"


def not_retried(error: MigratorError) -> MigratorError:
    """The same error, but one that neither the run nor the state machine retries: the statement may have committed
    some of its work, and would repeat it."""
    if not error.retryable:
        return error
    return MigrationFailed(
        error.message,
        cause=f"{error.cause} It isn't retried automatically, as the statement may have committed some of its work.",
        solution="Find out what it has committed. If it can run again from its beginning, run again.",
        state=error.state,
        **error.facts,
    )


def nobody_knows(
    job: Job, number: int, statement: NontransactionalStatement, changed: bool = False, missing: str = ""
) -> InDoubt:
    """The error of a statement that commits on its own and whose run ended before it did. `changed`: whether the file
    has another statement there now. `missing`: the file in which it was begun, if that isn't in the folder."""
    place, label, since, first = job.file, job.migration.label, "", ""
    if changed:
        since = " The file was changed since: `applied` needs it as it was."
    else:
        place += f":{job.script.statements[job.unit(number).statements[0]].line}"
    if missing:
        label = missing.partition("_")[0]
        since = f" That was in {missing}, which isn't in this folder: it was renumbered or removed."
        first = f"Restore {missing} with its number.\n"
    stays = f"What unit {number + 1} has committed stays. No run starts it again before it is resolved."
    return InDoubt(
        f"{place}: it isn't known how far {statement.name} got: its run ended first.",
        cause="The statement commits on its own, and the run was killed or lost its connection before it ended."
        + since,
        solution=f"{first}Find out what the statement has committed.\n"
        f"If it did everything, type `aurora-migrations resolve {label} applied`.\n"
        "If it can run again from its beginning:",
        state=f"{_committed_units(job, number)}. {stays}" if number else stays,
        next_command=NextCommand("resolve", (label, "again")),
        **job.facts,
    )


def in_doubt(job: Job, number: int) -> str | None:
    """The state of a file, if it isn't known whether unit `number` (from 0) is committed."""
    if len(job.script.units) < 2:
        return None
    before = f"{_committed_units(job, number)}. " if number else ""
    return f"{before}Unit {number + 1} of {job.file} is either applied or not; the next run finds out."
