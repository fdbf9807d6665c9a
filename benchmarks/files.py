"""The migrations that are measured."""

from __future__ import annotations

from pathlib import Path

_THREE_STATEMENTS = """\
CREATE TABLE thing_{0:04} (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX thing_{0:04}_tenant_idx ON thing_{0:04} (tenant, created_at);
INSERT INTO thing_{0:04} (tenant) VALUES ('first'), ('second');
"""
_TABLE = """\
CREATE TABLE reading (
    id bigint PRIMARY KEY, sensor text NOT NULL, note text NOT NULL, value numeric NOT NULL, at timestamptz NOT NULL
);
"""
_ROW = (
    "INSERT INTO reading (id, sensor, note, value, at) VALUES "
    "({0}, 'sensor-{1:03}', 'calibrated by hand, see protocol {0}', {2}.{1:03}, '2026-01-01 00:00:00+00');\n"
)


def write_migrations(folder: Path, number: int) -> Path:
    """That many migrations of three statements each."""
    folder.mkdir()
    for i in range(1, number + 1):
        (folder / f"{i:04}_create_thing.sql").write_text(_THREE_STATEMENTS.format(i))
    return folder


def write_alike(folder: Path, number: int) -> Path:
    """That many migrations with one and the same text."""
    folder.mkdir()
    for i in range(1, number + 1):
        (folder / f"{i:05}_thing.sql").write_text(_THREE_STATEMENTS.format(1))
    return folder


def write_large_migration(folder: Path, size: int) -> Path:
    """One migration of about that many bytes, as a dump with one INSERT a row has them."""
    folder.mkdir()
    with (folder / "0001_import_readings.sql").open("w") as file:
        written, i = file.write(_TABLE), 0
        while written < size:
            i += 1
            written += file.write(_ROW.format(i, i % 1000, i % 77))
    return folder


def write_statements(folder: Path, number: int) -> Path:
    """One migration of that many short statements."""
    folder.mkdir()
    rows = "".join(f"INSERT INTO counted VALUES ({i});\n" for i in range(1, number))
    (folder / "0001_count.sql").write_text(f"CREATE TABLE counted (id bigint PRIMARY KEY);\n{rows}")
    return folder


def write_units(folder: Path, number: int) -> Path:
    """One migration of that many units, each a statement in a transaction of its own."""
    folder.mkdir()
    rows = "".join(f"INSERT INTO counted VALUES ({i});\n" for i in range(1, number))
    text = f"-- migration: transaction = off\nCREATE TABLE counted (id bigint PRIMARY KEY);\n{rows}"
    (folder / "0001_count.sql").write_text(text)
    return folder


def write_psql_script(folder: Path, script: Path, in_transaction: bool = True) -> Path:
    """The script with which one psql runs all files of a folder, each in a transaction."""
    begin, commit = ("BEGIN;\n", "COMMIT;\n") if in_transaction else ("", "")
    paths = sorted(folder.glob("*.sql"))
    script.write_text("".join(f"{begin}\\i '{path}'\n{commit}" for path in paths))
    return script
