"""A folder whose migrations were replayed: each was run in an empty database, and what it changed there is known."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import aurora_migrations.engine as engine
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Migration, Request, Session, discover, manifest
from aurora_migrations.engine.catalog.change import Change, difference
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.script import Action, Outline, Script
from tests.servers import Database, Migrations


class Replayed(Compiler):
    """The files of a folder, with their changes as an empty database of a server has shown them."""

    def __init__(
        self,
        migrations: Migrations,
        server: Database,
        changes: dict[tuple[Action, int], Change] | None = None,
        before: str = "",
    ):
        """`before`: what makes what the database has before the first of them."""
        super().__init__(discover(migrations.dir))
        self.changes = changes or {}
        self.unreplayed: dict[int, str] = {}
        empty = Database(server.server)
        empty.create()
        try:
            empty.execute(before)
            with Session(empty.url, "replay") as session:
                self.replayed_on = session.server.major
                if changes is None:
                    self._replay(
                        session, Request(empty.url, Compiler(self.package), "replay", "replay", limits=Limits())
                    )
        finally:
            empty.drop()

    def _replay(self, session: Session, request: Request) -> None:
        facts = read_facts(session)
        for migration in self.package.migrations:
            engine.apply(request, migration.label)
            before, facts = facts, read_facts(session)
            self.changes["apply", migration.version] = difference(before, facts)
        for migration in reversed(self.package.migrations):
            if migration.down is None:
                break
            engine.roll_back(request, migration.label, migration.label)
            before, facts = facts, read_facts(session)
            self.changes["rollback", migration.version] = difference(before, facts)

    def write_manifest(self) -> str:
        """What the build does; returns the package's digest."""
        scripts: dict[Migration, dict[str, Script]] = {}
        for migration in self.package.migrations:
            scripts[migration] = {"apply": self.script("apply", migration)}
            if migration.down:
                scripts[migration]["rollback"] = self.script("rollback", migration)
        return manifest.write(self.package.folder, scripts, self.replayed_on)

    def script(self, action: Action, migration: Migration) -> Script:
        return replace(super().script(action, migration), change=self._change(action, migration))

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        known = list(migrations)
        for migration, outline in zip(known, super().outlines(known), strict=True):
            reason = self.unreplayed.get(migration.version, "")
            yield replace(outline, change=self._change("apply", migration), unreplayed=reason)

    def _change(self, action: Action, migration: Migration) -> Change | None:
        return None if migration.version in self.unreplayed else self.changes.get((action, migration.version))
