"""`aurora-migrations import`: shows what another tool's files become, asks, and overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurora_migrations.embedded.server import Server
from tests.cli.conftest import Call
from tests.cli.stage import Typist
from tests.cli.test_schemas import fits
from tests.servers import Migrations

GOOSE = {
    "1_users.sql": "-- +goose Up\nCREATE TABLE users ();\n-- +goose Down\nDROP TABLE users;\n",
    "2_index.sql": "-- +goose NO TRANSACTION\n-- +goose Up\nVACUUM;\n",
    "3_code.go": "package migrations\n",
}
OURS = {
    "1_users.down.sql": "DROP TABLE users;\n",
    "1_users.sql": "CREATE TABLE users ();\n",
    "2_index.sql": "-- migration: transaction = off\nVACUUM;\n",
}


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """Nothing here needs one."""
    return any_server


@pytest.fixture
def theirs(here: Migrations) -> Path:
    """A folder of goose beside the empty folder `migrations`."""
    folder = here.dir.parent / "goose"
    folder.mkdir()
    for name, text in GOOSE.items():
        (folder / name).write_text(text, "utf-8")
    return folder


def written(folder: Migrations) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in sorted(folder.dir.iterdir())}


def test_without_a_terminal_it_only_shows(call: Call, here: Migrations, theirs: Path) -> None:
    answer = call("import", "goose")
    assert (answer.code, answer.err, written(here)) == (0, "", {})
    table, end = answer.out.split("\n\n")
    assert table.startswith("goose's file")
    for line in (
        "1_users.sql   1_users.sql",
        "              1_users.down.sql",
        "2_index.sql   2_index.sql       outside a transaction",
        "3_code.go     left out          not SQL (.go): write what it does as a migration of its own",
    ):
        assert line in table
    assert end == (
        "2 migrations of goose in 3 files, 1 left out. Nothing was written. To write them: "
        "aurora-migrations import goose --yes\n"
    )


def test_of_many_files_that_are_left_out_the_first_are_shown(call: Call, here: Migrations, theirs: Path) -> None:
    for number in range(10, 40):
        (theirs / f"{number}_code.go").touch()
    answer = call("import", "goose")
    assert answer.out.count("_code.go ") == 20
    assert "... and 11 more  left out" in answer.out
    assert "3 files, 31 left out" in answer.out
    assert len(call("import", "goose", "--output", "json").json["left_out"]) == 31


def test_with_yes_it_writes(call: Call, here: Migrations, theirs: Path) -> None:
    answer = call("import", "goose", "--yes")
    assert (answer.code, answer.err, written(here)) == (0, "", OURS)
    assert "Wrote 2 migrations of goose in 3 files, 1 left out to migrations.\n" in answer.out
    assert "A database in which goose has applied them must be taken over first" in answer.out
    assert answer.out.endswith("Next: aurora-migrations check\n")
    assert {path.name: path.read_text("utf-8") for path in theirs.iterdir()} == GOOSE
    assert call("check").code == 0


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("Y\n", 0), ("no\n", 1), ("\n", 1), ("", 1)])
def test_on_a_terminal_it_asks(
    call: Call, here: Migrations, theirs: Path, monkeypatch: pytest.MonkeyPatch, typed: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Typist(typed))
    answer = call("import", "goose")
    assert (answer.code, written(here)) == (code, {} if code else OURS)
    assert "Write 3 files to migrations? Type yes to continue: " in answer.err
    assert ("Cancelled: Nothing was written." in answer.err) == bool(code)
    assert ("Next   aurora-migrations import goose --yes" in answer.err) == bool(code)


def test_a_folder_that_is_missing_is_made(call: Call, here: Migrations, theirs: Path) -> None:
    assert call("import", "goose", "--yes", "--migrations", "db/ours").code == 0
    assert sorted(path.name for path in Path("db/ours").iterdir()) == list(OURS)


def test_json_tells_programs_and_never_asks(
    call: Call, here: Migrations, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Typist("yes\n"))
    answer = call("import", "goose", "--output", "json")
    fits("import", answer.json)
    assert (answer.code, answer.err, answer.json["written"], written(here)) == (0, "", False, {})
    assert answer.json["migrations"][0] == {
        "sources": ["1_users.sql"],
        "files": ["1_users.sql", "1_users.down.sql"],
        "notes": [],
    }
    assert [each["file"] for each in answer.json["left_out"]] == ["3_code.go"]
    assert call("import", "goose", "--output", "json", "--yes").json["written"] is True
    assert written(here) == OURS


# ---- the destination ------------------------------------------------------------------------------------------------


def test_a_number_that_is_taken_is_refused(call: Call, here: Migrations, theirs: Path) -> None:
    here.write("001_mine.sql", "SELECT 1;")
    before = written(here)
    answer = call("import", "goose", "--yes")
    assert (answer.code, written(here)) == (2, before)
    assert "migrations already has migrations with these numbers: 001_mine.sql." in answer.err
    fits("import", call("import", "goose", "--output", "json").json, failed=True)


def test_free_numbers_are_fine_and_lower_ones_are_warned_about(call: Call, here: Migrations, theirs: Path) -> None:
    here.write("0_mine.sql", "SELECT 1;")
    assert "Warning" not in call("import", "goose").out
    here.write("3_mine.sql", "SELECT 1;")
    answer = call("import", "goose", "--yes")
    assert (answer.code, sorted(written(here))) == (0, sorted([*OURS, "0_mine.sql", "3_mine.sql"]))
    assert "Warning: migrations has 3_mine.sql: where that is applied, imported migrations with a lower" in answer.out


def test_the_folder_itself_is_no_destination(call: Call, here: Migrations) -> None:
    here.write("1_users.sql", GOOSE["1_users.sql"])
    answer = call("import", "migrations", "--yes")
    assert (answer.code, written(here)) == (2, {"1_users.sql": GOOSE["1_users.sql"]})
    assert "is the folder to import from and the one to write to" in answer.err


def test_a_misnamed_file_in_the_destination_is_an_error(call: Call, here: Migrations, theirs: Path) -> None:
    here.write("users.sql", "")
    answer = call("import", "goose", "--yes")
    assert (answer.code, list(written(here))) == (1, ["users.sql"])
    assert "InvalidFile: users.sql: the name must begin with its version" in answer.err


# ---- the folder -----------------------------------------------------------------------------------------------------

REFUSED = {
    "nowhere": "The folder nowhere can't be read: No such file or directory.",
    "migrations": "migrations doesn't have the layout of a known tool.",
    "goose --tool diesel": "goose has no migration that diesel would run.",
    "goose --tool rails": "invalid choice: 'rails'",
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_wrong_use_exits_with_2_and_writes_nothing(call: Call, here: Migrations, theirs: Path, arguments: str) -> None:
    answer = call("import", *arguments.split(), "--yes")
    assert (answer.code, answer.out, written(here)) == (2, "", {})
    assert REFUSED[arguments] in answer.err


def test_names_on_a_terminal_cannot_control_it(call: Call, here: Migrations, theirs: Path) -> None:
    (theirs / "4_\x1b[31m.sql").write_text("-- +goose Up\nSELECT 1;\n")
    answer = call("import", "goose", "--yes")
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "4_31m.sql" in written(here)
