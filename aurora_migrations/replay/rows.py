"""Whether a migration would fail on tables that hold rows: it is tried on tables with a row or two, and rolled back.

The rows are made up: values of each column's type, as large as it takes, and with NULL where that is allowed. What
constraints and triggers refuse is left out: a table that can't hold such a row is tried without one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.postgres.protocol import BatchError, Command
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.script import Job
from aurora_migrations.replay.down import is_one_transaction, run_within, undone
from aurora_migrations.replay.outcome import RowsFailure

# Statements that define something; what fails in others depends on the rows that were there.
_DEFINING = frozenset({"AlterTableStmt", "IndexStmt", "CreateStmt", "RenameStmt"})
_OF_ROWS = ("22", "23")  # classes of SQLSTATE: data exceptions and constraints
_LONGEST = 2.0  # seconds: a made-up number may be one of rows that the file makes
_LONG = 300  # characters, where a type sets no limit
_PLACE = re.compile(r"^[^:]*:\d+:\d+: | \(\w{5}\)\.$")
# Of each column: name, type, base type, category, modifier, whether it must have a value, its enum's labels, what its
# CHECK constraints compare it with, and the column that it refers to.
_COLUMNS = """
    WITH RECURSIVE base (attnum, oid, modifier) AS (
        SELECT attnum, atttypid, atttypmod FROM pg_attribute
         WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
        UNION ALL
        SELECT attnum, typbasetype, typtypmod FROM base JOIN pg_type t USING (oid) WHERE typtype = 'd')
    SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), t.typname, t.typcategory, b.modifier,
           a.attnotnull OR d.typnotnull,
           (SELECT string_agg(enumlabel, E'\\x01' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid),
           (SELECT string_agg(pg_get_constraintdef(c.oid), ' ') FROM pg_constraint c
             WHERE conrelid = attrelid AND contype = 'c' AND a.attnum = ANY (conkey)),
           (SELECT confrelid::regclass || ' ' || quote_ident(f.attname)
              FROM pg_constraint c JOIN pg_attribute f ON f.attrelid = confrelid
                   AND f.attnum = confkey[array_position(conkey, a.attnum)]
             WHERE conrelid = a.attrelid AND contype = 'f' AND a.attnum = ANY (conkey) LIMIT 1)
      FROM base b JOIN pg_attribute a ON a.attrelid = $1::regclass AND a.attnum = b.attnum
           JOIN pg_type t ON t.oid = b.oid AND t.typtype <> 'd' JOIN pg_type d ON d.oid = a.atttypid
     ORDER BY a.attnum
"""
_COMPARED = re.compile(r"'((?:[^']|'')*)'(?:::|\))")
_TABLES = """
    SELECT DISTINCT c.oid::regclass FROM unnest($1::text[]) AS name
      JOIN pg_class c ON c.oid = to_regclass(name) AND c.relkind IN ('r', 'p')
"""


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    base: str
    category: str
    modifier: int
    is_required: bool
    labels: tuple[str, ...]
    compared: tuple[str, ...]  # texts that CHECK constraints name
    refers_to: str  # `table column`, or empty


def find_failure(session: Session, job: Job) -> RowsFailure | None:
    """The statement of a file that fails as soon as the tables that it changes hold rows, though it succeeds on empty
    ones. A file of several units isn't tried."""
    tables = {lock.table for statement in job.script.statements for lock in statement.blocking_locks}
    if not tables or not is_one_transaction(job):
        return None
    with undone(session):
        found = session.execute(Command(_TABLES, [_array(sorted(tables))]))[0]
        done = dict[str, bool]()
        filled = [_fill(session, str(name), done) for (name,) in found]
        if not any(filled):
            return None
        try:
            run_within(session, job, _LONGEST)
        except MigratorError as error:
            number = error.facts.get("statement")
            kind = job.script.statements[int(number) - 1].kind if number else ""
            if str(error.facts.get("sqlstate", "")).startswith(_OF_ROWS) and kind in _DEFINING:
                line, column = int(error.facts["line"]), int(error.facts["column"])
                return RowsFailure(line, column, _PLACE.sub("", error.message))
    return None


def _fill(session: Session, table: str, done: dict[str, bool]) -> bool:
    """Puts up to two rows into a table, after the tables that it refers to; whether it holds one then. `done` are the
    tables that were filled before, or are about to be: each is once."""
    if table in done:
        return done[table]
    done[table] = False
    columns = [_column(row) for row in session.execute(Command(_COLUMNS, [table]))[0]]
    for parent in dict.fromkeys(each.refers_to.rpartition(" ")[0] for each in columns if each.refers_to):
        _fill(session, parent, done)
    full = any(_insert(session, table, columns, 1, large, sparse) for large, sparse in product((1, 0), (0, 1)))
    sparse = any(_insert(session, table, columns, 2, large, sparse) for sparse, large in product((1, 0), (1, 0)))
    done[table] = full or sparse
    return done[table]


def _insert(session: Session, table: str, columns: Sequence[_Column], number: int, large: int, sparse: int) -> bool:
    """Tries to insert a row of made-up values, of which the `number`-th differs from the others. `sparse`: with NULL
    wherever that is allowed."""
    chosen = [each for each in columns if each.is_required or not sparse]
    names, values = ", ".join(each.name for each in chosen), ", ".join(_value(each, number, large) for each in chosen)
    row = f"({names}) OVERRIDING SYSTEM VALUE VALUES ({values})" if chosen else "DEFAULT VALUES"
    commands = [f"INSERT INTO {table} {row}", "SET CONSTRAINTS ALL IMMEDIATE", "RELEASE SAVEPOINT row_made_up"]
    try:
        session.wire.execute_pipeline([Command("SAVEPOINT row_made_up"), *map(Command, commands)])
    except BatchError:
        session.execute(Command("ROLLBACK TO SAVEPOINT row_made_up"))
        return False
    return True


def _value(column: _Column, number: int, large: int) -> str:
    if column.refers_to:
        table, _, name = column.refers_to.rpartition(" ")
        return f"(SELECT {name} FROM {table} ORDER BY 1 OFFSET {number - 1} LIMIT 1)"
    text = _text(column, number, large).replace("'", "''")
    return f"'{text}'::{column.type}"


def _text(column: _Column, number: int, large: int) -> str:
    """A value of the column's type, as text."""
    if column.labels:
        return column.labels[min(number, len(column.labels)) - 1]
    if column.compared:
        return column.compared[min(number, len(column.compared)) - 1]
    if column.category == "A":
        return "{}"
    if column.category == "S":
        limit = column.modifier - 4 if column.modifier > 4 and column.base != "text" else _LONG
        return "x" * (limit - 1) + str(number) if large else str(number)
    if column.category == "R":
        return "empty"
    values = _VALUES.get(column.base)
    if values is None:
        return str(number)
    if column.base == "numeric" and column.modifier > 4 and large:
        digits, scale = (column.modifier - 4) >> 16 & 0xFFFF, (column.modifier - 4) & 0x7FF
        return "9" * max(0, digits - scale - 1) + str(10 - number) if digits > scale else "0"
    return values[0 if large else 1].format(n=number)


# Per type a large value and a usual one.
_VALUES = {
    "bool": ("true", "false"),
    "int2": ("3276{n}", "{n}"),
    "int4": ("214748364{n}", "{n}"),
    "int8": ("922337203685477580{n}", "{n}"),
    "numeric": ("123456789012345678901234567890.12345{n}", "{n}"),
    "float4": ("1.{n}e30", "{n}"),
    "float8": ("1.{n}e300", "{n}"),
    "money": ("1234567890{n}", "{n}"),
    "date": ("2999-12-0{n}", "2001-01-0{n}"),
    "timestamp": ("2999-12-31 23:59:59.12345{n}", "2001-01-0{n}"),
    "timestamptz": ("2999-12-31 23:59:59.12345{n}Z", "2001-01-0{n}Z"),
    "time": ("23:59:59.12345{n}", "0{n}:00"),
    "timetz": ("23:59:59.12345{n}Z", "0{n}:00Z"),
    "interval": ("{n}00 years", "{n} s"),
    "uuid": ("ffffffff-ffff-4fff-bfff-fffffffffff{n}", "00000000-0000-4000-8000-00000000000{n}"),
    "json": ('{{"a": {n}}}', "{{}}"),
    "jsonb": ('{{"a": {n}}}', "{{}}"),
    "bytea": ("\\x0{n}", "\\x0{n}"),
    "inet": ("10.0.0.{n}", "10.0.0.{n}"),
    "cidr": ("10.0.0.{n}/32", "10.0.0.{n}/32"),
    "macaddr": ("08:00:2b:01:02:0{n}", "08:00:2b:01:02:0{n}"),
    "point": ("({n},{n})", "({n},{n})"),
    "tsvector": ("a{n}", "a{n}"),
    "xml": ("<a/>", "<a/>"),
}


def _column(row: Sequence[str | None]) -> _Column:
    name, type_, base, category, modifier, required, labels, checks, refers_to = row
    compared = dict.fromkeys(text.replace("''", "'") for text in _COMPARED.findall(checks or ""))
    return _Column(
        str(name),
        str(type_),
        str(base),
        str(category),
        int(modifier or -1),
        required == "t",
        tuple((labels or "").split("\x01")) if labels else (),
        tuple(compared),
        refers_to or "",
    )


def _array(names: Sequence[str]) -> str:
    """An array's literal."""
    return "{" + ",".join('"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"' for name in names) + "}"
