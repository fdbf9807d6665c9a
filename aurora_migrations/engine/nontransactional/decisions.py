"""What a person decides about a statement outside any transaction: `resolve` settles one that nobody else can, `cancel`
ends one that is running."""

from __future__ import annotations

import time
from typing import Literal

from aurora_migrations.engine import history, history_format
from aurora_migrations.engine.interface import Request, RunResult
from aurora_migrations.engine.locks.locked_session import SETTLE_TIME, LockedSession
from aurora_migrations.engine.nontransactional import intents, settlement
from aurora_migrations.engine.plan import find_target
from aurora_migrations.engine.postgres.session import Session, acquire_run_lock, find_holder


def resolve(request: Request, target: str, outcome: Literal["applied", "again"]) -> RunResult:
    """Settles a statement that commits on its own (CALL, DO) and whose run ended before it did, as a person has found
    out: it is done, or the next run starts it from its beginning.

    Raises:
        InvalidInput: nothing of this migration is in doubt, or there is no such migration.
        MigratorError: of the families connection, contention or history.
    """
    migration, started = find_target(request.source.package, target), time.monotonic()
    with LockedSession(request) as locked:
        locked.take_lock()
        name = intents.resolve(locked.session, migration, outcome, request.execution_start)
        done = "recorded as done" if outcome == "applied" else "to be started again from its beginning by the next run"
        message = f"The {name} of migration {migration.label} is {done}"
        return _result(request, locked.session, "resolve", migration.label, message, started)


def cancel(request: Request) -> RunResult:
    """Ends the statement of the run that holds the run lock, also where that run is gone and the server goes on with
    it; and drops what it leaves invalid. What is committed stays. A call whose answer was lost is repeated for the same
    run only.

    Raises:
        InvalidInput: nothing is running.
        InsufficientPrivilege: our role may not end another role's statement.
        AnotherRunInProgress: it doesn't end.
    """
    started = time.monotonic()
    with LockedSession(request) as locked:
        return _result(request, locked.session, "cancel", None, _cancel(request, locked.session), started)


def _cancel(request: Request, session: Session) -> str:
    """Reports what was done."""
    began = request.execution_start
    begun = intents.find_own_cancel(session, began)
    if begun is None:
        found = intents.find_what_to_cancel(session)
        begun = found.pid, f"Cancelled {found.doing or 'the statement'} of {found._replace(doing=None)}"
        session.prepare_to_write()
        intents.mark_cancelled(session, *begun, began)
    pid, done = begun
    holder = find_holder(session)
    if holder and holder.pid != pid:
        return done  # another run has begun since: it clears what that one has left
    if holder:
        session.query("SELECT pg_catalog.pg_cancel_backend($1::int)", pid)
    session.prepare_to_write()
    acquire_run_lock(session, SETTLE_TIME, request.listener.waiting)
    history_format.upgrade(session)
    history.close_interrupted(session)
    dropped = settlement.clear_all(session)
    return f"{done}; dropped {', '.join(dropped)}, which it had left invalid" if dropped else done


def _result(
    request: Request, session: Session, action: str, migration: str | None, message: str, started: float
) -> RunResult:
    duration_ms = (time.monotonic() - started) * 1_000
    return RunResult(migration, message, request.execution, session.server.database, duration_ms, (), action=action)
