"""Finds the history of another tool in a database, and reads it under that tool's lock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from aurora_migrations.engine.adoption.tools import TOOLS, BadState, Tool
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import AnotherRunInProgress, InvalidInput, NextCommand
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import Session

_SHOWN = 10  # rows in a message
_LONGEST = 100  # characters of a row in it
_CLOSING = 2.0  # seconds that the server may take to end a session which was just closed, and to release its locks
# The tables of a database with their columns, each with its schema; names as they are, and quoted.
_TABLES = """
    SELECT n.nspname, c.relname, quote_ident(n.nspname), quote_ident(c.relname), quote_ident(c.relname || '_lock'),
           string_agg(a.attname, ',' ORDER BY a.attnum)
      FROM pg_class c
      JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relkind IN ('r', 'p')
       AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'aurora_migrations')
     GROUP BY n.nspname, c.relname, c.oid HAVING count(*) <= 20
     ORDER BY n.nspname, c.relname
"""


@dataclass(frozen=True)
class Place:
    """A table, and its names: as they are, and quoted."""

    schema: str
    name: str
    quoted_schema: str
    quoted_name: str
    quoted_lock: str  # of knex's table for its lock

    @property
    def table(self) -> str:
        """Its qualified name, quoted."""
        return f"{self.quoted_schema}.{self.quoted_name}"

    def fill(self, query: str) -> str:
        """A query of a tool, on this table."""
        return query.format(
            table=self.table, schema=self.quoted_schema, lock=self.quoted_lock, name=self.name, key="{key}"
        )


@dataclass(frozen=True)
class Row:
    """A row of another tool's history; see `tools.COLUMNS`."""

    key: str
    number: str | None
    name: str | None
    other_name: str | None
    checksum: str | None
    applied_at: str | None  # as the tool wrote it
    reach: str


@dataclass(frozen=True)
class ForeignHistory:
    """The history of another tool."""

    tool: Tool
    place: Place
    rows: tuple[Row, ...] = ()

    @property
    def source(self) -> str:
        """Its table, qualified and quoted."""
        return self.place.table

    @cached_property
    def own_names(self) -> frozenset[str]:
        """Its tables, by qualified name, quoted."""
        others = (name.format(name=self.place.name) for name in self.tool.beside)
        return frozenset({self.source, *(f"{self.place.quoted_schema}.{name}" for name in others)})

    def owns(self, name: str) -> bool:
        """Whether a table or schema of this name, quoted, is the tool's."""
        schema = self.tool.own_schema
        is_inside = bool(schema) and (name == schema or name.startswith(f"{schema}."))
        return name in self.own_names or (is_inside and self.place.schema == schema)


def find(session: Session, table: str | None = None) -> ForeignHistory | None:
    """The history that another tool keeps in the database, without its rows; `table` says which one, if there are
    several. None if there is none.

    Raises:
        InvalidInput: there are several, or `table` is none.
    """
    found = list(find_all(session))
    if table is not None:
        chosen = [each for each in found if table in (each.source, f"{each.place.schema}.{each.place.name}")]
        if not chosen:
            raise InvalidInput(
                f"{without_password(table)[:_LONGEST]} isn't the history of a tool that is known here.",
                cause="There is no such table, or it has other columns than the tools' tables have.",
                solution=f"Name a table with its schema. The tools: {', '.join(tool.name for tool in TOOLS)}.",
            )
        return chosen[0]
    if len(found) > 1:
        listed = ", ".join(f"{each.source} ({each.tool.name})" for each in found)
        raise InvalidInput(
            f"The database has several histories: {listed}.",
            cause="Several tools have migrated it, or one that was used before has left its table.",
            solution="Say which one with --table; on AWS with the key `table` of the input.",
            next_command=NextCommand("adopt", ("--table", found[0].source)),
        )
    return found[0] if found else None


