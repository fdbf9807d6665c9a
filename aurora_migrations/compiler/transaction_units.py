"""The units of a file, in the order written: what commits together, and why.

one unit          by default, or one BEGIN ... COMMIT is around the whole file
several units     the file has blocks of its own, or a statement that PostgreSQL refuses inside a transaction, or says
                  `transaction = off`: each top-level block is a unit, and so is each statement outside one;
                  a CALL, or a DO whose text has COMMIT, ROLLBACK or CALL, may commit on its own, and so runs outside a
                  transaction
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import postgast
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.locks.syntax_tree import of_range, option_is_on
from aurora_migrations.compiler.nontransactional import read_nontransactional
from aurora_migrations.compiler.parser import Statement, tokens
from aurora_migrations.engine.rows import distinct
from aurora_migrations.engine.script import NontransactionalStatement, Unit

# Of a partitioned table they can't run in a transaction, and only the server knows which is one. They can be repeated.
_MAY_COMMIT_EACH = {"ReindexStmt": "REINDEX", "ClusterStmt": "CLUSTER"}
_NESTED = "this BEGIN is inside another block; PostgreSQL would only warn, and stay in the first"
_LONE_COMMIT = (
    "there is no BEGIN that this COMMIT ends; take it out, or write `-- migration: transaction = off` at the top "
    "and a BEGIN where the block begins"
)
_ROLLBACK = (
    "a ROLLBACK would undo all above it; take both out (with `-- migration: transaction = off` each block is "
    "its own unit, but none may undo itself)"
)
_OTHER = "two-phase commit and AND CHAIN have no place in a migration; write BEGIN ... COMMIT"
_NO_COMMIT = "this BEGIN has no COMMIT; take it out: a file runs in a transaction anyway"
_BLOCKS_BUT_ON = "the file has blocks of its own, but `transaction = on` demands one transaction"
_COMMITS = re.compile(rb"\b(?:commit|rollback|call)\b", re.IGNORECASE)
_BEGIN_WORDS = frozenset({pb.BEGIN_P, pb.START, pb.TRANSACTION, pb.WORK})
_READ_ONLY_SETTINGS = ("transaction_read_only", "default_transaction_read_only")


@dataclass(slots=True)
class Layout:
    """A file's units, without their token hashes, and why they are what they are. `problems` are (statement's number,
    reason)."""

    units: tuple[Unit, ...]
    reason: str
    problems: tuple[tuple[int, str], ...] = ()
    # Whether it is one transaction that only validates constraints: it reads for long and blocks nobody.
    only_validates: bool = False


class Control(Enum):
    """What a statement does to its transaction."""

    BEGIN = "BEGIN"
    COMMIT = "COMMIT"
    ROLLBACK = "ROLLBACK"
    OTHER = "other"


_CONTROLS = {
    pb.TRANS_STMT_BEGIN: Control.BEGIN,
    pb.TRANS_STMT_START: Control.BEGIN,
    pb.TRANS_STMT_COMMIT: Control.COMMIT,
    pb.TRANS_STMT_ROLLBACK: Control.ROLLBACK,
    pb.TRANS_STMT_PREPARE: Control.OTHER,
    pb.TRANS_STMT_COMMIT_PREPARED: Control.OTHER,
    pb.TRANS_STMT_ROLLBACK_PREPARED: Control.OTHER,
}


def find_units(text: bytes, statements: Sequence[Statement], transaction: str | None) -> Layout:
    """The units of a file, by its option `transaction`: `on`, `off` or None."""
    single = all(not control_of(each) and not read_nontransactional(each) for _, each in distinct(statements))
    if transaction != "off" and single:
        whole = Unit(0, len(text), (0, len(statements)), "", None, "")
        reason = "one transaction"
        return Layout((whole,), reason, only_validates=_only_validates(statements))
    controls = [control_of(statement) for statement in statements]
    apart = [read_nontransactional(statement) for statement in statements]
    if transaction != "off" and _is_wrapped(controls) and not any(apart):
        block = _block(text, statements, 0, len(statements) - 1)
        reason = "one transaction: the file's own BEGIN ... COMMIT"
        return Layout((block,), reason, only_validates=_only_validates(statements[1:-1]))
    if transaction == "off":
        reason = "each statement and block on its own: transaction = off"
    elif any(apart):
        reason = f"each statement and block on its own: {next(filter(None, apart)).name} can't run inside a transaction"
    else:
        reason = "each block on its own: the file has BEGIN ... COMMIT blocks of its own"
    units, problems = _several(text, statements, controls, apart, transaction)
    return Layout(tuple(units), reason, tuple(problems))


def _only_validates(statements: Sequence[Statement]) -> bool:
    """Whether there are statements, and each is an ALTER TABLE that validates constraints and does nothing else."""
    return bool(statements) and all(
        statement.kind == "AlterTableStmt"
        and all(each.alter_table_cmd.subtype == pb.AT_ValidateConstraint for each in statement.node.cmds)
        for statement in statements
    )


def _is_wrapped(controls: Sequence[Control | None]) -> bool:
    """One BEGIN at the beginning, one COMMIT at the end, nothing of the kind between."""
    return (
        len(controls) >= 2
        and controls[0] is Control.BEGIN
        and controls[-1] is Control.COMMIT
        and not any(controls[1:-1])
    )


def _block(text: bytes, statements: Sequence[Statement], first: int, last: int) -> Unit:
    """The unit between the BEGIN that is statement `first` and the COMMIT that is `last`."""
    begin, following = statements[first], statements[first + 1]
    between = postgast.scan(text[begin.end : following.start].decode()).tokens
    # A comment may precede the semicolon, and hold one.
    start = next((begin.end + int(token.end) for token in between if token.token == pb.ASCII_59), begin.end)
    modes = " ".join(token.decode() for kind, token in tokens(begin.text) if kind not in _BEGIN_WORDS)
    return Unit(start, statements[last].start, (first + 1, last), modes, None, "")


def _several(
    text: bytes,
    statements: Sequence[Statement],
    controls: Sequence[Control | None],
    apart: Sequence[NontransactionalStatement | None],
    transaction: str | None,
) -> tuple[list[Unit], list[tuple[int, str]]]:
    """The units of a file of several, and its problems."""
    units, problems, begun = list[Unit](), list[tuple[int, str]](), None
    for number, (statement, control, found) in enumerate(zip(statements, controls, apart, strict=True)):
        if control is Control.BEGIN and begun is not None:
            problems.append((number, _NESTED))
        elif control is Control.BEGIN:
            begun = number
        elif control is Control.COMMIT and begun is None:
            problems.append((number, _LONE_COMMIT))
        elif control is Control.COMMIT and begun is not None:
            units.append(_block(text, statements, begun, number))
            begun = None
        elif control is Control.ROLLBACK:
            problems.append((number, _ROLLBACK))
            begun = None
        elif control is Control.OTHER:
            problems.append((number, _OTHER))
        elif begun is not None and found:
            reason = f"{found.name} can't run inside a transaction block; move it out of BEGIN ... COMMIT"
            problems.append((number, reason))
        elif begun is None:
            commits = statement.kind == "DoStmt" and bool(_COMMITS.search(text, statement.start, statement.end))
            if statement.kind == "CallStmt" or commits:
                found = NontransactionalStatement("CALL" if statement.kind == "CallStmt" else "DO", "unknown")
            elif transaction == "off" and statement.kind in _MAY_COMMIT_EACH:
                found = found or NontransactionalStatement(_MAY_COMMIT_EACH[statement.kind])
            units.append(Unit(statement.start, statement.end, (number, number + 1), "", found, ""))
            if found and found.settlement != "unknown" and transaction == "on":
                reason = f"{found.name} can't run inside a transaction, but `transaction = on` demands one"
                problems.append((number, reason))
    if begun is not None:
        problems.append((begun, _NO_COMMIT))
    if transaction == "on" and any(controls) and not _is_wrapped(controls):
        problems.append((next(number for number, control in enumerate(controls) if control), _BLOCKS_BUT_ON))
    return units, problems


# ---- statements that control transactions --------------------------------------------------------------------------


def control_of(statement: Statement) -> Control | None:
    """What the statement does to its transaction; None for savepoints and everything else."""
    if statement.kind != "TransactionStmt":
        return None
    return Control.OTHER if statement.node.chain else _CONTROLS.get(statement.node.kind)


def is_read_only(statement: Statement) -> bool:
    """Whether the statement makes its transaction, or those after it, read-only: BEGIN READ ONLY, SET TRANSACTION READ
    ONLY, SET default_transaction_read_only = on, and so forth."""
    node = statement.node
    if statement.kind == "TransactionStmt":
        return option_is_on(node.options, "transaction_read_only")
    if statement.kind != "VariableSetStmt":
        return False
    if node.name in ("TRANSACTION", "SESSION CHARACTERISTICS"):
        return option_is_on(node.args, "transaction_read_only")
    return node.name.lower() in _READ_ONLY_SETTINGS and any(is_true(each.a_const) for each in node.args)


def is_true(constant: Any) -> bool:
    """Whether a setting's value is on, in any of the ways PostgreSQL takes it: also a number, or the first letters."""
    if constant.HasField("ival"):
        return bool(constant.ival.ival)
    word = constant.sval.sval.lower().strip()
    return bool(word) and (word in ("on", "1") or "true".startswith(word) or "yes".startswith(word))


