"""What the migrations do: ten operations as one writes them plainly, and how to see whether each is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operation:
    """One of them, on the table `reading`, which `running.fill` makes.

    Attributes:
        name: what it is called by `--operation`.
        sql: the text of the file, the same for every tool.
        done: a query that answers `t` once it is done.
        blocks: what its lock keeps from the table, and for how long.
        prepare: SQL that makes what it needs.
        transaction: whether PostgreSQL runs it in one.
    """

    name: str
    sql: str
    done: str
    blocks: str
    prepare: str = ""
    transaction: bool = True


def add_column(*tables: str) -> Operation:
    names = ", ".join(f"'{table}'::regclass" for table in tables)
    return Operation(
        "add column",
        "".join(f"ALTER TABLE {table} ADD COLUMN added text;\n" for table in tables),
        f"SELECT count(*) = {len(tables)} FROM pg_attribute WHERE attname = 'added' AND attrelid IN ({names})",
        "all, for a moment",
    )


def _alter(name: str, action: str, done: str, blocks: str, prepare: str = "") -> Operation:
    return Operation(name, f"ALTER TABLE reading {action};\n", done, blocks, prepare)


def _column(column: str, condition: str) -> str:
    found = "attrelid = 'reading'::regclass AND NOT attisdropped AND attname"
    return f"SELECT {condition} FROM pg_attribute WHERE {found} = '{column}'"


ADD_COLUMN = add_column("reading")
_INDEXED = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('reading_note_idx')"

OPERATIONS: Sequence[Operation] = (
    ADD_COLUMN,
    _alter(
        "add NOT NULL",
        "ALTER COLUMN sensor SET NOT NULL",
        _column("sensor", "attnotnull"),
        "all, for a scan",
    ),
    _alter(
        "foreign key",
        "ADD FOREIGN KEY (sensor) REFERENCES sensor (id)",
        "SELECT count(*) = 1 FROM pg_constraint WHERE conname = 'reading_sensor_fkey' AND convalidated",
        "writes, for a join",
        "CREATE TABLE sensor AS SELECT DISTINCT sensor AS id FROM reading; ALTER TABLE sensor ADD PRIMARY KEY (id)",
    ),
    Operation("index", "CREATE INDEX reading_note_idx ON reading (note);\n", _INDEXED, "writes, for the build"),
    Operation(
        "index concurrently",
        "CREATE INDEX CONCURRENTLY reading_note_idx ON reading (note);\n",
        _INDEXED,
        "neither",
        transaction=False,
    ),
    _alter(
        "change type",
        "ALTER COLUMN sensor TYPE bigint",
        _column("sensor", "atttypid = 'bigint'::regtype"),
        "all, for a rewrite",
    ),
    _alter("rename column", "RENAME COLUMN spare TO renamed", _column("renamed", "true"), "all, for a moment"),
    _alter("drop column", "DROP COLUMN spare", _column("spare", "count(*) = 0"), "all, for a moment"),
    Operation(
        "attach partition",
        "ALTER TABLE archive ATTACH PARTITION reading FOR VALUES FROM (0) TO (1000000000);\n",
        "SELECT count(*) = 1 FROM pg_inherits WHERE inhrelid = 'reading'::regclass",
        "all, for a scan",
        "CREATE TABLE archive (LIKE reading INCLUDING ALL) PARTITION BY RANGE (id)",
    ),
    Operation(
        "backfill",
        "UPDATE reading SET spare = note;\n",
        "SELECT count(*) = 0 FROM reading WHERE spare IS NULL",
        "writes to its rows, until COMMIT",
    ),
)
