"""A folder's files with what earlier replays have shown of them, for a run straight on a database. Replays nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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

    @property
    def package(self) -> Package:
        return self._source.package

    @property
    def digest(self) -> str:
        return self._source.digest

    @property
    def replayed_on(self) -> int | None:
        """The major version of PostgreSQL on which files of the folder were replayed; None if none was."""
        return self._known[0] if self._known[1] else None

    @property
    def unknown(self) -> list[Migration]:
        """The migrations that nobody has replayed as they are."""
        return [each for each in self.package.migrations if each.version not in self._known[1]]

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        return self._source.problems(action, migrations)

    def script(self, action: Action, migration: Migration) -> Script:
        script = self._source.script(action, migration)
        outcome = self._known[1].get(migration.version)
        if outcome is None:
            return script
        if action == "rollback":
            return replace(script, change=outcome.down, unreplayed=outcome.down_unreplayed or outcome.down_failure)
        return replace(script, change=outcome.change, unreplayed=outcome.unreplayed)

    def scripts(self, migrations: Iterable[Migration]) -> Iterator[Script]:
        return self._source.scripts(migrations)

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        listed = list(migrations)
        for migration, outline in zip(listed, self._source.outlines(listed), strict=True):
            outcome = self._known[1].get(migration.version)
            change, unreplayed = (outcome.change, outcome.unreplayed) if outcome else (None, "")
            yield replace(outline, change=change, unreplayed=unreplayed)

    def token_hash(self, text: bytes) -> str | None:
        return self._source.token_hash(text)

    @cached_property
    def _known(self) -> tuple[int, dict[int, Outcome]]:
        """The version of PostgreSQL, and the outcomes by migrations' versions. Loaded and read when first needed: a run
        with nothing to do doesn't wait for it."""
        from aurora_migrations.embedded.errors import ServerError
        from aurora_migrations.replay import cache, server

        try:
            version, major = server.embedded_version()
        except ServerError:
            return 0, {}
        migrations = self.package.migrations
        outcomes = cache.read(cache.keys_of(migrations, version))
        return major, {m.version: o for m, o in zip(migrations, outcomes, strict=True) if o is not None}
