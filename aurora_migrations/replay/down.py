"""Whether a down file undoes its migration: after both the catalogue is as before, and after the migration's second
time as after its first."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

from aurora_migrations.engine.catalog.change import Change, difference
from aurora_migrations.engine.catalog.facts import Facts, facts_of, query
from aurora_migrations.engine.diagnostics.file_errors import file_error
from aurora_migrations.engine.postgres.protocol import BatchError, Command, ScriptError
from aurora_migrations.engine.postgres.session import BEGIN, OURS, Session
from aurora_migrations.engine.script import Job
from aurora_migrations.replay.outcome import describe

_IMMEDIATE = Command("SET CONSTRAINTS ALL IMMEDIATE")
_SEQUENCES = """
    SELECT s.seqrelid::pg_catalog.regclass, pg_catalog.pg_sequence_last_value(s.seqrelid), s.seqstart
      FROM pg_catalog.pg_sequence s
"""


@contextlib.contextmanager
def undone(session: Session) -> Iterator[None]:
    """A transaction that is rolled back, and with it everything else that files leave: what sequences have given out,
    and the state of the session."""
    before = {tuple(row) for row in session.query(_SEQUENCES)}
    session.execute(BEGIN)
    try:
        yield
    finally:
        session.roll_back()
        session.execute(Command("DISCARD ALL"))
        for name, _, start in before - {tuple(row) for row in session.query(_SEQUENCES)}:
            known = next(last for each, last, _ in before if each == name)
            session.query("SELECT pg_catalog.setval($1::regclass, $2::bigint, $3)", name, known or start, bool(known))


def is_one_transaction(job: Job) -> bool:
    """Whether a file can run within another transaction: it is one, or empty."""
    return all(unit.nontransactional is None and not unit.modes for unit in job.script.units) and (
        len(job.script.units) <= 1
    )


def run_within(session: Session, job: Job, longest: float = math.inf) -> None:
    """Runs a file in the transaction that is open.

    Args:
        longest: seconds after which one of its messages is cancelled.

    Raises:
        MigratorError: it fails. Nothing more can be run in this transaction then.
    """

    def watch(elapsed: float) -> tuple[bool, float]:
        return elapsed > longest, 0.1

    session.execute(*session.reset_commands)
    for number in range(len(job.script.units)):
        for message in job.messages(number):
            try:
                session.wire.execute_script(job.text[message.start : message.end], watch)
            except ScriptError as error:
                raise file_error(session, job, message, error) from error
    try:
        session.wire.execute_pipeline([_IMMEDIATE])
    except BatchError as error:
        raise file_error(session, job, None, ScriptError(0, error.error, 0)) from error


def facts_within(session: Session) -> Facts:
    """The facts, as the open transaction sees them."""
    return facts_of(session.execute(*session.reset_commands, OURS, query())[-1])


def prove_within(session: Session, up: Job, down: Job, before: Facts, after: Facts) -> tuple[Change, str, str]:
    """Runs a down file and its migration again, in a transaction that is rolled back. Returns what the down file
    changes, what remains after it, and what differs after the migration's second time.

    Raises:
        MigratorError: one of them fails, as it may only because both run in one transaction.
    """
    with undone(session):
        run_within(session, down)
        undone_facts = facts_within(session)
        run_within(session, up)
        again = facts_within(session)
    return (
        difference(after, undone_facts),
        describe(difference(before, undone_facts)),
        describe(difference(after, again)),
    )
