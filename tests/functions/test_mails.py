"""The mails of real functions on a real database: what they say is what is so, and nothing that must not be told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from aurora_migrations.engine import errors
from aurora_migrations.engine.errors import MigratorError, NextCommand
from aurora_migrations.engine.steps.execution import SEEN_BY_INITIATOR
from aurora_migrations.engine.steps.step import RESERVE
from functions import mail, remediation
from functions.preflight import DATABASE_ATTEMPTS
from tests.database.helpers import holding, holding_run_lock
from tests.examples import sql
from tests.functions.helpers import ARN, EXECUTION, Context, Machine, lines
from tests.functions.test_log import LEAKS, ROW, SECRET
from tests.servers import Database

PARTS = "BEGIN;\nCREATE TABLE a (id int);\nCOMMIT;\nBEGIN;\nSELECT nothing;\nCOMMIT;\nSELECT 3;"
USERS = "CREATE TABLE users (id int);"


@pytest.fixture
def shop(machine: Machine) -> Machine:
    """017 is fine, 018 is the example's file, 019 would be fine."""
    machine.migrations.write("017_create_users.sql", USERS)
    machine.migrations.write(sql.FILE, sql.TEXT.decode())
    machine.migrations.write(sql.NEXT_FILE, "CREATE TABLE orders (id int);")
    machine.write_manifest()
    return machine


def last_step(document: dict[str, Any]) -> str:
    """The command that the mail ends its steps with."""
    body = document["mail"]["body"]
    return str(body.partition("\nWHAT TO DO\n")[2].partition("\n\n")[0].splitlines()[-1].strip())


def verdict(document: dict[str, Any]) -> str:
    """The first paragraph of the mail, as one line."""
    return " ".join(document["mail"]["body"].partition("\n\n")[0].split())


def section(document: dict[str, Any], title: str) -> str:
    """What stands under a heading of the mail, as one line."""
    body = document["mail"]["body"]
    return " ".join(body.partition(f"\n{title}\n")[2].partition("\n\n")[0].split())


def test_example_of_a_failed_migration_is_what_the_engine_tells(shop: Machine) -> None:
    """So the golden files show what really comes."""
    told = shop.refused("apply", errors.MigrationFailed)
    error = sql.failed()
    error = remediation.in_environment(error, {}, mail.Run("dev", "apply", EXECUTION, ARN, {}))
    example = error.to_dict()
    assert {key: told[key] for key in example} == example
    assert set(told) - set(example) == {"execution", "mail"}


def test_remedy_is_a_deployment_only_where_a_file_or_a_setting_is_wrong(shop: Machine) -> None:
    """What verify finds is amiss in the database, and what is in the way goes away."""
    assert remediation.DEPLOYED in shop.refused("apply", errors.MigrationFailed)["solution"]
    assert shop.refused("apply", errors.MigrationFailed)["mail"]["body"].count("deploy;") == 1
    so_far = {"applied": [{"migration": "018", "file": sql.FILE}], "applied_count": 1}
    told = shop.refused("verify", errors.VerificationFailed, {"target": "018"}, so_far=so_far)
    assert "deploy" not in told["solution"]
    with holding_run_lock(shop.database.url):
        shop.variables["LOCK_WAIT_MS"] = "100"
        assert "deploy" not in shop.refused("apply", errors.AnotherRunInProgress)["solution"]


DEPLOY = "npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-prod --context env=prod"


@pytest.mark.parametrize(
    ("error", "environment", "step", "command"),
    [
        (errors.MigrationFailed("It failed."), "prod", "apply", DEPLOY),
        (errors.InvalidManifest("It is damaged."), "prod", "preflight", DEPLOY),
        (errors.MigrationChanged("It was edited."), "prod", "preflight", DEPLOY),
        (errors.MigrationFailed("It failed."), "local", "apply", "aurora-migrations deploy --local"),
        (errors.LockTimeout("It waited."), "prod", "apply", "aurora-migrations run --env prod"),
        (errors.ActionNotAllowed("No."), "prod", "preflight", "aurora-migrations list --env prod"),
        (errors.VerificationFailed("No."), "prod", "verify", "aurora-migrations run --env prod"),
        (
            errors.MigrationMissing("Gone.", next_command=NextCommand("rollback", ("002", "--confirm", "2"))),
            "prod",
            "preflight",
            "aurora-migrations rollback 002 --confirm 2 --env prod",
        ),
    ],
)
def test_next_command_deploys_where_a_file_or_a_setting_is_wrong(
    error: MigratorError, environment: str, step: str, command: str
) -> None:
    error = remediation.in_environment(error, {}, mail.Run(environment, step, EXECUTION, ARN, {}))
    assert str(error.next_command) == command


