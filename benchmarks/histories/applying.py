"""A history on two fresh databases: one by our engine, one by psql; and what pg_dump says of each.

Each has a server of its own, as roles and tablespaces that a history makes belong to the server.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import sql

from aurora_migrations.compiler.compile import compile_migration
from aurora_migrations.embedded import binaries
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import Migration, MigratorError, Request, apply
from aurora_migrations.engine.options import Options
from aurora_migrations.engine.script import Source
from aurora_migrations.replay.server import install_standins

DATABASE = "history"  # on both servers: a file may ask for its database's name
_RANDOM = re.compile(r"\\(?:un)?restrict .*\n")  # a key that pg_dump makes up each time


@dataclass(frozen=True)
class Side:
    """A history, applied.

    Attributes:
        version: the server's.
        failed: the file at which it ended; None if all are in.
        error: what was said there.
        schema: pg_dump's text.
        warnings: how what our engine did differs from the replay without failing it.
    """

    version: str
    seconds: float
    failed: str | None
    error: str
    schema: str
    warnings: Sequence[str] = ()


def apply_both(source: Source, bindir: Path | None) -> tuple[Side, Side]:
    """Applies the files by our engine and by psql, each on a fresh server, which is gone afterwards. An embedded server
    has stand-ins for the extensions that it lacks."""
    sides = []
    for by in (by_us, by_psql):
        with tempfile.TemporaryDirectory(prefix="histories-", ignore_cleanup_errors=True) as folder:
            if binaries.is_root():
                Path(folder).chmod(0o711)
            data, settings = Path(folder) / "data", {}
            if bindir is None:
                settings["extension_control_path"] = os.pathsep.join(("$system", str(install_standins(data))))
            with postgres.start(data, bindir=bindir, settings=settings, temporary=True) as server:
                sides.append(by(server, source))
    return sides[0], sides[1]


def by_us(server: Server, source: Source) -> Side:
    """Applies the files by our engine."""
    warnings: list[str] = []

    def run() -> tuple[str | None, str]:
        try:
            done = apply(Request(server.url(DATABASE), source, "histories", "benchmark"))
            warnings.extend(warning for file in done.applied for warning in file.warnings)
        except MigratorError as error:
            return str(error.facts.get("file") or error.name), f"{error.name}: {error.message}\n{error.cause}"
        return None, ""

    return replace(_side(server, run), warnings=warnings)


def by_psql(server: Server, source: Source) -> Side:
    """Applies the files by psql, each in a process of its own."""

    def run() -> tuple[str | None, str]:
        for migration in source.package.migrations:
            whole = ["--single-transaction"] if in_one(migration) else []
            done = _program(server, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *whole, "-f", str(migration.path))
            if done.returncode:
                return migration.name, done.stderr.strip()
        return None, ""

    return _side(server, run)


def in_one(migration: Migration) -> bool:
    """Whether a runner must open the one transaction of this file: it has one, and no BEGIN of its own."""
    compiled = compile_migration("apply", migration, Options())
    script, whole = compiled.script, (0, len(compiled.statements))
    if script.options.transaction == "off" or len(script.units) != 1 or script.units[0].nontransactional:
        return False
    return script.units[0].statements == whole


def _side(server: Server, run: Callable[[], tuple[str | None, str]]) -> Side:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    started = time.monotonic()
    failed, error = run()
    seconds = time.monotonic() - started
    dump = _program(server, "pg_dump", "--schema-only", "--create", "--exclude-schema=aurora_migrations")
    if dump.returncode:
        raise RuntimeError(f"pg_dump: {dump.stderr}")
    return Side(server.version, seconds, failed, error, _RANDOM.sub("", dump.stdout))


def _program(server: Server, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    variables = {variable: value for variable, value in os.environ.items() if not variable.startswith("PG")}
    where = {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGPASSWORD": server.password}
    program = server.bindir / (f"{name}.exe" if sys.platform == "win32" else name)
    command: Sequence[str] = [str(program), *arguments]
    environment = {**variables, **where, "PGDATABASE": DATABASE, "PGCLIENTENCODING": "UTF8", "LC_ALL": "C"}
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace"
    )
