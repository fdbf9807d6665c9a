"""schema.sql: the schema after the last migration, the same from the same history."""

from __future__ import annotations

import pytest

from aurora_migrations.replay import schema_file
from tests.cli.conftest import Call, calling
from tests.cli.test_schemas import fits
from tests.servers import Migrations


@pytest.fixture
def call(migrations: Migrations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Calls the command line in this process, in the folder above the migrations."""
    monkeypatch.chdir(migrations.dir.parent)
    return calling(capsys)


def test_schema_file_is_written_and_checked(migrations: Migrations, call: Call) -> None:
    path = migrations.dir.parent / "schema.sql"
    migrations.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY);\nGRANT SELECT ON a TO reporting;")
    assert call("check").code == 0
    assert not path.exists()
    assert "Wrote schema.sql" in call("replay", "--schema-file", "schema.sql").out
    text = path.read_text()
    assert text.startswith("-- The schema after migration 001, on PostgreSQL 18. `aurora-migrations replay` writes")
    assert "CREATE TABLE public.a" in text
    assert "GRANT SELECT ON TABLE public.a TO reporting" in text
    assert not any(word in text for word in ("aurora_migrations.", "\\restrict", "Dumped", "OWNER TO"))
    assert call("check").code == 0
    assert "Wrote" not in call("replay").out
    migrations.write("002_b.sql", "CREATE TABLE b (id int);")
    answer = call("check")
    assert answer.code == 1
    assert "This isn't the schema after the last migration" in answer.out
    assert "replay --schema-file" in answer.out
    found = call("check", "--output", "json").json
    fits("check", found)
    assert (found["ok"], found["schema_file"]["line"]) == (False, 1)
    assert "::error file=" in call("check", "--output", "github").out
    assert "Wrote" in call("replay").out
    assert call("check").code == 0
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert call("check").code == 0, "a checkout on Windows has other line ends"


def test_schema_is_the_same_from_the_same_history(migrations: Migrations, call: Call) -> None:
    migrations.write("001_a.sql", "CREATE EXTENSION pgcrypto;\nCREATE TABLE z (id int);\nCREATE TABLE b (id int);")
    texts = set()
    for n in range(2):
        migrations.write("002_c.sql", f"-- {n}\nCREATE VIEW v AS SELECT id FROM b;")
        assert call("replay", "--schema-file", f"{n}.sql").code == 0
        texts.add((migrations.dir.parent / f"{n}.sql").read_text())
    assert len(texts) == 1


def test_file_of_somebody_else_is_never_overwritten(migrations: Migrations, call: Call) -> None:
    path = migrations.dir.parent / "schema.sql"
    path.write_text("CREATE TABLE mine (id int);\n")
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    assert schema_file.find(migrations.dir) is None
    assert call("check").code == 0
    assert call("replay").code == 0
    assert call("replay", "--schema-file", "schema.sql").code == 2
    assert path.read_text() == "CREATE TABLE mine (id int);\n"


def test_schema_that_is_not_complete_is_neither_written_nor_compared(migrations: Migrations, call: Call) -> None:
    migrations.write("001_a.sql", "CREATE EXTENSION postgis;")
    answer = call("replay", "--schema-file", "schema.sql")
    assert answer.code == 0
    assert "isn't written" in answer.err
    assert not (migrations.dir.parent / "schema.sql").exists()
    (migrations.dir.parent / "schema.sql").write_text(schema_file.HEADER.format(label="001", major=18) + "\n")
    answer = call("check")
    assert answer.code == 0
    assert "isn't compared" in answer.err
