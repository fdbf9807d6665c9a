"""Tables as they are now: their rows, their indexes, and whether those can be used. Reads only.

Rows are counted only where that is cheap, and marked as counted: a table of more than 16 MB gets the estimate of the
last ANALYZE or VACUUM, as counting reads all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from aurora_migrations.engine.errors import ConnectionLost, InsufficientPrivilege, MigratorError
from aurora_migrations.engine.postgres.protocol import Command, Param, Row
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, Session

COUNTED = 16 * 1024 * 1024  # bytes on disk up to which rows are counted; a few milliseconds
_COUNT_TIMEOUT = 2_000  # milliseconds
# As the role's own search_path finds them; where a file had set another one, the only table of that name.
_TABLES = """
    WITH named AS (SELECT ordinality AS n, value AS name
                     FROM pg_catalog.json_array_elements_text($1::json) WITH ORDINALITY),
         found AS (SELECT n, name, COALESCE(pg_catalog.to_regclass(name)::pg_catalog.oid, (
                       SELECT pg_catalog.min(c.oid::pg_catalog.text)::pg_catalog.oid
                         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
                        WHERE pg_catalog.quote_ident(c.relname) = name AND c.relkind IN ('r', 'p', 'm')
                          AND s.nspname !~ '^pg_' AND s.nspname <> 'information_schema'
                       HAVING pg_catalog.count(*) = 1)) AS oid FROM named),
         tables AS (SELECT f.n, f.name, COALESCE(i.indrelid, f.oid) AS oid, f.oid IS NULL AS gone
                      FROM found f LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = f.oid)
    SELECT t.name, t.gone, c.oid, c.oid::pg_catalog.regclass, c.relkind, c.reltuples::pg_catalog.int8
      FROM tables t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.oid
     WHERE t.gone OR c.relkind IN ('r', 'p', 'm')
     ORDER BY t.n
"""
# Also those of partitions. One that another session builds or rebuilds at this moment is no news. Nothing here waits
# for a lock, as the functions for sizes and partitions would.
_INDEXES = """
    WITH RECURSIVE tree AS (
        SELECT value::pg_catalog.oid AS root, value::pg_catalog.oid AS oid
          FROM pg_catalog.json_array_elements_text($1::json)
         UNION
        SELECT t.root, h.inhrelid FROM tree t JOIN pg_catalog.pg_inherits h ON h.inhparent = t.oid)
    SELECT t.root, i.indexrelid::pg_catalog.regclass, i.indisvalid, i.indisready,
           EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index b
                    WHERE b.index_relid = i.indexrelid OR b.relid = i.indrelid)
      FROM tree t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
     ORDER BY t.root, i.indexrelid::pg_catalog.regclass::pg_catalog.text
"""
# While an index is being made, the view doesn't name it; so all invalid ones of its table count.
_BUILDING = """
    SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)
      FROM pg_catalog.pg_stat_progress_create_index b
      JOIN pg_catalog.pg_index i ON i.indrelid = b.relid
      JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE NOT (i.indisvalid AND i.indisready)
"""
# The size, and the rows where that is small: CASE doesn't count before it has compared.
_ROWS = """
    SELECT size, CASE WHEN size <= {most} THEN (SELECT pg_catalog.count(*) FROM {table}) END
      FROM (SELECT COALESCE((SELECT pg_catalog.sum(pg_catalog.pg_relation_size(relid))
                               FROM pg_catalog.pg_partition_tree({oid})),
                            pg_catalog.pg_relation_size({oid}::pg_catalog.oid))) AS sized (size)
