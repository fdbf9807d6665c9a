"""Verify, the last step of the workflow: checks the database after a run. Reads only.

It reads what was committed, in a session of its own, and takes from the history what the execution has done: the
history is right even if the answer of a call was lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from aurora_migrations.engine.errors import MigratorError, NextCommand, StatementTimeout, VerificationFailed
from aurora_migrations.engine.expectations import LOCKED, Check, check_rows
from aurora_migrations.engine.history import Applied, Change, Done, State, read_course, read_done, read_state
from aurora_migrations.engine.interface import rollback_message, success, success_message
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.plan import build_plan, find_target, read_edits
from aurora_migrations.engine.postgres.session import BEGIN, Session, find_holder
from aurora_migrations.engine.script import ANYTHING, PAST, Outline
from aurora_migrations.engine.status import first, newest
from aurora_migrations.engine.steps.execution import ADOPTIONS
from aurora_migrations.engine.steps.step import Step, read_only_session
from aurora_migrations.engine.steps.tables import Table, inspect, nowhere

_FILES_BUDGET, _TABLES_BUDGET, _CHECKS_BUDGET, _WARNINGS_BUDGET = 8_000, 10_000, 2_000, 2_500  # bytes of JSON
_TOO_SLOW = "Expect fewer rows, or raise the environment's `limits.statement_timeout`."
_GONE = (
    "If a table is missing, find out who (or which trigger) dropped or renamed it; restore it, or create it again in a "
    "new migration. If it should be gone, drop it in a new migration: DROP TABLE IF EXISTS NAME. "
)
_UNFIT = (
    "If an index is invalid: REINDEX INDEX CONCURRENTLY NAME; or drop and create it again in a new migration. A run "
    "doesn't repair it. If a lasting expectation is out of date, remove its line from the file; comments of an applied "
    "file may change."
)
_STAYS = "The migrations stay applied: the checks run after the commit."
_LAST = re.compile(r'(?:"(?:[^"]|"")*"|[^".]+)\Z')  # part of a name, quoted as it was
_SHOWN = 10  # failed checks in the message
_COUNTED = 50  # tables whose rows are counted


@dataclass(frozen=True)
class TableEffects:
    """What an applied file means for tables."""

    file: str
    made: tuple[str, ...]  # names of those that certainly exist once it is applied
    taken: tuple[str, ...]  # bare names of those that it may have dropped, or ANYTHING
    tables: tuple[str, ...] = ()  # names of those that it makes or changes
    left: frozenset[str] = frozenset()  # names that it has taken away: it dropped, renamed or moved those tables


def find_expected_tables(files: Iterable[TableEffects | None]) -> dict[str, str]:
    """The tables that certainly exist, each with the file that has made it. `files` are those that are applied, in
    their order, and with them what rollbacks took away; None is one of which nothing is known."""
    found: dict[str, dict[str, str]] = {}  # by bare name, as a later file may leave the schema out
    for each in files:
        if each is None or ANYTHING in each.taken:
            found.clear()
        if each is None:
            continue
        for name in each.taken:
            found.pop(name, None)
        for name in each.made:
            last = _LAST.search(name)
            found.setdefault(last[0] if last else name, {})[name] = each.file
    return {name: file for names in found.values() for name, file in names.items()}


@dataclass(frozen=True)
class Verification:
    """What verify found, and with it what the machine answers."""

    step: Step
    database: str
    target: Migration | None
    already: Applied | None
    done: tuple[Done, ...]  # what the execution has applied or rolled back, in order
    tables: tuple[Table, ...]  # every table that the execution touched (or that the input names), as it is now
    missing: int  # how many of the tables don't exist, and no applied file is known to have dropped them
    row_expectations: Mapping[str, Sequence[str]]
    lasting: tuple[Check, ...]  # lasting expectations of all applied migrations, and what was found
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """The answer to the state machine."""
        step, key = self.step, PAST[self.step.action]
        labels = [done.label for done in self.done]
        migration = labels[-1] if labels else None
        if self.target is not None and step.input.action != "rollback":
            migration = self.target.label
        by_label = {str(file["migration"]): file for file in step.so_far.get(key, [])}
        files = [{"verified": [], **by_label.get(done.label, {}), **done.to_dict()} for done in self.done]
        tables = [table.to_dict() for table in self.tables]
        for shown, table in zip(tables, self.tables, strict=True):
            # The expectations about its rows at the commit: the application may have written since.
            named = [words for name in {table.name, *table.called} for words in self.row_expectations.get(name, ())]
            shown |= {"promised_at_commit": named} if named else {}
        lasting_rows = [{"promise": check.promise, "found": check.found} for check in self.lasting]
        return {
            **success(step.input.action, step.execution, self.database, migration, self._message(labels)),
            key: newest(files, _FILES_BUDGET),
            f"{key}_count": len(files),
            "already_applied": self.already.applied_at if self.already else None,
            "verified": {
                "tables": newest(tables, _TABLES_BUDGET),
                "tables_count": len(tables),
                "always": newest(lasting_rows, _CHECKS_BUDGET),
                "always_count": len(lasting_rows),
            },
            "warnings": newest(self.warnings, _WARNINGS_BUDGET),
            "duration_ms": _milliseconds_since(step.started_at),
        }

    def _message(self, labels: Sequence[str]) -> str:
        if self.step.input.action == "rollback":
            return rollback_message(labels)
        if self.step.input.action in ("resolve", "cancel", *ADOPTIONS):
            return str(self.step.so_far.get("message") or "Done")
        if self.step.input.action != "verify":
            return success_message(labels, self.target.label if self.target else None, self.already)
        tables, found = _count(self.tables, "table"), "all is as it should be"
        if self.missing:
            found = f"{self.missing} of {tables} {'is' if self.missing == 1 else 'are'} not there"
        return f"Verified {tables} and {_count(self.lasting, 'lasting promise')}: {found}"


def _milliseconds_since(start: str) -> float | None:
    try:
        began = datetime.fromisoformat(start)
    except ValueError:
        return None
    return round((datetime.now(UTC) - began.replace(tzinfo=began.tzinfo or UTC)).total_seconds() * 1_000, 1)


def verify(step: Step) -> Verification:
    """Inspects what the execution has touched, or what its input names. VerificationFailed: a table that must exist
    doesn't, an index can't be used, a lasting expectation isn't met, or something isn't applied."""
    package, action = step.source.package, step.input.action
    with read_only_session(step, "verify") as session:
        state = read_state(session)
        applied = state.applied
        target = find_target(package, step.input.target) if step.input.target else None
        if action == "verify" and target and target.version not in applied:
            raise VerificationFailed(
                f"Migration {target.label} isn't applied here.",
                cause="Its file is in the package, but not in the history of this database.",
                solution="Run it, or see `aurora-migrations status` for what is applied.",
                state="Nothing was changed.",
                next_command=NextCommand("run", (target.label,)),
                migration=target.label,
                checks=[asdict(Check(f"migration {target.label}", "applied", "pending", False))],
            )
        done = read_done(session, step.execution, step.started_at, step.action)
        did = {each.version: each.label for each in done}
        # The migrations whose tables are inspected: those of this execution; without any, the target, or for the action
        # verify everything that is applied.
        named = target if action != "resolve" else None  # of which nothing may be there yet
        versions = set(did) or ({named.version} if named else set(applied) if action == "verify" else set())
        wanted = [m for m in package.migrations if m.version in versions | set(applied)]
        known = {m.version: outline for m, outline in zip(wanted, step.source.outlines(wanted), strict=True)}
        row_expectations: dict[str, list[str]] = {}
        if action != "rollback":
            for row in (row for version in versions if version in known for row in known[version].rows):
                row_expectations.setdefault(row.table, []).append(f"{row.operator} {row.count}")
        names = [name for version in sorted(versions & set(known)) for name in known[version].tables]
        tables = tuple(inspect(session, [*names, *row_expectations], _COUNTED, lambda: not step.deadline.is_over))
        lasting = tuple(_lasting(step, session, known, applied))
        # Only needed if a table is missing: all scripts of ten thousand files would fill the memory.
        effects = {} if all(table.exists for table in tables) else dict(_effects(step, wanted))
        missing_tables = [*_missing_tables(step, session, state, tables, effects)]
        unfit = [(table, index) for table in tables for index in table.indexes if not index.fit]
        indexes = [Check(f"index {i.name} on {t.name}", "valid and ready", i.state, False) for t, i in unfit]
        checks = [*missing_tables, *indexes, *lasting]
        _raise_failures([*_history(step, applied, target, done)], checks, step, bool(missing_tables))
        warnings: list[str] = []
        if action != "rollback":
            edits = read_edits(session, step.source, applied)
            warnings += build_plan(package, state, edits, step.input.target).warnings
            files = [package.by_version[version] for version in did if version in package.by_version]
            warnings += [str(hazard) for file in files for hazard in step.source.script("apply", file).open_hazards]
        return Verification(
            step,
            database=session.server.database,
            target=target,
            already=applied.get(target.version) if target and target.version not in did else None,
            done=done,
            tables=tables,
            missing=_count_missing(tables, effects),
            row_expectations=row_expectations,
            lasting=lasting,
            warnings=tuple(warnings),
        )


def _effects(step: Step, migrations: Sequence[Migration]) -> Iterator[tuple[int, TableEffects]]:
    for migration, script in zip(migrations, step.source.scripts(migrations), strict=True):
        # As only the removal, the renaming and a change of the form of a table lock it.
        exclusive = {lock.table for each in script.statements for lock in each.locks if lock.mode == "ACCESS EXCLUSIVE"}
        left = frozenset(exclusive - {*script.tables})
        yield migration.version, TableEffects(script.file, script.made, script.taken, script.tables, left)


def _count_missing(tables: Sequence[Table], effects: Mapping[int, TableEffects]) -> int:
    """How many of the tables don't exist, though by the files they should. That is reported and is no failure (see
    `_missing_tables`): a DO block, a function, or a job that drops old partitions may have dropped them."""
    there: dict[str, bool] = {}
    for _, each in sorted(effects.items()):
        there.update(dict.fromkeys(each.left, False))
        there.update(dict.fromkeys(each.tables, True))
    return sum(not table.exists and there.get(table.name, True) for table in tables)


def _missing_tables(
    step: Step, session: Session, state: State, tables: Sequence[Table], effects: Mapping[int, TableEffects]
) -> Iterator[Check]:
    """Tables that must be there and are nowhere. After a rollback none: a down file can't always give back what its
    migration had dropped."""
    if step.input.action == "rollback" or state.unfinished:
        return
    known = {version: effects.get(version) for version in sorted(state.applied)}
    away = [table.name for table in tables if not table.exists]
    made_by = find_expected_tables(known.values())
    if not nowhere(session, [name for name in away if name in made_by]):
        return
    # More closely: a file may differ from what was applied, an earlier rollback may not have restored a table, or
    # another run may be in progress.
    edits = read_edits(session, step.source, state.applied)
    certain = {v: None if v in edits and edits[v].changed else each for v, each in known.items()}
    changes = read_course(session)  # what is applied and what was rolled back, one after the other
    made_by = find_expected_tables(
        certain.get(c.version) if c.action == "apply" else _rolled_back(step, c) for c in changes
    )
    gone = nowhere(session, [name for name in away if name in made_by])
    if find_holder(session) is None and read_state(session) == state:
        for name in sorted(gone):
            yield Check(f"table {name}", "there", "not there", False, made_by[name])


def _rolled_back(step: Step, change: Change) -> TableEffects | None:
    """What a rollback may have left away: all that the migration or its down file takes away, as the one doesn't always
    give back what the other took. None where the file isn't what it was then."""
    migration = step.source.package.by_version.get(change.version)
    if migration is None or migration.sha256 != change.sha256:
        return None
    try:
        scripts = [step.source.script("apply", migration)]
        scripts += [step.source.script("rollback", migration)] if migration.down else []
    except MigratorError:  # a down file that can't be read any more
        return None
    taken = [script.taken if script.tokens else (ANYTHING,) for script in scripts]  # without tokens it is no SQL
    return TableEffects(migration.name, (), tuple(name for names in taken for name in names))


