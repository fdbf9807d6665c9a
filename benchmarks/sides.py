"""The commands that are compared."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.harness import Bench, Side


def ours(folder: Path, name: str = "run") -> Side:
    """The whole process, as `aurora-migrations run` starts it."""
    return verb("run", folder, name)


def verb(verb: str, folder: Path, name: str = "") -> Side:
    """The whole process of a verb that works on a database."""
    run = [sys.executable, "-m", "aurora_migrations", verb, "--migrations", str(folder)]
    return Side(f"aurora-migrations {name or verb}", lambda url: [*run, "--database-url", url])


def check(folder: Path) -> Side:
    """The whole process, as `aurora-migrations check` starts it; what a replay takes is measured by `replaying`."""
    run = [sys.executable, "-m", "aurora_migrations", "check", "--no-replay", "--migrations", str(folder)]
    return Side("aurora-migrations check --no-replay", lambda _: run)


def importing_psycopg() -> Side:
    return Side("import psycopg", lambda _: [sys.executable, "-c", "import psycopg"])


def grammar_alone(folder: Path) -> Side:
    return Side(
        "postgast.parse of each file", lambda _: [sys.executable, "-m", "benchmarks.peers.grammar", str(folder)]
    )


def write_manifest(folder: Path, *options: str) -> list[str]:
    """The command that does so, with what the replay has shown."""
    run = [sys.executable, "-m", "aurora_migrations", "check", "--write-manifest", "--migrations", str(folder)]
    return [*run, *options]


def psql(bench: Bench, script: Path) -> Side:
    """One psql; it keeps no history."""
    run = [bench.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script)]
    return Side("psql, one process", lambda url: [*run, "-d", url])


def psycopg_loop(folder: Path) -> Side:
    return Side("psycopg loop", lambda url: [sys.executable, "-m", "benchmarks.peers.loop", url, str(folder)])


def select_one() -> Side:
    return Side("psycopg, connect and SELECT 1", lambda url: [sys.executable, "-m", "benchmarks.peers.select_one", url])


def psycopg_script(script: Path) -> Side:
    """The least that a Python program can do with a file: connect and send it."""
    send = "import sys, psycopg; psycopg.connect(sys.argv[1], autocommit=True).execute(open(sys.argv[2], 'rb').read())"
    return Side("psycopg, connect and send", lambda url: [sys.executable, "-c", send, url, str(script)])
