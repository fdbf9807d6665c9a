"""Replays a history: runs every migration on an empty database, as a run does, and reads the catalogue around it.

Outcomes are kept by content (`cache`), and on the embedded server the database of a history as a template. So a new
file on top of a long history takes a copy of a database and one migration.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aurora_migrations.compiler.check import Checked
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.engine import interrupts
from aurora_migrations.engine.catalog.change import difference
from aurora_migrations.engine.catalog.facts import Facts, read_facts
from aurora_migrations.engine.errors import Cancelled, MigratorError
from aurora_migrations.engine.interface import FileDone, Listener, Request
from aurora_migrations.engine.migrations import Migration, Package, Problem, read_text
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.runner import apply, roll_back
from aurora_migrations.engine.script import Action, Job, Outline, Script
from aurora_migrations.replay import cache, down, rows, schema_file
from aurora_migrations.replay import server as servers
from aurora_migrations.replay.outcome import Outcome, RowsFailure, describe
from aurora_migrations.replay.reasons import (
    DEPENDED_ROLE,
    EXISTING_ROLE,
    MISSING_DATABASE,
    MISSING_ROLE,
    depends_on_missing,
    why_not_run,
    why_unreplayable,
    without_place,
)
from aurora_migrations.replay.server import ReplayServer

Progress = Callable[[int, int, str], None]  # called with how many migrations are replayed, of how many, and the next
_NAME = "replay"


@dataclass(frozen=True)
class Step:
    """A migration to replay: its script and, if it has a down file, that one's."""

    migration: Migration
    up: Script
    down: Script | None


@dataclass(frozen=True)
class Replay:
    """What a replay has shown."""

    steps: tuple[Step, ...]
    outcomes: tuple[Outcome, ...]  # of the first migrations: all, unless one fails
    problem: Problem | None = None  # with which the next one fails
    cause: str = ""  # why it does
    major: int | None = None  # the version of PostgreSQL
    replayed: int = 0  # how many migrations ran now; the others were known
    unavailable: str = ""  # why nothing could be replayed
    schema: str | None = None  # after the last migration, if it was wanted and all could be replayed

    @property
    def unreplayed(self) -> list[tuple[Step, str]]:
        """The migrations that can't be replayed, and why not."""
        found = zip(self.steps, self.outcomes, strict=False)
        return [(step, outcome.unreplayed) for step, outcome in found if outcome.unreplayed]


def steps_of(files: Iterable[Checked]) -> list[Step]:
    """The migrations of checked files. A down file with problems counts as none: it can't be run."""
    by_migration: dict[Migration, dict[Action, Script]] = {}
    for file in files:
        scripts = by_migration.setdefault(file.migration, {})
        if file.compiled and not file.problems:
            scripts[file.action] = file.compiled.script
    return [Step(each, scripts["apply"], scripts.get("rollback")) for each, scripts in by_migration.items()]


def replay(
    files: Iterable[Checked],
    url: str | None = None,
    on_progress: Progress = lambda done, count, name: None,
    wants_schema: bool = False,
) -> Replay:
    """Replays the migrations whose outcomes aren't known.

    Args:
        files: all of a folder, without problems in migrations' own files.
        url: a server of the user's own to replay on; by default the embedded one.
        wants_schema: whether to return the schema after the last migration.

    Raises:
        MigratorError: of the family connection, where the user's server can't be reached; Cancelled.
    """
    steps = steps_of(files)
    try:
        if url is None:
            version, major = cache.embedded_version()
            return _replay(steps, version, major, servers.embedded, on_progress, wants_schema)
        with servers.of_url(url) as server:
            found = server.version, server.major
            return _replay(steps, *found, lambda: contextlib.nullcontext(server), on_progress, wants_schema)
    except ServerError as error:
        return Replay(tuple(steps), (), unavailable=f"{error.failed.splitlines()[0]} {error.solution}")


