"""The compiler as the engine's source of scripts: compiles the files of a folder when they are needed.

The grammar is loaded with the first file to compile: a run with nothing to do doesn't wait for it. Many files, or large
ones, are compiled by a process of its own (this module, as a program): a run that may take hours doesn't keep the
memory of the grammar, of syntax trees and of texts.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_migrations.engine import interrupts
from aurora_migrations.engine.migrations import INDEX, Migration, Package, Problem, discover, invalid_files
from aurora_migrations.engine.options import Options

_AT_ONCE = 50  # files whose syntax is in memory together
_MANY, _LARGE = 500, 1 << 21  # files, and bytes, from which on starting a process is a small part of the work

_PROGRAM = "aurora_migrations.compiler.folder_source"

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Action, Outline, Script, Source

    _Files = Sequence[tuple[Action, Migration]]
    _Known = tuple[Script | None, tuple[Problem, ...]]  # a file: as compiled, and what forbids running it


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
        self._known: dict[tuple[Action, int], _Known] = {}

    @property
    def digest(self) -> str:
        return self.package.digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids running these files. What is wrong with a down file forbids rolling back, not
        applying; `check` finds it before that."""
        self._compile([(action, migration) for migration in migrations])
        return [problem for migration in migrations for problem in self._known[action, migration.version][1]]

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), compiled.

        Raises:
            InvalidFile: it can't be run.
        """
        self._compile([(action, migration)])
        script, problems = self._known[action, migration.version]
        if script is None or problems:
            raise invalid_files(problems)
        return script

    def scripts(self, action: Action, migrations: Iterable[Migration]) -> Iterator[Script]:
        """The same of several, one after another."""
        return (self.script(action, migration) for migration in migrations)

    def outlines(self, migrations: Iterable[Migration]) -> Iterator[Outline]:
        """The facts that need no more than syntax and options, so that no linter runs.

        Raises:
            InvalidFile: one can't be run.
        """
        from aurora_migrations.compiler.compile import outline

        return (outline(migration, self._defaults) for migration in migrations)

    def token_hash(self, text: bytes) -> str | None:
        """The token hash of a text; None where the text is no SQL."""
        from aurora_migrations.compiler.compile import token_hash

        return token_hash(text)

    def _compile(self, files: _Files) -> None:
        unknown = [file for file in files if (file[0], file[1].version) not in self._known]
        if unknown:
            work = _compile_apart if len(unknown) >= _MANY or _size(unknown) >= _LARGE else _compile_files
            for (action, migration), known in zip(unknown, work(unknown, self._defaults), strict=True):
                self._known[action, migration.version] = known
                if known[0]:
                    migration.folder.note_sha256(known[0].file, known[0].sha256)


def _size(files: _Files) -> int:
    """The bytes of the files that are there; the others are found when they are read."""
    paths = (migration.path if action == "apply" else migration.down for action, migration in files)
    return sum(path.stat().st_size for path in paths if path is not None and path.exists())


def _compile_files(files: _Files, defaults: Options) -> Iterator[_Known]:
    from aurora_migrations.compiler.check import check_files

    for start in range(0, len(files), _AT_ONCE):
        for checked in check_files(files[start : start + _AT_ONCE], defaults):
            yield checked.compiled.script if checked.compiled else None, checked.problems


# ---- a process of its own -------------------------------------------------------------------------------------------


def _compile_apart(files: _Files, defaults: Options) -> list[_Known]:
    """The same by a process of its own. If that dies or raises an error, the rest is done here, so that the error is
    raised here, too."""
    import gc
    import pickle
    import subprocess

    done: list[_Known] = []
    # -P: what is in the current folder is no module, unless it is to this process, too.
    command = [sys.executable, "-P", "-m", _PROGRAM]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(path or os.curdir for path in sys.path)}
    gc.disable()  # it would look through all of what is loaded again and again
    try:
        with subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            try:
                assert process.stdin is not None
                assert process.stdout is not None
                pickle.dump((files, defaults), process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                while len(done) < len(files):
                    with interrupts.as_cancelled("reading the files"), interrupts.interruptible():
                        done += pickle.load(process.stdout)
            finally:
                process.kill()
    except (OSError, EOFError, pickle.UnpicklingError):
        done += _compile_files(files[len(done) :], defaults)  # raises Cancelled after Ctrl-C
    finally:
        gc.enable()
    return done


def _serve() -> None:
    import gc
    import pickle
    import signal

    gc.disable()  # as above
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # to end without a word
    files, defaults = pickle.load(sys.stdin.buffer)
    for start in range(0, len(files), _AT_ONCE):
        known = list(_compile_files(files[start : start + _AT_ONCE], defaults))
        pickle.dump(known, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
