"""The compiler as the engine's source of scripts: compiles the files of a folder when they are needed.

The grammar is loaded with the first file to compile: a run with nothing to do doesn't wait for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_migrations.engine.migrations import INDEX, Migration, Package, Problem, discover, invalid_files
from aurora_migrations.engine.options import Options

if TYPE_CHECKING:
    from aurora_migrations.compiler.check import Checked
    from aurora_migrations.engine.script import Action, Outline, Script, Source

_AT_ONCE = 100  # files whose syntax is in memory together
_LARGE = 500  # files from which on it pays to share them


def source_of(folder: Path) -> Source:
    """The engine's source of scripts in a folder: its manifest if it has one, else the files, compiled here.

    Raises:
        InvalidManifest: the manifest is damaged, or of other files than those beside it.
        InvalidInput, InvalidFile: the folder holds no migration, or misnamed files.
    """
    if not os.path.exists(folder / INDEX):  # noqa: PTH110 - pathlib's raises where the path is too long
        return Compiler(discover(folder))
    from aurora_migrations.engine.manifest import Manifest

    manifest = Manifest(folder)
    manifest.check_contents()
    return manifest


class Compiler:
    """Compiles the files of a package, each when it is needed."""

    def __init__(self, package: Package, defaults: Options | None = None) -> None:
        self.package = package
        self.replayed_on: int | None = None
        self._defaults = defaults or Options()
        self._known: dict[tuple[Action, int], Checked] = {}

    @property
    def digest(self) -> str:
        return self.package.digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids running these files. What is wrong with a down file forbids rolling back, not
        applying; `check` finds it before that."""
        self._compile([(action, migration) for migration in migrations])
        return [problem for migration in migrations for problem in self._known[action, migration.version].problems]

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), compiled.

        Raises:
            InvalidFile: it can't be run.
        """
        self._compile([(action, migration)])
        known = self._known[action, migration.version]
        if known.compiled is None or known.problems:
            raise invalid_files(known.problems)
        return known.compiled.script

    def scripts(self, migrations: Iterable[Migration]) -> Iterator[Script]:
        """Migrations' own files, compiled one after another; without hazards, so that no linter runs.

        Raises:
            InvalidFile: one can't be run.
        """
        from aurora_migrations.compiler.compile import compile_migration

        for migration in migrations:
            compiled = compile_migration("apply", migration, self._defaults)
            if compiled.problems:
                raise invalid_files(compiled.problems)
            yield compiled.script

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        """The facts that need no more than syntax and options; see `scripts`."""
        from aurora_migrations.compiler.compile import outline

        return (outline(migration, self._defaults) for migration in migrations)

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where the text is no SQL."""
        from aurora_migrations.compiler.compile import token_hash

        return token_hash(text)

    def _compile(self, files: Sequence[tuple[Action, Migration]]) -> None:
        unknown = [file for file in files if (file[0], file[1].version) not in self._known]
        if unknown:
            from aurora_migrations.compiler.check import check_files, in_processes

            def check(share: Sequence[tuple[Action, Migration]]) -> list[Checked]:
                parts = (share[start : start + _AT_ONCE] for start in range(0, len(share), _AT_ONCE))
                return [file.without_trees() for part in parts for file in check_files(part, self._defaults)]

            for checked in check(unknown) if len(unknown) < _LARGE else in_processes(unknown, check):
                self._known[checked.action, checked.migration.version] = checked
