"""Which transactions a file runs in: its units, in the order written, and why.

one transaction   nothing in the file says otherwise; one BEGIN ... COMMIT around the whole file is taken for it
apart             the file has blocks of its own, or a statement that PostgreSQL runs in no transaction, or says
                  `transaction = off`: each top-level block is a unit, and so is each statement outside one;
                  a CALL, or a DO whose text has COMMIT, ROLLBACK or CALL, may commit by itself, and so runs outside a
                  transaction
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import postgast
from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler.parser import Statement, tokens
from aurora_migrations.compiler.transactions import Control, control_of, needs_no_transaction

_NESTED = "this BEGIN stands inside another block; PostgreSQL would only warn, and go on in the first"
_LONE_COMMIT = (
    "there is no BEGIN that this COMMIT ends; take it out, or write `-- migration: transaction = off` at the top "
    "and a BEGIN where the block begins"
)
_ROLLBACK = (
    "a ROLLBACK would undo what stands above it; take both out (with `-- migration: transaction = off` each block is "
    "its own unit, but none may undo itself)"
)
_OTHER = "two-phase commit and AND CHAIN have no place in a migration; write BEGIN ... COMMIT"
_NO_COMMIT = "this BEGIN has no COMMIT; take it out: a file runs in a transaction anyway"
_BLOCKS_BUT_ON = "the file has blocks of its own, but `transaction = on` asks for one transaction"
_COMMITS = re.compile(rb"\b(?:commit|rollback|call)\b", re.IGNORECASE)
_BEGIN_WORDS = frozenset({pb.BEGIN_P, pb.START, pb.TRANSACTION, pb.WORK})


@dataclass(frozen=True)
class Part:
    """A unit as the compiler sees it; see `aurora_migrations.engine.script.Unit`."""

    start: int
    end: int
    statements: tuple[int, int]
    modes: str = ""
    alone: str | None = None
    outside: bool = False


@dataclass(frozen=True)
class Layout:
    """A file's units and why they are what they are. `problems` are (statement's number, reason)."""

    units: tuple[Part, ...]
    reason: str
    problems: tuple[tuple[int, str], ...] = ()


def lay_out(text: bytes, statements: Sequence[Statement], transaction: str | None) -> Layout:
    """The units of a file.

    Args:
        transaction: the file's option `transaction`: `on`, `off` or None.
    """
    controls = [control_of(statement) for statement in statements]
    alone = [needs_no_transaction(statement) for statement in statements]
    whole = Part(0, len(text), (0, len(statements)))
    if transaction != "off" and not any(controls) and not any(alone):
        return Layout((whole,), "one transaction: nothing in the file asks for anything else")
    if transaction != "off" and _is_wrapped(controls) and not any(alone):
        block = _block(text, statements, 0, len(statements) - 1)
        return Layout((block,), "one transaction: the file's own BEGIN ... COMMIT")
    problems = tuple(_problems(controls, alone, transaction))
    return Layout(tuple(_apart(text, statements, controls, alone)), _why_apart(controls, alone, transaction), problems)


def _is_wrapped(controls: Sequence[Control | None]) -> bool:
    """One BEGIN at the beginning, one COMMIT at the end, nothing of the kind between."""
    return (
        len(controls) >= 2
        and controls[0] is Control.BEGIN
        and controls[-1] is Control.COMMIT
        and not any(controls[1:-1])
    )


def _block(text: bytes, statements: Sequence[Statement], first: int, last: int) -> Part:
    """The unit between the BEGIN that is statement `first` and the COMMIT that is `last`."""
    begin = statements[first]
    end = statements[first + 1].start
    return Part(_behind_semicolon(text, begin.end, end), statements[last].start, (first + 1, last), _modes(begin))


def _behind_semicolon(text: bytes, start: int, end: int) -> int:
    """Where what follows a statement begins; a comment may stand before its semicolon, and hold one."""
    found = postgast.scan(text[start:end].decode()).tokens
    return next((start + int(token.end) for token in found if token.token == pb.ASCII_59), start)


def _modes(begin: Statement) -> str:
    """What stands behind BEGIN, BEGIN TRANSACTION, START TRANSACTION."""
    words = [token.decode() for kind, token in tokens(begin.text) if kind not in _BEGIN_WORDS]
    return " ".join(words)


def _apart(
    text: bytes, statements: Sequence[Statement], controls: Sequence[Control | None], alone: Sequence[str | None]
) -> Iterator[Part]:
    begun: int | None = None
    for number, (statement, control) in enumerate(zip(statements, controls, strict=True)):
        if begun is None and control is Control.BEGIN:
            begun = number
        elif begun is not None and control is Control.COMMIT:
            yield _block(text, statements, begun, number)
            begun = None
        elif begun is None and control is None:
            outside = statement.kind == "CallStmt" or (
                statement.kind == "DoStmt" and bool(_COMMITS.search(text, statement.start, statement.end))
            )
            yield Part(statement.start, statement.end, (number, number + 1), alone=alone[number], outside=outside)


def _problems(
    controls: Sequence[Control | None], alone: Sequence[str | None], transaction: str | None
) -> Iterator[tuple[int, str]]:
    begun: int | None = None
    for number, control in enumerate(controls):
        if control is Control.BEGIN and begun is not None:
            yield number, _NESTED
        elif control is Control.BEGIN:
            begun = number
        elif control is Control.COMMIT and begun is None:
            yield number, _LONE_COMMIT
        elif control is Control.COMMIT:
            begun = None
        elif control is Control.ROLLBACK:
            begun = None
            yield number, _ROLLBACK
        elif control is Control.OTHER:
            yield number, _OTHER
        elif alone[number] and begun is not None:
            yield number, f"{alone[number]} can't run inside a transaction block; move it out of BEGIN ... COMMIT"
        elif alone[number] and transaction == "on":
            yield number, f"{alone[number]} can't run inside a transaction, but `transaction = on` asks for one"
    if begun is not None:
        yield begun, _NO_COMMIT
    if transaction == "on" and any(controls) and not _is_wrapped(controls):
        yield next(number for number, control in enumerate(controls) if control), _BLOCKS_BUT_ON


def _why_apart(controls: Sequence[Control | None], alone: Sequence[str | None], transaction: str | None) -> str:
    if transaction == "off":
        return "each statement and block apart: the file says transaction = off"
    kind = next((kind for kind in alone if kind), None)
    if kind:
        return f"each statement and block apart: {kind} can't run inside a transaction"
    return "each block apart: the file has BEGIN ... COMMIT blocks of its own"
