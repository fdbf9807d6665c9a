"""Verify, the last step of the workflow: checks the database after a run. Reads only.

It reads what was committed, in a session of its own, and takes from the history what the execution has done: the
history is right even if the answer of a call was lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from aurora_migrations.engine.catalog.change import Change
from aurora_migrations.engine.catalog.drift import Drift, Expected, Finding, find_drift
from aurora_migrations.engine.catalog.effects import find_statement, runs_dynamic_sql
from aurora_migrations.engine.catalog.facts import container, read_facts
from aurora_migrations.engine.errors import (
    LockTimeout,
    MigratorError,
    NextCommand,
    StatementTimeout,
    VerificationFailed,
)
from aurora_migrations.engine.expectations import LOCKED, Check, check_rows
from aurora_migrations.engine.history import (
    Accepted,
    Applied,
    Done,
    State,
    read_accepted,
    read_course,
    read_done,
    read_state,
)
from aurora_migrations.engine.history import Change as CourseChange
from aurora_migrations.engine.interface import rollback_message, success, success_message
from aurora_migrations.engine.migrations import Migration, read_text
from aurora_migrations.engine.plan import build_plan, find_target, read_edits
from aurora_migrations.engine.postgres.session import BEGIN, Session, find_holder
from aurora_migrations.engine.script import PAST, Action, Outline
from aurora_migrations.engine.status import first, newest
from aurora_migrations.engine.steps.execution import ADOPTIONS
from aurora_migrations.engine.steps.step import Step, read_only_session
from aurora_migrations.engine.steps.tables import Table, inspect, read_building

_FILES_BUDGET, _TABLES_BUDGET, _CHECKS_BUDGET, _WARNINGS_BUDGET = 8_000, 10_000, 2_000, 2_500  # bytes of JSON
_TOO_SLOW = "Expect fewer rows, or raise the environment's `limits.statement_timeout`."
_BY_HAND = (
    "If somebody changed the database by hand, change it back. To keep the change, write a new migration that makes it "
    "and also succeeds where it was made already."
)
_OUT_OF_DATE = (
    "Correct the rows. If a lasting expectation is out of date, remove its line from the file; comments of an applied "
    "file may change."
)
_NOT_IN_HISTORY = (
    "Find out whether the database was restored or replaced, or its history edited. A run applies what is pending."
)
_REINDEX = "REINDEX INDEX CONCURRENTLY {0};"
_STAYS = "The migrations stay applied: the checks run after the commit."
_UNREPLAYED = "it wasn't replayed"
_OPAQUE = frozenset(("CallStmt", "DoStmt", "ExecuteStmt"))
_SHOWN = 10  # failed checks in the message
_SQL_SHOWN = 3  # statements in the remedy
_UNEXPECTED_BUDGET = 2_000  # bytes of JSON
_COUNTED = 50  # tables whose rows are counted


@dataclass(frozen=True)
class Catalogue:
    """The database compared with what its migrations make."""

    drift: Drift = field(default_factory=lambda: Drift(0, (), ()))
    unknown: Mapping[str, str] = field(default_factory=dict)  # files of which nothing is known, with the reason
    compared: bool = False
    why_not: str = ""  # why it couldn't be compared now

    def to_dict(self) -> dict[str, object]:
        unknown = [{"file": file, "reason": reason} for file, reason in self.unknown.items()]
        return {
            "expected": self.drift.expected,
            "unexpected": first(self.drift.unexpected, _UNEXPECTED_BUDGET),
            "unexpected_count": len(self.drift.unexpected),
            "accepted": first(self.drift.accepted, _UNEXPECTED_BUDGET),
            "accepted_count": len(self.drift.accepted),
            "unknown": first(unknown, _UNEXPECTED_BUDGET),
            "unknown_count": len(unknown),
        }


@dataclass(frozen=True)
class Verification:
    """What verify found, and with it what the machine answers."""

    step: Step
    database: str
    target: Migration | None
    already: Applied | None
    done: tuple[Done, ...]  # what the execution has applied or rolled back, in order
    tables: tuple[Table, ...]  # every table that the execution touched (or that the input names), as it is now
    catalogue: Catalogue
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
                "catalogue": self.catalogue.to_dict(),
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
        what, missing = (
            [tables, _count(self.lasting, "lasting expectation")],
            sum(not each.exists for each in self.tables),
        )
        if self.catalogue.drift.expected:
            what.insert(1, f"{self.catalogue.drift.expected} facts of the catalogue")
        if missing and not (self.catalogue.compared and not self.catalogue.unknown):  # rightly or not
            found = f"{missing} of {tables} {'is' if missing == 1 else 'are'} not there"
        return f"Verified {', '.join(what[:-1])} and {what[-1]}: {found}"


def _milliseconds_since(start: str) -> float | None:
    try:
        began = datetime.fromisoformat(start)
    except ValueError:
        return None
    return round((datetime.now(UTC) - began.replace(tzinfo=began.tzinfo or UTC)).total_seconds() * 1_000, 1)


def verify(step: Step) -> Verification:
    """Inspects what the execution has touched, or what its input names, and compares the catalogue.

    Raises:
        VerificationFailed: the catalogue isn't what the migrations make, an index can't be used, a lasting expectation
            isn't met, or something isn't applied.
    """
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
                checks=[Check(f"migration {target.label}", "applied", "pending", False).to_dict()],
            )
        done = read_done(session, step.execution, step.started_at, step.action)
        did = {each.version: each.label for each in done}
        # The migrations whose tables are inspected: those of this execution; without any, the target, or for the action
        # verify everything that is applied.
        named = target if action != "resolve" else None  # of which nothing may be there yet
        versions = set(did) or ({named.version} if named else set(applied) if action == "verify" else set())
        either = versions | set(applied)
        wanted = [m for m in package.migrations if m.version in either]
        known = {m.version: outline for m, outline in zip(wanted, step.source.outlines(wanted), strict=True)}
        row_expectations: dict[str, list[str]] = {}
        if action != "rollback":
            for row in (row for version in versions if version in known for row in known[version].rows):
                row_expectations.setdefault(row.table, []).append(f"{row.operator} {row.count}")
        names = [name for version in sorted(versions & set(known)) for name in known[version].tables]
        tables = tuple(inspect(session, [*names, *row_expectations], _COUNTED, lambda: not step.deadline.is_over))
        lasting = tuple(_lasting(step, session, known, applied))
        catalogue = _read_drift(step, session, known, state)
        ours = [m for m in package.migrations if m.version in (did or ({target.version} if target else set()))]
        keys = {key for each in _changes_of(step, ours) for key in each.keys}
        touched = {container(key) for key in keys}
        failed, other = list[Check](), list[Check]()
        for finding in catalogue.drift.findings:
            # What others have changed is no failure of this run, even of a table that it changes, too: unless that is
            # gone, and with it what this run has made.
            deviation = finding.deviation
            is_gone = deviation.found is None and container(deviation.key) == deviation.key[1]
            of_target = action == "verify" or is_gone
            is_ours = deviation.key in keys or (of_target and container(deviation.key) in touched)
            is_ours |= action == "verify" and not target
            fails = is_ours and not depends_on_data(step, finding)
            (failed if fails else other).append(as_check(finding))
        seen = {check.promise.rpartition(".")[2] for check in failed}
        unfit = [(table, index) for table in tables for index in table.indexes if not index.fit]
        failed += [
            Check(f"index {i.name} on {t.name}", "valid and ready", i.state, False, sql=_REINDEX.format(i.name))
            for t, i in unfit
            if i.name.rpartition(".")[2] not in seen
        ]
        _raise_failures([*_history(step, applied, target, done)], failed, lasting, step)
        warnings = [f"Drift: {check}" for check in other]
        if catalogue.why_not:
            warnings.append(f"The catalogue wasn't compared with the migrations: {catalogue.why_not}.")
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
            catalogue=catalogue,
            row_expectations=row_expectations,
            lasting=lasting,
            warnings=tuple(warnings),
        )


def _read_drift(step: Step, session: Session, outlines: Mapping[int, Outline], state: State) -> Catalogue:
    """Compares the database with what its applied migrations make; with nothing, where none was replayed, or while
    another run is at work."""
    if step.source.replayed_on is None or not state.applied:
        return Catalogue()
    return compare(step, session, read_expected(step, session, outlines, state, read_course(session)), state)


def compare(step: Step, session: Session, expected: Expected, state: State) -> Catalogue:
    """Compares the database with what is expected of it; not while another run is at work."""
    try:
        found = read_facts(session)
    except LockTimeout:  # PostgreSQL writes no definition of a table that is locked exclusively
        return Catalogue(unknown=expected.unknown, why_not="another session holds a lock on a table")
    server = session.server
    same_major, schema = step.source.replayed_on == server.major, server.schema
    drift = find_drift(expected, found, same_major, schema=schema)
    if drift.findings:
        drift = find_drift(expected, found, same_major, read_building(session), schema)
    if drift.findings and (find_holder(session) is not None or read_state(session) != state):
        return Catalogue(unknown=expected.unknown, why_not="another run is at work")
    return Catalogue(drift, expected.unknown, compared=True)


def read_expected(
    step: Step, session: Session, outlines: Mapping[int, Outline], state: State, course: Iterable[CourseChange]
) -> Expected:
    """What the changes of a `course`, one after the other, leave; `outlines` are those of applied migrations."""
    expected, package = Expected(), step.source.package
    edits = read_edits(session, step.source, state.applied)
    accepted = read_accepted(session)
    expected.accepted_here = accepted.major == session.server.major
    steps: list[CourseChange | Accepted] = [*course, accepted]
    for change in sorted(steps, key=lambda each: each.attempt):  # what was accepted comes after what was there by then
        if isinstance(change, Accepted):
            expected.accepted |= change.found
            continue
        migration, outline = package.by_version.get(change.version), outlines.get(change.version)
        if migration is None:
            expected.forget(f"{change.version}", "it isn't in this package", None)
            continue
        edited = change.version in edits and edits[change.version].changed
        if change.action == "rollback":
            _add_rollback(expected, step, migration, change.sha256)
        elif outline and outline.change is not None and not edited:
            expected.add(migration.name, outline.change, outline.ignored)
        else:
            reason = "its file isn't what was applied" if edited else (outline and outline.unreplayed) or _UNREPLAYED
            expected.forget(migration.name, reason, _text(step, "apply", migration))
    for version, progress in state.unfinished.items():  # some of its units are committed
        migration = package.by_version.get(version)
        text = None if migration is None else _text(step, "apply", migration)
        expected.forget(progress.name, "it is partly applied or rolled back", text)
    return expected


def _add_rollback(expected: Expected, step: Step, migration: Migration, sha256: str) -> None:
    """What a migration and its rollback have changed: a down file needn't give back all that its migration took. The
    history keeps no hash of it; so its migration must be as it was then."""
    try:
        script = step.source.script("rollback", migration) if migration.down else None
    except MigratorError:  # a down file that can't be read any more
        script = None
    if script is None or migration.sha256 != sha256:
        expected.forget(migration.name, "it was rolled back, and its files aren't what they were then", None)
        return
    applied = step.source.script("apply", migration)
    if applied.change is not None and script.change is not None:
        expected.add(applied.file, applied.change, applied.options.ignore)
        expected.add(script.file, script.change, script.options.ignore)
        return
    both = _text(step, "apply", migration), _text(step, "rollback", migration)
    text = None if None in both else b"\n".join(each for each in both if each)
    expected.forget(migration.name, "it was rolled back, by a down file that wasn't replayed", text)


def _text(step: Step, action: Action, migration: Migration) -> bytes | None:
    """A file's text, which names what it may have changed; None if that may be anything."""
    script = step.source.script(action, migration)
    if any(each.kind in _OPAQUE for each in script.statements):
        return None
    return read_text(migration.path if action == "apply" else migration.down or migration.path)


