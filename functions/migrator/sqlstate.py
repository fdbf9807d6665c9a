"""From what PostgreSQL said to the product's own errors. Row values stay behind: DETAIL and CONTEXT are dropped."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

from functions.migrator.errors import (
    Cancelled,
    ConnectionLost,
    DatabaseBusy,
    Deadlock,
    InsufficientPrivilege,
    LockTimeout,
    MigrationFailed,
    MigratorError,
    NotAWriter,
    StatementTimeout,
)
from functions.migrator.excerpts import speaks_of_secrets

READ_ONLY = (
    "The server has become a reader, or default_transaction_read_only is on for this role, this database or the server."
)
WHO_LOCKS_HISTORY = (
    "Run again when that session has ended, or end it. Who it is: SELECT pid, mode FROM pg_locks WHERE granted AND "
    "relation::regclass::text LIKE 'aurora_migrations.%';"
)
# SQLSTATE classes and codes: PostgreSQL's documentation, appendix A.
_LOST = ("08", "57P01", "57P02", "57P04", "57P05", "25P03", "25P04")
VALUE_CLASSES = ("22", "23")  # data exceptions and integrity violations: their messages carry row values
_QUOTES = re.compile('["\u00ab\u00bb\u2018-\u201f\u2039\u203a\u300c-\u300f]')
_HINTS = {
    "25001": "Every statement of a migration runs inside a transaction. What sets that transaction (SET TRANSACTION) "
    "must come first in it. What PostgreSQL runs in none can't be in a migration: write it in another way, such as "
    "REINDEX of each partition by name, or an index without CONCURRENTLY, which keeps writers of its table waiting.",
    "2D000": "What commits or rolls back by itself (a procedure, a DO block) may not do so here: every statement of a "
    "migration runs inside a transaction. Take COMMIT and ROLLBACK out of it, or call it from outside the migrations.",
    "55P04": "A new enum value can't be used in the transaction that adds it: use it in the next file, "
    "or write `-- migration: transaction = off` at the top, so that each statement is its own transaction.",
}


@dataclass(frozen=True)
class Diagnosis:
    """What may be told of a PostgreSQL error: no row values."""

    sqlstate: str | None
    message: str
    hint: str | None
    offset: int | None
    """Where in the text that was sent, in characters from 0."""


def diagnose(error: psycopg.Error) -> Diagnosis:
    """The part of an error that may be shown and kept."""
    diag = error.diag
    ours = str(error).strip().removeprefix("consuming input failed: ")
    message = diag.message_primary or ours or "the connection is lost"
    state = error.sqlstate
    if state and state.startswith(VALUE_CLASSES):
        names = {diag.constraint_name, diag.table_name, diag.column_name, diag.schema_name, diag.datatype_name}
        message = _mask(message, {name for name in names if name})
    message = message.splitlines()[0]
    if state and state.startswith("P0") and speaks_of_secrets(message):
        message = "an exception that was raised speaks of a password, and isn't shown"
    position = int(diag.statement_position) - 1 if diag.statement_position else None
    return Diagnosis(state, message, _HINTS.get(state or "") or diag.message_hint, position)


def connection_lost(error: psycopg.Error) -> bool:
    """Whether the error ended the session."""
    return error.sqlstate is None or error.sqlstate.startswith(_LOST)


def named_error(error: psycopg.Error) -> MigratorError:
    """The product's error for one that a statement of our own met."""
    found = diagnose(error)
    if connection_lost(error):
        return ConnectionLost(f"The connection to the database is lost: {found.message}.", sqlstate=found.sqlstate)
    if found.sqlstate == "42501":
        return InsufficientPrivilege(
            f"The database role may not do what the runner needs: {found.message}.",
            solution="To look, the role needs, as the schema's owner: GRANT USAGE ON SCHEMA aurora_migrations TO role; "
            "GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO role; to run, it must own the schema.",
        )
    if found.sqlstate == "25006":
        return NotAWriter(
            f"The database can't be written to: {found.message}.",
            cause=READ_ONLY,
            solution=f"{NotAWriter.solution} Where it is the writer, take default_transaction_read_only off.",
            sqlstate="25006",
        )
    if found.sqlstate == "57014" and "statement timeout" in found.message:
        return StatementTimeout(
            f"The runner's own statement took too long: {found.message}.",
            solution="See what keeps the server busy, or raise `limits.statement_timeout` of the environment.",
            sqlstate=found.sqlstate,
        )
    if found.sqlstate == "57014":
        return Cancelled(f"The runner's own statement was cancelled: {found.message}.", sqlstate=found.sqlstate)
    if found.sqlstate == "57P03":
        return DatabaseBusy(f"The server takes no commands now: {found.message}.", sqlstate=found.sqlstate)
    if found.sqlstate == "55P03":
        return LockTimeout(
            f"The runner waited too long for a lock on its own tables: {found.message}.",
            solution=WHO_LOCKS_HISTORY,
            sqlstate=found.sqlstate,
        )
    if (found.sqlstate or "").startswith("53"):
        return DatabaseBusy(
            f"The server has run out of something: {found.message}.",
            cause="Its disk, its memory, or what its settings allow is used up.",
            solution="Make room for what its words name, or allow more of it, and run again.",
            sqlstate=found.sqlstate,
        )
    return MigrationFailed(
        f"A statement of the runner itself failed: {found.message} ({found.sqlstate}).",
        cause="This shouldn't happen; the history may have been changed by hand.",
        solution="Compare the schema aurora_migrations with what docs/history.md says, and report it.",
        sqlstate=found.sqlstate,
    )


def kind_of(found: Diagnosis, elapsed_ms: float, statement_timeout: int) -> type[MigratorError]:
    """Which error a file's failing statement is.

    The SQLSTATE 57014 stands for a timeout as for a person's wish. The words tell them apart where the server speaks
    English; elsewhere the clock does, as well as it can.
    """
    state = found.sqlstate or ""
    if state == "57014":
        late = "user request" not in found.message and 0 < statement_timeout <= elapsed_ms
        return StatementTimeout if "statement timeout" in found.message or late else Cancelled
    return {"55P03": LockTimeout, "40P01": Deadlock}.get(state, MigrationFailed)


def _mask(message: str, names: set[str]) -> str:
    """Hides all from the first quotation mark to the last, whatever language it is in, but quoted names of objects.

    A value may hold quotation marks and line ends itself, so that where it begins and ends can't be told more exactly.
    """
    known = sorted((f'"{name}"' for name in names), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, known))})", message) if known else [message]
    return "".join(part if number % 2 else _hide(part) for number, part in enumerate(parts))


def _hide(text: str) -> str:
    marks = [match.start() for match in _QUOTES.finditer(text)]
    if not marks:
        return text
    end = marks[-1] + 1 if len(marks) > 1 else len(text)
    return f'{text[: marks[0]]}"..."{text[end:]}'