def _replay(
    steps: Sequence[Step],
    version: str,
    major: int,
    start: Callable[[], AbstractContextManager[ReplayServer]],
    on_progress: Progress,
    wants_schema: bool,
) -> Replay:
    keys = list(cache.keys_of([step.migration for step in steps], version))

    def known() -> Replay | None:
        """What is known, if that is all that is wanted."""
        found = cache.read(keys)
        complete = tuple(outcome for outcome in found if outcome is not None)
        schema = cache.read_schema(keys[-1].state) if wants_schema else None
        has_schema = schema is not None or not wants_schema or any(outcome.unreplayed for outcome in complete)
        if len(complete) < len(found) or not has_schema:
            return None
        return Replay(tuple(steps), complete, major=major, schema=schema)

    made = known()
    if made is None:
        with start() as server:
            # Another replay, of the same files perhaps, may have had the server before.
            made = known() or _Run(server, steps, keys, cache.read(keys), on_progress).run(wants_schema)
        cache.prune()
    return made


class _StartOver(Exception):
    """The database isn't what it was: it is made again, from the newest template."""


@dataclass
class _Run:
    """A replay of those migrations whose outcomes aren't known, on a server."""

    server: ReplayServer
    steps: Sequence[Step]
    keys: Sequence[cache.Keys]
    outcomes: list[Outcome | None]
    on_progress: Progress
    replayed: int = 0
    made: set[str] = field(default_factory=set)  # names of roles and databases that were missing
    was_cleaned: bool = False
    # Whether a down file that needs transactions of its own is proven on a copy of the database. Making one takes
    # longer than such a proof, so at first none is made: if the down file is right, the database is as it was.
    uses_copies: bool = False
    has_proven_in_place: bool = False

    def run(self, wants_schema: bool) -> Replay:
        known = [outcome is not None for outcome in self.outcomes]
        end = len(known) if wants_schema or all(known) else len(known) - known[::-1].index(False)
        while True:
            self.has_proven_in_place = False
            try:
                made = self._run(wants_schema, end)
            except _StartOver:
                continue
            if made.problem is None or not self.has_proven_in_place:
                return made
            self.uses_copies = True  # rows may not be what they were, and the failure a consequence of that

    def _run(self, wants_schema: bool, end: int) -> Replay:
        first = next((number for number, outcome in enumerate(self.outcomes) if outcome is None), end)
        number, template = self._newest_template(first)
        database = self.server.create(template)
        problem, cause = None, ""
        for each in range(number, end):
            if self.outcomes[each] is None:
                text = read_text(self.steps[each].migration.path)
                if reason := why_not_run(self.steps[each].up, text, is_ours=self.server.is_ours):
                    self.skip(each, reason)
        while number < end and problem is None:
            number, problem, cause = self._replay_some(database, number, end)
        schema = None
        if problem is None and end == len(self.steps):
            if wants_schema and not any(outcome and outcome.unreplayed for outcome in self.outcomes):
                schema = schema_file.dump(self.server, database, self.steps[-1].migration.label)
                cache.write_schema(self.keys[-1].state, schema)
            if self.server.is_ours and end:
                self.server.keep(database, self.keys[-1].state)
        outcomes = []
        for outcome in self.outcomes[: number if problem else None]:
            if outcome is None:
                break
            outcomes.append(outcome)
        major, replayed = self.server.major, self.replayed
        return Replay(tuple(self.steps), tuple(outcomes), problem, cause, major, replayed, schema=schema)

    def _newest_template(self, first: int) -> tuple[int, str | None]:
        """The longest part of the history before `first` of which there is a template, and that one's name."""
        kept = self.server.templates() if self.server.is_ours else set()
        for number in range(first, 0, -1):
            key = self.keys[number - 1].state
            if key in kept:
                return number, self.server.template(key)
        return 0, None

    def _replay_some(self, database: str, number: int, end: int) -> tuple[int, Problem | None, str]:
        """Replays from a migration on until something needs the database to be without sessions, or the end. Returns
        the next migration's number and, if that fails, its problem and the cause."""
        steps = self.replayable(end)
        if not any(step.migration.version >= self.steps[number].migration.version for step in steps):
            return end, None, ""
        watcher = _Watcher(self, database, number, end)
        problem, cause, failed = None, "", None
        with contextlib.closing(watcher):
            try:
                apply(_request(self.server.url(database), _Scripts(steps), watcher))
            except Cancelled:
                raise
            except MigratorError as error:
                failed = error
        if failed is not None:
            problem, cause = self._on_failure(failed, self.steps[watcher.number], watcher)
        if watcher.to_prove_apart is not None:
            self._prove_apart(database, *watcher.to_prove_apart)
        # The file that is being written is the last one: the next replay begins before it.
        is_before_last = problem is None and number < watcher.number == len(self.steps) - 1 < end
        # After a clean-up none, as what depends on a role in another database keeps a file from dropping the role.
        if is_before_last and self.server.is_ours and not self.was_cleaned:
            self.server.keep(database, self.keys[watcher.number - 1].state, copy=True)
        return watcher.number, problem, cause

    def _on_failure(self, error: MigratorError, step: Step, watcher: _Watcher) -> tuple[Problem | None, str]:
        """Makes what a file needs and the server hasn't got, or takes the file out; returns its problem, if it has
        one, and the cause. Raises errors that aren't the file's."""
        if "migration" not in error.facts:
            raise error
        role, database = MISSING_ROLE.search(error.message), MISSING_DATABASE.search(error.message)
        if role and role[1] not in self.made:
            self.made.add(role[1])
            self.server.make_role(role[1])
            return None, ""
        if database and database[1] not in self.made and self.server.is_ours:
            self.made.add(database[1])
            self.server.stand_in_for_database(database[1])
            return None, ""
        of_others = EXISTING_ROLE.search(error.message) or DEPENDED_ROLE.search(error.message)
        if of_others and self.server.is_ours and not self.was_cleaned:
            self.was_cleaned = True  # an earlier replay may have made it, or what depends on it
            self.made.clear()
            self.server.clean()
            raise _StartOver from error
        what = without_place(error.message)
        earlier = [s for s, o in zip(self.steps, self.outcomes, strict=True) if o and o.unreplayed]
        reason = why_unreplayable(error)
        if not reason and earlier and depends_on_missing(error):
            reason = f"it may need what {earlier[0].migration.name} makes, which can't be replayed: {what}"
        if reason:
            self.skip(watcher.number, reason)
            watcher.number += 1
            return None, ""
        place = int(error.facts.get("line") or 0), int(error.facts.get("column") or 0)
        excerpt = str(error.facts.get("excerpt") or "")
        return Problem(step.up.file, f"fails on an empty database: {what}", *place, excerpt), error.cause

    def replayable(self, end: int) -> list[Step]:
        """The first migrations, without those that can't be replayed."""
        pairs = zip(self.steps[:end], self.outcomes[:end], strict=True)
        return [step for step, outcome in pairs if not (outcome and outcome.unreplayed)]

    def skip(self, number: int, reason: str) -> None:
        """Takes a migration out of the history."""
        down_reason = reason if self.steps[number].down else ""
        self.record(number, Outcome(unreplayed=reason, down_unreplayed=down_reason))

    def record(self, number: int, outcome: Outcome) -> None:
        """Keeps an outcome."""
        self.outcomes[number] = outcome
        self.replayed += 1
        cache.write(self.keys[number], outcome)

    def _prove_apart(self, database: str, number: int, before: Facts, after: Facts) -> None:
        """Proves a down file that can't run in one transaction with its migration, as the engine runs both."""
        step, outcome = self.steps[number], self.outcomes[number]
        assert outcome is not None
        scripts = _Scripts(self.replayable(number + 1))
        place = self.server.create(database) if self.uses_copies else database
        url, label = self.server.url(place), step.migration.label
        failed = False
        try:
            roll_back(_request(url, scripts, Listener()), label, label)
            undone = self._facts(place)
            outcome = replace(outcome, down=difference(after, undone), remains=describe(difference(before, undone)))
            apply(_request(url, scripts, Listener()))
            outcome = replace(outcome, differs_again=describe(difference(after, self._facts(place))))
        except Cancelled:
            raise
        except MigratorError as error:
            outcome, failed = after_down_failure(outcome, error), True
        self.record(number, outcome)
        if self.uses_copies:
            self.server.drop(place)
        elif failed or outcome.remains or outcome.differs_again:
            self.uses_copies = True
            raise _StartOver
        else:
            self.has_proven_in_place = True

    def _facts(self, database: str) -> Facts:
        with Session(self.server.url(database), _NAME, "facts") as session:
            return read_facts(session)


