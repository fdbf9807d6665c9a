"""Errors of an unreadable history: it was changed by hand, or created by a newer version of the product.

A deployment fixes only the latter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg

from aurora_migrations.engine.errors import (
    HistoryUnreadable,
    InsufficientPrivilege,
    MigrationFailed,
    MigratorError,
)
from aurora_migrations.engine.postgres.protocol import Row
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.postgres.sqlstate import diagnose, named_error

COMMENT = "aurora-migrations history, format "
_FORMAT = re.compile(rf"{COMMENT}([1-9][0-9]{{0,5}})")
_KINDS = {"v": "view", "m": "materialized view", "S": "sequence", "f": "foreign table", "p": "partitioned table"}
# What a format has and older ones don't: this identifies the format if the comment is lost.
_MARKS = ("applied.attempt", "applied.tokens", "attempts.execution_start", "units.tokens", "intents.facts")
_COLUMNS = """
    SELECT c.relname || '.' || a.attname
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE n.nspname = 'aurora_migrations' AND a.attnum > 0 AND NOT a.attisdropped
"""
_HIDING = """
    SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'aurora_migrations' AND row_security_active(c.oid) ORDER BY c.relname
"""
_NOT_A_NUMBER = "version::text !~ '^[0-9]{1,249}$'"
_BY_HAND = "Somebody has changed the history by hand, or another program has."
_BACKUP = "the schema aurora_migrations back from a backup"
_SHOWN = 60  # characters of a value in the history


def format_of(session: Session, newest: int, relations: Sequence[Row]) -> int:
    """The format in the comment on `applied`, at most `newest`. Of the history's `relations` it needs name, kind
    and persistence as pg_class has them, and the comment."""
    found = {name: (kind, comment) for name, kind, _, comment in relations}
    if "applied" not in found:
        raise _applied_missing([str(name) for name in found])
    kind, comment = found["applied"]
    if kind != "r":
        raise _foreign(_KINDS.get(str(kind), "relation"))
    number = _FORMAT.fullmatch(comment or "")
    if number is None:
        raise _comment_lost(session, comment)
    if int(number[1]) > newest:
        raise HistoryUnreadable(
            f"The history has format {number[1]}; this version of aurora-migrations knows formats up to {newest}.",
            cause="A newer version of aurora-migrations has worked on this database.",
        )
    unlogged = [str(name) for name, _, persistence, _ in relations if persistence == "u"]
    if unlogged:
        raise _unlogged_table(unlogged)
    return int(number[1])


def reason(session: Session, error: psycopg.Error) -> MigratorError:
    """The error for a failed query on the history's tables."""
    named = named_error(error)
    if isinstance(named, InsufficientPrivilege):
        hiding = [str(table) for (table,) in session.query(_HIDING)]
        return _rows_hidden(session, hiding) if hiding else named
    if not isinstance(named, MigrationFailed):
        return named
    found = diagnose(error)
    return _changed_by_hand(
        f"The history can't be read: {found.message} ({found.sqlstate}).",
        cause="Its tables aren't as this product made them: a table or a column was dropped, renamed or changed.",
        solution=f"Undo that, or bring {_BACKUP}. docs/history.md shows its tables.",
        sqlstate=found.sqlstate,
    )


def no_version(version: str, table: str, name: str) -> HistoryUnreadable:
    """The error of a row whose version no migration can have."""
    shown = version if len(version) <= _SHOWN else f"{version[:_SHOWN]}..."
    return _changed_by_hand(
        f"aurora_migrations.{table} has a row with the version {shown} (name {name[:_SHOWN]!r}), which isn't a "
        "migration's number.",
        solution=f"Look at such rows: SELECT version, name FROM aurora_migrations.{table} WHERE {_NOT_A_NUMBER}; "
        "Give a row that belongs to a migration its version back, and delete one that doesn't.",
    )