def test_no_statement_is_advised_to_take_longer_than_lambda_lets_it() -> None:
    here, there = errors.StatementTimeout("It took too long."), errors.StatementTimeout("It took too long.")
    there = remediation.in_environment(there, {}, mail.Run("prod", "apply", EXECUTION, ARN, {}))
    assert "statement_timeout = 30min" in here.solution
    assert "30min" not in there.solution
    assert "10min" not in there.solution
    assert "15min at most" in there.solution
    known = errors.StatementTimeout("It held locks.", solution="Move slow statements into a file of their own.")
    known = remediation.in_environment(known, {}, mail.Run("prod", "apply", EXECUTION, ARN, {}))
    assert known.solution == f"Move slow statements into a file of their own.\n{remediation.DEPLOYED}"


def test_history_of_a_newer_version_takes_a_deployment_and_a_strange_table_does_not(machine: Machine) -> None:
    machine.migrations.write("001_a.sql", USERS)
    machine.write_manifest()
    machine.run()
    told = "COMMENT ON TABLE aurora_migrations.applied IS '{}'"
    (comment,) = machine.database.query("SELECT obj_description('aurora_migrations.applied'::regclass)")[0]
    machine.database.execute(told.format(comment.rstrip("0123456789") + "99"))
    newer = machine.refused("preflight", errors.HistoryUnreadable)
    assert newer["solution"].startswith("Use the newest version of aurora-migrations.")
    assert newer["next_command"].startswith("npx aws-cdk@2 deploy ")
    machine.database.execute(told.format("something else"))
    strange = machine.refused("preflight", errors.HistoryUnreadable)
    assert "deploy" not in strange["solution"]
    assert strange["next_command"] == "aurora-migrations run --env dev"


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ({"trigger": "cli", "target": "081"}, True),
        ({"trigger": "cli", "action": "plan", "target": "081"}, True),
        ({"trigger": "cli", "action": "rollback", "target": "081", "confirm": "082"}, True),
        ({"trigger": "deploy", "target": "081"}, False),
        ({"trigger": "daily", "action": "plan", "target": "081"}, False),
        ({"target": "081"}, False),
        ({"action": "rollback", "target": "081", "confirm": "082"}, False),
    ],
)
def test_who_typed_a_command_gets_no_mail_about_a_typing_error(shop: Machine, asked: Any, seen: bool) -> None:
    assert shop.refused("preflight", errors.InvalidInput, asked).get(SEEN_BY_INITIATOR, False) is seen


def test_failed_look_is_mailed_unless_a_person_looked_and_a_failed_run_always(shop: Machine) -> None:
    shop.migrations.write("018_add_email_to_users.sql", "SELECT 'not what the manifest says'")
    for action, trigger, seen in (("plan", "cli", True), ("plan", "daily", False), ("run-migration", "cli", False)):
        told = shop.refused("preflight", errors.InvalidManifest, {"action": action, "trigger": trigger})
        assert told.get(SEEN_BY_INITIATOR, False) is seen
        assert told["mail"]["subject"]


def test_mail_says_what_is_in_and_what_is_not(shop: Machine) -> None:
    told = shop.refused("apply", errors.MigrationFailed, {"trigger": "cli", "requested_by": "ana@build-7"})
    assert told["mail"]["subject"] == f'[dev] Migration FAILED: {sql.FILE}, column "emial" does not exist'
    assert verdict(told).startswith(f"Can wait until morning: {sql.FILE} was rolled back, and the application isn't")
    state = section(told, "DATABASE")
    assert "Applied by this run: 017." in state
    assert f"Still pending: {sql.FILE}, {sql.NEXT_FILE}." in state
    assert "UPDATE users SET email = lower(emial);" in told["mail"]["body"]
    assert last_step(told) == f"npx aws-cdk@2 deploy {Names('dev').stack} --context env=dev"
    about = section(told, "EXECUTION")
    assert "Started by ana@build-7 (cli)" in about
    assert about.endswith(ARN)