def depends_on_data(step: Step, finding: Finding) -> bool:
    """Whether only dynamic SQL can have made what is expected. Then it was no more than a warning before the commit."""
    for migration in step.source.package.migrations:
        if finding.since in (migration.name, migration.down_name):
            script = step.source.script("apply" if finding.since == migration.name else "rollback", migration)
            text = read_text(migration.folder.path / finding.since)
            return runs_dynamic_sql(script) and find_statement(script, text, finding.deviation) is None
    return False


def _lasting(
    step: Step, session: Session, outlines: Mapping[int, Outline], applied: Mapping[int, Applied]
) -> Iterator[Check]:
    """Every lasting expectation of every applied migration. LockTimeout: another session holds a lock on its table, and
    the next call may succeed."""
    if step.input.action in ("resolve", "cancel"):
        return  # they change no table: what they have done mustn't fail for another file's expectation
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


def _changes_of(step: Step, migrations: Sequence[Migration]) -> Iterator[Change]:
    """What the files of these have changed, as far as that is known."""
    for migration in migrations:
        if change := step.source.script(step.action, migration).change:
            yield change


def as_check(finding: Finding) -> Check:
    """A deviation of the catalogue as an expectation that isn't met."""
    expected, found = finding.deviation.in_words()
    return Check(finding.deviation.name, expected, found, False, finding.since, finding.sql)


def _raise_failures(history: Sequence[Check], schema: Sequence[Check], rows: Sequence[Check], step: Step) -> None:
    wrong = [check for check in rows if not check.true]
    failed = [*history, *schema, *wrong]
    if not failed:
        return
    mending = " ".join([check.sql for check in schema if check.sql][:_SQL_SHOWN])
    drifted = any(check.place for check in schema)  # not only an index that can't be used
    details = "; ".join(map(str, failed[:_SHOWN]))
    more = f"; and {len(failed) - _SHOWN} more" if len(failed) > _SHOWN else ""
    advice = {
        _NOT_IN_HISTORY: history,
        f"To repair it (a run doesn't): {mending}": mending,
        _BY_HAND: drifted,
        _OUT_OF_DATE: wrong,
    }
    raise VerificationFailed(
        f"{details}{more}.",
        cause="What the run should have left is missing, or has been changed since.",
        solution="\n".join(text for text, needed in advice.items() if needed),
        state=_STAYS,
        next_command=NextCommand("status" if history else "verify"),
        migration=step.input.target,
        checks=first([check.to_dict() for check in failed], _CHECKS_BUDGET),
    )


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun if len(things) == 1 else f'{noun}s'}"