def duplicate_version(version: int) -> HistoryUnreadable:
    """The error of two rows of `applied` with the same version."""
    return _changed_by_hand(
        f"aurora_migrations.applied has more than one row with the version {version}.",
        cause=f"{_BY_HAND} Its primary key is gone.",
        solution=f"Look at them: SELECT * FROM aurora_migrations.applied WHERE version = {version}; Delete those that "
        "no run has written, and add the key again: ALTER TABLE aurora_migrations.applied ADD PRIMARY KEY (version);",
    )


def record_disappeared(version: int) -> HistoryUnreadable:
    """The error of a record that has just disappeared."""
    return _changed_by_hand(
        f"The record of version {version} vanished from aurora_migrations.applied while it was being read.",
        cause="Another run has just rolled that migration back, or somebody has deleted its record.",
        solution="Look again; `aurora-migrations history` shows what was rolled back.",
    )


def units_missing(name: str, found: int, last: str) -> HistoryUnreadable:
    """Of an attempt's units some aren't there, though later ones are."""
    return _changed_by_hand(
        f"aurora_migrations.units has {found} of the {last} parts of {name[:_SHOWN]!r} that were committed.",
        solution=f"Bring {_BACKUP}; or see in the database how far the file got, and finish the rest by hand.",
    )


def _applied_missing(others: Sequence[str]) -> HistoryUnreadable:
    names = " and ".join(f"aurora_migrations.{name}" for name in others)
    return _changed_by_hand(
        f"There is no table aurora_migrations.applied, but {names} {'are' if len(others) > 1 else 'is'} there.",
        cause="Somebody has dropped or renamed it, or something else has made the others.",
        solution=f"Bring {_BACKUP}. If this isn't a history of aurora-migrations, rename or drop what is there.",
    )


def _unlogged_table(tables: Sequence[str]) -> HistoryUnreadable:
    return _changed_by_hand(
        f"{' and '.join(f'aurora_migrations.{table}' for table in tables)} is UNLOGGED.",
        cause="A crash of the server empties such a table; then all migrations would be applied again.",
        solution=f"Run {' '.join(f'ALTER TABLE aurora_migrations.{table} SET LOGGED;' for table in tables)}",
    )


def _foreign(kind: str) -> HistoryUnreadable:
    """The obstacle is in the database: no deployment removes it."""
    return _changed_by_hand(
        f"There is a {kind} aurora_migrations.applied, but it isn't a history of this product.",
        cause="Something else made it.",
        solution="See what it is (\\d+ aurora_migrations.applied) and rename or drop it if it isn't needed.",
    )


def _comment_lost(session: Session, comment: str | None) -> HistoryUnreadable:
    columns = {name for (name,) in session.query(_COLUMNS)}
    number = sum(mark in columns for mark in _MARKS)
    if not number:
        return _foreign("table")
    found = "is missing" if comment is None else f"says {comment[:_SHOWN]!r} instead"
    return _changed_by_hand(
        f"The comment on aurora_migrations.applied, which holds the history's format, {found}.",
        cause="Somebody has changed it, or the database was restored without its comments.",
        solution=f"By its columns the history has format {number}. If it is this product's, write the comment again: "
        f"COMMENT ON TABLE aurora_migrations.applied IS '{COMMENT}{number}';",
    )


def _rows_hidden(session: Session, tables: list[str]) -> HistoryUnreadable:
    names = ", ".join(f"aurora_migrations.{table}" for table in tables)
    off = " ".join(
        f"ALTER TABLE aurora_migrations.{table} NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;"
        for table in tables
    )
    return _changed_by_hand(
        f"Row-level security may hide records from the role {session.server.user}: it is on for {names}.",
        cause="A history of which a part is hidden looks as if that part weren't applied, and would be applied again.",
        solution=f"As the owner: {off}",
    )


def _changed_by_hand(
    message: str, *, solution: str, cause: str = _BY_HAND, sqlstate: str | None = None
) -> HistoryUnreadable:
    """An error whose remedy is in the database: a deployment doesn't help."""
    return HistoryUnreadable(message, cause=cause, solution=solution, by_deployment=False, sqlstate=sqlstate)