def _lasting(
    step: Step, session: Session, outlines: Mapping[int, Outline], applied: Mapping[int, Applied]
) -> Iterator[Check]:
    """Every lasting expectation of every applied migration. LockTimeout: another session holds a lock on its table, and
    the next call may succeed."""
    lasting = [(each.file, row) for v, each in outlines.items() for row in each.rows if row.always and v in applied]
    for file, expectation in lasting:
        if step.deadline.is_over:
            raise StatementTimeout(f"{file}: {expectation}: could not be checked in time.", state=_STAYS)
        session.execute(BEGIN)
        try:
            check = check_rows(session, expectation, faults=(LOCKED,))
        except MigratorError as error:
            solution = _TOO_SLOW if isinstance(error, StatementTimeout) else None
            raise error.but(message=f"{file}: {error.message}", state=_STAYS, solution=solution) from error
        finally:
            session.roll_back()
        yield replace(check, place=file)


def _history(
    step: Step, applied: Mapping[int, Applied], target: Migration | None, done: Sequence[Done]
) -> Iterator[Check]:
    """What the run was for is so in the history."""
    if step.input.action == "rollback":
        for each in done:
            if each.version in applied:
                yield Check(f"migration {each.label}", "rolled back", "applied", False)
    elif step.input.action == "run-migration":
        wanted = [target] if target and target.version in applied else step.source.package.migrations
        for migration in wanted:
            if migration.version not in applied and (target is None or migration.version <= target.version):
                yield Check(f"migration {migration.label}", "applied", "pending", False)


def _raise_failures(history: Sequence[Check], checks: Sequence[Check], step: Step, missing_tables: bool) -> None:
    failed = [*history, *(check for check in checks if not check.true)]
    if not failed:
        return
    details = "; ".join(map(str, failed[:_SHOWN]))
    more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    raise VerificationFailed(
        f"{details}{more}.",
        cause="What the run should have left is missing, or has been changed since.",
        solution=f"{_GONE if missing_tables else ''}{_UNFIT}",
        state=_STAYS,
        next_command=NextCommand("status" if history else "verify"),
        migration=step.input.target,
        checks=first([asdict(check) for check in failed], _CHECKS_BUDGET),
    )


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun if len(things) == 1 else f'{noun}s'}"
