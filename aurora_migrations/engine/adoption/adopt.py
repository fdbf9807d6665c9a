"""Adopts another tool's history, or a baseline: plans what to record, proves it, and records it in one transaction."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine import history as own_history
from aurora_migrations.engine import history_format
from aurora_migrations.engine.adoption import histories, matching, proof
from aurora_migrations.engine.adoption.histories import ForeignHistory
from aurora_migrations.engine.adoption.proof import Difference, Expect
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    InsufficientPrivilege,
    InvalidInput,
    MigratorError,
    NextCommand,
    PackageChanged,
)
from aurora_migrations.engine.interface import Request, RunResult
from aurora_migrations.engine.locks.locked_session import LockedSession
from aurora_migrations.engine.migrations import Migration, read_text
from aurora_migrations.engine.plan import find_target, version_of
from aurora_migrations.engine.postgres.protocol import BatchError, Command
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, HELD_BY_US, OURS, Session, acquire_run_lock
from aurora_migrations.engine.postgres.sqlstate import named_error
from aurora_migrations.engine.script import Source
from aurora_migrations.engine.steps.execution import ExecutionInput

SCHEMA = history_format.SCHEMA
_AT_ONCE = 200  # commands in one round trip
_NOTHING = "Nothing to record: every migration is applied already"
_FATE = "Everything that was to be recorded is there, or nothing of it; run the same command again to see which."


@dataclass(frozen=True)
class Wanted:
    """What is to be taken over."""

    verb: str  # `adopt` or `baseline`
    target: str | None = None  # the last file that is applied; for adopt None: the history says it
    table: str | None = None  # the other tool's, where there are several
    accept: tuple[str, ...] = ()  # names of differences


@dataclass(frozen=True)
class Adoption:
    """What an adoption would record, and how the database differs from it."""

    wanted: Wanted
    history: ForeignHistory | None  # the other tool's; None for a baseline
    covered: tuple[Migration, ...]  # every file that is applied then
    migrations: tuple[Migration, ...]  # those of them that our history doesn't have yet
    rows: Mapping[str, Migration]  # which file a row of the other tool's history is, by the row's key
    differences: tuple[Difference, ...]
    # Beside migrations: rows of the other tool's history that have come or gone, differences that aren't recorded yet.
    has_news: bool

    @property
    def origin(self) -> str:
        """What the records say they come from."""
        return self.history.tool.name if self.history else "baseline"

    @property
    def newest(self) -> Migration:
        """The last file to record, or else the last that is applied; its number confirms the adoption."""
        return (self.migrations or self.covered)[-1]

    @property
    def message(self) -> str:
        """What there is to record, in a sentence."""
        count, first = len(self.migrations), self.migrations[0].label if self.migrations else ""
        if not count:
            return f"To record as accepted: {self._count}" if self.has_news and self.differences else _NOTHING
        which = f"{count} migrations, {first} to {self.newest.label}" if count > 1 else f"migration {first}"
        source = f", from {self.history.source} ({self.origin})" if self.history else ""
        return f"To record as applied: {which}{source}; {self._count}"

    @property
    def done(self) -> str:
        """What was recorded, in a sentence."""
        labels = [migration.label for migration in self.migrations]
        if not labels:
            return f"Recorded as accepted: {self._count}" if self.has_news and self.differences else _NOTHING
        whence = f" by {self.origin}" if self.history else ""
        span = labels[0] if len(labels) == 1 else f"{labels[0]} to {labels[-1]}"
        return f"Recorded {len(labels)} migration{'' if len(labels) == 1 else 's'} as applied{whence}: {span}"

    @property
    def _count(self) -> str:
        count = len({difference.name for difference in self.differences})
        return f"{count or 'no'} difference{'' if count == 1 else 's'}"

    def to_dict(self) -> dict[str, object]:
        """It as JSON-able data."""
        keys: dict[int, list[str]] = {}
        for key, migration in self.rows.items():
            keys.setdefault(migration.version, []).append(key)
        return {
            "migration": self.newest.label,
            "message": self.message,
            "tool": self.history.tool.name if self.history else None,
            "table": self.history.source if self.history else None,
            "migrations": [
                {"migration": each.label, "name": each.name, "rows": keys.get(each.version, [])}
                for each in self.migrations
            ],
            "differences": [difference.to_dict() for difference in self.differences],
            "accept": list(dict.fromkeys(difference.name for difference in self.differences)),
        }


def wanted_by(given: ExecutionInput) -> Wanted:
    """What an execution's input asks for."""
    return Wanted(given.action, given.target, given.table, given.accept)


