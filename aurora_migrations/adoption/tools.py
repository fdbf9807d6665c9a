"""The tools: how each keeps its migrations, and the order in which it runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aurora_migrations.adoption.annotated_files import read_dbmate, read_goose, read_sql_migrate, read_tern
from aurora_migrations.adoption.directed_files import (
    FIZZ,
    read_diesel,
    read_fizz,
    read_flyway,
    read_golang_migrate,
    read_graphile_migrate,
    read_prisma,
    read_sqlx,
)
from aurora_migrations.adoption.files import Found


@dataclass(frozen=True)
class Tool:
    """How a tool keeps its migrations."""

    read: Callable[[Path], Iterator[Found]]  # finds them in a folder, in any order
    order: Callable[[Found], tuple[object, ...]]  # what the tool sorts them by
    looks_for: str  # a name such as its migrations have
    is_unique: bool = True  # whether the tool refuses two migrations of one version
    others: tuple[tuple[str, str], ...] = ()  # patterns of names that it doesn't run as a migration, and why
    fills_in: str = r"(?!)"  # a pattern of what it replaces in a text


_NO_UP = "undoes a migration that isn't there"


def _by_number(found: Found) -> tuple[object, ...]:
    return int(found.version or -1), found.sources[0].name


def _numbers_first(found: Found) -> tuple[object, ...]:
    return not found.version, *_by_number(found)


def _by_text(found: Found) -> tuple[object, ...]:
    return found.version, found.name


def _by_name(found: Found) -> tuple[object, ...]:
    return (found.sources[0].name,)


def _by_folder(found: Found) -> tuple[object, ...]:
    return (found.sources[0].parent.name,)


_REPEATABLE = (
    "runs again whenever it changes, which no migration here does: put its text into a migration of its own, and "
    "into a new one at each change"
)
TOOLS = {
    "dbmate": Tool(read_dbmate, _by_name, "1_name.sql with `-- migrate:up` and `-- migrate:down`", is_unique=False),
    "diesel": Tool(read_diesel, _by_text, "2024-01-31-120000_name/up.sql", is_unique=False),
    "fizz": Tool(
        read_fizz,
        _by_text,
        "1_name.up.sql and 1_name.postgres.up.sql",
        others=((FIZZ.pattern, "for another database, replaced by the file for PostgreSQL, or without an up file"),),
    ),
    "flyway": Tool(
        read_flyway,
        _by_number,
        "V1__name.sql",
        others=(
            (r"R__.*\.sql", _REPEATABLE),
            (r"U[0-9].*\.sql", _NO_UP),
            (r"B[0-9].*\.sql", "a baseline, which is for databases that have none of the migrations before it"),
            (r"(?:before|after|create)[A-Z].*\.sql", "a callback: put what it does into the migrations that need it"),
        ),
        fills_in=r"\$\{[^}\n]+\}",
    ),
    "golang-migrate": Tool(
        read_golang_migrate, _by_number, "1_name.up.sql", others=((r"[0-9]+_.*\.down\.sql", _NO_UP),)
    ),
    "goose": Tool(read_goose, _by_number, "1_name.sql with `-- +goose Up`", fills_in=r"(?i)-- \+goose ENVSUB ON"),
    "graphile-migrate": Tool(
        read_graphile_migrate,
        _by_text,
        "committed/000001-name.sql",
        others=((r".*", "not committed: only what is in committed/ is imported"),),
        fills_in=r":DATABASE_(?:NAME|OWNER)\b|(?m:^--![ \t]*include\b.*)",
    ),
    "prisma": Tool(read_prisma, _by_folder, "20240131120000_name/migration.sql", is_unique=False),
    "sql-migrate": Tool(read_sql_migrate, _numbers_first, "1_name.sql with `-- +migrate Up`", is_unique=False),
    "sqlx": Tool(read_sqlx, _by_number, "1_name.up.sql and 1_name.sql", others=((r"[0-9]+_.*\.down\.sql", _NO_UP),)),
    "tern": Tool(read_tern, _by_number, "001_name.sql", fills_in=r"\{\{.*?\}\}"),
}
