"""Other tools' markers in a file: those of migration tools, and pg_dump's `\\restrict`.

Tools that keep both directions in one file separate them by a comment. To PostgreSQL that is a comment like any other:
the whole file would run, drop again what it has created, and add an empty column where one with data was. Other markers
take a file out of its transaction, or keep SQL in comments. All are matched as their tools read them: goose, dbmate,
sql-migrate, micrate, tern, node-pg-migrate, MyBatis Migrations, rambler, Play; Liquibase's formatted SQL; sqlx,
Graphile Migrate, Atlas, Flyway, yoyo, postgres-migrations.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from aurora_migrations.compiler.parser import COMMENTS, NotSql, Statement, token_spans, tokens

# After a line end rather than at `^`, and without a way back: a dump has millions of lines.
_LINE = re.compile(
    rb"\n[ \t]*+(?P<mark>(?:--|/\*)[-!/ \t]*+(?:\+(?:goose|migrate|micrate)|migrate:|rambler|(?:up|down)[ \t]+migration"
    rb"|create above|@undo|ups|downs|no-trans|tern:|atlas:|transactional:|postgres-migrations|flyway:|liquibase"
    rb"|changeset|rollback|precondition|ignorelines)[^\n]*)",
    re.IGNORECASE,
)
# These match a marker's words: in lower case, with single blanks, without the signs around them.
_DIRECTIONS = {
    "up": re.compile(r"(?:\+(?:goose|migrate|micrate)|rambler) up\b|migrate:up\b|up migration$|!ups$"),
    "down": re.compile(
        r"(?:\+(?:goose|migrate|micrate)|rambler) down\b|migrate:down\b|down migration$|!downs$|@undo$"
        r"|create above / drop below$"
    ),
}
_NO_TRANSACTION = re.compile(
    r"\+goose no transaction\b|migrate:\w+ .*\btransaction:false\b|\+migrate \w+ .*\bnotransaction\b"
    r"|(?:! ?)?no-transaction$|tern: ?disable-tx$|atlas:txmode none$|transactional: ?false$"
    r"|postgres-migrations disable-transaction$|flyway:executeintransaction ?= ?false$"
    r"|changeset .*\brunintransaction:false\b"
)
_VARIABLES = re.compile(r"\+goose envsub on\b")
_LIQUIBASE = re.compile(r"liquibase formatted\b|changeset \S+:\S")
_UNDOING = re.compile(r"rollback (?!not required|empty|;)|liquibase rollback$")
_UNDOING_SQL = re.compile(r"rollback (?:alter|create|delete|drop|insert|truncate|update)\b|liquibase rollback$")
_CONDITION = re.compile(
    r"precondition|ignorelines:|changeset .*\b(?:context|contextfilter|labels):"
    r"|changeset (?!.*\bdbms:\S*postgresql).*\bdbms:"
)

_SHOWN = 60  # characters of a marker
_DIVIDES = "`{0}` divides no file here: the SQL {1} it would run as well; {2}"
_TO_THE_DOWN_FILE = "move it to {0}.down.sql, and delete this line"
_OUT_OF_THE_COMMENT = "write its SQL without the comment"
_ONLY_WHAT_UNDOES = "keep only what undoes {0}.sql in this file"
_ONE_TRANSACTION = (
    "`{0}` has no effect here: the file would run in one transaction; "
    "write `-- migration: transaction = off` at its top"
)
_NOT_REPLACED = "`{0}` has no effect here: ${{...}} would stay as it is; write the values, and delete this line"
_NOT_UNDONE = "Liquibase's rollback is only a comment here, which undoes nothing; {0}"
_NOT_ASKED = "by this line Liquibase decides whether SQL runs; here all of it runs: if that is right, delete the line"

_RESTRICT = re.compile(rb"^\\(?:un)?restrict[ \t]+[A-Za-z0-9]+[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class _Mark:
    """A comment for another tool: its first byte, its text, and its words."""

    at: int
    written: str
    words: str

    @property
    def direction(self) -> str | None:
        """`up` or `down`, if SQL of that direction follows it."""
        return next((direction for direction, words in _DIRECTIONS.items() if words.match(self.words)), None)


def markers(file: str, text: bytes, statements: Sequence[Statement], in_one: bool) -> Iterator[tuple[int, str]]:
    """Other tools' markers in a file that would do something else here: the byte of each, and what to do. `in_one`: it
    runs in one transaction, though it has no option for that."""
    marks = list(_marks(text))
    if not marks:
        return
    stem, own = re.sub(r"(\.down|\.verify)?\.sql\Z", "", file), "down" if file.endswith(".down.sql") else "up"
    yield from _dividing(marks, [statement.start for statement in statements], own, stem)
    liquibase = any(_LIQUIBASE.match(mark.words) for mark in marks)
    for mark in marks:
        if in_one and mark.direction in (None, own) and _NO_TRANSACTION.match(mark.words):
            yield mark.at, _ONE_TRANSACTION.format(mark.written)
        elif _VARIABLES.match(mark.words):
            yield mark.at, _NOT_REPLACED.format(mark.written)
        elif (_UNDOING if liquibase else _UNDOING_SQL).match(mark.words):
            remedy = _OUT_OF_THE_COMMENT if own == "down" else _TO_THE_DOWN_FILE.format(stem)
            yield mark.at, _NOT_UNDONE.format(remedy)
        elif liquibase and _CONDITION.match(mark.words):
            yield mark.at, _NOT_ASKED


def _dividing(marks: Sequence[_Mark], starts: Sequence[int], own: str, stem: str) -> Iterator[tuple[int, str]]:
    """The markers beside SQL of the other direction. Others do no harm: all of the file is meant to run."""
    remedy = (_ONLY_WHAT_UNDOES if own == "down" else _TO_THE_DOWN_FILE).format(stem)
    dividing = [(bisect_left(starts, mark.at), mark) for mark in marks if mark.direction]
    for (before, mark), (upto, _) in pairwise([*dividing, (len(starts), None)]):
        if mark and mark.direction != own and before < upto:
            yield mark.at, _DIVIDES.format(mark.written, "below", remedy)
    for before, mark in dividing[:1]:
        if own == "down" and before:  # what is above the first marker creates what this file undoes
            yield mark.at, _DIVIDES.format(mark.written, "above", remedy)


def _marks(text: bytes) -> Iterator[_Mark]:
    """Those at the beginning of a line, but not in a string, a body or a comment."""
    found = [(match.start("mark") - 1, match["mark"]) for match in _LINE.finditer(b"\n" + text)]
    real = {start for start, _ in token_spans(text, COMMENTS)} if found else set()
    for at, line in found:
        if at in real:
            written = " ".join(line.decode().split())
            yield _Mark(at, written[:_SHOWN], written.strip("-/* ").lower())


def without_restrict(text: bytes) -> tuple[bytes, int, int]:
    """The text with blanks for pg_dump's `\\restrict KEY` above its first statement and `\\unrestrict KEY` below its
    last, and the bytes between which it has nothing but SQL. The lines forbid psql commands in the dump; here these are
    refused anyway."""
    may_have = b"\\" in text and b"restrict" in text  # the first takes no time in a dump of 20 MB, the second 7 ms
    lines = [match.span() for match in _RESTRICT.finditer(text)] if may_have else []
    begin, end = 0, len(text)
    for start, stop in lines[:1]:
        if _is_empty(text[:start]):
            text, begin = text[:start] + b" " * (stop - start) + text[stop:], stop
    for start, stop in lines[-1:]:
        if start >= begin and _is_empty(text[stop:]):
            text, end = text[:start] + b" " * (stop - start) + text[stop:], start
    return text, begin, end


def _is_empty(text: bytes) -> bool:
    """Whether it has no more than comments; half a string or a comment is more."""
    try:
        return not tokens(text)
    except NotSql:
        return False