def plan_adoption(session: Session, source: Source, wanted: Wanted, expect: Expect) -> Adoption:
    """What would be recorded, as database and files are now. Reads only; the other tool's lock is held until the
    session ends.

    Raises:
        InvalidInput: there is nothing to adopt, or it can't be adopted as it is.
        AnotherRunInProgress: the other tool is at work.
    """
    state, package = own_history.read_state(session), source.package
    history = _read_history(session, wanted) if wanted.verb == "adopt" else None
    rows: Mapping[str, Migration] = {}
    if history and wanted.target is None:
        chosen, rows = matching.match(history, package, state.applied)
    else:
        last = find_target(package, wanted.target or "").version
        chosen = tuple(each for each in package.migrations if each.version <= last)
        rows = matching.find_files(history, package) if history else {}
    covered = tuple(each for each in package.migrations if each in chosen or each.version in state.applied)
    new = tuple(each for each in covered if each.version not in state.applied)
    _check_unfinished(new, state)
    checksums = proof.of_checksums(matching.wrong_checksums(history, rows), history.tool.name) if history else []
    server = session.server
    compared = proof.compare(expect(covered), read_facts(session), server.major, history, server.schema)
    differences = (*checksums, *compared)
    known = {key for origin in state.origins if history and origin.source == history.source for key in origin.keys}
    news = history is not None and {row.key for row in history.rows} != known
    news |= own_history.read_accepted(session).found != {each.key: each.found for each in compared if each.key}
    return Adoption(wanted, history, covered, new, rows, differences, news)


def check_adoption(adoption: Adoption, confirm: str) -> None:
    """Refuses what wasn't confirmed, or differs and wasn't accepted.

    Raises:
        InvalidInput: see there.
    """
    wanted, newest = adoption.wanted, adoption.newest
    if version_of(confirm) != newest.version:
        raise InvalidInput(
            f"The confirmation is {confirm[:40]!r}, but the newest migration to record is {newest.name}.",
            cause="The number is wrong, or another migration has been applied since.",
            solution=f"Look at what is to be recorded, then confirm {newest.label}.",
            next_command=proof.again(wanted.verb, wanted.target, wanted.accept),
        )
    proof.check_accepted(adoption.differences, wanted.accept, wanted.verb, wanted.target)


def adopt(request: Request, wanted: Wanted, confirm: str, expect: Expect) -> RunResult:
    """Records migrations as applied without running them, after the proof. Under the run lock, in one transaction.

    `confirm` is the number of the newest migration to record, as the initiator has seen it.

    Raises:
        MigratorError: of the families input, connection, contention or history.
    """
    started = time.monotonic()
    with LockedSession(request) as locked:
        session = locked.session
        session.prepare_to_write()
        acquire_run_lock(session, request.wait, request.listener.waiting)
        adoption = plan_adoption(session, request.source, wanted, expect)
        check_adoption(adoption, confirm)
        if adoption.migrations or adoption.has_news:
            history_format.upgrade(session)
            own_history.close_interrupted(session)
            _record(session, request, adoption)
        return RunResult(
            migration=adoption.newest.label,
            message=adoption.done,
            execution=request.execution,
            database=session.server.database,
            duration_ms=(time.monotonic() - started) * 1_000,
            applied=(),
            notices=tuple(f"Accepted: {difference}" for difference in adoption.differences),
            action=wanted.verb,
        )


def _read_history(session: Session, wanted: Wanted) -> ForeignHistory:
    found = histories.find(session, wanted.table)
    if found is None:
        raise InvalidInput(
            "The database has no history of another tool.",
            cause="No table has the columns of a tool that is known here.",
            solution="Check that it is the right database. If it was made by hand or by a dump, record its files with "
            "`aurora-migrations baseline VERSION`.",
            next_command=NextCommand("baseline", ("--help",)),
        )
    history = histories.read(session, found)
    if not history.rows:
        raise InvalidInput(
            f"{history.tool.name} has applied nothing here: {history.source} has no row of an applied migration.",
            cause="It is another database, or everything was undone.",
            solution="Check that it is the right database; an empty one needs no adoption.",
            next_command=NextCommand("status"),
        )
    return history


def _check_unfinished(new: Sequence[Migration], state: own_history.State) -> None:
    half = [each.name for each in new if each.version in state.unfinished]
    if half:
        raise InvalidInput(
            f"Partly applied by an earlier run: {matching.listed(half)}.",
            cause="A run of aurora-migrations has committed some of its units.",
            solution="Finish it with a run, then try again.",
            next_command=NextCommand("status"),
        )


