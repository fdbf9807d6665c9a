"""Folders of other tools, laid out as ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.histories.__main__ import main as compare
from benchmarks.histories.concurrently import text_without
from benchmarks.histories.lay_out import OFF, lay_out, main

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
            "1_a.mysql.up.sql": "SELECT `theirs`;\n",
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
}


def write(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("tool", CASES)
def test_a_tools_folder_becomes_ours(tmp_path, tool):
    texts, expected = CASES[tool]
    lay_out(write(tmp_path / "theirs", texts), tool, tmp_path / "ours")
    assert {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "ours").iterdir()} == expected


def test_numbers_that_differ_in_width_keep_the_order_of_their_digits(tmp_path):
    texts = {f"{name}/up.sql": "SELECT 1;" for name in ("2024-01-31-120000-0000_b", "2024-01-31-120000_a", "2024-02_c")}
    lay_out(write(tmp_path / "theirs", texts), "diesel", tmp_path / "ours")
    names = ["2024013112000000000_a.sql", "2024013112000000001_b.sql", "2024020000000000000_c.sql"]
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == names


def test_what_is_no_sql_is_named(tmp_path, capsys):
    write(tmp_path / "theirs", CASES["goose"][0])
    assert main([str(tmp_path / "theirs"), "goose", str(tmp_path / "ours")]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "left out 13_f.go: not SQL"


def test_a_folder_of_another_tool_is_refused(tmp_path, capsys):
    write(tmp_path / "theirs", CASES["prisma"][0])
    assert main([str(tmp_path / "theirs"), "diesel", str(tmp_path / "ours")]) == 1
    assert "holds no migration that diesel would run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CREATE INDEX CONCURRENTLY i ON a (b);", "CREATE INDEX              i ON a (b);"),
        ("-- ü\ndrop index concurrently concurrently_i;", "-- ü\ndrop index              concurrently_i;"),
        ('CREATE TABLE a ("CONCURRENTLY" int); -- CONCURRENTLY', None),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v;", None),
        ("CREATE INDEX CONCURRENTLY ON;", None),
    ],
)
def test_only_the_word_that_keeps_a_statement_out_of_transactions_goes(text, expected):
    assert text_without(text.encode()).decode() == (expected or text)


def test_a_history_whose_down_files_are_broken_is_taken_without_them(tmp_path, capsys):
    folder = write(tmp_path, {"1_a.sql": "SELECT 1;\n", "1_a.down.sql": "SELEC 1;\n"})
    assert compare([str(folder), "--check-only"]) == 1
    assert compare([str(folder), "--check-only", "--without-down"]) == 0
    assert "left out: 1 down file" in capsys.readouterr().out
