"""Folders of other tools: each is recognized, and laid out as ours; the result compiles."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from aurora_migrations.adoption.files import OFF, write_files
from aurora_migrations.adoption.layouts import lay_out
from aurora_migrations.adoption.recognition import recognize
from aurora_migrations.adoption.tools import TOOLS
from aurora_migrations.compiler.check import check
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import InvalidFile, InvalidInput
from benchmarks.histories.__main__ import main as compare

CASES = {
    "prisma": (
        {
            "20240131120000_add_users/migration.sql": "CREATE TABLE u ();\n",
            "20240201120000_more/migration.sql": "\ufeffSELECT 1;\n",
            "migration_lock.toml": "",
        },
        {"20240131120000_add_users.sql": "CREATE TABLE u ();\n", "20240201120000_more.sql": "SELECT 1;\n"},
    ),
    "diesel": (
        {
            "2024-01-31-120000_add users/up.sql": "SELECT 1;\n",
            "2024-01-31-120000_add users/down.sql": "SELECT 2;\n",
            "2024-02-01-120000-0000_index/up.sql": "SELECT 3;\n",
            "2024-02-01-120000-0000_index/metadata.toml": "run_in_transaction = false\n",
            "2024-03-01-120000_last/up.sql": "SELECT 4;\n",
        },
        {
            "2024013112000000000_add_users.sql": "SELECT 1;\n",
            "2024013112000000000_add_users.down.sql": "SELECT 2;\n",
            "2024020112000000000_index.sql": OFF + "SELECT 3;\n",
            "2024030112000000000_last.sql": "SELECT 4;\n",
        },
    ),
    "goose": (
        {
            "2_b.sql": "-- +goose Up\nSELECT 2;\n-- +goose Down\nSELECT -2;\n",
            "10_c.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nSELECT 10;\n\n-- +goose Down\nSELECT -10;\n",
            "11_d.sql": "-- +goose Up\n-- +goose StatementBegin\nSELECT 11 -- ;\n-- +goose StatementEnd\nSELECT 12;\n",
            "12_e.sql": "-- +goose up\n-- +goose statementbegin\nSELECT 13;\n-- +goose statementend\n-- +goose down\n",
            "13_f.go": "package migrations",
        },
        {
            "2_b.sql": "SELECT 2;\n",
            "2_b.down.sql": "SELECT -2;\n",
            "10_c.sql": OFF + "SELECT 10;\n\n",
            "10_c.down.sql": OFF + "SELECT -10;\n",
            "11_d.sql": "SELECT 11 -- ;\n;\nSELECT 12;\n",
            "12_e.sql": "SELECT 13;\n",
        },
    ),
    "dbmate": (
        {
            "20240131_a.sql": "-- first\n-- migrate:up transaction:false\nSELECT 1;\n-- migrate:down\nSELECT 2;\n",
            "20240201_b.sql": "-- migrate:up\nSELECT 3;\n-- migrate:down\n\n",
        },
        {
            "20240131_a.sql": OFF + "SELECT 1;\n",
            "20240131_a.down.sql": "SELECT 2;\n",
            "20240201_b.sql": "SELECT 3;\n",
        },
    ),
    "golang-migrate": (
        {"9_a.up.sql": "SELECT 1;\n", "9_a.down.sql": "SELECT 2;\n", "10_b.c.up.sql": "SELECT 3;\n", "README.md": ""},
        {"9_a.sql": "SELECT 1;\n", "9_a.down.sql": "SELECT 2;\n", "10_b_c.sql": "SELECT 3;\n"},
    ),
    "fizz": (
        {
            "1_a.up.sql": "SELECT 'any';\n",
            "1_a.down.sql": "SELECT 'any down';\n",
            "1_a.postgres.up.sql": "SELECT 'ours';\n",
            "1_a.mysql.up.sql": "SELECT 'theirs';\n",
            "2_b.autocommit.up.sql": "SELECT 2;\n",
            "3_c.postgres.autocommit.up.sql": "SELECT 3;\n",
            "4_d.sqlite3.up.sql": "SELECT 4;\n",
        },
        {
            "1_a.sql": "SELECT 'ours';\n",
            "1_a.down.sql": "SELECT 'any down';\n",
            "2_b.sql": OFF + "SELECT 2;\n",
            "3_c.sql": OFF + "SELECT 3;\n",
        },
    ),
    "sql-migrate": (
        {
            "5-a.sql": "\n-- +migrate Up notransaction\nSELECT 1;\n-- +migrate Down\nSELECT 2;\n",
            "7-b-2.sql": "-- +migrate Up\nSELECT 3;\n",
            "7-b-10.sql": "-- +migrate Up\nSELECT 4;\n",
        },
        {
            "50_a.sql": OFF + "SELECT 1;\n",
            "50_a.down.sql": "SELECT 2;\n",
            "70_b-10.sql": "SELECT 4;\n",
            "71_b-2.sql": "SELECT 3;\n",
        },
    ),
    "flyway": (
        {
            "V1__First.sql": "SELECT 1;\n",
            "V1.2__second thing.sql": "SELECT 2;\n",
            "V1_10__third.sql": "VACUUM;\n",
            "V1_10__third.sql.conf": "executeInTransaction=false\n",
            "v2/V2__last.sql": "SELECT 4;\n",
            "v2/U2__last.sql": "SELECT -4;\n",
            "R__views.sql": "CREATE OR REPLACE VIEW v AS SELECT 1;\n",
            "V3__code.java": "",
            "beforeMigrate.sql": "SELECT 0;\n",
        },
        {
            "100_First.sql": "SELECT 1;\n",
            "102_second_thing.sql": "SELECT 2;\n",
            "110_third.sql": OFF + "VACUUM;\n",
            "200_last.sql": "SELECT 4;\n",
            "200_last.down.sql": "SELECT -4;\n",
        },
    ),
    "sqlx": (
        {
            "1_a.sql": "SELECT 1;\n",
            "20_b.up.sql": "-- no-transaction\nVACUUM;\n",
            "20_b.down.sql": "SELECT -2;\n",
        },
        {
            "1_a.sql": "SELECT 1;\n",
            "20_b.sql": OFF + "-- no-transaction\nVACUUM;\n",
            "20_b.down.sql": "SELECT -2;\n",
        },
    ),
    "graphile-migrate": (
        {
            "committed/000001.sql": "--! Previous: -\n--! Hash: sha1:1\n\nSELECT 1;\n",
            "committed/000002-add-users.sql": "--! Previous: sha1:1\n--! Hash: sha1:2\n\n--! no-transaction\nVACUUM;\n",
            "current.sql": "SELECT 3;\n",
        },
        {
            "000001_unnamed.sql": "--! Previous: -\n--! Hash: sha1:1\n\nSELECT 1;\n",
            "000002_add-users.sql": OFF + "--! Previous: sha1:1\n--! Hash: sha1:2\n\n--! no-transaction\nVACUUM;\n",
        },
    ),
    "tern": (
        {
            "001_a.sql": "SELECT 1;\n\n---- create above / drop below ----\n\nSELECT -1;\n",
            "002_b.sql": "---- tern: disable-tx ----\nVACUUM;\n",
            "shared/v1.sql": "SELECT 0;\n",
        },
        {
            "001_a.sql": "SELECT 1;\n\n",
            "001_a.down.sql": "SELECT -1;\n",
            "002_b.sql": OFF + "---- tern: disable-tx ----\nVACUUM;\n",
        },
    ),
}


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def laid_out(folder: Path, tool: str) -> dict[str, str]:
    """Lays out what is in `theirs` beside it; returns our files' texts."""
    layout = lay_out(folder / "theirs", tool)
    write_files(folder / "ours", layout.texts)
    return {path.name: path.read_text(encoding="utf-8") for path in (folder / "ours").iterdir()}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tools_folder_is_recognized_and_becomes_ours_and_compiles(tmp_path, tool):
    texts, expected = CASES[tool]
    write(tmp_path / "theirs", texts)
    assert recognize(tmp_path / "theirs") == tool
    assert laid_out(tmp_path, tool) == expected
    checked = check(discover(tmp_path / "ours"))
    assert len(checked) == len(expected)
    assert [str(problem) for file in checked for problem in file.problems] == []


