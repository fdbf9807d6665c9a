"""Translates PostgreSQL's errors into the product's own, without row values: see diagnostics/redaction.py."""

from __future__ import annotations

import re
from typing import NamedTuple

import psycopg

from aurora_migrations.engine.diagnostics.frames import Frame, read_frames, written_text
from aurora_migrations.engine.diagnostics.redaction import (
    NOT_SHOWN,
    VALUE_CLASSES,
    Origin,
    is_raised,
    occurs_in,
    redact,
    speaks_of_secrets,
)
from aurora_migrations.engine.errors import (
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

READ_ONLY = (
    "The server became a reader, or default_transaction_read_only is on for this role, this database or the server."
)
WHO_LOCKS_HISTORY = (
    "Run again when that session has ended, or end it. To find it: SELECT pid, mode FROM pg_locks WHERE granted AND "
    "relation::regclass::text LIKE 'aurora_migrations.%';"
)
# SQLSTATE classes and codes: PostgreSQL's documentation, appendix A.
_LOST = ("08", "57P01", "57P02", "57P04", "57P05", "25P03", "25P04")
_COMPARE_HISTORY = "Compare the schema aurora_migrations with docs/reference/history.md, and report it."
_SHOWN = 5  # lines of a DETAIL
_BARE = ("42704", "42725", "42809", "42883")  # functions, types and operators: named without quotation marks
_ABOUT_OBJECTS = ("2BP01",)  # other objects depend on it: only names of the catalog are in it
_BLANK = r"(?:\s|--[^\n]*\n|/\*(?:[^*]|\*(?!/))*\*/)"
# Patterns, compiled when they are used: few runs meet an error.
# Commands that run no expression over rows. Their triggers and functions are seen in the CONTEXT.
_READS_NO_ROWS = (
    rf"(?i){_BLANK}*(?:drop|grant|revoke|comment|security\s+label|set(?!\s+constraints)|reset|lock|truncate"
    r"|(?:create|alter)\s+(?:or\s+replace\s+)?(?:extension|schema|role|user|group|database|tablespace|type|sequence"
    r"|function|procedure|aggregate|view|trigger|event\s+trigger|rule|policy|publication|language|operator|cast"
    r"|collation|conversion|transform|text\s+search|statistics|access\s+method|default\s+privileges))\b"
)
# Functions and types that take the name of what they work on.
_CALLS_BY_NAME = (
    r"(?i)\b(?:to_)?reg(?:class|type|proc|procedure|oper|operator|config|dictionary|collation)\b|\brow_security_active\b"
    r"|\b(?:nextval|currval|setval|currtid\w*|lo_\w+|pg\w+|has_\w+_privilege|ts_\w+|\w+_to_xml\w*|dblink\w*|bt_\w+)\s*\("
)
# EXECUTE, also below EXPLAIN and CREATE TABLE AS.
_PREPARED = rf"(?is){_BLANK}*(?:explain\b.*?\b)?(?:create\s+(?:\w+\s+){{0,3}}table\b.*?\bas{_BLANK}+)?execute\b"
_SECRETIVE = "the raised exception mentions a password and isn't shown"
_HINTS = {
    "25001": "This statement can't run at its place in a transaction. SET TRANSACTION must come first. REINDEX or "
    "CLUSTER of a partitioned table needs `-- migration: transaction = off` at the top, and a place outside BEGIN ... "
    "COMMIT. What a function or a DO block executes always runs in its transaction: write it in the file itself.",
    "2D000": "A procedure or a DO block can commit or roll back only outside a transaction block: write `-- migration: "
    "transaction = off` at the top, and the statement outside BEGIN ... COMMIT. It can't if it has a SET clause, is "
    "SECURITY DEFINER, or is called from a function or from a block that handles exceptions.",
    "55P04": "A new enum value can't be used in the transaction that adds it: use it in the next file, "
    "or write `-- migration: transaction = off` at the top, so that each statement is its own transaction.",
}


# The server's functions that look a role up (acl.c): its message may be in any language.
_FIND_ROLES = ("get_role_oid", "get_rolespec_oid", "get_rolespec_tuple")
_NO_ROLE = (
    "Roles belong to the server and not to a database, so each environment has its own: create the role in an earlier "
    "migration, or where the environment's roles are managed, and run again. Where it may be missing, ask first: DO $$ "
    "BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '...') THEN GRANT ...; END IF; END $$;"
)


class Explanation(NamedTuple):
    """Cause and solution of an error that a change of the file doesn't fix, or not in the first place."""

    cause: str
    solution: str
    in_file: bool = False  # whether the file is to be changed all the same


# By SQLSTATE or its class; the longest that fits holds.
_EXPLANATIONS = {
    "08": Explanation(
        "A connection that the file itself opens (dblink, a foreign server) failed.",
        "Check the other server's address, user and password, and that this one can reach it; then run again.",
        in_file=True,
    ),
    "40001": Explanation(
        "Another transaction changed the same rows.",
        "Run again. If it happens often, run when the application is less busy.",
    ),
    "42501": Explanation(
        "The role that the statement runs as lacks a privilege, or a row-level security policy refuses the row.",
        "Grant the missing privilege to that role, as the owner of the object, and run again.",
    ),
    "53": Explanation("The server has run out of a resource.", "Free some of it or add more, and run again."),
    "53100": Explanation(
        "The server's disk is full, or its space for temporary files. Sorts, index builds and table rewrites need "
        "space for a copy of their data; on Aurora temporary files are on the instance's local storage.",
        "Free space, or choose an instance class with more local storage, and run again. The file needs no change, "
        "unless its work can be split into batches that need less space.",
    ),
    "53200": Explanation(
        "The server has run out of memory.",
        "Run again when the server is less busy. If it happens again, lower work_mem and maintenance_work_mem in the "
        "file, split a file that locks very many objects, or choose a larger instance class.",
    ),
    "53300": Explanation(
        "All of the server's connections are in use.",
        "Wait, then run again. If it persists, see who holds the connections (pg_stat_activity).",
    ),
    "53400": Explanation(
        "A limit in the server's settings was reached, such as temp_file_limit.",
        "Raise the setting for the role that runs migrations, or split the work into batches, and run again.",
    ),
    "54": Explanation(
        "The statement exceeds one of PostgreSQL's own limits, which no setting raises.",
        "Change the file so that it stays within the limit, and run again.",
        in_file=True,
    ),
    "54001": Explanation(
        "The statement, or a function that it calls, is nested too deeply for the server's max_stack_depth.",
        "Simplify the statement, or end the recursion in the function, and run again.",
        in_file=True,
    ),
    "57": Explanation(
        "An administrator or the server's state stopped the statement.",
        "Find out why before you run again; see PostgreSQL's log.",
    ),
    "58": Explanation(
        "The server's operating system reported an error.",
        "Check the server's storage and PostgreSQL's log, and run again. The file needs no change.",
    ),
    "58P01": Explanation(
        "The server doesn't have a file that the statement needs, such as an extension's library.",
        "If the file names a path, check it; otherwise install what is missing on the server. Then run again.",
        in_file=True,
    ),
    "XX": Explanation(
        "An internal error of PostgreSQL or of an extension.",
        "See PostgreSQL's log. Write the statement in another way, or update the server or the extension.",
        in_file=True,
    ),
    "XX001": Explanation(
        "PostgreSQL found damaged data in a table.",
        "Don't run again yet. Find the table in PostgreSQL's log, and restore it from a backup or a snapshot.",
    ),
    "XX002": Explanation(
        "PostgreSQL found a damaged index.",
        "Rebuild the index (REINDEX INDEX CONCURRENTLY), and run again. The file needs no change.",
    ),
}


def explain(sqlstate: str | None) -> Explanation | None:
    """The explanation of an SQLSTATE that isn't (or not only) about the file's SQL; None for any other."""
    state = sqlstate or ""
    return _EXPLANATIONS.get(state) or _EXPLANATIONS.get(state[:2])


class Diagnosis(NamedTuple):
    """What may be shown of a PostgreSQL error: no row values."""

    sqlstate: str | None
    message: str
    hint: str | None
    offset: int | None  # where in the text that was sent, in characters from 0
    detail: str | None = None  # PostgreSQL's DETAIL, where it can't hold a value
    frames: tuple[Frame, ...] = ()  # the PL/pgSQL functions and blocks that were at work, the innermost first
    function: str | None = None  # the innermost of them and its line, for people
    # A text inside one of them that the parser refused, and where in it, in characters from 0.
    query: tuple[str, int] | None = None


def diagnose(error: psycopg.Error, text: bytes | None = None, statement: bytes = b"") -> Diagnosis:
    """What may be shown and stored of an error. `text` is the file whose statement met it, None for a statement of
    ours; `statement` is that statement, where it is known."""
    diag, state = error.diag, error.sqlstate
    if not state:
        ours = str(error).strip().removeprefix("consuming input failed: ")
        return Diagnosis(None, (ours or "the connection is lost").splitlines()[0], None, None)
    file = "" if text is None else text.decode(errors="replace")
    origin = _origin(diag, state, None if text is None else file, statement.decode(errors="replace"))
    names = {diag.constraint_name, diag.table_name, diag.column_name, diag.schema_name, diag.datatype_name}

    def shown(words: str | None) -> str:
        return redact(words or "", state, origin, file, [name for name in names if name])

    message = (shown(diag.message_primary).splitlines() or [""])[0] or NOT_SHOWN
    if origin is Origin.RAISED and speaks_of_secrets(diag.message_primary or ""):
        message = _SECRETIVE
    hint, details = shown(diag.message_hint), (diag.message_detail or "").splitlines() if origin is Origin.TEXT else []
    # The objects that depend on one are each on a line of a DETAIL, up to a hundred.
    more = [f"and {len(details) - _SHOWN} more"] if len(details) > _SHOWN else []
    is_whole = origin is Origin.RAISED or hint == diag.message_hint  # a server's hint with holes helps nobody
    at, inner = diag.statement_position, diag.internal_position
    frames, function = read_frames(diag.context or ""), None
    # A function's name is one of a value if a statement was put together with it.
    if frames and (written_text(diag.context or "")[0] or occurs_in(frames[0].name, file)):
        what = "the DO block" if frames[0].is_block else f"the PL/pgSQL function {frames[0].function}"
        function = f"line {frames[0].line} of {what}"
    return Diagnosis(
        state,
        message,
        _HINTS.get(state) or (hint if is_whole else None) or _missing_role(diag) or None,
        int(at) - 1 if at else None,
        "; ".join([*details[:_SHOWN], *more]) or None,
        frames,
        function,
        (diag.internal_query or "", int(inner) - 1) if inner else None,
    )


def _missing_role(diag: psycopg.errors.Diagnostic) -> str | None:
    return _NO_ROLE if diag.sqlstate == "42704" and diag.source_function in _FIND_ROLES else None


def _origin(diag: psycopg.errors.Diagnostic, state: str, file: str | None, statement: str) -> Origin:
    """Where an error comes from, as far as that is certain."""
    context, query = diag.context or "", diag.internal_query
    if is_raised(state, diag.source_function, diag.source_file):
        return Origin.RAISED
    if file is None and not context:
        return Origin.ROWS if state.startswith(VALUE_CLASSES) else Origin.TEXT
    text: str | None = statement
    parsed = bool(diag.statement_position) and not is_prepared(statement.encode())
    if (context or query) and not parsed:
        is_written, text = written_text(context, query)
        if not is_written and not (text and file and occurs_in(text, file)):
            return Origin.NAMES
        parsed = bool(diag.internal_position)
    by_name = not text or re.search(_CALLS_BY_NAME, text)
    reads_no_rows = bool(re.match(_READS_NO_ROWS, text or ""))
    if not parsed and not reads_no_rows and (state in _BARE or (by_name and state.startswith("42"))):
        return Origin.NAMES
    about_values = state.startswith(VALUE_CLASSES)  # those that a file holds aren't shown either
    harmless = (parsed and not about_values) or state in _ABOUT_OBJECTS
    harmless |= reads_no_rows and not state.startswith("23")
    return Origin.TEXT if harmless and not speaks_of_secrets(statement) else Origin.ROWS


def is_prepared(statement: bytes) -> bool:
    """Whether a statement runs another that was prepared: its places are in the text of that one."""
    return bool(re.match(_PREPARED.encode(), statement))


def connection_lost(error: psycopg.Error) -> bool:
    """Whether the error ended the session. An error of the same class may be about another connection (dblink)."""
    ended = error.diag.severity_nonlocalized != "ERROR"
    return error.sqlstate is None or (ended and error.sqlstate.startswith(_LOST))


def named_error(error: psycopg.Error) -> MigratorError:
    """The product's error for one that a statement of our own met."""
    found = diagnose(error)
    if connection_lost(error):
        return ConnectionLost(f"The connection to the database was lost: {found.message}.", sqlstate=found.sqlstate)
    if found.sqlstate == "42501":
        return InsufficientPrivilege(
            f"The database role lacks a privilege: {found.message}.",
            solution="To read, the role needs these, granted by the schema's owner: GRANT USAGE ON SCHEMA "
            "aurora_migrations TO role; "
            "GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO role; to run, it must own the schema.",
        )
    if found.sqlstate == "25006":
        return NotAWriter(
            f"The database can't be written to: {found.message}.",
            cause=READ_ONLY,
            solution=f"{NotAWriter.solution} If it is the writer, turn default_transaction_read_only off.",
            sqlstate="25006",
        )
    if found.sqlstate == "57014" and "statement timeout" in found.message:
        return StatementTimeout(
            f"The runner's own statement took too long: {found.message}.",
            solution="Find out what keeps the server busy, or raise the environment's `limits.statement_timeout`.",
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
    explanation = explain(found.sqlstate)
    if explanation and (found.sqlstate or "").startswith("53"):
        return DatabaseBusy(
            f"The server has run out of a resource: {found.message}.",
            cause=explanation.cause,
            solution=explanation.solution,
            sqlstate=found.sqlstate,
        )
    return MigrationFailed(
        f"A statement of the runner itself failed: {found.message} ({found.sqlstate}).",
        cause=explanation.cause if explanation else "Not expected; the history may have been changed by hand.",
        solution=explanation.solution if explanation else _COMPARE_HISTORY,
        sqlstate=found.sqlstate,
    )


def kind_of(found: Diagnosis, elapsed_ms: float, statement_timeout: int) -> type[MigratorError]:
    """Which error a file's failing statement is."""
    state = found.sqlstate or ""
    if state == "57014":  # a timeout or a cancel request: in languages other than English, the elapsed time is a guess
        late = "user request" not in found.message and 0 < statement_timeout <= elapsed_ms
        return StatementTimeout if "statement timeout" in found.message or late else Cancelled
    return {"55P03": LockTimeout, "40P01": Deadlock}.get(state, MigrationFailed)
