"""Migrations of other tools, laid out as ours, are applied and rolled back."""

from __future__ import annotations

import pytest

from aurora_migrations.adoption.files import write_files
from aurora_migrations.adoption.layouts import lay_out
from aurora_migrations.adoption.recognition import recognize
from tests.database.helpers import applied, apply, labels, roll_back, tables
from tests.servers import Database, Migrations

FUNCTION = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n  RETURN 1;\nEND;\n$$;\n"
UNDO = "DROP FUNCTION f;\nDROP TABLE a;\n"
FOLDERS = {
    "dbmate": {
        "20240131_a.sql": f"-- migrate:up\nCREATE TABLE a (id int);\n{FUNCTION}-- migrate:down\n{UNDO}",
        "20240201_b.sql": "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY b ON a (id);\n"
        "-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY b;\n",
    },
    "goose": {
        "1_a.sql": "-- +goose Up\nCREATE TABLE a (id int);\n-- +goose StatementBegin\n"
        f"{FUNCTION}-- +goose StatementEnd\n-- +goose Down\n{UNDO}",
        "2_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE INDEX CONCURRENTLY b ON a (id);\n"
        "-- +goose Down\nDROP INDEX CONCURRENTLY b;\n",
    },
    "flyway": {
        "V1.0__a.sql": f"CREATE TABLE a (id int);\n{FUNCTION}",
        "U1__a.sql": UNDO,
        "V1.1__b.sql": "CREATE INDEX CONCURRENTLY b ON a (id);\n",
        "V1.1__b.sql.conf": "executeInTransaction=false\n",
        "U1.1__b.sql": "DROP INDEX CONCURRENTLY b;\n",
    },
    "tern": {
        "001_a.sql": f"CREATE TABLE a (id int);\n{FUNCTION}\n---- create above / drop below ----\n{UNDO}",
        "002_b.sql": "---- tern: disable-tx ----\nCREATE INDEX CONCURRENTLY b ON a (id);\n"
        "---- create above / drop below ----\n---- tern: disable-tx ----\nDROP INDEX CONCURRENTLY b;\n",
    },
    "diesel": {
        "2024-01-31-120000_a/up.sql": f"CREATE TABLE a (id int);\n{FUNCTION}",
        "2024-01-31-120000_a/down.sql": UNDO,
        "2024-02-01-120000_b/up.sql": "CREATE INDEX CONCURRENTLY b ON a (id);\n",
        "2024-02-01-120000_b/down.sql": "DROP INDEX CONCURRENTLY b;\n",
        "2024-02-01-120000_b/metadata.toml": "run_in_transaction = false\n",
    },
}


@pytest.mark.parametrize("tool", FOLDERS)
def test_what_was_imported_runs_and_its_down_files_undo_it(
    database: Database, migrations: Migrations, tmp_path, tool: str
) -> None:
    for name, text in FOLDERS[tool].items():
        path = tmp_path / "theirs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert recognize(tmp_path / "theirs") == tool
    write_files(migrations.dir, lay_out(tmp_path / "theirs", tool).texts)
    first, second = labels(apply(database, migrations))
    assert tables(database) == ["a"]
    assert database.query("SELECT f(), indisvalid FROM pg_index WHERE indexrelid = 'b'::regclass") == [(1, True)]
    roll_back(database, migrations, first, second)
    assert (tables(database), applied(database)) == ([], [])
    assert database.query("SELECT to_regproc('f')") == [(None,)]
