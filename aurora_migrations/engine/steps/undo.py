"""After a rollback that followed a failed verification: is the catalogue as it was before the run? Reads only."""

from __future__ import annotations

from dataclasses import dataclass

from aurora_migrations.engine.catalog.facts import container
from aurora_migrations.engine.expectations import Check
from aurora_migrations.engine.history import read_course, read_done, read_state
from aurora_migrations.engine.steps.step import Step, read_only_session
from aurora_migrations.engine.steps.verify import as_check, compare, depends_on_data, read_expected


@dataclass(frozen=True)
class Undone:
    """What an execution that has rolled back its own migrations has left of them."""

    labels: tuple[str, ...]  # what it has rolled back, in that order
    checks: tuple[Check, ...] = ()  # what isn't as it was before it
    why_not: str = ""  # why that isn't known


def check_undone(step: Step) -> Undone:
    """Compares all that this execution's migrations are about with what the migrations before them make. That a down
    file did what it does on an empty database isn't enough: it may leave something even there."""
    source = step.source
    with read_only_session(step, "apply") as session:
        undone = read_done(session, step.execution, step.started_at, "rollback")
        labels, versions = tuple(each.label for each in undone), {each.version for each in undone}
        ours = [migration for migration in source.package.migrations if migration.version in versions]
        changes = [change for migration in ours if (change := source.script("apply", migration).change) is not None]
        if source.replayed_on is None or len(changes) < len(ours):
            return Undone(labels, why_not="what its files change isn't known, as they weren't replayed")
        state, course = read_state(session), read_course(session)
        # Nothing else came after what it has applied, so the newest rollbacks of these versions are its own.
        for version in versions:
            of_this = [at for at, each in enumerate(course) if (each.version, each.action) == (version, "rollback")]
            del course[of_this[-1]]
        known = [m for m in source.package.migrations if m.version in state.applied]
        outlines = {m.version: outline for m, outline in zip(known, source.outlines(known), strict=True)}
        catalogue = compare(step, session, read_expected(step, session, outlines, state, course), state)
    keys = {key for change in changes for key in change.keys}
    touched, names = {container(key) for key in keys}, {" ".join(key) for key in keys}
    found = [each for each in catalogue.drift.findings if container(each.deviation.key) in touched]
    checks = [as_check(each) for each in found if not depends_on_data(step, each)]
    left = [Check(name, "not there", "there", False) for name in catalogue.drift.unexpected if name in names]
    return Undone(labels, (*checks, *left), catalogue.why_not)
