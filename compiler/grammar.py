"""PostgreSQL's own grammar (libpg_query, through postgast): where statements begin, and which may not run.

postgast is loaded only for the files that need it: those with a word that might end our transaction, and those whose
error has to be pointed at. A text without such a word can hold no such statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from functions.migrator.expectations import Promise
from functions.migrator.files import Problem, position

_SUSPECT = re.compile(
    rb"\b(?:begin|start|commit|end|rollback|abort|prepare|discard|stdin|pg_advisory_unlock_all)\b|^[ \t]*\\",
    re.IGNORECASE | re.MULTILINE,
)
_COPY_DATA = re.compile(rb"\bcopy\b[^;]*\bfrom\s+stdin\b[^;]*;\s*\Z", re.IGNORECASE)
_FIRST_WORD = re.compile(rb"[a-z_]+", re.IGNORECASE)
_TRANSACTION_WORDS = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "prepare"})
_OWN_TRANSACTION = (
    "the file controls transactions itself ({0}); each file already runs in one transaction of its own: "
    "take {0} out, or split the file in two where it must commit"
)
_DISCARD = "DISCARD ALL would drop the run lock; write what you need of it, such as DISCARD TEMP or RESET ALL"
_UNLOCK = "pg_advisory_unlock_all() would drop the run lock; unlock by key, with pg_advisory_unlock(key)"
_COPY = "COPY FROM STDIN needs data that a file can't carry; write INSERT statements instead"
_NOT_A_QUERY = "a verify file holds queries only (SELECT ...), each with one boolean that must be true"
_NO_QUERY = "holds no query, so it would verify nothing; write one (SELECT ...), or delete the file"
_COMMENT_ABOVE = re.compile(rb"(?:--[^\n]*\n[ \t]*)+\Z")
_META = "this is a psql command, not SQL; write the SQL that it stands for"


@dataclass(frozen=True)
class Statement:
    """One statement's place in a text: byte offsets, the end exclusive, without comments around it or its semicolon."""

    start: int
    end: int


class NotSql(ValueError):
    """A text that PostgreSQL's grammar refuses; `offset` is the byte where the parser stopped."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class Grammar:
    """What the engine asks about SQL texts."""

    def problems(self, file: str, text: bytes) -> list[Problem]:
        """What stands in the text that can't run in a transaction of ours, or isn't SQL at all."""
        if not _SUSPECT.search(text):
            return []
        try:
            statements = self.statements(text)
        except NotSql as error:
            return [_syntax_problem(file, text, error)]
        found = ((_refusal(text[s.start : s.end]), s) for s in statements)
        return [Problem(file, reason, *position(text, s.start)) for reason, s in found if reason]

    def statements(self, text: bytes) -> list[Statement]:
        """The statements of a text in their order.

        Raises:
            NotSql: the text isn't PostgreSQL's SQL.
        """
        return list(_split(text))

    def queries(self, file: str, text: bytes) -> tuple[list[Promise], list[Problem]]:
        """The statements of a verify file, and those among them that aren't a query."""
        try:
            statements = self.statements(text)
        except NotSql as error:
            return [], [_syntax_problem(file, text, error)]
        if not statements:
            return [], [Problem(file, _NO_QUERY)]
        wrong = [s for s in statements if _kind(text[s.start : s.end]) != "select_stmt"]
        befores = [0, *(s.end for s in statements)]
        promises = [_promise(text, before, s) for before, s in zip(befores, statements, strict=False)]
        return promises, [Problem(file, _NOT_A_QUERY, *position(text, s.start)) for s in wrong]


def _promise(text: bytes, before: int, statement: Statement) -> Promise:
    """The query, called by the first sentence of the `--` comment right above it, if there is one."""
    query = text[statement.start : statement.end].decode()
    comment = _COMMENT_ABOVE.search(text[before : statement.start])
    above = " ".join(comment[0].decode().replace("--", " ").split()) if comment else ""
    name = above.partition(". ")[0].rstrip(".") or " ".join(query.split())
    return Promise(name if len(name) <= 100 else f"{name[:97]}...", query)


def _split(text: bytes) -> Iterator[Statement]:
    import postgast

    try:
        parts = postgast.split(text.decode())
    except postgast.PgQueryError as error:
        raise _not_sql(text, error) from error
    end = 0
    for part in parts:
        sql = part.encode().strip()
        if sql:
            start = text.index(sql, end)
            end = start + len(sql)
            yield Statement(start, end)


def _not_sql(text: bytes, error: Exception) -> NotSql:
    characters = max(0, int(getattr(error, "cursorpos", 1)) - 1)
    return NotSql(str(error), len(text.decode()[:characters].encode()))


def _syntax_problem(file: str, text: bytes, error: NotSql) -> Problem:
    copy = _COPY_DATA.search(text[: error.offset])
    if copy:
        return Problem(file, _COPY, *position(text, copy.start()))
    line = text[text.rfind(b"\n", 0, error.offset) + 1 :].lstrip()
    reason = _META if line.startswith(b"\\") else str(error)
    return Problem(file, reason, *position(text, error.offset))


def _refusal(sql: bytes) -> str | None:
    """Why this statement may not run, if so."""
    match = _FIRST_WORD.match(sql)
    word = match[0].decode().lower() if match else ""
    if word in _TRANSACTION_WORDS and _ends_transaction(sql):
        return _OWN_TRANSACTION.format(word.upper())
    if word == "discard" and _kind(sql) == "discard_stmt" and sql.lower().split()[1:2] == [b"all"]:
        return _DISCARD
    if word == "copy" and _copies_from_stdin(sql):
        return _COPY
    if b"pg_advisory_unlock_all" in sql.lower() and word in ("select", "do", "call", "perform", "with"):
        return _UNLOCK
    return None


def _kind(sql: bytes) -> str:
    import postgast

    return str(postgast.parse(sql.decode()).stmts[0].stmt.WhichOneof("node"))


def _ends_transaction(sql: bytes) -> bool:
    import postgast

    node = postgast.parse(sql.decode()).stmts[0].stmt
    if node.WhichOneof("node") != "transaction_stmt":
        return False
    kinds = postgast.pg_query_pb2.TransactionStmtKind
    return node.transaction_stmt.kind not in (
        kinds.TRANS_STMT_SAVEPOINT,
        kinds.TRANS_STMT_RELEASE,
        kinds.TRANS_STMT_ROLLBACK_TO,
    )


def _copies_from_stdin(sql: bytes) -> bool:
    import postgast

    node = postgast.parse(sql.decode()).stmts[0].stmt
    return bool(node.WhichOneof("node") == "copy_stmt" and node.copy_stmt.is_from and not node.copy_stmt.filename)
