"""The compiler as the engine's source: understands files when they are asked for, from the folder itself.

The grammar is loaded with the first file that has to be understood: a run with nothing to do never pays for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from functions.migrator.errors import InvalidFile
from functions.migrator.files import Migration, Package, Problem, invalid_files
from functions.migrator.options import Options
from functions.migrator.script import Action, Script


class Compiler:
    """Reads and understands the files of a package, each when it is asked for."""

    def __init__(self, package: Package, defaults: Options | None = None) -> None:
        self._package = package
        self._defaults = defaults or Options()
        self._known: dict[tuple[Action, int], Script] = {}

    @property
    def package(self) -> Package:
        """All migrations, in order."""
        return self._package

    @property
    def digest(self) -> str:
        """One hash over all files."""
        return self._package.digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids to run these files; all of them are looked at."""
        return [problem for migration in migrations for problem in self._problems(action, migration)]

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), understood.

        Raises:
            InvalidFile: it can't be run.
        """
        known = self._known.get((action, migration.version))
        if known is None:
            from compiler.live import compile_migration

            compiled = compile_migration(action, migration, self._defaults, thorough=False)
            if compiled.problems:
                raise invalid_files(compiled.problems)
            known = self._known[action, migration.version] = compiled.script
        return known

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where the text is no SQL."""
        from compiler.live import token_hash

        return token_hash(text)

    def _problems(self, action: Action, migration: Migration) -> Sequence[Problem]:
        try:
            self.script(action, migration)
        except InvalidFile as error:
            return error.problems
        return ()