def after_down_failure(outcome: Outcome, error: MigratorError) -> Outcome:
    """The outcome of a migration whose down file, or whose second time after that, fails."""
    if error.facts.get("sqlstate") == "P0001":
        return replace(outcome, down=None, down_unreplayed=f"it refuses to run: {without_place(error.message)}")
    if outcome.remains:
        return replace(outcome, differs_again="")  # the second time fails because of what remains
    return replace(outcome, down_failure=f"{error.message.rstrip('.')}")


class _Watcher(Listener):
    """Reads the catalogue after each file of a run, in a session of its own."""

    def __init__(self, run: _Run, database: str, number: int, end: int) -> None:
        self._run = run
        self._session = Session(run.server.url(database), _NAME, "facts")
        self.number = number  # of the migration that is being replayed, or comes next
        self._end = end
        self._before: Facts | None = None  # the facts before it, if they are needed
        self._rows: RowsFailure | None = None
        # The number of a migration whose down file can't be proven here, and the facts before and after it.
        self.to_prove_apart: tuple[int, Facts, Facts] | None = None

    def close(self) -> None:
        self._session.close()

    def may_begin(self, _: float) -> bool:
        """Whether the run may go on to the next file."""
        interrupts.raise_if_pressed("replaying the history")
        is_last = self.number == len(self._run.steps) - 1 and self._run.server.is_ours
        return self.to_prove_apart is None and not is_last

    def executing(self, action: Action, migration: Migration) -> None:
        steps = self._run.steps
        while steps[self.number].migration.version != migration.version:
            self.number += 1
        self._run.on_progress(self.number, self._end, migration.name)
        if not self._run.server.is_ours:
            self._run.server.runs(read_text(migration.path))
        self._rows = None
        if self._run.outcomes[self.number] is None:
            self._before = self._before or read_facts(self._session)
            with contextlib.suppress(MigratorError):
                self._rows = rows.find_failure(self._session, _job("apply", steps[self.number]))
            self._stop_if_interrupted()

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        number, before = self.number, self._before
        self.number += 1
        self._before = None
        if self._run.outcomes[number] is not None or before is None:
            return
        self._before = after = read_facts(self._session)
        step = self._run.steps[number]
        outcome = Outcome(difference(before, after), rows=self._rows)
        if step.down is not None:
            up_job, down_job = _job("apply", step), _job("rollback", step)
            try:
                if not (down.is_one_transaction(up_job) and down.is_one_transaction(down_job)):
                    self.to_prove_apart = number, before, after
                else:
                    change, remains, again = down.prove_within(self._session, up_job, down_job, before, after)
                    outcome = replace(outcome, down=change, remains=remains, differs_again=again)
            except Cancelled:
                raise
            except MigratorError:  # perhaps only because both ran in one transaction
                self.to_prove_apart = number, before, after
        self._stop_if_interrupted()
        self._run.outcomes[number] = outcome
        if self.to_prove_apart is None:  # else it isn't complete yet
            self._run.record(number, outcome)

    def _stop_if_interrupted(self) -> None:
        """A Ctrl-C during a trial has ended that one, and is meant for the replay."""
        if self._session.wire.interrupted:
            raise interrupts.cancelled("while the history was being replayed")


