"""The compiler as the engine's source of scripts: compiles the files of a folder when they are needed.

The grammar is loaded with the first file to compile: a run with nothing to do doesn't wait for it. Many files, or large
ones, are compiled by a process of its own (this module, as a program): a run that may take hours doesn't keep the
memory of the grammar, of syntax trees and of texts.
"""

from __future__ import annotations

import contextlib
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
        # Of many files, the batch that each is in, and the one that was read last: see `_compile_apart`.
        self._batches: dict[Action, dict[int, bytes]] = {"apply": {}, "rollback": {}}
        self._batch: dict[tuple[Action, int], _Known] = {}

    @property
    def digest(self) -> str:
        return self.package.digest

    def problems(self, action: Action, migrations: Sequence[Migration]) -> list[Problem]:
        """Everything that forbids running these files. What is wrong with a down file forbids rolling back, not
        applying; `check` finds it before that."""
        self._compile([(action, migration) for migration in migrations])
        return [problem for migration in migrations for problem in self._read(action, migration)[1]]

    def script(self, action: Action, migration: Migration) -> Script:
        """A migration's file (or its down file), compiled.

        Raises:
            InvalidFile: it can't be run.
        """
        self._compile([(action, migration)])
        script, problems = self._read(action, migration)
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
        """Compiles those that weren't."""
        unknown = [
            (action, migration)
            for action, migration in files
            if migration.version not in self._batches[action] and (action, migration.version) not in self._known
        ]
        if not unknown:
            return
        if len(unknown) < _MANY and _size(unknown) < _LARGE:
            self._known.update(zip(map(_key, unknown), _compile_files(unknown, self._defaults), strict=True))
            return
        for start, batch in zip(range(0, len(unknown), _AT_ONCE), _compile_apart(unknown, self._defaults), strict=True):
            for action, migration in unknown[start : start + _AT_ONCE]:
                self._batches[action][migration.version] = batch

    def _read(self, action: Action, migration: Migration) -> _Known:
        """A file that is compiled. Runs read them in order, so that few batches are unpickled twice."""
        key = action, migration.version
        if key not in self._known and key not in self._batch:
            import pickle
            import zlib

            self._batch = pickle.loads(zlib.decompress(self._batches[action][migration.version]))
        script, problems = self._known.get(key) or self._batch[key]
        if script:
            migration.folder.note_sha256(script.file, script.sha256)
        return script, problems


def _key(file: tuple[Action, Migration]) -> tuple[Action, int]:
    return file[0], file[1].version


def _size(files: _Files) -> int:
    """The bytes of the files that are there; the others are found when they are read."""
    size = 0
    for action, migration in files:
        with contextlib.suppress(OSError):
            size += os.stat(migration.place(action) or "").st_size  # noqa: PTH116 - see `Folder.place`
    return size


def _compile_files(files: _Files, defaults: Options) -> Iterator[_Known]:
    from aurora_migrations.compiler.check import check_files

    for start in range(0, len(files), _AT_ONCE):
        for checked in check_files(files[start : start + _AT_ONCE], defaults):
            yield checked.compiled.script if checked.compiled else None, checked.problems


# ---- a process of its own -------------------------------------------------------------------------------------------


def _compile_apart(files: _Files, defaults: Options) -> list[bytes]:
    """The same by a process of its own. If that dies or raises an error, the rest is done here, so that the error is
    raised here, too. Returns batches as `_batches` makes them."""
    import gc
    import pickle
    import subprocess

    done: list[bytes] = []
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
                pickle.dump((files, defaults, _AT_ONCE), process.stdin, pickle.HIGHEST_PROTOCOL)
                process.stdin.flush()
                while len(done) * _AT_ONCE < len(files):
                    with interrupts.as_cancelled("reading the files"), interrupts.interruptible():
                        done.append(pickle.load(process.stdout))
            finally:
                process.kill()
    except (OSError, EOFError, pickle.UnpicklingError):
        done += _batches(files[len(done) * _AT_ONCE :], defaults, _AT_ONCE)  # raises Cancelled after Ctrl-C
    finally:
        gc.enable()
    return done


def _batches(files: _Files, defaults: Options, at_once: int) -> Iterator[bytes]:
    """What is known of each file by its key, so many together, pickled and compressed: as objects, a thousand files
    take 2 MB more for as long as the run takes."""
    import pickle
    import zlib

    for start in range(0, len(files), at_once):
        batch = files[start : start + at_once]
        known = dict(zip(map(_key, batch), _compile_files(batch, defaults), strict=True))
        yield zlib.compress(pickle.dumps(known, pickle.HIGHEST_PROTOCOL), 1)


def _serve() -> None:
    import gc
    import pickle
    import signal

    gc.disable()  # as above
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # to end without a word
    for batch in _batches(*pickle.load(sys.stdin.buffer)):
        pickle.dump(batch, sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
