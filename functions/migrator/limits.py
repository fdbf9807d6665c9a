"""A source whose files keep within what an environment allows and what a call has left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from functions.migrator.deadline import Deadline
from functions.migrator.files import Migration, Package, Problem, read_text
from functions.migrator.options import Options, read_limits
from functions.migrator.script import Action, Script, Source

_LOCK_SHARE = 2  # a lock's limit is at most half of a statement's, so that whoever holds the lock gets reported


class Limited:
    """A source, with the limits of its files set as they are in this call.

    A file's own limits go before the environment's. Neither may last longer than the call: a server that works on for
    a caller who is gone would be found by the next run.
    """

    def __init__(self, source: Source, defaults: Options, deadline: Deadline) -> None:
        self._source = source
        self._defaults = defaults
        self._deadline = deadline
        self.asked: list[Migration] = []
        """What the run was about to do before it began, in its order."""
        self.cut = False
        """Whether the file that was asked for last has less time than it would have without the call's end."""

    @property
    def package(self) -> Package:
        """All migrations, in order."""
        return self._source.package

    @property
    def digest(self) -> str:
        """One hash over everything that the engine goes by."""
        return self._source.digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids to run these files."""
        self.asked += migrations
        return self._source.problems(action, migrations)

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), understood, with its limits as they are now."""
        script = self._source.script(action, migration)
        path = migration.path if action == "apply" else migration.down
        wanted = read_limits(read_text(path), self._defaults) if path else self._defaults
        return replace(script, options=self._within(script.options, wanted))

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where that can't be had."""
        return self._source.token_hash(text)

    def _within(self, options: Options, wanted: Options) -> Options:
        left = self._deadline.left
        self.cut = not 0 < wanted.statement_timeout <= left
        statement = left if self.cut else wanted.statement_timeout
        lock = min(wanted.lock_timeout, max(1, statement // _LOCK_SHARE))
        return replace(options, lock_timeout=lock, statement_timeout=statement)
