"""A rollback that failed half-way: nothing that its mail says to type brings back what was undone."""

from __future__ import annotations

import re
from typing import Any

import pytest

from aurora_migrations.cdk.retries import every_error
from aurora_migrations.engine import errors
from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.steps.step import RESERVE
from functions import mail, remediation
from tests.database.helpers import applied, holding, write_steps
from tests.functions.helpers import ARN, EXECUTION, Context, Machine
from tests.servers import Database

ASKED = {"action": "rollback", "target": "002", "confirm": "005", "trigger": "cli", "requested_by": "ana@build-7"}
STATUS = "aurora-migrations status --env dev"
GOES_ON = re.compile(r"`aurora-migrations rollback (\d+) --confirm (\d+) --env dev`")


def half_way(machine: Machine, down: str) -> None:
    """002 to 005 are to be undone, and 003's down file is this one."""
    write_steps(machine.migrations, 5)
    machine.migrations.write("003_step.down.sql", down)
    machine.write_manifest()
    machine.run()
    machine.execution = "undo"


def to_do(told: dict[str, Any]) -> str:
    body = told["mail"]["body"]
    return " ".join(body.partition("\nWHAT TO DO\n")[2].partition("\n\n")[0].split())


def test_wrong_down_file_is_no_reason_to_deploy_and_what_goes_on_goes_on(machine: Machine, database: Database) -> None:
    half_way(machine, "DROP TABLE nothing_there;")
    told = machine.refused("apply", errors.MigrationFailed, ASKED)
    assert told["next_command"] == STATUS
    assert f"\n     {STATUS}\n" in told["mail"]["body"]
    assert "deploy Aurora" not in told["mail"]["body"]
    text = to_do(told)
    assert "any run applies 005, 004 again." in text
    assert "Start a new run" not in text
    assert "run again" not in text.lower()
    going_on = GOES_ON.search(text)
    assert going_on, text
    machine.migrations.write("003_step.down.sql", "DROP TABLE t003;")
    machine.write_manifest()
    machine.execution = "on"
    machine.run({"action": "rollback", "target": going_on[1], "confirm": going_on[2]})
    assert applied(database) == ["001"]


def test_lock_in_the_way_of_a_rollback_is_no_reason_to_run(machine: Machine, database: Database) -> None:
    database.execute("CREATE TABLE busy (id int)")
    half_way(machine, "ALTER TABLE busy ADD COLUMN x int;")
    with holding(database.url, "SELECT FROM busy"):
        told = machine.refused("apply", errors.LockTimeout, ASKED, context=Context(timeout=RESERVE + 1_500))
    text = to_do(told)
    assert told["next_command"] == STATUS
    assert "any run applies 005, 004 again." in text
    assert "`aurora-migrations rollback 002 --confirm 003 --env dev`" in text
    assert "Start a new run" not in text


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("step", ["preflight", "apply", "verify"])
def test_no_mail_about_a_rollback_says_to_run_or_deploy(kind: type[MigratorError], step: str) -> None:
    error = kind("It failed.", rolled_back=["005", "004"], not_done=["003_step.sql"])
    run = mail.Run("dev", step, EXECUTION, ARN, ASKED)
    error = remediation.in_environment(error, ASKED, run)
    body = " ".join(mail.failure(error, run).body.split())
    assert "Start a new run" not in body
    assert not str(error.next_command).startswith(("aurora-migrations run", "npx "))
    if kind not in (errors.InvalidInput, errors.ActionNotAllowed):
        assert "any run applies 005, 004 again." in body
        assert "un again" not in error.solution
        assert ("--confirm" in error.solution) == (step != "verify")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.MigrationFailed("x", rolled_back=["005"], not_done=["004_a.sql"]), "--confirm 004 "),
        (errors.InDoubt("x", rolled_back=["005"], not_done=["004_a.sql"]), "--confirm NEWEST "),
        (errors.AnotherRunInProgress("x", not_done=["004_a.sql"]), "--confirm NEWEST "),
        (errors.DatabaseUnreachable("x"), "--confirm NEWEST "),
    ],
)
def test_newest_number_is_told_only_where_it_is_known(error: MigratorError, words: str) -> None:
    error = remediation.in_environment(error, ASKED, mail.Run("dev", "apply", EXECUTION, ARN, ASKED))
    assert f"rollback 002 {words}" in error.solution
    assert ("where NEWEST is the newest applied number" in error.solution) == ("NEWEST" in words)


# ---- where a deployment is the next command, but something else may have been put right ----------------------------


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errors.SecretNotFound("x"), "If the secret was restored instead, run `aurora-migrations run 017 --env prod`."),
        (
            errors.DatabaseNotFound("x"),
            "If the database was created instead, run `aurora-migrations run 017 --env prod`.",
        ),
        (errors.MigrationFailed("x"), "were corrected instead, run `aurora-migrations run 017 --env prod`."),
        (errors.VerificationFailed("x"), "was corrected instead, run `aurora-migrations run 017 --env prod`."),
        (errors.InvalidFile("x"), None),
        (errors.OutOfOrder("x"), None),
    ],
)
def test_run_is_told_where_no_deployment_would_start_one(error: MigratorError, words: str | None) -> None:
    asked = {"target": "017"}
    error = remediation.in_environment(error, asked, mail.Run("prod", "apply", EXECUTION, ARN, asked))
    assert str(error.next_command).startswith("npx ")
    assert ("instead" in error.solution) == (words is not None)
    assert words is None or words in error.solution
