"""Rolling back: newest first, by down files, under the run lock, and only what whoever asked for it had in view."""

import pytest

from aurora_migrations.compiler.check import check
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import (
    AnotherRunInProgress,
    InvalidFile,
    InvalidInput,
    LockTimeout,
    MigrationFailed,
    VerificationFailed,
)
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    Watcher,
    agreed,
    applied,
    apply,
    at,
    attempts,
    holding,
    holding_run_lock,
    labels,
    roll_back,
    start_runner,
    tables,
    until,
    write_steps,
)


def test_newest_go_first_down_to_the_target_and_with_it(database, migrations) -> None:
    steps = write_steps(migrations, 4)
    apply(database, migrations)
    watcher = Watcher()
    result = roll_back(database, migrations, "2", "004", listener=watcher)
    assert labels(result) == ["004", "003", "002"]
    assert [file.file for file in result.applied] == ["004_step.down.sql", "003_step.down.sql", "002_step.down.sql"]
    assert watcher.heard == [(word, step) for step in ("004", "003", "002") for word in ("executing", "executed")]
    assert result.to_dict()["status"] == "success"
    assert "rolled_back" in result.to_dict()
    assert agreed(database) == steps[:1]
    query = "SELECT split_part(name, '_', 1), action, result FROM aurora_migrations.attempts ORDER BY id"
    assert database.query(query) == [
        *((step, "apply", "applied") for step in steps),
        *((step, "rollback", "rolled back") for step in ("004", "003", "002")),
    ]