class _Scripts:
    """The engine's source: scripts without expectations about rows, which an empty database can't meet."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.package = Package(steps[0].migration.path.parent if steps else Path(), tuple(s.migration for s in steps))
        self._steps = {step.migration.version: step for step in steps}

    @property
    def digest(self) -> str:
        return self.package.digest

    @property
    def replayed_on(self) -> int | None:
        return None

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        return []

    def script(self, action: Action, migration: Migration) -> Script:
        return _job(action, self._steps[migration.version], read=False).script

    def scripts(self, action: Action, migrations: Iterable[Migration]) -> Iterator[Script]:
        return (self.script(action, migration) for migration in migrations)

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        return iter(())

    def token_hash(self, text: bytes) -> str | None:
        return None


def _job(action: Action, step: Step, read: bool = True) -> Job:
    script = step.up if action == "apply" else step.down
    if script is None:
        raise ValueError(f"{step.migration.name} has no down file")
    path = step.migration.path if action == "apply" else step.migration.down
    text = read_text(path) if path and read else b""
    options = replace(script.options, rows=(), detach=False)
    script = replace(script, options=options, expectations=(), hazards=(), change=None)
    return Job(action, step.migration, script, text, 0, "", _NAME, Limits().of(options))


def _request(url: str, scripts: _Scripts, listener: Listener) -> Request:
    may_begin = listener.may_begin if isinstance(listener, _Watcher) else lambda _: True
    # The watcher decides after each file whether there is another one.
    return Request(
        url, scripts, _NAME, _NAME, limits=Limits(), listener=listener, may_begin=may_begin, begins_ahead=False
    )
