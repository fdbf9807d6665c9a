"""Two executions of one name, which Step Functions allows after a while: what the first did isn't the second's."""

from __future__ import annotations

import pytest

from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.history_format import SCHEMA, WITH_STARTS
from tests.database.helpers import agreed, applied, write_steps
from tests.functions.helpers import Machine

UNDO = {"action": "rollback", "target": "002", "confirm": "003"}
LATER = "2027-03-01T04:00:00.000Z"


@pytest.fixture
def three(machine: Machine) -> Machine:
    """Three migrations are in, by an execution whose name comes again."""
    write_steps(machine.migrations, 3)
    machine.write_manifest()
    machine.run({})
    return machine


def test_run_tells_what_it_applied_itself(three) -> None:
    write_steps(three.migrations, 4)
    three.write_manifest()
    three.started_at = LATER
    answer = three.run({})
    assert (answer["applied_count"], [each["migration"] for each in answer["applied"]]) == (1, ["004"])
    assert answer["message"] == "Migration 004 executed successfully"


def test_run_of_what_the_earlier_one_applied_says_since_when_it_is_in(three) -> None:
    three.started_at = LATER
    answer = three.run({"target": "003"})
    assert (answer["applied_count"], answer["applied"]) == (0, [])
    assert answer["already_applied"] is not None


def test_rollback_is_no_going_on_of_the_earlier_one(three, database) -> None:
    """The earlier one had undone 003 and 002; they have been applied again since, by which it isn't refused."""
    three.run(UNDO)
    three.run({})
    three.started_at = LATER
    answer = three.run(UNDO)
    assert [each["migration"] for each in answer["rolled_back"]] == ["003", "002"]
    assert agreed(database) == ["001"]


def test_rollback_that_does_nothing_never_says_that_it_did(three, database) -> None:
    """The earlier one did all of this; what it did doesn't confirm it a second time."""
    three.run(UNDO)
    three.started_at = LATER
    told = three.refused("preflight", InvalidInput, UNDO)
    assert told["message"] == "Migration 002 isn't applied, so it can't be rolled back."
    assert applied(database) == ["001"]


def test_calls_of_one_execution_are_told_apart_from_others_by_no_clock(three, database) -> None:
    """Step Functions' clock may be far from the database's: both are only compared with themselves."""
    for started_at in ("1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z"):
        three.execution, three.started_at = "undo", started_at
        answer = three.run({"action": "rollback", "target": "003", "confirm": "003"})
        assert (answer["message"], applied(database)) == ("Migration 003 rolled back successfully", ["001", "002"])
        three.execution, three.started_at = "redo", started_at
        assert three.run({})["applied_count"] == 1


def test_history_of_before_is_no_executions_and_gets_the_column(machine, database, monkeypatch) -> None:
    write_steps(machine.migrations, 2)
    machine.write_manifest()
    machine.run({})
    database.execute(f"ALTER TABLE {SCHEMA}.attempts DROP COLUMN execution_start, DROP COLUMN resumes")
    database.execute(f"ALTER TABLE {SCHEMA}.applied DROP COLUMN origin")
    database.execute(f"DROP TABLE {SCHEMA}.units, {SCHEMA}.intents, {SCHEMA}.origins, {SCHEMA}.accepted")
    database.execute(f"COMMENT ON TABLE {SCHEMA}.applied IS 'aurora-migrations history, format {WITH_STARTS - 1}'")
    assert machine.call("verify", {"target": "002"})["applied"] == []
    write_steps(machine.migrations, 3)
    machine.write_manifest()
    assert [each["migration"] for each in machine.run({})["applied"]] == ["003"]
    starts = database.query(f"SELECT execution_start FROM {SCHEMA}.attempts ORDER BY id")
    assert starts == [("",), ("",), (machine.started_at,)]