def test_mail_names_the_command_that_deploys_a_stack_of_others(shop: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_COMMAND", "npx aws-cdk@2 deploy Prod/Shop")
    told = shop.refused("apply", errors.MigrationFailed, {})
    assert last_step(told) == "npx aws-cdk@2 deploy Prod/Shop"


def test_mail_knows_what_earlier_calls_have_done(shop: Machine) -> None:
    so_far = shop.call("apply", {"target": "017"})
    told = shop.refused("apply", errors.MigrationFailed, so_far=so_far)
    assert "Applied by this run: 017." in section(told, "DATABASE")
    told = shop.refused("verify", errors.VerificationFailed, so_far=so_far)
    assert told["mail"]["subject"] == "[dev] Migration FAILED: a check failed"
    assert "Applied by this run: 017." in section(told, "DATABASE")


def test_file_that_is_partly_in_is_told_so(machine: Machine) -> None:
    machine.migrations.write("001_a.sql", PARTS)
    machine.write_manifest()
    state = section(machine.refused("apply", errors.MigrationFailed), "DATABASE")
    assert "001_a.sql has 3 units that commit separately: unit 1 is applied; the rest isn't." in state


def test_mail_names_who_has_the_run_lock_and_what_waits(shop: Machine, database) -> None:
    shop.variables["LOCK_WAIT_MS"] = "200"
    with holding_run_lock(database.url) as holder:
        told = shop.refused("apply", errors.AnotherRunInProgress)
        pid = holder.info.backend_pid
    state = section(told, "DATABASE")
    assert "nothing was changed" in verdict(told)
    assert f"pid {pid}" in section(told, "WHAT HAPPENED")
    assert f"017_create_users.sql, {sql.FILE}, {sql.NEXT_FILE}." in state


def test_mail_names_who_is_in_the_way_without_what_their_queries_hold(machine: Machine, database) -> None:
    database.execute("CREATE TABLE a (id text)")
    machine.migrations.write("001_a.sql", "ALTER TABLE a ADD COLUMN x int;")
    machine.write_manifest()
    with holding(database.url, f"SELECT FROM a WHERE id = '{ROW}'") as holder:
        told = machine.refused("apply", errors.LockTimeout, context=Context(timeout=RESERVE + 1_000))
        pid = holder.info.backend_pid
    why = told["mail"]["body"].partition("\nWHAT HAPPENED\n")[2].partition("\nDATABASE\n")[0]
    why = " ".join(why.split())
    assert f"Last query of pid {pid}: SELECT FROM a WHERE id = ?" in why
    assert "Automatic retries failed as well." in why
    assert f"(pid {pid}, idle in transaction" in why
    assert ROW not in json.dumps(told)


@pytest.mark.parametrize("text", LEAKS, ids=["unique", "cast", "check"])
def test_no_password_and_no_row_in_a_mail(text: str, machine: Machine, database, roles) -> None:
    role = roles.create()
    database.execute(f"ALTER ROLE \"{role.name}\" PASSWORD '{SECRET}'")
    database.execute(
        f'GRANT ALL ON DATABASE "{database.name}" TO "{role.name}"; GRANT ALL ON SCHEMA public TO "{role.name}"'
    )
    machine.put({"username": role.name, "password": SECRET})
    machine.migrations.write("001_a.sql", text)
    machine.write_manifest()
    mail = json.dumps(machine.refused("apply", errors.MigrationFailed)["mail"])
    assert SECRET not in mail
    assert ROW not in mail


def test_refused_login_talks_of_the_secret_and_tells_none(shop: Machine) -> None:
    shop.put({"username": "postgres", "password": SECRET})
    told = shop.refused("preflight", errors.AuthenticationFailed)
    if told["mail"]["subject"].startswith("[dev] Migration FAILED: the database refused the login"):
        assert "secret" in section(told, "WHAT TO DO")
    assert SECRET not in json.dumps(told)
    assert "URL" not in section(told, "WHAT TO DO")


def test_mistake_of_ours_is_mailed_without_a_traceback(shop: Machine, monkeypatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError(ROW)

    monkeypatch.setattr("functions.entrypoint.read_login", broken)
    told = shop.refused("preflight", errors.InternalError)
    assert told["mail"]["subject"] == "[dev] Migration FAILED: internal error"
    assert "An unexpected KeyError, raised in" in section(told, "WHAT HAPPENED")
    assert "File " not in told["mail"]["body"]
    assert ROW not in json.dumps(told)


@pytest.mark.parametrize("asked", [None, [], "x", {"odd\n": 1}, {"requested_by": "a\nb" * 500}, {"target": ["\n"]}])
def test_input_that_is_refused_is_mailed_in_one_piece(asked: Any, shop: Machine) -> None:
    event = {"execution": EXECUTION, "execution_arn": ARN, "input": asked}
    from functions.preflight import handler

    if asked is None:
        event.pop("input")
        event["execution"] = 7
    with pytest.raises(MigratorError) as caught:
        handler(event, Context(), shop.deployment)
    told = json.loads(str(caught.value))
    assert told["mail"]["subject"] == "[dev] Migration FAILED: the request is invalid"


def test_daily_check_that_finds_drift_says_whose_look_it_was(shop: Machine) -> None:
    shop.call("apply", {"target": "017"})
    shop.migrations.write("017_create_users.sql", "CREATE TABLE users (id bigint);")
    shop.write_manifest()
    told = shop.refused("preflight", errors.MigrationChanged, {"action": "plan", "trigger": "daily"})
    assert told["mail"]["subject"] == "[dev] Daily check FAILED: 017_create_users.sql, changed after it was applied"
    body = told["mail"]["body"]
    assert body.startswith("Can wait until morning: nothing was changed, and the application isn't\n")
    assert "    -CREATE TABLE users (id int);\n    +CREATE TABLE users (id bigint);\n" in body


def test_mistake_in_a_mail_neither_hides_an_error_nor_fails_a_run(shop: Machine, monkeypatch, capsys) -> None:
    def broken(*_: Any) -> None:
        raise KeyError(ROW)

    for name in ("failure", "success"):
        monkeypatch.setattr(f"functions.mail.{name}", broken)
    told = shop.refused("apply", errors.MigrationFailed)
    assert (told["line"], told.get("mail")) == (3, None)
    assert [line["event"] for line in lines(capsys.readouterr().out) if "event" in line][-2:] == [
        "call_failed",
        "mail_failed",
    ]
    answer = shop.call("verify", {"target": "017"}, wants_mail=True)
    assert (answer["mail"], answer["result"]["status"]) == (None, "success")


# ---- what preflight writes for the state machines -------------------------------------------------------------------

ANA = {"trigger": "cli", "requested_by": "ana@build-7"}
DIED = {"Error": "Runtime.ExitError", "Cause": "{}", "step": "apply"}
ENDED = {"name": "n", "executionArn": ARN, "status": "TIMED_OUT", "input": "{}"}


def reported(shop: Machine, about: str, **report: Any) -> dict[str, Any]:
    """What preflight answers about a failure, an end, or what is pending."""
    trigger = {"failure": "failure", "end": "notice", "pending": "daily"}[about]
    return shop.call("preflight", {"action": "plan", "trigger": trigger}, report={"about": about, **report})


def test_mail_about_a_function_that_died_says_where_the_database_is(shop: Machine) -> None:
    shop.call("apply", {"target": "017"})
    told = reported(shop, "failure", failure=DIED, input={"target": "018", **ANA})
    assert told["mail"]["subject"] == "[dev] Migration FAILED: the function crashed in step apply"
    state = section(told, "DATABASE")
    assert state.startswith(f"1 applied, 2 pending: {sql.FILE} {sql.NEXT_FILE} No run is in progress.")
    assert last_step(told) == "aurora-migrations run 018 --env dev"
    assert section(told, "EXECUTION").startswith(
        "Action run up to 018 Started by ana@build-7 (cli) Error Runtime.ExitError https://"
    )


@pytest.fixture
def away(shop: Machine) -> Machine:
    """There is no way to the database."""
    shop.variables["DATABASE_PORT"] = "1"
    return shop


@pytest.mark.parametrize(("about", "given"), [("failure", {"failure": DIED}), ("end", {"state": ENDED})])
def test_database_that_is_away_is_tried_again_and_then_does_not_keep_the_mail(
    about: str, given: dict[str, Any], away: Machine
) -> None:
    asked = {"action": "plan"}
    for retries in (0, DATABASE_ATTEMPTS - 1):
        away.refused(
            "preflight", errors.DatabaseUnreachable, asked, report={"about": about, **given, "retries": retries}
        )
    told = reported(away, about, **given, retries=DATABASE_ATTEMPTS)
    assert "It could not be read: " in section(told, "DATABASE")


def test_look_that_fails_for_good_does_not_keep_the_mail(shop: Machine) -> None:
    shop.migrations.write("018_add_email_to_users.sql", "SELECT 'not what the manifest says'")
    told = reported(shop, "failure", failure=DIED, input={}, retries=0)
    assert "It could not be read: 018_add_email_to_users.sql " in section(told, "DATABASE")


def test_mistake_in_a_look_is_told_by_its_kind_only(shop: Machine, monkeypatch) -> None:
    def broken(*_: Any) -> None:
        raise KeyError(ROW)

    monkeypatch.setattr("functions.preflight.preflight", broken)
    told = reported(shop, "failure", failure=DIED, input={}, retries=0)
    assert "An unexpected KeyError" in section(told, "DATABASE")
    assert ROW not in json.dumps(told)


def test_mistake_in_such_a_mail_is_an_error_and_never_an_answer_without_one(shop: Machine, monkeypatch) -> None:
    """The state machine then sends its own."""

    def broken(*_: Any) -> None:
        raise KeyError(ROW)

    for name, about in (("failure", "failure"), ("ended", "end"), ("pending", "pending")):
        monkeypatch.setattr(f"functions.workflow_mails.{name}", broken)
        asked = {"action": "plan"}
        told = shop.refused("preflight", errors.InternalError, asked, report={"about": about, "state": ENDED})
        assert ROW not in json.dumps(told)


def test_mail_that_the_function_has_written_itself_is_passed_on(away: Machine) -> None:
    """Also where the database is away: it needs no look."""
    document = away.refused("preflight", errors.DatabaseUnreachable, {"action": "plan", "trigger": "daily"})
    cause = {"errorType": "DatabaseUnreachable", "errorMessage": json.dumps(document)}
    told = reported(away, "failure", failure={"Error": "DatabaseUnreachable", "Cause": json.dumps(cause)}, retries=0)
    assert told == {"mail": document["mail"]}


@pytest.mark.parametrize(("about", "state"), [("end", ENDED), ("pending", {})])
def test_while_a_run_is_at_work_it_asks_to_be_called_again_and_then_tells_who(
    about: str, state: dict[str, Any], shop: Machine, database: Database
) -> None:
    with holding_run_lock(database.url, application_name="aurora-migrations an-aborted-one") as holder:
        for looks in (1, 2):
            state = reported(shop, about, state=state, looks=3)
            assert (state["again"], state["looks"], state["mail"]) == (True, looks, None)
        told = reported(shop, about, state=state, looks=3)
        assert told["again"] is False
        who = f"In progress: aurora-migrations an-aborted-one (pid {holder.info.backend_pid}, user "
        assert who in section(told, "DATABASE")
        assert last_step(told) == "aurora-migrations status --env dev --watch"
    told = reported(shop, about, state=state, looks=3)
    assert (told["again"], "No run is in progress." in told["mail"]["body"]) == (False, True)


def test_nothing_pending_is_no_mail_whoever_is_at_work(shop: Machine, database: Database) -> None:
    shop.migrations.write(sql.FILE, "SELECT 2;")
    shop.write_manifest()
    shop.run()
    with holding_run_lock(database.url):
        assert reported(shop, "pending", state={}, looks=3) == {"again": False, "mail": None}


def test_what_is_pending_is_mailed(shop: Machine) -> None:
    told = reported(shop, "pending", state={"trigger": "daily"}, looks=3)
    assert told["mail"]["subject"] == "[dev] Migrations PENDING: 3 not applied"
    assert section(told, "DATABASE").startswith("0 applied, 3 pending: 017_create_users.sql ")
    assert last_step(told) == "aurora-migrations run --env dev"
    assert "Started by the daily check" in section(told, "EXECUTION")


def test_end_is_mailed_with_what_the_execution_may_take(shop: Machine) -> None:
    told = reported(shop, "end", state=ENDED | {"input": json.dumps(ANA)}, limit_ms=5_400_000, looks=3)
    assert "An execution can take at most 90 min in all" in section(told, "WHAT HAPPENED")
    assert section(told, "EXECUTION").startswith("Action run everything pending Started by ana@build-7 (cli) https://")


def test_success_is_told_only_where_it_is_asked_for(shop: Machine) -> None:
    asked = {"target": "017", "requested_by": "ana@build-7"}
    so_far = shop.call("apply", asked)
    plain = shop.call("verify", asked, so_far=so_far)
    assert plain["status"] == "success"
    told = shop.call("verify", asked, so_far=so_far, wants_mail=True)
    timed = ("duration_ms",)
    assert {k: v for k, v in told["result"].items() if k not in timed} == {
        k: v for k, v in plain.items() if k not in timed
    }
    assert told["mail"]["subject"] == "[dev] Migrated: 017_create_users.sql"
    assert "  public.users: exists, 0 rows, no indexes" in told["mail"]["body"].replace("  users:", "  public.users:")


def test_run_that_changed_nothing_has_no_mail(shop: Machine) -> None:
    shop.call("apply", {"target": "017"})
    shop.execution = "the-next"
    told = shop.call("verify", {"target": "017"}, wants_mail=True)
    assert (told["mail"], told["result"]["status"]) == (None, "success")
