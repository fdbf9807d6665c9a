"""A rollback whose call is tried again: what its execution has undone counts; what others did meanwhile refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from aurora_migrations.engine.errors import InvalidInput, LockTimeout, MigrationFailed
from tests.database.helpers import agreed, applied, holding, write_steps
from tests.functions.helpers import Machine
from tests.servers import Database

ASKED = {"action": "rollback", "target": "002", "confirm": "005"}


@pytest.fixture
def undoing(machine: Machine) -> Machine:
    """Five migrations are in, and another execution is about to undo all but the first."""
    write_steps(machine.migrations, 5)
    machine.write_manifest()
    machine.run({})
    machine.execution = "undo"
    machine.variables |= {"LOCK_WAIT_MS": "0", "LOCK_TIMEOUT_MS": "200"}
    return machine


def interrupted(machine: Machine, database: Database) -> dict[str, Any]:
    """A call of apply that undoes 005 and 004, and then finds a table of 003 in use; the error's document."""
    with holding(database.url, "SELECT FROM t003"):
        return machine.refused("apply", LockTimeout, ASKED)


def by_another(machine: Machine, asked: Any = None) -> None:
    machine.execution = "another"
    machine.run(asked)
    machine.execution = "undo"


def test_call_after_one_that_failed_goes_on_where_that_had_stopped(undoing, database) -> None:
    assert interrupted(undoing, database)["rolled_back"] == ["005", "004"]
    assert applied(database) == ["001", "002", "003"]
    again = undoing.call("apply", ASKED)
    assert (again["outcome"], [file["migration"] for file in again["rolled_back"]]) == ("done", ["003", "002"])
    answer = undoing.call("verify", ASKED, so_far=again)
    assert answer["message"] == "Migrations 005, 004, 003, 002 rolled back successfully"
    assert agreed(database) == ["001"]


def test_call_whose_answer_was_lost_is_done_when_it_is_made_again(undoing, database) -> None:
    undoing.call("apply", ASKED)
    again = undoing.call("apply", ASKED)
    assert (again["outcome"], again["remaining"], again["rolled_back"]) == ("done", 0, [])
    answer = undoing.call("verify", ASKED, so_far=again)
    assert [file["migration"] for file in answer["rolled_back"]] == ["005", "004", "003", "002"]
    assert agreed(database) == ["001"]


def test_run_that_starts_over_in_its_middle_goes_on_too(undoing, database) -> None:
    """As with another package, which was deployed meanwhile."""
    interrupted(undoing, database)
    found = undoing.call("preflight", ASKED)
    assert (found["next"], found["pending"]) == ("apply", 2)
    undoing.call("apply", ASKED)
    found = undoing.call("preflight", ASKED)
    assert (found["next"], found["pending"]) == ("verify", 0)


@pytest.mark.parametrize("asked", [{}, {"target": "004"}, {"action": "rollback", "target": "003", "confirm": "003"}])
def test_call_after_one_that_failed_is_refused_if_others_had_their_turn(undoing, database, asked) -> None:
    interrupted(undoing, database)
    by_another(undoing, asked)
    before = applied(database)
    for step in ("preflight", "apply"):
        told = undoing.refused(step, InvalidInput, ASKED)
        assert told["message"].startswith("The database has been changed since this rollback began: 00")
        assert told["solution"].endswith(f"confirm {before[-1]}.")
    assert applied(database) == before


def test_call_is_refused_if_others_have_applied_a_part_of_something(undoing, database) -> None:
    interrupted(undoing, database)
    undoing.migrations.write("004_step.sql", "-- migration: transaction = off\nCREATE TABLE half ();\nSELECT nowhere;")
    undoing.write_manifest()
    with pytest.raises(MigrationFailed):
        by_another(undoing)
    assert applied(database) == ["001", "002", "003"]
    undoing.execution = "undo"
    told = undoing.refused("apply", InvalidInput, ASKED)
    assert told["message"] == "The database has been changed since this rollback began: 004_step.sql."
    assert applied(database) == ["001", "002", "003"]


def test_call_is_refused_if_an_execution_of_the_same_name_at_another_time_had_its_turn(undoing, database) -> None:
    """After 90 days, or when the state machine was made anew, a name may come again."""
    interrupted(undoing, database)
    ours, undoing.started_at = undoing.started_at, "2027-02-23T04:00:00.000Z"
    undoing.run({"target": "004"})
    undoing.started_at = ours
    told = undoing.refused("apply", InvalidInput, ASKED)
    assert told["message"] == "The database has been changed since this rollback began: 004_step.sql."


def test_call_is_refused_if_others_did_and_undid_something(undoing, database) -> None:
    """The history's numbers are those it left, and yet it isn't the database that it left."""
    interrupted(undoing, database)
    by_another(undoing, {"target": "004"})
    by_another(undoing, {"action": "rollback", "target": "004", "confirm": "004"})
    assert "004_step.sql" in undoing.refused("apply", InvalidInput, ASKED)["message"]


def test_what_another_execution_has_undone_counts_for_nobody_else(undoing, database) -> None:
    interrupted(undoing, database)
    undoing.execution = "late"
    told = undoing.refused("apply", InvalidInput, ASKED)
    assert told["message"] == "The confirmation is '005', but the newest applied migration is 003_step.sql."


def test_rollback_that_had_undone_all_is_done_whatever_came_later(undoing, database) -> None:
    undoing.call("apply", ASKED)
    undoing.execution = "later"
    undoing.migrations.write("006_more.sql", "SELECT 1;")
    undoing.write_manifest()
    for path in undoing.migrations.dir.glob("00[2-5]_*"):
        path.unlink()
    undoing.write_manifest()
    undoing.run({})
    assert applied(database) == ["001", "006"]
    undoing.execution = "undo"
    write_steps(undoing.migrations, 5)
    undoing.write_manifest()
    assert undoing.call("apply", ASKED)["outcome"] == "done"
    assert applied(database) == ["001", "006"]


def test_run_that_fails_when_it_is_tried_again_names_what_it_had_applied_before(machine, database) -> None:
    write_steps(machine.migrations, 3)
    database.execute("CREATE TABLE busy (id int)")
    machine.migrations.write("003_step.sql", "ALTER TABLE busy ADD COLUMN x int;\nSELECT nothing;")
    machine.write_manifest()
    machine.variables |= {"LOCK_WAIT_MS": "0", "LOCK_TIMEOUT_MS": "200"}
    with holding(database.url, "SELECT FROM busy"):
        assert machine.refused("apply", LockTimeout)["applied"] == ["001", "002"]
    assert machine.refused("apply", MigrationFailed)["applied"] == ["001", "002"]
