"""A folder's files with what earlier replays have shown of them, for a run straight on a database. Replays nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from aurora_migrations.engine.migrations import Migration, Package, Problem

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Action, Outline, Script, Source
    from aurora_migrations.replay.outcome import Outcome


class KnownSource:
    """A source of scripts to which it adds changes, where they are known."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.unknown: set[Migration] = set()  # of those whose scripts were asked for, those that nobody has replayed

    @property
    def package(self) -> Package:
        return self._source.package

    @property
    def digest(self) -> str:
        return self._source.digest

    @cached_property
    def replayed_on(self) -> int | None:
        """The major version of PostgreSQL on which files of the folder were replayed; None if none was."""
        major, read, keys = self._kept
        return major if any(read(key) is not None for key in keys.values()) else None

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        return self._source.problems(action, migrations)

    def script(self, action: Action, migration: Migration) -> Script:
        script = self._source.script(action, migration)
        outcome = self._outcome(migration)
        if outcome is None:
            self.unknown.add(migration)
            return script
        if action == "rollback":
            return replace(script, change=outcome.down, unreplayed=outcome.down_unreplayed or outcome.down_failure)
        return replace(script, change=outcome.change, unreplayed=outcome.unreplayed)

    def scripts(self, action: Action, migrations: Iterable[Migration]) -> Iterator[Script]:
        return self._source.scripts(action, migrations)

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        listed = list(migrations)
        for migration, outline in zip(listed, self._source.outlines(listed), strict=True):
            outcome = self._outcome(migration)
            change, unreplayed = (outcome.change, outcome.unreplayed) if outcome else (None, "")
            yield replace(outline, change=change, unreplayed=unreplayed)

    def token_hash(self, text: bytes) -> str | None:
        return self._source.token_hash(text)

    def _outcome(self, migration: Migration) -> Outcome | None:
        """What is known of a migration. Not kept in memory, as a run needs each once."""
        _, read, keys = self._kept
        return read(keys[migration.version]) if keys else None

    @cached_property
    def _kept(self) -> tuple[int, Callable[[str], Outcome | None], Mapping[int, str]]:
        """The version of PostgreSQL, what reads an outcome, and the keys of all by migrations' versions. Loaded when it
        is first needed: a run with nothing to do doesn't wait for it."""
        from aurora_migrations.embedded.errors import ServerError
        from aurora_migrations.replay import cache

        try:
            version, major = cache.embedded_version()
        except ServerError:
            return 0, lambda _: None, {}
        migrations = self.package.migrations
        keys = zip(migrations, cache.keys_of(migrations, version), strict=True)
        return major, cache.reader(), {migration.version: each.outcome for migration, each in keys}
