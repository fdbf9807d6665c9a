"""From what PostgreSQL said to the product's own errors. Row values stay behind: DETAIL and CONTEXT are dropped, and of
the message and the hint is told what `functions.migrator.masking` lets through."""

from __future__ import annotations

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
from functions.migrator.masking import NOT_SHOWN, hint_without_values, is_raised, without_values, words_of_file

READ_ONLY = (
    "The server has become a reader, or default_transaction_read_only is on for this role, this database or the server."
)
WHO_LOCKS_HISTORY = (
    "Run again when that session has ended, or end it. Who it is: SELECT pid, mode FROM pg_locks WHERE granted AND "
    "relation::regclass::text LIKE 'aurora_migrations.%';"
)
# SQLSTATE classes and codes: PostgreSQL's documentation, appendix A.
_LOST = ("08", "57P01", "57P02", "57P04", "57P05", "25P03", "25P04")
_SECRETIVE = "an exception that was raised speaks of a password, and isn't shown"
_HINTS = {
    "25001": "Every statement of a migration runs inside a transaction. What sets that transaction (SET TRANSACTION) "
    "must come first in it. What PostgreSQL runs in none can't be in a migration: write it in another way, such as "
    "REINDEX of each partition by name, or an index without CONCURRENTLY, which keeps writers of its table waiting.",
    "2D000": "A procedure or a DO block can commit or roll back only outside a transaction block: write `-- migration: "
    "transaction = off` at the top, and the statement outside BEGIN ... COMMIT. It can't where it has a SET clause, is "
    "SECURITY DEFINER, or is called by a function or from a block that handles exceptions.",
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


def diagnose(error: psycopg.Error, text: bytes | None = None) -> Diagnosis:
    """The part of an error that may be shown and kept.

    Args:
        text: the file whose statement met it; None of a statement of ours.
    """
    diag, state = error.diag, error.sqlstate
    file = None if text is None else text.decode(errors="replace")
    if state and is_raised(state, diag.source_function, diag.source_file):
        message, hint = _raised(error, file or "")
    else:
        message, hint = _of_server(error, file)
    position = int(diag.statement_position) - 1 if diag.statement_position else None
    return Diagnosis(state, message, _HINTS.get(state or "") or hint, position)


def _raised(error: psycopg.Error, file: str) -> tuple[str, str | None]:
    """Message and hint of an exception that SQL has raised: only the words that stand in the file."""
    message = ((error.diag.message_primary or "").splitlines() or [""])[0]
    told = _SECRETIVE if speaks_of_secrets(message) else words_of_file(message, file) or NOT_SHOWN
    return told, words_of_file(error.diag.message_hint or "", file) or None


def _of_server(error: psycopg.Error, file: str | None) -> tuple[str, str | None]:
    diag, state = error.diag, error.sqlstate
    ours = str(error).strip().removeprefix("consuming input failed: ")
    message, hint = diag.message_primary or ours or "the connection is lost", diag.message_hint
    if state:
        names = {diag.constraint_name, diag.table_name, diag.column_name, diag.schema_name, diag.datatype_name}
        message = without_values(message, state, {name for name in names if name}, file)
        hint = hint_without_values(hint, state, file) if hint else None
    return message.splitlines()[0], hint


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