def test_numbers_that_differ_in_width_keep_the_order_of_their_digits(tmp_path):
    texts = {f"{name}/up.sql": "SELECT 1;" for name in ("2024-01-31-120000-0000_b", "2024-01-31-120000_a", "2024-02_c")}
    write(tmp_path / "theirs", texts)
    names = ["2024013112000000000_a.sql", "2024013112000000001_b.sql", "2024020000000000000_c.sql"]
    assert sorted(laid_out(tmp_path, "diesel")) == names


def test_dbmate_sorts_by_whole_names(tmp_path):
    write(tmp_path / "theirs", {f"{name}.sql": f"-- migrate:up\nSELECT {name[0]};\n" for name in ("9_a", "10_b")})
    assert laid_out(tmp_path, "dbmate") == {"100_b.sql": "SELECT 1;\n", "900_a.sql": "SELECT 9;\n"}


def test_versions_of_one_part_keep_their_numbers(tmp_path):
    write(tmp_path / "theirs", {"V007__a.sql": "SELECT 1;", "V20240131__b.sql": "SELECT 1;", "V8.sql": "SELECT 1;"})
    assert sorted(laid_out(tmp_path, "flyway")) == ["007_a.sql", "20240131_b.sql", "8_unnamed.sql"]


LEFT_OUT = [
    ("goose", "13_f.go", "not SQL (.go): write what it does as a migration of its own, at its place in the order"),
    ("flyway", "R__views.sql", "runs again whenever it changes, which no migration here does"),
    ("flyway", "V3__code.java", "not SQL (.java)"),
    ("flyway", "beforeMigrate.sql", "a callback"),
    ("golang-migrate", "README.md", "not a migration"),
    ("graphile-migrate", "current.sql", "not committed"),
    ("fizz", "1_a.up.sql", "replaced by the file for PostgreSQL"),
    ("fizz", "1_a.mysql.up.sql", "for another database"),
    ("tern", "shared/v1.sql", "tern doesn't run a file of this name here as a migration; it looks for 001_name.sql"),
]


