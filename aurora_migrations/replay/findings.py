"""What a replay adds to checked files: their changes, the hazards that it has found, what can't be replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from aurora_migrations.compiler.check import Checked, with_hazards_of_folder
from aurora_migrations.compiler.hazards import DOWN_FAILS, DOWN_LEAVES, REPLAYED, ROWS
from aurora_migrations.engine.migrations import Problem
from aurora_migrations.engine.script import Hazard
from aurora_migrations.replay.history import Replay
from aurora_migrations.replay.outcome import Outcome

_LEAVES = "After the migration and this down file: {0}."
_DIFFERS = "After the migration, this down file and the migration again: {0}."
_UNDO = "Undo in it what the migration does, and all of it."
_ROWS = "Fails on a table with rows that the schema allows: {0}."
_FILL = "Fill or correct the rows before this statement, in this file or in one before it."
_UNREPLAYED = "can't be replayed, so what it does isn't checked: {0}"
# squawk's rules that say the same of a statement.
_SAID_BY = frozenset({"adding-required-field"})


def with_replay(files: Sequence[Checked], replay: Replay) -> list[Checked]:
    """Checked files with what their replay has shown."""
    if replay.unavailable:
        return list(files)
    outcomes = {step.migration.version: outcome for step, outcome in zip(replay.steps, replay.outcomes, strict=False)}
    return [_with(file, outcomes, replay.problem) for file in files]


def _with(file: Checked, outcomes: Mapping[int, Outcome], problem: Problem | None) -> Checked:
    if problem and problem.file == file.file:
        file = replace(file, problems=(*file.problems, problem))
    outcome = outcomes.get(file.migration.version)
    if outcome is None or file.compiled is None:
        return file
    is_up, change, reason = True, outcome.change, outcome.unreplayed
    if file.action == "rollback":
        is_up, change, reason = False, outcome.down, outcome.down_unreplayed or outcome.down_failure
    script = replace(file.compiled.script, change=change, unreplayed=reason)
    file = replace(file, compiled=replace(file.compiled, script=script))
    if is_up and reason:
        file = replace(file, warnings=(*file.warnings, Problem(file.file, _UNREPLAYED.format(reason), 1, 1)))
    found = list(_of_apply(file, outcome) if is_up else _of_rollback(file, outcome))
    return with_hazards_of_folder(file, found, REPLAYED)


def _of_apply(file: Checked, outcome: Outcome) -> Iterator[Hazard]:
    rows = outcome.rows
    if rows and not any(each.line == rows.line and each.rule in _SAID_BY for each in file.hazards):
        yield Hazard(ROWS, file.file, rows.line, rows.column, _ROWS.format(rows.reason), _FILL)


def _of_rollback(file: Checked, outcome: Outcome) -> Iterator[Hazard]:
    if outcome.down_failure:
        yield Hazard(DOWN_FAILS, file.file, 1, 1, f"It fails after its migration: {outcome.down_failure}.", _UNDO)
    elif outcome.remains:
        yield Hazard(DOWN_LEAVES, file.file, 1, 1, _LEAVES.format(outcome.remains), _UNDO)
    elif outcome.differs_again:
        yield Hazard(DOWN_LEAVES, file.file, 1, 1, _DIFFERS.format(outcome.differs_again), _UNDO)