def _record(session: Session, request: Request, adoption: Adoption) -> None:
    """Writes the records, while the other tool can't change its table."""
    history = adoption.history
    before = len(own_history.read_applied(session))
    commands = [*_records(session, request, adoption), *_origins(adoption), *_accepted(session, adoption)]
    count = before + len(adoption.migrations)
    commands += [Command(f"SELECT 1 / (count(*) = $1::bigint)::integer FROM {SCHEMA}.applied", [count]), COMMIT]
    locks = [histories.lock_tables(session, history)] if history else []
    try:
        session.wire.execute_pipeline([BEGIN, OURS, *locks])
        if history:
            (rows,) = session.wire.execute_pipeline([Command(history.place.fill(history.tool.rows))])
            if {str(row[0]) for row in rows} != {row.key for row in history.rows}:
                session.roll_back()
                raise _changed_meanwhile(history)
        for start in range(0, len(commands), _AT_ONCE):
            session.wire.execute_pipeline(commands[start : start + _AT_ONCE])
    except BatchError as error:
        session.roll_back()
        raise _not_recorded(error, history) from error


def _records(session: Session, request: Request, adoption: Adoption) -> Iterator[Command]:
    """One attempt and one record per migration."""
    insert = f"""
        WITH tried AS (
            INSERT INTO {SCHEMA}.attempts (action, version, name, sha256, package, execution, execution_start,
                                           requested_by, lock_holder, finished_at, result)
            SELECT 'apply', $1::numeric, $2, $3, $6, $7, $8, $9, {HELD_BY_US}, clock_timestamp(), 'applied'
            RETURNING id)
        INSERT INTO {SCHEMA}.applied (version, name, sha256, tokens, sql, attempt, execution, requested_by, origin)
        SELECT $1::numeric, $2, $3, $4, $5, id, $7, $9, $10 FROM tried
    """
    about = request.source.digest, session.execution, request.execution_start, request.requested_by, adoption.origin
    for migration in adoption.migrations:
        script, text = request.source.script("apply", migration), read_text(migration.path)
        if hashlib.sha256(text).hexdigest() != script.sha256:
            raise PackageChanged(f"{script.file} was changed while it was being recorded.", file=script.file)
        file = migration.version, migration.name, script.sha256, script.tokens, text
        yield Command(insert, [*file, *about])


def _origins(adoption: Adoption) -> Iterator[Command]:
    """The rows of the other tool's history, as they are now: one that comes later is seen by that."""
    history = adoption.history
    if history is None:
        return
    yield Command(f"DELETE FROM {SCHEMA}.origins WHERE source = $1", [history.source])
    for row in history.rows:
        file = adoption.rows.get(row.key)
        values: list[Any] = [history.source, row.key, history.tool.name, row.checksum, row.applied_at]
        yield Command(
            f"INSERT INTO {SCHEMA}.origins (source, key, tool, checksum, applied_at, version, lock_holder) "
            f"SELECT $1, $2, $3, $4, $5, $6::numeric, {HELD_BY_US}",
            [*values, file.version if file else None],
        )


def _accepted(session: Session, adoption: Adoption) -> Iterator[Command]:
    """Where the database isn't as the files make it: verify leaves out what stays so."""
    yield Command(f"DELETE FROM {SCHEMA}.accepted")
    for number, each in enumerate((each for each in adoption.differences if each.key), 1):
        yield Command(
            f"INSERT INTO {SCHEMA}.accepted (number, kind, identity, expected, found, major, attempt, lock_holder) "
            "SELECT $1::integer, $2, $3, $4, $5, $6::integer, pg_catalog.max(id), "
            f"{HELD_BY_US} FROM {SCHEMA}.attempts",
            [number, *(each.key or ()), each.expected, each.found, session.server.major],
        )


def _changed_meanwhile(history: ForeignHistory) -> AnotherRunInProgress:
    return AnotherRunInProgress(
        f"{history.tool.name} has changed its history while it was being adopted.",
        cause=f"A run of {history.tool.name} has ended in that moment.",
        solution="Adopt again, when it is not at work.",
        next_command=NextCommand("adopt"),
    )


def _not_recorded(error: BatchError, history: ForeignHistory | None) -> MigratorError:
    sqlstate = error.error.sqlstate
    if history and sqlstate == "55P03":
        return AnotherRunInProgress(
            f"{history.tool.name} is at work: another session is changing {history.source}.",
            cause=f"A run of {history.tool.name} hasn't committed yet.",
            solution="Wait until it has ended, then adopt again.",
            next_command=NextCommand("adopt"),
        )
    named = named_error(error.error)
    if history and isinstance(named, InsufficientPrivilege):
        return named.but(
            solution=f"As the owner of {history.source}: GRANT SELECT, UPDATE ON {history.source} to this role; UPDATE "
            "is needed only to lock the table, and can be revoked afterwards."
        )
    return named.but(state=_FATE) if named.retryable else named