@pytest.mark.parametrize(("tool", "file", "reason"), LEFT_OUT, ids=[f"{tool} {file}" for tool, file, _ in LEFT_OUT])
def test_what_is_left_out_is_named_with_its_reason(tmp_path, tool, file, reason):
    layout = lay_out(write(tmp_path, CASES[tool][0]), tool)
    (found,) = [problem.reason for problem in layout.left_out if problem.file == file]
    assert reason in found


@pytest.mark.parametrize("tool", TOOLS)
def test_every_file_is_imported_or_named(tmp_path, tool):
    layout = lay_out(write(tmp_path, CASES[tool][0]), tool)
    imported = [source for migration in layout.migrations for source in migration.sources]
    left_out = [problem.file for problem in layout.left_out]
    assert sorted([*imported, *left_out]) == sorted(CASES[tool][0])


NOTES = [
    ("flyway", {"V1__a.sql": "CREATE TABLE ${schema}.a ();"}, "has ${schema}, which its tool fills in"),
    ("tern", {"1_a.sql": "CREATE TABLE {{.schema}}.a ();"}, "has {{.schema}}, which its tool fills in"),
    ("graphile-migrate", {"1.sql": "GRANT ALL ON DATABASE :DATABASE_NAME TO a;"}, "has :DATABASE_NAME"),
    ("goose", {"1_a.sql": "-- +goose Up\n-- +goose ENVSUB ON\nSELECT '${A}';"}, "has -- +goose ENVSUB ON"),
    ("sql-migrate", {"1.sql": "-- +migrate Up notransaction\nVACUUM;"}, "outside a transaction"),
]


@pytest.mark.parametrize(("tool", "texts", "note"), NOTES, ids=[note for _, _, note in NOTES])
def test_what_a_person_should_know_is_noted(tmp_path, tool, texts, note):
    (migration,) = lay_out(write(tmp_path, texts), tool).migrations
    assert note in "; ".join(migration.notes)


