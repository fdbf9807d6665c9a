"""The time limits of statements that may outlive their run: which don't hold while one runs, and what happens
when the run's own time is up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from aurora_migrations.engine.errors import ConnectionLost
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import Session

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Job

LOOK_EVERY = 0.2  # seconds between two readings of the clock, while a statement runs that may outlive its run


class LeftToServer(Exception):
    """The run's time is up before its statement has ended. The server goes on with it, and keeps the run lock as long;
    the next run reads in the catalogue how it ended."""


# What is set while such a statement runs. A notice to a client that is gone would end it.
_LIMITS = {
    "lock_timeout": "0",
    "statement_timeout": "0",
    "transaction_timeout": "0",  # from PostgreSQL 17 on; it ends the session
    "client_connection_check_interval": "0",
    "client_min_messages": "error",
}


def limits_of(job: Job, number: int) -> dict[str, str]:
    """The settings while a unit's statement runs. A file's own statement_timeout holds, in full: the job's is cut to
    what is left of a call. So does lock_timeout, where a statement that gives up leaves nothing."""
    limits = {**_LIMITS, "statement_timeout": str(job.script.options.statement_timeout or 0)}
    statement = job.unit(number).nontransactional
    if not (statement and statement.is_concurrent):
        del limits["lock_timeout"]
    return limits


@contextmanager
def without_limits(session: Session, limits: Mapping[str, str] = _LIMITS) -> Iterator[None]:
    """Runs the block without time limits, or with these: one that ends a statement with CONCURRENTLY leaves an invalid
    index. Nor does the server look after its client: it finishes a build whose runner has died, and holds the run lock
    as long."""
    names = ", ".join(f"pg_catalog.current_setting('{name}', true)" for name in limits)
    ((values,),) = session.execute(Command(f"SELECT {names}"))
    known = [(name, value) for name, value in zip(limits, values, strict=True) if value is not None]
    _set(session, [(name, limits[name]) for name, _ in known])
    session.outlives = True
    try:
        yield
    except BaseException as error:
        session.outlives = isinstance(error, LeftToServer)  # which goes on with it: nobody may cancel it now
        raise
    else:
        session.outlives = False
    finally:
        if session.is_idle:  # not where the connection is lost, or the statement is left to the server
            with suppress(ConnectionLost):  # the statement is done, whatever becomes of its session
                _set(session, known)


def _set(session: Session, values: list[tuple[str, str]]) -> None:
    calls = ", ".join(f"pg_catalog.set_config('{name}', ${n}, false)" for n, (name, _) in enumerate(values, 1))
    session.execute(Command(f"SELECT {calls}", [value for _, value in values]))
