"""`aurora-migrations new`: what it writes is fit for use, and it never overwrites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aurora_migrations.embedded.server import Server
from tests.cli.conftest import Call
from tests.database.helpers import applied, tables
from tests.servers import Database, Migrations


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


def names(folder: Migrations) -> list[str]:
    return sorted(path.name for path in folder.dir.iterdir())


def test_new_file_has_the_next_number(call: Call, two: Migrations) -> None:
    answer = call("new", "Add e-mail to users")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == f"Wrote {Path('migrations') / '003_add_e_mail_to_users.sql'}\n"
    assert "003_add_e_mail_to_users.sql" in names(two)


def test_new_files_on_demand(call: Call, here: Migrations) -> None:
    answer = call("new", "add users", "--down", "--verify", "--output", "json")
    wanted = ["001_add_users.sql", "001_add_users.down.sql", "001_add_users.verify.sql"]
    assert [Path(path).name for path in answer.json["files"]] == wanted
    assert names(here) == sorted(wanted)


def test_new_file_in_a_folder_that_numbers_by_time(call: Call, here: Migrations) -> None:
    here.write("20260101120000_a.sql", "SELECT 1;")
    call("new", "add users")
    assert re.fullmatch(r"20\d{12}_add_users\.sql", names(here)[-1])


def test_new_file_is_utf8_with_lf_whatever_the_terminal(spawn: Call, here: Migrations) -> None:
    answer = spawn("new", "Ação", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C.UTF-8")
    assert answer.code == 0
    text = (here.dir / "001_ação.sql").read_bytes()
    assert "Ação" in text.decode().splitlines()[0]
    assert b"\r" not in text


@pytest.mark.parametrize(
    "description", ["add users", "migration: lock_timeout = 1s", "Migration: 1", "verify: rows a = 0"]
)
def test_made_file_is_fit_to_be_filled_in(
    on: Call, call: Call, here: Migrations, database: Database, description: str
) -> None:
    call("new", description)
    (path,) = here.dir.iterdir()
    with path.open("a", encoding="utf-8") as file:
        file.write("CREATE TABLE users (id integer);\n")
    answer = on("run")
    assert answer.err == ""
    assert (answer.code, tables(database)) == (0, ["users"])


def test_options_that_the_made_file_shows_work_when_written_there(on: Call, call: Call, here: Migrations) -> None:
    call("new", "add users")
    (path,) = here.dir.iterdir()
    text = path.read_text("utf-8")
    shown = re.findall(r"(?:migration|verify): .+ = .+", text)
    assert len(shown) == 3
    options = "".join(f"-- {option}\n" for option in shown)
    path.write_text(f"{options}{text}CREATE TABLE some_table (id integer);\n", encoding="utf-8")
    answer = on("run", "--verbose")
    assert answer.code == 0
    assert "verified: rows some_table = 0" in answer.out


def test_made_verify_file_refuses_until_it_is_written(
    on: Call, call: Call, here: Migrations, database: Database
) -> None:
    call("new", "add users", "--verify")
    here.write("001_add_users.sql", "CREATE TABLE users (id integer);\n")
    answer = on("run")
    assert answer.code == 1
    assert answer.err.startswith("\nVerificationFailed: ")
    assert (applied(database), tables(database)) == ([], [])
    here.write("001_add_users.verify.sql", "SELECT to_regclass('users') IS NOT NULL;\n")
    assert on("run").code == 0


def test_made_down_file_refuses_until_it_is_written(on: Call, call: Call, here: Migrations, database: Database) -> None:
    call("new", "add users", "--down")
    here.write("001_add_users.sql", "CREATE TABLE users (id integer);\n")
    assert on("run").code == 0
    answer = on("rollback", "1", "--confirm", "1")
    assert answer.code == 1
    assert "write what undoes 001_add_users.sql" in answer.err
    assert (applied(database), tables(database)) == (["001"], ["users"])
    here.write("001_add_users.down.sql", "DROP TABLE users;\n")
    assert on("rollback", "1", "--confirm", "1").code == 0


def test_nothing_is_overwritten(call: Call, here: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("001_add_users.sql", "-- precious\n")
    monkeypatch.setattr("aurora_migrations.cli.verbs.new.next_label", lambda folder: "001")
    answer = call("new", "add users")
    assert answer.code == 2
    assert "001_add_users.sql can't be written: File exists" in answer.err
    assert (here.dir / "001_add_users.sql").read_text("utf-8") == "-- precious\n"


def test_all_files_are_made_or_none(call: Call, here: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    here.write("001_add_users.down.sql", "-- precious\n")
    monkeypatch.setattr("aurora_migrations.cli.verbs.new.next_label", lambda folder: "001")
    assert call("new", "add users", "--down").code == 2
    assert names(here) == ["001_add_users.down.sql"]


def test_the_folder_is_made_if_there_is_none(call: Call, here: Migrations) -> None:
    assert call("new", "add users", "--migrations", "db/migrations").code == 0
    assert [path.name for path in Path("db/migrations").iterdir()] == ["001_add_users.sql"]


REFUSED = [
    (["!!"], "The description '!!' can't name a file."),
    (["x" * 300], "can't name a file."),
    (["add users", "--migrations", __file__], "can't be read"),
    (["add users", "--migrations", f"{__file__}/sql"], "can't be read"),
]


@pytest.mark.parametrize(("arguments", "told"), REFUSED, ids=[told for _, told in REFUSED])
def test_wrong_use_exits_with_2(call: Call, here: Migrations, arguments: list[str], told: str) -> None:
    answer = call("new", *arguments)
    assert answer.code == 2
    assert told in answer.err
    assert names(here) == []


def test_bytes_that_are_no_text_are_no_traceback(call: Call, here: Migrations) -> None:
    answer = call("new", "add caf\udce9 users")
    assert (answer.code, bool(names(here))) in ((0, True), (2, False))
    assert all((here.dir / name).stat().st_size for name in names(here))


def test_folder_with_a_misnamed_file_is_refused(call: Call, here: Migrations) -> None:
    here.write("users.sql", "")
    answer = call("new", "add users")
    assert answer.code == 1
    assert "InvalidFile: users.sql: the name must begin with its version" in answer.err