"""


@dataclass(frozen=True)
class Index:
    """An index as it is now. `building`: another session is building it."""

    name: str
    valid: bool
    ready: bool
    building: bool = False

    @property
    def fit(self) -> bool:
        """Whether queries can use it and writes keep it up to date, or will when it is built."""
        return (self.valid and self.ready) or self.building

    @property
    def state(self) -> str:
        """Its state as text."""
        if self.building:
            return "being built"
        return "valid and ready" if self.fit else "not ready" if not self.ready else "invalid"


@dataclass(frozen=True)
class Table:
    """A table as it is now."""

    name: str
    exists: bool
    called: tuple[str, ...] = ()  # the names that were given for it
    oid: int = 0
    kind: str = ""
    rows: int | None = None  # None if it was never analyzed and is too large to count, or may not be read
    counted: bool = False  # otherwise `rows` is the estimate of the last ANALYZE or VACUUM
    size: int | None = None  # bytes on disk, without its indexes; None as above
    indexes: tuple[Index, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The table as JSON-able data."""
        if not self.exists:
            return {"table": self.name, "exists": False}
        return {
            "table": self.name,
            "exists": True,
            "rows": self.rows,
            "counted": self.counted,
            "bytes": self.size,
            "indexes": [{"index": index.name, "state": index.state} for index in self.indexes],
        }


def inspect(
    session: Session, names: Sequence[str], count: int, in_time: Callable[[], bool] = lambda: True
) -> list[Table]:
    """The tables of these names (as SQL writes them; for an index, its table), each once; what is a view, a sequence or
    something else is left out. The rows of `count` tables at most are counted, each if `in_time` still returns True;
    the others get the estimate."""
    tables: dict[str, Table] = {}
    for table in map(_table, _query(session, _TABLES, json.dumps(list(dict.fromkeys(names))))):
        known = tables.get(table.name, table)
        tables[table.name] = replace(known, called=tuple(dict.fromkeys((*known.called, *table.called))))
    there = [table for table in tables.values() if table.exists]
    indexes: dict[int, list[Index]] = {}
    for oid, name, valid, ready, building in _query(session, _INDEXES, json.dumps([str(t.oid) for t in there])):
        index = Index(str(name), valid == "t", ready == "t", building == "t")
        indexes.setdefault(int(str(oid)), []).append(index)
    to_count = {table.name for table in there[:count]}
    complete = (replace(table, indexes=tuple(indexes.get(table.oid, ()))) for table in tables.values())
    return [_counted(session, table) if table.name in to_count and in_time() else table for table in complete]


def read_building(session: Session) -> list[str]:
    """The indexes on tables on which a session builds one: until it is done, they aren't valid."""
    return [str(name) for (name,) in session.query(_BUILDING)]


def _table(row: Row) -> Table:
    name, gone, oid, shown, kind, estimate = row
    if gone == "t":
        return Table(str(name), exists=False, called=(str(name),))
    rows = int(str(estimate))
    return Table(
        name=str(shown),
        exists=True,
        called=(str(name),),
        oid=int(str(oid)),
        kind=str(kind),
        rows=rows if rows >= 0 else None,  # -1: neither VACUUM nor ANALYZE has seen it
    )


def _counted(session: Session, table: Table) -> Table:
    """The table with its size, and its rows counted if that is small; unchanged if they can't be read now."""
    only = "" if table.kind == "p" else "ONLY "
    limits = [
        Command(f"SET LOCAL statement_timeout = {_COUNT_TIMEOUT}"),
        Command(f"SET LOCAL lock_timeout = {_COUNT_TIMEOUT // 2}"),
        Command("SET LOCAL row_security = off"),
    ]
    asking = Command(_ROWS.format(most=COUNTED, table=f"{only}{table.name}", oid=table.oid))
    try:
        ((size, rows),) = session.execute(BEGIN, *limits, asking, COMMIT)[len(limits) + 1]
    except ConnectionLost:
        raise
    except MigratorError:
        return table
    known = replace(table, size=int(str(size)))
    return known if rows is None else replace(known, rows=int(rows), counted=True)


def _query(session: Session, sql: str, *params: Param) -> list[Row]:
    """Rows, with names found as the role's own search_path finds them, unlike those that the history is read with."""
    try:
        return session.execute(BEGIN, Command(sql, params), COMMIT)[1]
    except InsufficientPrivilege as error:
        raise error.but(
            cause="The role's privilege to read PostgreSQL's system catalogs was revoked.",
            solution="Grant it again, such as: GRANT SELECT ON pg_catalog.pg_index TO role;",
        ) from error
