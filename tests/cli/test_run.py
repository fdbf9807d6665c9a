"""`aurora-migrations run`: what it prints and saves, for people and for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.database.helpers import applied, holding_run_lock, tables
from tests.servers import Database, Migrations

TOOK = r"[\d.]+ (?:ms|s)"
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def saved(label: str) -> dict[str, object]:
    data: dict[str, object] = json.loads(Path(f"migration-{label}-output.json").read_text("utf-8"))
    return data


def saved_files() -> list[str]:
    return sorted(path.name for path in Path().glob("migration-*"))


# ---- it went well ---------------------------------------------------------------------------------------------------


def test_success_is_one_line_per_file_and_the_message(on: Call, two: Migrations) -> None:
    answer = on("run", "001")
    assert answer.code == 0
    assert answer.err == ""
    assert re.fullmatch(
        rf"✓ 001_users  {TOOK}\nMigration 001 executed successfully\n1 migration applied, database \w+, {TOOK}\n"
        r"Saved to migration-001-output\.json\n",
        answer.out,
    )


def test_verbose_run_prints_each_step(on: Call, two: Migrations) -> None:
    answer = on("run", "001", "--verbose")
    assert answer.out.startswith("Executing 001_users.sql ...\n✓ 001_users  ")
    assert answer.message == "Migration 001 executed successfully"


def test_result_is_saved_unless_told_otherwise(on: Call, two: Migrations) -> None:
    answer = on("run", "001", "--no-save")
    assert answer.message == "Migration 001 executed successfully"
    assert "Saved" not in answer.out
    assert saved_files() == []


@pytest.mark.parametrize("target", ["1", "9", "users"])
def test_run_that_never_began_leaves_no_file(call: Call, two: Migrations, target: str) -> None:
    answer = call("run", target, "--database-url", "postgresql://nobody@127.0.0.1:1/none")
    assert answer.code in (1, 2)
    assert "Saved" not in answer.err
    assert saved_files() == []


def test_mark_fits_the_encoding(spawn: Call, two: Migrations, database: Database) -> None:
    answer = spawn("run", "001", "--database-url", database.url, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert answer.out.startswith("ok 001_users  ")


def test_programs_get_one_document(on: Call, two: Migrations, database: Database) -> None:
    answer = on("run", "--output", "json")
    assert (answer.code, answer.err) == (0, "")
    told = answer.json
    assert (told["status"], told["migration"]) == ("success", "002")
    assert told["message"] == "2 migrations executed successfully, 001 to 002"
    assert [file["file"] for file in told["applied"]] == ["001_users.sql", "002_orders.sql"]
    assert (told["database"], told["warnings"], told["already_applied"]) == (database.name, [], None)
    assert saved("002") == told


def test_what_was_verified_is_told(on: Call, here: Migrations) -> None:
    here.write("001_users.sql", "-- verify: rows users = 0\nCREATE TABLE users (id integer);\n")
    here.write("001_users.verify.sql", "-- The table has a column id.\nSELECT count(id) = 0 FROM users;\n")
    answer = on("run", "--verbose")
    assert "verified: rows users = 0" in answer.out
    assert "verified: The table has a column id" in answer.out
    assert len(saved("001")["applied"][0]["verified"]) == 2  # type: ignore[index]


def test_applied_target_says_since_when(on: Call, two: Migrations) -> None:
    on("run")
    answer = on("run", "1")
    assert answer.code == 0
    assert re.fullmatch(rf"Migration 001 was already applied at {ISO}", answer.message)
    assert "✓" not in answer.out
    assert saved("001")["already_applied"] in answer.message  # type: ignore[operator]


def test_nothing_to_do_says_so(on: Call, two: Migrations) -> None:
    on("run")
    Path("migration-002-output.json").unlink()
    answer = on("run")
    assert answer.code == 0
    assert answer.message == "Nothing to do: every migration is applied"
    assert saved_files() == []


def test_history_ahead_of_the_folder_is_a_warning(on: Call, two: Migrations) -> None:
    on("run")
    (two.dir / "002_orders.sql").unlink()
    (two.dir / "002_orders.down.sql").unlink()
    answer = on("run")
    assert answer.code == 0
    assert answer.err.startswith("Warning: ")
    assert "002_orders.sql" in answer.err
    assert answer.message.startswith("Nothing to do")
    (warning,) = on("run", "--output", "json").json["warnings"]
    assert warning in answer.err


def test_address_is_taken_from_the_environment(
    call: Call, two: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", database.url)
    assert call("run").code == 0
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    assert call("run", "--database-url", database.url).code == 0


def test_folder_can_be_named(on: Call, here: Migrations) -> None:
    (here.dir.parent / "sql").mkdir()
    Migrations(here.dir.parent / "sql").write("5_a.sql", "SELECT 1;")
    assert on("run", "--migrations", "sql").message == "Migration 5 executed successfully"


# ---- it failed ------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(two: Migrations) -> Migrations:
    two.write("002_orders.sql", "CREATE TABLE orders (id integer);\nALTER TABLE ordrs ADD COLUMN total integer;\n")
    return two


def test_people_see_what_where_why_and_what_to_do(on: Call, broken: Migrations, database: Database) -> None:
    answer = on("run")
    assert answer.code == 1
    assert "{" not in answer.out
    lines = answer.err.splitlines()
    assert lines[1] == 'MigrationFailed: 002_orders.sql:2:1: relation "ordrs" does not exist (42P01).'
    assert lines[3] == "    ALTER TABLE ordrs ADD COLUMN total integer;"
    assert lines[4] == "    ^"
    assert [line[2:7].strip() for line in lines[6:10]] == ["Why", "State", "Do", "Next"]
    assert "rolled back as a whole" in lines[7]
    assert "001" in lines[7]
    assert (applied(database), tables(database)) == (["001"], ["users"])


@pytest.mark.parametrize("arguments", [(), ("2",), ("002",)])
def test_failure_is_saved_under_the_number_of_the_file(
    on: Call, broken: Migrations, arguments: tuple[str, ...]
) -> None:
    answer = on("run", *arguments)
    assert answer.err.endswith("Saved to migration-002-output.json\n")
    told = saved("002")
    assert (told["status"], told["migration"], told["error"]) == ("failed", "002", "MigrationFailed")
    assert (told["file"], told["line"], told["applied"]) == ("002_orders.sql", 2, ["001"])


def test_failure_is_saved_under_the_target_that_was_asked_for(on: Call, broken: Migrations) -> None:
    broken.write("003_more.sql", "SELECT 1;")
    answer = on("run", "003", "--output", "json")
    assert (answer.code, answer.json["file"]) == (1, "002_orders.sql")
    assert saved_files() == ["migration-003-output.json"]
    assert answer.json == saved("003")


def test_failed_promise_is_saved_too(on: Call, two: Migrations) -> None:
    two.write("001_users.verify.sql", "SELECT false;")
    answer = on("run")
    assert answer.code == 1
    assert answer.err.endswith("Saved to migration-001-output.json\n")


def test_success_is_not_left_beside_a_later_failure(on: Call, two: Migrations) -> None:
    on("run", "002")
    assert saved("002")["status"] == "success"
    two.write("002_orders.sql", "CREATE TABLE orders (id bigint);\n")
    assert on("run", "2").code == 1
    assert saved_files() == ["migration-002-output.json"]
    assert (saved("002")["status"], saved("002")["error"]) == ("failed", "MigrationChanged")


def test_programs_get_one_document_of_a_failure_too(on: Call, broken: Migrations) -> None:
    answer = on("run", "--output", "json")
    assert (answer.code, answer.err) == (1, "")
    assert answer.json["status"] == "failed"
    assert {"error", "message", "cause", "state", "solution", "next_command", "execution"} <= answer.json.keys()


def test_next_command_can_be_typed_as_it_stands(on: Call, broken: Migrations) -> None:
    answer = on("run", "2", "--migrations", "migrations", "--output", "json")
    assert answer.json["next_command"].startswith("aurora-migrations run 2")


WRONG_USE = [
    (["run", "9"], "There is no migration 9 in migrations (2 files, 001 to 002)."),
    (["run", "users"], "The target 'users' isn't a migration's number."),
    (["run", "9" * 5_000], "isn't a migration's number."),
    (["run", "--migrations", "nowhere"], "The migrations folder nowhere can't be read: No such file or directory."),
    (["rollback", "9", "--confirm", "9"], "There is no migration 9"),
    (["rollback", "1", "--confirm", "1"], "isn't applied"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG_USE, ids=[" ".join(words)[:40] for words, _ in WRONG_USE])
@pytest.mark.parametrize("output", ["text", "json"])
def test_wrong_use_exits_with_2(on: Call, two: Migrations, arguments: list[str], told: str, output: str) -> None:
    answer = on(*arguments, "--output", output)
    assert answer.code == 2
    assert told in (answer.json["message"] if output == "json" else answer.err)
    assert len(answer.err) < 2_000


@pytest.mark.parametrize("typed", ["run 17x", "plan x", "verify 1_a", "rollback 17x", "baseline 1x"])
def test_what_is_no_number_is_refused_before_anything_is_connected_to(call: Call, two: Migrations, typed: str) -> None:
    answer = call(*typed.split(), "--database-url", "postgresql://u@127.0.0.1:1/nowhere")
    assert (answer.code, answer.out) == (2, "")
    assert "isn't a migration's number." in answer.err


@pytest.mark.parametrize("typed", ["run", "run 2", "list", "status", "history", "rollback 1"])
def test_without_an_address_the_next_command_names_one(call: Call, two: Migrations, typed: str) -> None:
    answer = call(*typed.split())
    assert answer.code == 2
    assert "No database and no environment was given" in answer.err
    (following,) = re.findall(r"Next +(.+)", answer.err)
    assert following.startswith(f"aurora-migrations {typed} --database-url ")


def test_wrong_password_is_reported_and_not_shown(call: Call, two: Migrations, database: Database) -> None:
    url = database.server.url(database.name, password="Tr0ub4dor")
    for output in ("text", "json"):
        answer = call("run", "001", "--output", output, "--database-url", url)
        assert answer.code == 1
        assert "AuthenticationFailed" in answer.out + answer.err
        assert "Tr0ub4dor" not in answer.out + answer.err
    assert saved_files() == []


@pytest.mark.parametrize("name", ["x" * 70_000, "caf\udce9 \x1b[31m\n"], ids=["long", "odd"])
def test_user_name_of_any_kind_is_recorded_in_short(
    on: Call, two: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("LOGNAME", name)
    assert on("run").code == 0
    ((recorded,),) = database.query("SELECT DISTINCT requested_by FROM aurora_migrations.attempts")
    assert recorded.isprintable()
    assert 0 < len(recorded) <= 256


def test_result_that_cannot_be_saved_is_said_and_no_failure(on: Call, two: Migrations) -> None:
    Path("migration-001-output.json").mkdir()
    answer = on("run", "1")
    assert answer.code == 0
    assert "The result could not be saved to migration-001-output.json" in answer.out


def test_run_that_waits_says_for_whom(on: Call, two: Migrations, database: Database) -> None:
    with holding_run_lock(database.url, application_name="aurora-migrations cli-other") as holder:
        pid = holder.info.backend_pid
        answer = on("run", "--wait", "300ms")
    assert answer.code == 1
    waiting, _, error, *_ = answer.err.splitlines()
    for line in (waiting, error):
        assert f"aurora-migrations cli-other (pid {pid}, user postgres)" in line
    assert waiting.startswith("Waiting for another run to end: ")
    assert error.startswith("AnotherRunInProgress: ")
    assert f"pg_terminate_backend({pid})" in answer.err
    assert "waited 0 s" not in answer.err


def test_libpqs_own_variables_are_an_address(
    call: Call, two: Migrations, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = database.server
    variables = {"HOST": "127.0.0.1", "PORT": str(server.port), "USER": "postgres", "DATABASE": database.name}
    for name, value in {**variables, "PASSWORD": server.password}.items():
        monkeypatch.setenv(f"PG{name}", value)
    assert call("run", "001").message == "Migration 001 executed successfully"
    monkeypatch.setenv("PGHOST", "no.such.host.invalid")
    assert "no.such.host.invalid" in call("list").err


def test_a_service_file_and_a_password_file_are_libpqs_to_read(
    call: Call, two: Migrations, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = database.server
    lines = ("[shop]", "host=127.0.0.1", f"port={server.port}", "user=postgres", f"dbname={database.name}")
    (tmp_path / "services.conf").write_text("\n".join((*lines, "")))
    (tmp_path / "pgpass").write_text(f"127.0.0.1:{server.port}:*:postgres:{server.password}\n")
    (tmp_path / "pgpass").chmod(0o600)
    for name, value in {"PGSERVICEFILE": "services.conf", "PGPASSFILE": "pgpass"}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert call("run", "001", "--database-url", "service=shop").code == 0
    monkeypatch.setenv("PGSERVICE", "shop")
    assert call("run", "002").message == "Migration 002 executed successfully"
