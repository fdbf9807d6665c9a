"""`on_verify_failure` = `rollback`: after a failed verification the execution rolls back what it has applied."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aurora_migrations.engine.errors import LockTimeout, VerificationFailed
from tests.database.helpers import applied, holding
from tests.functions.helpers import Context, Machine
from tests.servers import Database

FILES = {
    "001_base.sql": "CREATE TABLE base (id int);",
    "002_a.sql": "CREATE TABLE a (id int);",
    "002_a.down.sql": "DROP TABLE a;",
    "003_b.sql": "CREATE TABLE b (id int);\nALTER TABLE base ADD COLUMN x int;",
    "003_b.down.sql": "DROP TABLE b;\nALTER TABLE base DROP COLUMN x;",
}


def prepare(machine: Machine, **changes: str) -> None:
    """001 is applied by another execution; 002 and 003 are in the package."""
    machine.migrations.write("001_base.sql", FILES["001_base.sql"])
    machine.write_replayed()
    machine.execution = "earlier"
    machine.run()
    machine.execution = "7f3c-deploy"
    for name, text in {**FILES, **changes}.items():
        machine.migrations.write(name, text)


def fail_verification(machine: Machine, database: Database, sql: str = "DROP TABLE b; CREATE TABLE b (id text)") -> Any:
    """Applies the rest, changes the database by hand, and lets verify fail; what the state machine has caught."""
    machine.write_replayed()
    so_far = machine.call("apply")
    database.execute(sql)
    with pytest.raises(VerificationFailed) as caught:
        machine.call("verify", so_far=so_far)
    cause = json.dumps({"errorMessage": str(caught.value), "errorType": "VerificationFailed", "stackTrace": []})
    return {"about": "undo", "failure": {"Error": "VerificationFailed", "Cause": cause}}


def undo(machine: Machine, report: Any, kind: Any = VerificationFailed) -> dict[str, Any]:
    return machine.refused("apply", kind, report=report)


def test_what_the_execution_has_applied_is_rolled_back_and_the_schema_is_as_before(machine, database) -> None:
    prepare(machine)
    found = undo(machine, fail_verification(machine, database))
    assert applied(database) == ["001"]
    assert (found["rolled_back"], found["schema"]) == (["003", "002"], "before")
    assert found["state"] == "The schema is as it was before this run."
    assert found["message"].startswith("column public.b.id: expected integer, found text (003_b.sql)")
    assert found["mail"]["body"].startswith(
        "Can wait until morning: a check failed after the run, and 003, 002 were\nrolled back. The schema is as before"
    )
    assert "Rolled back by this run: 003, 002." in found["mail"]["body"]
    assert "After the fix, deploy" in found["mail"]["body"]


def test_call_that_is_made_again_changes_nothing_and_reports_the_same(machine, database) -> None:
    prepare(machine)
    report = fail_verification(machine, database)
    first = undo(machine, report)
    assert undo(machine, report) == first
    assert applied(database) == ["001"]


def test_what_a_down_file_leaves_is_reported_as_a_schema_that_is_not_as_before(machine, database) -> None:
    prepare(machine, **{"003_b.down.sql": "DROP TABLE b;"})
    found = undo(machine, fail_verification(machine, database))
    assert (applied(database), found["schema"]) == (["001"], "neither")
    assert found["state"] == (
        "The schema isn't as it was before this run: column public.base.x: expected not there, found there."
    )
    assert found["left"] == [
        {"promise": "column public.base.x", "expected": "not there", "found": "there", "true": False, "place": ""}
    ]
    assert found["mail"]["severity"] == "high"
    assert "but the schema isn't as" in found["mail"]["body"]


def test_what_somebody_changed_of_an_older_table_is_not_called_as_before(machine, database) -> None:
    prepare(machine)
    change = "ALTER TABLE base ALTER COLUMN id TYPE bigint; ALTER TABLE base ALTER COLUMN x TYPE bigint"
    found = undo(machine, fail_verification(machine, database, change))
    assert (applied(database), found["schema"]) == (["001"], "neither")
    assert "column public.base.id: expected integer, found bigint (001_base.sql)" in found["state"]


def test_without_a_down_file_nothing_is_rolled_back(machine, database) -> None:
    prepare(machine)
    (machine.migrations.dir / "002_a.down.sql").unlink()
    found = undo(machine, fail_verification(machine, database))
    assert (applied(database), found["schema"]) == (["001", "002", "003"], "after")
    assert "The rollback was refused: There is no down file for: 002_a.sql." in found["message"]
    assert found["state"] == "The migrations stay applied."
    assert "could not be rolled back" in found["mail"]["body"].replace("\n", " ")
    assert "deploy; the deployment starts" not in found["solution"]


def test_what_others_have_applied_since_keeps_it_from_being_rolled_back(machine, database) -> None:
    prepare(machine)
    report = fail_verification(machine, database)
    machine.migrations.write("004_c.sql", "CREATE TABLE c (id int);")
    machine.migrations.write("004_c.down.sql", "DROP TABLE c;")
    machine.write_replayed()
    machine.execution = "another"
    machine.call("apply")
    machine.execution = "7f3c-deploy"
    found = undo(machine, report)
    assert (applied(database), found["schema"]) == (["001", "002", "003", "004"], "after")
    assert "Others have been applied since, which may rely on it: 004_c.sql." in found["message"]


def test_what_another_execution_has_applied_in_between_is_not_ours(machine, database) -> None:
    """The same number, rolled back and applied again by others."""
    prepare(machine)
    report = fail_verification(machine, database)
    machine.execution = "another"
    machine.call("apply", {"action": "rollback", "target": "003", "confirm": "003"})
    machine.call("apply")
    machine.execution = "7f3c-deploy"
    found = undo(machine, report)
    assert (applied(database), found["schema"]) == (["001", "002", "003"], "after")


def test_execution_that_has_applied_nothing_has_nothing_to_roll_back(machine, database) -> None:
    prepare(machine)
    report = fail_verification(machine, database)
    machine.execution = "looks"
    assert machine.call("apply", {"action": "verify"}, report=report) == {"outcome": "nothing"}
    assert applied(database) == ["001", "002", "003"]


def test_lock_that_stops_it_is_an_error_that_is_retried_and_then_it_goes_on(machine, database) -> None:
    prepare(machine)
    report = fail_verification(machine, database)
    machine.variables |= {"LOCK_WAIT_MS": "0", "LOCK_TIMEOUT_MS": "200"}
    with holding(database.url, "SELECT FROM a"):
        found = undo(machine, report, LockTimeout)
    assert (found["rolled_back"], found["schema"]) == (["003"], "neither")
    assert "This stopped the rollback after a failed check: column public.b.id" in found["message"]
    assert applied(database) == ["001", "002"]
    assert undo(machine, report)["rolled_back"] == ["003", "002"]
    assert applied(database) == ["001"]


def test_more_than_a_call_can_do_is_left_to_the_next(machine, database) -> None:
    prepare(machine, **{"003_b.down.sql": f"SELECT pg_sleep(0.6);\n{FILES['003_b.down.sql']}"})
    report = fail_verification(machine, database)
    answer = machine.call("apply", report=report, context=Context(timeout=11_100))
    assert answer == {"outcome": "more", "remaining": 1}
    assert applied(database) == ["001", "002"]
    assert undo(machine, report)["schema"] == "before"


def test_package_without_a_replay_cannot_say_whether_the_schema_is_as_before(machine, database) -> None:
    for name, text in FILES.items():
        machine.migrations.write(name, text)
    machine.migrations.write("001_base.down.sql", "DROP TABLE base;")
    machine.write_manifest()
    report = {"about": "undo", "failure": {"Error": "VerificationFailed", "Cause": "not JSON"}}
    machine.call("apply")
    found = undo(machine, report)
    assert (applied(database), found["schema"]) == ([], "unknown")
    assert "isn't known" in found["state"]