def find_all(session: Session) -> Iterator[ForeignHistory]:
    """Every history of another tool, without its rows."""
    places = [(Place(*map(str, names)), set(str(columns).split(","))) for *names, columns in session.query(_TABLES)]
    there = {(place.schema, place.name) for place, _ in places}
    for place, columns in places:
        for tool in TOOLS:
            fits = columns == {*tool.columns} if tool.is_exact else columns >= {*tool.columns}
            if not fits or not (tool.any_name or place.name == tool.table):
                continue
            if tool.needs and (place.schema, tool.needs) not in there:
                continue
            yield ForeignHistory(tool, place)
            break  # the first that fits: Rails' table has a table beside it, dbmate's hasn't


def read(session: Session, history: ForeignHistory) -> ForeignHistory:
    """The history with its rows, under the tool's own lock.

    Raises:
        InvalidInput: a row is dirty, failed or half done, or the history is branched.
        AnotherRunInProgress: the tool is at work, or its lock was left.
    """
    _check_not_running(session, history)
    for bad in history.tool.bad:
        _check_state(session, history, bad)
    return ForeignHistory(history.tool, history.place, tuple(read_rows(session, history.tool, history.place)))


def read_rows(session: Session, tool: Tool, place: Place) -> list[Row]:
    """The rows of what is applied."""
    return [
        Row(str(key), number, name, other, checksum, at, str(reach))
        for key, number, name, other, checksum, at, reach in session.query(place.fill(tool.rows))
    ]


def read_place(session: Session, source: str) -> Place | None:
    """The table of this name, qualified and quoted; None if there is none."""
    found = session.query(
        """
        SELECT n.nspname, c.relname, quote_ident(n.nspname), quote_ident(c.relname), quote_ident(c.relname || '_lock')
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)
        """,
        source,
    )
    return Place(*map(str, found[0])) if found else None


def lock_tables(session: Session, history: ForeignHistory) -> Command:
    """Keeps the tool from changing its tables until the transaction ends: that of its history, and that of its lock,
    which some tools take in the transaction that migrates. NOWAIT: it may be changing them now."""
    locks = (history.place.fill(bad.table) for bad in history.tool.bad if bad.is_lock)
    there = [table for table in locks if session.query("SELECT to_regclass($1)", table) != [(None,)]]
    return Command(f"LOCK TABLE {', '.join([history.source, *there])} IN SHARE MODE NOWAIT")


def _check_not_running(session: Session, history: ForeignHistory) -> None:
    """Takes the tool's advisory lock, which the session then holds until it ends."""
    tool, place = history.tool, history.place
    if tool.lock is None:
        return
    key = tool.lock(session.server.database, place.schema, place.name)
    deadline = time.monotonic() + _CLOSING
    while session.query("SELECT pg_try_advisory_lock($1::bigint)", key) != [("t",)]:
        if time.monotonic() < deadline:
            session.pause(0.1, "waiting for another tool's lock")
            continue
        raise AnotherRunInProgress(
            f"{tool.name} is at work: another session holds its lock.",
            cause=f"A run of {tool.name} is changing this database.",
            solution="Wait until it has ended, then try again. To find its session: SELECT pid FROM pg_locks WHERE "
            f"locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = {key};",
            next_command=NextCommand("adopt"),
        )


def _check_state(session: Session, history: ForeignHistory, bad: BadState) -> None:
    tool, place = history.tool, history.place
    where = place.fill(bad.table)
    if session.query("SELECT to_regclass($1)", where) == [(None,)]:
        return
    keys = [str(key)[:_LONGEST] for (key,) in session.query(place.fill(bad.query))]
    if not keys:
        return
    more = [f"{len(keys) - _SHOWN} more"] if len(keys) > _SHOWN else []
    found = "; ".join([*(bad.what.format(key=key) for key in keys[:_SHOWN]), *more])
    kind = AnotherRunInProgress if bad.is_lock else InvalidInput
    raise kind(
        f"{tool.name}'s history can't be adopted as it is. In {where}: {found}.",
        cause=f"A run of {tool.name} is at work, or ended without releasing its lock."
        if bad.is_lock
        else f"A run of {tool.name} failed or was interrupted, or its history isn't a line.",
        solution=f"{bad.remedy}. Then adopt again.",
        next_command=NextCommand("adopt"),
    )