WRONG = [
    ("diesel", CASES["prisma"][0], "has no migration that diesel would run"),
    ("sql-migrate", {"1.sql": "-- +migrate Up\n", "a.sql": "-- +migrate Up\n"}, "as a name has no number: a.sql"),
    ("flyway", {"pg/V1__a.sql": "", "ora/V1.0__a.sql": ""}, "have the same version"),
    ("goose", {"1_a.sql": "-- +goose Up", "01_b.sql": "-- +goose Up"}, "01_b.sql and 1_a.sql have the same version"),
]


@pytest.mark.parametrize(("tool", "texts", "message"), WRONG, ids=[f"{tool}: {m}" for tool, _, m in WRONG])
def test_what_cannot_be_laid_out_is_refused(tmp_path, tool, texts, message):
    with pytest.raises(InvalidInput) as caught:
        lay_out(write(tmp_path, texts), tool)
    assert message in caught.value.message
    assert caught.value.solution


@pytest.mark.parametrize("tool", ["dbmate", "goose", "sql-migrate"])
def test_a_file_without_an_up_part_is_refused(tmp_path, tool):
    with pytest.raises(InvalidFile, match=r"1_a\.sql: has no line that begins the up part"):
        lay_out(write(tmp_path, {"1_a.sql": "SELECT 1;"}), tool)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    folder = tmp_path / "2024-01-31_a"
    folder.mkdir()
    (folder / "up.sql").write_bytes(b"SELECT '\xff';")
    with pytest.raises(InvalidFile, match=r"2024-01-31_a/up\.sql:1:9: isn't UTF-8"):
        lay_out(tmp_path, "diesel")


UNKNOWN = {
    "two tools": (
        {**CASES["goose"][0], "11_x.sql": "-- migrate:up\n"},
        "looks like the migrations of goose and of dbmate",
    ),
    "sqlx or not": (
        {"1_a.sql": "SELECT 1;", "2_b.up.sql": "SELECT 2;"},
        "looks like the migrations of golang-migrate and of sqlx",
    ),
    "ours": ({"001_a.sql": "SELECT 1;", "001_a.down.sql": "SELECT 2;"}, "already have the names used here"),
    "none": ({"a.sql": "SELECT 1;", "001.sql": "SELECT 1;"}, "have the layout of a known tool"),
    "empty": ({"README.md": ""}, "have the layout of a known tool"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_a_folder_that_is_not_recognized_says_what_to_do(tmp_path, case):
    texts, message = UNKNOWN[case]
    with pytest.raises(InvalidInput) as caught:
        recognize(write(tmp_path, texts))
    assert message in caught.value.message
    assert "--tool" in caught.value.solution


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
def test_what_is_no_file_is_not_read(tmp_path):
    write(tmp_path, CASES["flyway"][0])
    os.mkfifo(tmp_path / "V9__pipe.sql")
    (tmp_path / "V10__folder.sql").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert recognize(tmp_path) == "flyway"
    layout = lay_out(tmp_path, "flyway")
    assert list(layout.texts) == list(CASES["flyway"][1])
    assert "V9__pipe.sql" in [problem.file for problem in layout.left_out]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(InvalidInput, match="can't be read: No such file or directory"):
        recognize(tmp_path / "nowhere")


def test_all_files_are_written_or_none(tmp_path):
    (tmp_path / "2_b.sql").write_text("precious")
    with pytest.raises(InvalidInput, match=r"2_b\.sql can't be written: File exists"):
        write_files(tmp_path, {"1_a.sql": "SELECT 1;", "2_b.sql": "SELECT 2;"})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("2_b.sql", "precious")]


def test_a_history_is_compared_as_another_tool_has_it(tmp_path, capsys):
    folder = write(tmp_path, {"1_a.up.sql": "SELECT 1;\n", "1_a.down.sql": "SELEC 1;\n", "2.go": ""})
    assert compare([str(folder), "--tool", "golang-migrate", "--check-only"]) == 1
    assert compare([str(folder), "--tool", "golang-migrate", "--check-only", "--without-down"]) == 0
    assert "left out: 1 down file" in capsys.readouterr().out
