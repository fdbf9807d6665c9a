"""What the three functions answer, one after the other, on a real database."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from aurora_migrations.engine.errors import (
    ActionNotAllowed,
    HazardRefused,
    InvalidInput,
    InvalidManifest,
    MigrationChanged,
    MigrationFailed,
    NotAWriter,
    PackageChanged,
)
from tests.database.helpers import applied, ask, exists, tables
from tests.functions.helpers import EXECUTION, Machine

REPOSITORY = Path(__file__).resolve().parents[2]


def with_017(machine: Machine) -> Machine:
    for file in (REPOSITORY / "migrations").glob("017_*"):
        shutil.copy(file, machine.migrations.dir)
    machine.write_manifest()
    return machine


# ---- the contract ---------------------------------------------------------------------------------------------------


def test_run_of_017_answers_as_the_contract_says(machine, database) -> None:
    answer = with_017(machine).run({"action": "run-migration", "target": "017"})
    known = {key: answer[key] for key in ("status", "migration", "message")}
    assert json.dumps(known, separators=(",", ":")) == (
        '{"status":"success","migration":"017","message":"Migration 017 executed successfully"}'
    )
    assert list(answer)[:3] == ["status", "migration", "message"]
    assert (answer["action"], answer["execution"], answer["database"]) == ("run-migration", EXECUTION, database.name)
    assert [file["migration"] for file in answer["applied"]] == ["017"]
    assert answer["already_applied"] is None
    assert answer["duration_ms"] > 0
    assert applied(database) == ["017"]


def test_table_dry_run_log_is_seen_from_outside_with_no_rows_and_sound_indexes(machine) -> None:
    (table,) = with_017(machine).run({"target": "017"})["verified"]["tables"]
    assert (table["table"], table["exists"], table["rows"], table["counted"]) == ("dry_run_log", True, 0, True)
    assert [index["index"] for index in table["indexes"]] == [
        "dry_run_log_blocked_created_at_idx",
        "dry_run_log_lead_id_created_at_idx",
        "dry_run_log_pkey",
        "dry_run_log_tenant_id_created_at_idx",
    ]
    assert {index["state"] for index in table["indexes"]} == {"valid and ready"}


def test_empty_input_runs_everything_that_is_pending(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int);")
    machine.write_manifest()
    answer = machine.run({})
    assert answer["migration"] == "002"
    assert answer["message"] == "2 migrations executed successfully, 001 to 002"
    assert tables(database) == ["a", "b"]


def test_target_that_is_in_already_is_success_and_says_since_when(machine) -> None:
    with_017(machine).run()
    machine.execution = "another"
    found = machine.call("preflight", {"target": "017"})
    assert (found["next"], found["pending"], found["applied"]) == ("verify", 0, 1)
    answer = machine.run({"target": "17"})
    assert answer["status"] == "success"
    assert answer["migration"] == "017"
    assert answer["message"] == f"Migration 017 was already applied at {answer['already_applied']}"
    assert [table["table"] for table in answer["verified"]["tables"]] == ["dry_run_log"]


def test_nothing_to_do_is_success(machine) -> None:
    with_017(machine).run()
    machine.execution = "another"
    answer = machine.run({})
    assert (answer["status"], answer["migration"]) == ("success", None)
    assert answer["message"] == "Nothing to do: every migration is applied"


def test_history_names_the_execution_and_who_asked(machine, database) -> None:
    with_017(machine).run({"requested_by": "somebody"})
    assert ask(database, "SELECT execution, requested_by FROM aurora_migrations.applied") == [(EXECUTION, "somebody")]


def test_who_asked_is_the_execution_where_nobody_says(machine, database) -> None:
    with_017(machine).run()
    assert ask(database, "SELECT requested_by FROM aurora_migrations.applied") == [(EXECUTION,)]


# ---- preflight ------------------------------------------------------------------------------------------------------


def test_preflight_proves_the_connection_and_changes_nothing(machine, database) -> None:
    found = with_017(machine).call("preflight")
    assert found["server"]["role"] == "postgres"
    assert found["server"]["database"] == database.name
    assert found["server"]["writer"] is True
    assert found["server"]["tls"] is None
    assert (found["next"], found["pending"], found["applied"]) == ("apply", 1, 0)
    assert not exists(database, "aurora_migrations.applied")


def test_preflight_passes_on_the_digest_and_counts_but_no_lists(machine) -> None:
    for number in range(1, 41):
        machine.migrations.write(f"{number:03}_t.sql", f"CREATE TABLE t{number} (id int);")
    digest = machine.write_manifest()
    found = machine.call("preflight")
    assert (found["package"], found["pending"]) == (digest, 40)
    assert "t39" not in json.dumps(found)


def test_list_is_the_answer_of_the_machine(machine) -> None:
    with_017(machine).run()
    machine.migrations.write("018_b.sql", "CREATE TABLE b (id int);")
    machine.write_manifest()
    answer = machine.run({"action": "list-migrations"})
    assert [(each["migration"], each["state"]) for each in answer["migrations"]] == [
        ("017", "applied"),
        ("018", "pending"),
    ]
    assert (answer["status"], answer["message"]) == ("success", "2 migrations: 1 applied, 1 pending")


def test_status_tells_where_the_database_stands(machine) -> None:
    with_017(machine).run({"requested_by": "somebody"})
    machine.migrations.write("018_b.sql", "CREATE TABLE b (id int);")
    machine.write_manifest()
    answer = machine.run({"action": "status"})
    assert (answer["status"], answer["message"], answer["sound"]) == ("success", "1 migration pending", True)
    assert (answer["pending"], answer["ahead"], answer["refused"], answer["running"]) == (["018_b.sql"], [], [], None)
    assert (answer["counts"]["applied"], answer["newest"]["migration"]) == (1, "017")
    assert (answer["last_attempt"]["result"], answer["last_attempt"]["requested_by"]) == ("applied", "somebody")


def test_status_says_what_a_run_would_refuse(machine) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.write_manifest()
    machine.run({})
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id bigint);")
    machine.write_manifest()
    answer = machine.run({"action": "status"})
    assert (answer["message"], answer["sound"]) == ("A run would be refused for 1 migration", False)
    assert [entry["state"] for entry in answer["refused"]] == ["changed"]


def test_history_tells_the_attempts_newest_first_and_of_an_error_what_people_look_for(machine) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1;")
    machine.migrations.write("002_b.sql", f"SELECT * FROM {'missing' * 5}; -- {'x' * 5_000}")
    machine.write_manifest()
    machine.refused("apply", MigrationFailed, {})
    answer = machine.run({"action": "history"})
    assert [(each["name"], each["result"]) for each in answer["attempts"]] == [
        ("002_b.sql", "failed"),
        ("001_a.sql", "applied"),
    ]
    assert answer["attempts"][0]["error"].keys() == {"error", "message", "file", "line", "column", "sqlstate"}
    assert (answer["message"], answer["older"]) == ("The newest 2 attempts", False)


def test_history_of_a_new_database_is_empty(machine) -> None:
    answer = with_017(machine).run({"action": "history"})
    assert (answer["attempts"], answer["older"], answer["message"]) == ([], False, "No attempt yet")


def test_looking_stays_small_whatever_there_is_to_see(machine, database) -> None:
    for number in range(1, 1_001):
        machine.migrations.write(f"{number:04}_{'long_name' * 20}.sql", "SELECT 1;")
    machine.write_manifest()
    answers = {action: machine.run({"action": action}) for action in ("list-migrations", "status", "plan")}
    assert all(len(json.dumps(answer)) < 130_000 for answer in answers.values())
    assert answers["list-migrations"]["omitted"] == 1_000 - len(answers["list-migrations"]["migrations"]) > 0
    assert answers["status"]["counts"]["pending"] == 1_000 > len(answers["status"]["pending"]) > 0


def test_history_stays_small_and_says_that_there_is_more(machine, database) -> None:
    with_017(machine).run()
    columns = "action, version, name, sha256, package, execution, requested_by, lock_holder, finished_at, result, error"
    database.execute(
        f"INSERT INTO aurora_migrations.attempts ({columns})"
        " SELECT 'apply', 17, repeat('n', 200), '', '', 'e', 'me', 1, now(), 'failed',"
        " json_build_object('error', 'E', 'message', repeat('m', 9000)) FROM generate_series(1, 300)"
    )
    answer = machine.run({"action": "history"})
    assert len(json.dumps(answer)) < 130_000
    assert answer["older"] is True
    assert 100 < len(answer["attempts"]) <= 200


def test_plan_tells_what_a_run_would_do_and_does_nothing(machine, database) -> None:
    machine.migrations.write("001_a.sql", "ALTER TABLE orders ADD COLUMN note text;")
    machine.write_manifest()
    answer = machine.run({"action": "plan"})
    (file,) = answer["pending"]
    assert (file["migration"], file["statements"]) == ("001", 1)
    assert file["locks"][0]["table"] == "orders"
    assert file["locks"][0]["mode"] == "ACCESS EXCLUSIVE"
    assert answer["message"] == "1 migration to run: 001"
    assert tables(database) == []


def test_open_hazard_is_a_warning_or_refused_as_the_environment_says(machine, database) -> None:
    database.execute("CREATE TABLE orders (id int, old text)")
    machine.migrations.write("001_a.sql", "ALTER TABLE orders DROP COLUMN old;")
    machine.write_manifest()
    assert "ban-drop-column" in " ".join(machine.call("preflight")["warnings"])
    machine.variables["HAZARDS"] = "refuse"
    for step in ("preflight", "apply"):
        assert "ban-drop-column" in machine.refused(step, HazardRefused)["message"]
    assert ask(database, "SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'old'")


def test_answer_tells_what_may_have_hurt_and_what_was_edited(machine, database) -> None:
    database.execute("CREATE TABLE orders (id int, old text)")
    machine.migrations.write("001_a.sql", "ALTER TABLE orders DROP COLUMN old;")
    machine.write_manifest()
    assert "ban-drop-column" in machine.run({})["warnings"][0]
    machine.migrations.write("001_a.sql", "ALTER TABLE orders DROP COLUMN old; -- unread since 2.4")
    machine.write_manifest()
    machine.execution = "another"
    assert "was edited since it was applied" in machine.run({})["warnings"][0]


def test_action_verify_finds_drift(machine) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    package = machine.write_manifest()
    machine.run({})
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id bigint);")
    changed = machine.write_manifest()
    assert changed != package
    machine.refused("verify", MigrationChanged, {"action": "verify"}, package=changed)


def test_standby_is_refused(own_server, standby, aws, migrations) -> None:
    from tests.database.helpers import on_server

    primary = own_server()
    database = on_server(primary)
    machine = with_017(Machine(aws, database, migrations))
    reader = standby(primary)
    machine.variables["DATABASE_PORT"] = str(reader.port)
    for step in ("preflight", "apply", "verify"):
        assert "standby" in machine.refused(step, NotAWriter)["message"]


def test_drift_is_told_before_anything_runs(machine) -> None:
    with_017(machine).run()
    path = next(machine.migrations.dir.glob("017_*agente.sql"))
    path.write_text(path.read_text(encoding="utf-8").replace("lead_nome text", "lead_nome varchar"), encoding="utf-8")
    machine.write_manifest()
    assert machine.refused("preflight", MigrationChanged)["files"] == [path.name]


def test_package_without_a_manifest_is_refused(machine) -> None:
    machine.migrations.write("001_a.sql", "SELECT 1;")
    assert machine.refused("preflight", InvalidManifest)["error"] == "InvalidManifest"


# ---- apply ----------------------------------------------------------------------------------------------------------


def test_another_package_is_refused_by_apply_and_by_verify(machine, database) -> None:
    found = with_017(machine).call("preflight")
    machine.migrations.write("018_b.sql", "SELECT 1;")
    machine.write_manifest()
    for step in ("apply", "verify"):
        told = machine.refused(step, PackageChanged, package=found["package"])
        assert told["began_with"] == found["package"]
    assert applied(database) == []


def test_failure_leaves_the_database_as_it_was_and_tells_where(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.migrations.write("002_b.sql", "CREATE TABLE b (id int);\nALTER TABLE nowhere ADD COLUMN x int;")
    digest = machine.write_manifest()
    told = machine.refused("apply", MigrationFailed, {"target": "002"}, package=digest)
    assert (told["file"], told["line"], told["sqlstate"]) == ("002_b.sql", 2, "42P01")
    assert told["applied"] == ["001"]
    assert told["execution"] == EXECUTION
    assert tables(database) == ["a"]


def test_rollback_undoes_and_verify_says_so(machine, database) -> None:
    with_017(machine).run()
    machine.execution = "undo"
    answer = machine.run({"action": "rollback", "target": "017", "confirm": "017"})
    assert (answer["migration"], answer["message"]) == ("017", "Migration 017 rolled back successfully")
    assert [file["migration"] for file in answer["rolled_back"]] == ["017"]
    assert answer["verified"]["tables"] == [{"table": "dry_run_log", "exists": False}]
    assert tables(database) == []


def test_rollback_that_confirms_another_is_refused(machine) -> None:
    with_017(machine).run()
    machine.refused("preflight", InvalidInput, {"action": "rollback", "target": "017", "confirm": "016"})


def test_action_that_the_environment_does_not_allow_is_refused(machine) -> None:
    machine.variables["ALLOWED_ACTIONS"] = "run-migration, verify"
    asked = {"action": "rollback", "target": "017", "confirm": "017"}
    for step in ("preflight", "apply", "verify"):
        told = machine.refused(step, ActionNotAllowed, asked)
        assert told["allowed"] == ["run-migration", "verify"]