# ---- what a statement leaves in its session, and is gone with that ---------------------------------------------------

# A file of several units can rely on it as long as one session runs all of them. An attempt that resumes after units
# already applied begins without it.

_WITH_HOLD = 0x0020  # CURSOR_OPT_HOLD, src/include/nodes/parsenodes.h


def session_state(statement: Statement) -> str | None:
    """What the statement creates in its session, such as `a temporary table`; None if nothing.

    Settings don't count: they are set again, see `aurora_migrations.engine.script.Job.settings_done`.
    """
    node, kind = statement.node, statement.kind
    if kind == "CreateStmt":
        return _temporary_table(node.relation, node.oncommit)
    if kind == "CreateTableAsStmt":
        return _temporary_table(node.into.rel, node.into.on_commit)
    if kind == "SelectStmt" and node.HasField("into_clause"):
        return _temporary_table(node.into_clause.rel, node.into_clause.on_commit)
    if kind in ("ViewStmt", "CreateSeqStmt"):
        return _temporary_table(node.view if kind == "ViewStmt" else node.sequence)
    if kind == "DeclareCursorStmt":
        return "a cursor" if node.options & _WITH_HOLD else None
    return _KEEPING.get(kind)


_KEEPING = {"PrepareStmt": "a prepared statement", "ListenStmt": "a LISTEN", "LoadStmt": "a loaded library"}


def _temporary_table(relation: Any, on_commit: int = pb.ONCOMMIT_NOOP) -> str | None:
    is_kept = of_range(relation).schema == "pg_temp" and on_commit != pb.ONCOMMIT_DROP
    return "a temporary table" if is_kept else None
