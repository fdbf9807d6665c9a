"""Replays the history for a verb: shows the progress, and says why there is no replay."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aurora_migrations import project
from aurora_migrations.cli.output import Activity, bar, print_warnings

if TYPE_CHECKING:
    from aurora_migrations.compiler.check import Checked
    from aurora_migrations.replay.history import Replay


def is_wanted(arguments: argparse.Namespace) -> bool:
    """Whether the history is to be replayed, by the options and the environment.

    Raises:
        InvalidInput: the variable AURORA_MIGRATIONS_REPLAY is wrong.
    """
    return not arguments.no_replay and bool(arguments.replay_url or project.replays())


def replayed(arguments: argparse.Namespace, files: Sequence[Checked], wants_schema: bool = False) -> Replay:
    """Replays checked files, as `--replay-url` says. If nothing can be replayed, it prints a warning.

    Raises:
        MigratorError: see `replay`.
    """
    from aurora_migrations.replay.history import replay  # with psycopg and the embedded server

    activity = Activity()

    def show(done: int, count: int, name: str) -> None:
        activity.show(f"{bar(100 * done // max(1, count))} Replaying {name}")

    try:
        found = replay(files, arguments.replay_url, show, wants_schema)
    finally:
        activity.clear()
    if found.unavailable:
        print_warnings([f"Nothing was replayed: {found.unavailable}"])
    return found