def test_what_was_rolled_back_can_be_applied_again(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    apply(database, migrations)
    roll_back(database, migrations, "001", "003")
    assert agreed(database) == []
    write_steps(migrations, 3, "SELECT 'changed meanwhile';")
    assert labels(apply(database, migrations)) == steps
    assert agreed(database) == steps


def test_order_is_that_of_numbers_not_of_texts_or_of_times(database, migrations) -> None:
    database.execute("CREATE TABLE gone (at serial, label text)")
    for label in ("9", "10", "0100", "20260101120000"):
        migrations.write(f"{label}_step.sql", "SELECT 1;")
        migrations.write(f"{label}_step.down.sql", f"INSERT INTO gone (label) VALUES ('{label}');")
    apply(database, migrations)
    roll_back(database, migrations, "009", "20260101120000")
    assert [label for (label,) in database.query("SELECT label FROM gone ORDER BY at")] == [
        "20260101120000",
        "0100",
        "10",
        "9",
    ]


@pytest.mark.parametrize("confirm", ["002", "004", "", "003 ", "newest", "03_step", "-3", "³", "999999999999999999999"])
def test_confirmation_that_isnt_the_newest_is_refused(database, migrations, confirm: str) -> None:
    steps = write_steps(migrations, 4)
    apply(database, migrations, "003")
    with pytest.raises(InvalidInput, match="003_step"):
        roll_back(database, migrations, "002", confirm)
    assert agreed(database) == steps[:3]
    assert len(attempts(database)) == 3


def test_rollback_is_refused_if_somebody_applied_another_meanwhile(database, migrations) -> None:
    """The other run has the lock and applies 003 while we wait; what was confirmed is no longer what is there."""
    steps = write_steps(migrations, 3)
    apply(database, migrations, "002")
    waits = Watcher()
    with holding(database.url, "LOCK TABLE ledger") as blocker:
        other = Task(apply, database, migrations)  # has the run lock, and waits for the ledger
        until(lambda: database.query("SELECT 1 FROM pg_locks WHERE NOT granted"), "the other is at work")
        ours = Task(roll_back, database, migrations, "002", "002", listener=waits)
        until(lambda: waits.waited_for, "we wait")
        blocker.execute("ROLLBACK")
        other.result()
        with pytest.raises(InvalidInput, match=r"003_step\.sql") as caught:
            ours.result()
    assert "another migration has been applied since" in caught.value.cause
    assert caught.value.state == "Nothing was changed."
    assert agreed(database) == steps
    assert [result for _, result in attempts(database)] == ["applied"] * 3


def test_missing_down_file_is_refused_before_anything_runs(database, migrations) -> None:
    steps = write_steps(migrations, 4)
    apply(database, migrations)
    (migrations.dir / "002_step.down.sql").unlink()
    with pytest.raises(InvalidInput, match=r"no down file for: 002_step\.sql"):
        roll_back(database, migrations, "001", "004")
    assert agreed(database) == steps
    assert labels(roll_back(database, migrations, "003", "004")) == ["004", "003"]


def test_a_down_file_that_is_no_sql_is_told_by_check_and_a_rollback_and_keeps_nothing_from_running(
    database, migrations
) -> None:
    steps = write_steps(migrations, 3)
    migrations.write("002_step.down.sql", "DROP TABEL step;")
    problem = '002_step.down.sql:1:6: syntax error at or near "TABEL"'
    checked = check(discover(migrations.dir))
    assert [str(found) for file in checked for found in file.problems] == [problem]
    apply(database, migrations)
    with pytest.raises(InvalidFile) as caught:
        roll_back(database, migrations, "001", "003")
    assert caught.value.message == problem
    assert agreed(database) == steps
    assert labels(roll_back(database, migrations, "003", "003")) == ["003"]


def test_migration_that_isnt_in_the_folder_cant_be_rolled_back(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    apply(database, migrations)
    for name in ("003_step.sql", "003_step.down.sql"):
        (migrations.dir / name).unlink()
    with pytest.raises(InvalidInput, match=r"003_step\.sql"):
        roll_back(database, migrations, "002", "003")
    assert agreed(database) == steps


@pytest.mark.parametrize("target", ["004", "017", "x"])
def test_target_that_isnt_applied_is_refused(database, migrations, target: str) -> None:
    steps = write_steps(migrations, 4)
    apply(database, migrations, "003")
    with pytest.raises(InvalidInput):
        roll_back(database, migrations, target, "003")
    assert agreed(database) == steps[:3]


def test_nothing_applied_is_nothing_to_roll_back(database, migrations) -> None:
    write_steps(migrations, 2)
    with pytest.raises(InvalidInput, match="isn't applied"):
        roll_back(database, migrations, "001", "002")
    assert tables(database) == []


def test_failing_down_file_undoes_only_itself(database, migrations) -> None:
    steps = write_steps(migrations, 4)
    apply(database, migrations)
    down = migrations.dir / "003_step.down.sql"
    right = down.read_text()
    down.write_text(f"{right}DROP TABLE nowhere;")
    with pytest.raises(MigrationFailed) as caught:
        roll_back(database, migrations, "002", "004")
    assert caught.value.facts["file"] == "003_step.down.sql"
    assert caught.value.facts["line"] == 3
    assert caught.value.facts["rolled_back"] == ["004"]
    assert caught.value.state == ROLLED_BACK
    assert agreed(database) == steps[:3]
    assert attempts(database)[4:] == [("004", "rolled back"), ("003", "failed")]

    down.write_text(right)
    assert labels(roll_back(database, migrations, "002", "003")) == ["003", "002"]
    assert agreed(database) == steps[:1]


def test_problem_in_the_last_down_file_is_found_before_the_first_runs(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    apply(database, migrations)
    migrations.write("002_step.down.sql", "DROP TABLE t002;\nCOMMIT;")
    with pytest.raises(InvalidFile, match=r"002_step\.down\.sql:2"):
        roll_back(database, migrations, "002", "003")
    assert agreed(database) == steps


def test_options_and_promises_of_a_down_file_hold(database, migrations) -> None:
    steps = write_steps(migrations, 2)
    apply(database, migrations)
    down = (migrations.dir / "002_step.down.sql").read_text()
    migrations.write("002_step.down.sql", f"-- verify: rows ledger = 7\n{down}")
    with pytest.raises(VerificationFailed):
        roll_back(database, migrations, "002", "002")
    migrations.write("002_step.down.sql", f"-- migration: lock_timeout = 100ms\n{down}")
    with holding(database.url, "LOCK TABLE t002"), pytest.raises(LockTimeout, match="002_step"):
        roll_back(database, migrations, "002", "002")
    assert agreed(database) == steps
    migrations.write("002_step.down.sql", f"-- verify: rows ledger = 1\n{down}")
    [file] = roll_back(database, migrations, "002", "002").applied
    assert [check.found for check in file.checks] == ["1"]
    assert agreed(database) == ["001"]


def test_verify_file_is_not_asked_when_its_migration_is_undone(database, migrations) -> None:
    write_steps(migrations, 1)
    migrations.write("001_step.verify.sql", "SELECT to_regclass('t001') IS NOT NULL;")
    apply(database, migrations)
    assert labels(roll_back(database, migrations, "001", "001")) == ["001"]
    assert agreed(database) == []


def test_file_that_changed_since_can_still_be_rolled_back(database, migrations) -> None:
    """One rolls back to put the file right and apply it again."""
    write_steps(migrations, 2)
    apply(database, migrations)
    write_steps(migrations, 2, "SELECT 'corrected';")
    assert labels(roll_back(database, migrations, "002", "002")) == ["002"]
    assert applied(database) == ["001"]


def test_rollback_waits_for_the_run_lock(database, migrations) -> None:
    steps = write_steps(migrations, 2)
    apply(database, migrations)
    with holding_run_lock(database.url), pytest.raises(AnotherRunInProgress):
        roll_back(database, migrations, "002", "002", wait=0)
    assert agreed(database) == steps


def test_down_file_that_drops_the_run_lock_is_rolled_back(database, migrations) -> None:
    steps = write_steps(migrations, 2)
    apply(database, migrations)
    drop = "DO $$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; END $$;"
    migrations.write("002_step.down.sql", f"DROP TABLE t002;\n{drop}")
    with pytest.raises(MigrationFailed, match="released the run lock"):
        roll_back(database, migrations, "002", "002")
    assert agreed(database) == steps


def test_two_rollbacks_at_once_undo_each_file_once(database, migrations) -> None:
    """The second finds that what it had confirmed isn't the newest any more."""
    steps = write_steps(migrations, 3)
    apply(database, migrations)
    outcomes = [Task(roll_back, database, migrations, "003", "003") for _ in range(2)]
    refused = 0
    for outcome in outcomes:
        try:
            assert labels(outcome.result()) == ["003"]
        except InvalidInput:
            refused += 1
    assert refused == 1
    assert agreed(database) == steps[:2]
    assert [result for _, result in attempts(database)].count("rolled back") == 1


def test_row_that_vanished_from_the_history_meanwhile_is_noticed(database, migrations) -> None:
    """Somebody deletes by hand while the down file runs: to say `rolled back` of it would be untrue."""
    write_steps(migrations, 2)
    apply(database, migrations)
    delete = "DELETE FROM aurora_migrations.applied WHERE version = 2"
    deletes = Watcher(at("002", lambda: database.execute(delete)))
    with pytest.raises(MigrationFailed):
        roll_back(database, migrations, "002", "002", listener=deletes)
    assert tables(database) == ["ledger", "t001", "t002"]


def test_command_line_rolls_back(database, migrations) -> None:
    steps = write_steps(migrations, 3)
    apply(database, migrations)
    with start_runner(database, migrations, "002", verb="rollback") as runner:
        code, answer = runner.finish()
    assert (code, answer["error"]) == (2, "InvalidInput")
    assert "--confirm 003" in answer["solution"]
    assert agreed(database) == steps
    with start_runner(database, migrations, "002", "--confirm", "3", verb="rollback") as runner:
        code, answer = runner.finish()
    assert code == 0
    assert [file["migration"] for file in answer["rolled_back"]] == ["003", "002"]
    assert agreed(database) == ["001"]


def test_first_file_begins_however_little_time_is_left_and_no_other(work) -> None:
    steps = work.write(3)
    result = work.run(may_begin=lambda _: False)
    assert labels(result) == work.done == steps[:1]
    assert result.remaining == 2
