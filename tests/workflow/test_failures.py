"""A run that fails: what it leaves, what it tells, who is mailed; and faults that pass by themselves."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

import psycopg
import pytest
from moto.iam.models import iam_backends

from aurora_migrations.cdk.retries import CONNECTION
from aurora_migrations.local.account import PARTITION
from aurora_migrations.local.cloud.console import Mail
from tests.database.work import ENDS, ENDS_AT_COMMIT, MAKES_IT_END
from tests.proxy import Proxy
from tests.workflow.helpers import DATABASE, Ended, Execution, Workflow, unmailable, until

only_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to kill or halt a process with")
ANA = {"trigger": "cli", "requested_by": "ana@build-7"}
SLEEPS = "CREATE TABLE slow (id int); SELECT pg_sleep(2);"


def assert_failed(ended: Ended, error: str) -> str:
    """It ended by its own error and one mail, whose text is returned."""
    assert (ended.status, ended.error) == ("FAILED", error)
    (mail,) = ended.mails
    assert f"\n  Error       {error} in " in mail.body
    assert mail.subject.isascii()
    assert len(mail.subject) <= 100
    return mail.body


def next_command(mail: Mail) -> str:
    """What the mail says to type."""
    return mail.body.partition("WHAT TO DO\n")[2].partition("\n\n")[0].splitlines()[-1].strip()


def in_the_middle_of(workflow: Workflow, execution: Execution, statement: str) -> int:
    """Waits until the server is at a statement of the execution; returns the id of the function's process."""
    active = f"state = 'active' AND query LIKE '%{statement}%' AND pid <> pg_backend_pid()"
    until(lambda: workflow.query(f"SELECT 1 FROM pg_stat_activity WHERE {active}"), f"{statement} of {execution.arn}")
    (pid,) = workflow.cloud.functions.pids["aurora-migrations-local-apply"]
    return pid


def test_a_mistake_in_the_second_of_three_files_leaves_the_first(workflow: Workflow) -> None:
    workflow.deploy(
        _001_a="CREATE TABLE a (id int);",
        _002_b="CREATE TABLE b (id int);\nALTER TABLE nowhere ADD c int;",
        _003_c="CREATE TABLE c (id int);",
    )
    ended = workflow.run(mails=1)
    body = assert_failed(ended, "MigrationFailed")
    assert workflow.tables == ["a"]
    assert workflow.applied == ["001"]
    assert (ended.raised["file"], ended.raised["line"], ended.raised["sqlstate"]) == ("002_b.sql", 2, "42P01")
    assert 'relation "nowhere" does not exist' in body
    assert "aurora-migrations deploy --local" in body


def test_a_secret_that_is_not_there(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    with workflow.secret(None):
        assert_failed(workflow.run(mails=1), "SecretNotFound")


def test_a_secret_that_is_not_one_of_a_database(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    with workflow.secret('{"token": "canary-of-another-kind"}'):
        ended = workflow.run(mails=1)
    assert "canary" not in assert_failed(ended, "SecretMalformed")


@pytest.fixture
def without_right_to_read_it(workflow: Workflow) -> Iterator[None]:
    """The role of preflight has lost what the template grants it on the secret."""
    roles = iam_backends[workflow.cloud.account][PARTITION].get_roles()
    (role,) = [role for role in roles if "FunctionsPreflightRole" in role.name]
    kept = dict(role.policies)
    for name, text in kept.items():
        document = json.loads(text)
        document["Statement"] = [s for s in document["Statement"] if "secretsmanager:GetSecretValue" not in s["Action"]]
        role.policies[name] = json.dumps(document)
    yield
    role.policies.update(kept)


@pytest.mark.usefixtures("without_right_to_read_it")
def test_a_secret_that_may_not_be_read(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    assert_failed(workflow.run(mails=1), "SecretAccessDenied")


def test_a_wrong_password_is_tried_once_more_and_then_told(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    secret = json.loads(
        workflow.client("secretsmanager").get_secret_value(SecretId=workflow.cloud.stack.secret)["SecretString"]
    )
    with workflow.secret(json.dumps({**secret, "password": "not-it"})):
        ended = workflow.run(mails=1)
    assert_failed(ended, "AuthenticationFailed")
    assert ended.messages("preflight").count("Credentials fetched") == 2
    assert ended.entered.count("Preflight") == 1


def test_a_database_that_comes_back_is_waited_for(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    workflow.server.kill()
    try:
        execution = workflow.start()
        until(lambda: "TaskFailed" in str(workflow.history(execution.arn)), "a first attempt that fails")
    finally:
        workflow.server.restart()
    ended = execution.ended()
    assert (ended.status, ended.mails, workflow.tables) == ("SUCCEEDED", [], ["a"])


def test_a_database_that_stays_away_is_told_after_the_retries(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    workflow.server.kill()
    try:
        ended = workflow.run(mails=1)
    finally:
        workflow.server.restart()
    assert_failed(ended, "DatabaseUnreachable")
    assert sum(each["type"] == "TaskFailed" for each in ended.history) == 1 + CONNECTION.attempts


def test_a_promise_that_is_not_kept_at_the_commit_rolls_the_file_back(workflow: Workflow) -> None:
    workflow.deploy(_001_a="-- verify: rows a = 2\nCREATE TABLE a (id int); INSERT INTO a VALUES (1);")
    ended = workflow.run(mails=1)
    assert_failed(ended, "VerificationFailed")
    assert "Verify" not in ended.entered
    assert workflow.tables == []


def test_a_promise_that_somebody_has_broken_fails_verify_and_stays_applied(workflow: Workflow) -> None:
    workflow.deploy(_001_a="-- verify always: rows a = 1\nCREATE TABLE a (id int); INSERT INTO a VALUES (1);")
    workflow.run()
    workflow.query("INSERT INTO a VALUES (2) RETURNING id")
    workflow.deploy(_002_b="CREATE TABLE b (id int);")
    ended = workflow.run(mails=1)
    assert_failed(ended, "VerificationFailed")
    assert ended.entered[-1] != "Apply"
    assert workflow.applied == ["001", "002"]


def test_an_input_with_an_unknown_key_names_those_there_are(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    ended = workflow.run({"targett": "001"}, mails=1)
    assert "targett" in assert_failed(ended, "InvalidInput")
    assert "requested_by" in ended.raised["message"]
    assert workflow.tables == []


def test_an_action_that_the_environment_does_not_allow(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    with workflow.configured("preflight", variables={"ALLOWED_ACTIONS": "run-migration,plan"}):
        ended = workflow.run({"action": "rollback", "target": "001", "confirm": "001"}, mails=1)
    assert "rollback" in assert_failed(ended, "ActionNotAllowed")


def test_a_deployment_in_the_middle_of_a_run_makes_it_start_over_with_the_new_package(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS)
    execution = workflow.start()
    in_the_middle_of(workflow, execution, "pg_sleep")
    workflow.deploy(_002_b="CREATE TABLE b (id int);")
    ended = execution.ended()
    assert ended.status == "SUCCEEDED"
    assert ended.entered.count("Start over") == 1
    assert (workflow.applied, ended.output["applied_count"]) == (["001", "002"], 2)


def begin(workflow: Workflow, action: str, *ups: str, downs: Sequence[str] = ()) -> dict[str, str]:
    """Deploys migrations, brings the database to where the action begins, and returns what to ask for: all of it."""
    texts = {f"{number:03}_step": text for number, text in enumerate(ups, 1)}
    texts |= {f"{number:03}_step.down": text for number, text in enumerate(downs, 1)}
    workflow.deploy(**texts)
    if action == "apply":
        return {}
    assert workflow.run().status == "SUCCEEDED"
    return {"action": "rollback", "target": "001", "confirm": f"{len(ups):03}"}


def attempts(workflow: Workflow, action: str) -> list[tuple[str, str]]:
    """Number and result of every attempt of an action."""
    columns = "split_part(name, '_', 1), result"
    return workflow.query(f"SELECT {columns} FROM aurora_migrations.attempts WHERE action = '{action}' ORDER BY id")


@only_posix
@pytest.mark.parametrize(("action", "result"), [("apply", "applied"), ("rollback", "rolled back")])
def test_a_function_killed_in_the_middle_of_a_file_is_tried_again_and_runs_it_once(
    workflow: Workflow, action: str, result: str
) -> None:
    text = {"apply": "CREATE TABLE slow (id int);", "rollback": "DROP TABLE slow;"}
    text[action] = f"SELECT pg_sleep(2); {text[action]}"
    execution = workflow.start(begin(workflow, action, text["apply"], downs=[text["rollback"]]))
    os.kill(in_the_middle_of(workflow, execution, "pg_sleep"), signal.SIGKILL)
    ended = execution.ended()
    assert ended.status == "SUCCEEDED"
    assert "Runtime.ExitError" in json.dumps(ended.history, default=str)
    assert workflow.tables == (["slow"] if action == "apply" else [])
    assert attempts(workflow, action) == [("001", "interrupted"), ("001", result)]


@pytest.mark.parametrize("action", ["apply", "rollback"])
def test_a_run_that_loses_its_connections_runs_each_file_once_and_says_so(workflow: Workflow, action: str) -> None:
    """The answer to a COMMIT; a session inside a file; and one at a COMMIT that doesn't happen."""
    order = ["001", "002", "003"][:: 1 if action == "apply" else -1]
    faults = dict(zip(order, ["", ENDS.replace("< 3", "IN (1, 3)"), ENDS_AT_COMMIT], strict=True))
    work = {"apply": "CREATE TABLE t{} (id int);\n", "rollback": "DROP TABLE t{};\n"}
    texts = {
        which: [text.format(step) + (f"{faults[step]};" if which == action else "") for step in sorted(order)]
        for which, text in work.items()
    }
    asked = begin(workflow, action, *texts["apply"], downs=texts["rollback"])
    with psycopg.connect(workflow.server.url(DATABASE), autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA tests; {MAKES_IT_END.replace('< 3', 'IN (1, 3)')}")
    record = b"INSERT INTO" if action == "apply" else b"DELETE FROM"
    login = {"username": "postgres", "password": workflow.server.password}  # which says nothing of a port
    with (
        Proxy(workflow.server.port) as proxy,
        workflow.secret(json.dumps(login)),
        workflow.configured("apply", variables={"DATABASE_PORT": str(proxy.port), "DATABASE_SSLMODE": "disable"}),
    ):
        proxy.cut_after(record + b" aurora_migrations.applied")
        ended = workflow.run(asked)
        assert proxy.wait(0)
    assert (ended.status, ended.error, ended.mails) == ("SUCCEEDED", None, [])
    key, result = ("applied", "applied") if action == "apply" else ("rolled_back", "rolled back")
    assert [file["migration"] for file in ended.output[key]] == order
    assert workflow.tables == (["t001", "t002", "t003"] if action == "apply" else [])
    first, *rest = order
    again = [(step, how) for step in rest for how in ("interrupted", result)]
    # The second had begun with the first one's COMMIT, whose answer was lost.
    assert attempts(workflow, action) == [(first, result), (rest[0], "interrupted"), *again]


@only_posix
def test_a_function_that_hangs_is_killed_at_its_timeout_and_tried_again(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS)
    with workflow.configured("apply", timeout=15):
        execution = workflow.start()
        os.kill(in_the_middle_of(workflow, execution, "pg_sleep"), signal.SIGSTOP)
        began = time.monotonic()
        ended = execution.ended()
    assert "Sandbox.Timedout" in json.dumps(ended.history, default=str)
    assert time.monotonic() - began > 8
    assert (ended.status, workflow.applied) == ("SUCCEEDED", ["001"])


def test_an_aborted_run_is_told_by_the_notice_machine(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS, _002_b="CREATE TABLE b (id int);")
    execution = workflow.start(ANA)
    in_the_middle_of(workflow, execution, "pg_sleep")
    execution.stop(error="Stopped", cause="Ctrl-C by ben@build-8")
    ended = execution.ended(mails=1)
    (mail,) = ended.mails
    assert ended.status == "ABORTED"
    assert mail.subject == "[local] Migration STOPPED: by a person or a program"
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body
    assert "\n  Reason      Ctrl-C by ben@build-8\n" in mail.body
    assert "Ask whoever stopped it why" in mail.body
    assert next_command(mail) == "aurora-migrations run --env local"
    assert f"aurora-migrations logs {ended.arn.rpartition(':')[2]} --env local" in mail.body
    assert "2 applied, 0 pending." in mail.body, "the call goes on when its execution is over, and so does the look"
    assert "In progress" not in mail.body
    (notice,) = notices_of(workflow, execution)
    assert notice.ended().largest_state < 32_768


def test_a_look_that_was_typed_and_died_or_was_stopped_is_mailed_to_nobody(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    asked = {"action": "status", **ANA}
    with workflow.configured("preflight", memory_size=10):
        ended = workflow.run(asked)
        stopped = workflow.start(asked)
        stopped.stop(error="Stopped", cause="Ctrl-C by ana@build-7")
        (notice, *_) = until(lambda: notices_of(workflow, stopped), "a notice")
        assert notice.ended().entered == ["Read-only command?", "No mail needed"]
    assert (ended.status, ended.error, stopped.ended().mails) == ("FAILED", "Runtime.OutOfMemory", [])
    assert (ended.mails, "Notify failure" in ended.entered) == ([], False)


def test_a_run_that_takes_too_long_is_told_by_the_notice_machine(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS.replace("(2)", "(6)"))
    machine = workflow.states.describe_state_machine(stateMachineArn=workflow.cloud.machine)["definition"]
    short = json.dumps({**json.loads(machine), "TimeoutSeconds": 3})
    workflow.states.update_state_machine(stateMachineArn=workflow.cloud.machine, definition=short)
    try:
        ended = workflow.run(ANA, mails=1)
    finally:
        workflow.states.update_state_machine(stateMachineArn=workflow.cloud.machine, definition=machine)
    (mail,) = ended.mails
    assert ended.status == "TIMED_OUT"
    assert mail.subject.startswith("[local] Migration STOPPED: it took longer than")
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body
    assert next_command(mail) == "aurora-migrations run --env local"


def test_the_daily_check_mails_what_is_pending_and_nothing_else(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    before = len(workflow.cloud.mails)
    workflow.cloud.daily_check()
    until(lambda: len(workflow.cloud.mails) == before + 1, "a mail about what is pending")
    assert "PENDING" in workflow.cloud.mails[-1].subject
    workflow.run()
    workflow.cloud.daily_check()
    (newest, *_) = workflow.executions("daily")
    assert newest.ended().status == "SUCCEEDED"
    assert len(workflow.cloud.mails) == before + 1


def test_a_deployment_that_can_start_nothing_is_told_by_the_alarm(workflow: Workflow) -> None:
    before = len(workflow.cloud.mails)
    events, rule = workflow.client("events"), "aurora-migrations-local-on-deploy"
    targets = events.list_targets_by_rule(Rule=rule)["Targets"]
    events.put_targets(Rule=rule, Targets=[{**targets[0], "Arn": f"{targets[0]['Arn']}-gone"}])
    try:
        assert workflow.cloud.deployed("UPDATE_COMPLETE").started == ()
    finally:
        events.put_targets(Rule=rule, Targets=targets)
    until(lambda: len(workflow.cloud.mails) == before + 1, "the alarm's mail")
    assert "dead-letters" in workflow.cloud.mails[-1].subject
    assert "aurora-migrations run --env local" in workflow.cloud.mails[-1].body


def test_a_deployment_between_two_calls_of_apply_makes_it_start_over(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS, _002_b="CREATE TABLE b (id int);")
    with workflow.configured("apply", timeout=14):
        execution = workflow.start()
        in_the_middle_of(workflow, execution, "pg_sleep")
        workflow.deploy(_003_c="CREATE TABLE c (id int);")
        ended = execution.ended()
    assert ended.status == "SUCCEEDED"
    assert ended.entered.index("Start over") < ended.entered.index("Verify")
    assert workflow.applied == ["001", "002", "003"]


def test_where_preflight_dies_too_the_machine_sends_a_short_mail(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    with workflow.configured("preflight", memory_size=10):
        ended = workflow.run(ANA, mails=1)
    (mail,) = ended.mails
    assert (ended.status, ended.error) == ("FAILED", "Runtime.OutOfMemory")
    assert ended.entered.count("Write the mail") == 1
    assert mail.subject == "[local] Migration FAILED: the cause is not known yet"
    assert "WHAT HAPPENED\n  Reported error: Runtime.OutOfMemory\n" in mail.body
    assert next_command(mail) == "aurora-migrations status --env local"
    assert mail.body.rstrip().endswith(f"aurora-migrations logs {ended.arn.rpartition(':')[2]} --env local")


def test_a_function_that_dies_while_the_database_is_away_is_told_without_a_look(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    with workflow.configured("apply", memory_size=10):
        execution = workflow.start({"target": "001", **ANA})
        until(lambda: '"Apply"' in json.dumps(workflow.history(execution.arn), default=str), "the step apply")
        workflow.server.kill()
        try:
            (mail,) = execution.ended(mails=1).mails
        finally:
            workflow.server.restart()
    assert mail.subject == "[local] Migration FAILED: the function ran out of memory in step apply"
    assert "It could not be read: " in mail.body
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body
    assert next_command(mail) == "aurora-migrations run 001 --env local"


def test_a_function_that_dies_twice_is_told_with_a_look_at_the_database(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    with workflow.configured("apply", memory_size=10):
        ended = workflow.run(ANA, mails=1)
    (mail,) = ended.mails
    assert ended.error == "Runtime.OutOfMemory"
    assert mail.subject == "[local] Migration FAILED: the function ran out of memory in step apply"
    assert "001_a.sql" in mail.body
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body
    assert ended.largest_state < 32_768


def test_a_failure_that_cannot_be_mailed_keeps_its_error(workflow: Workflow) -> None:
    workflow.deploy(_001_a="ALTER TABLE nowhere ADD a int;")
    with unmailable(workflow):
        ended = workflow.run()
    assert (ended.status, ended.error, ended.mails) == ("FAILED", "MigrationFailed", [])
    assert "Notify failure" in ended.entered


def test_a_daily_check_that_finds_no_way_in_is_mailed(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    before = len(workflow.cloud.mails)
    with workflow.secret(None):
        (arn,) = workflow.cloud.daily_check().started
        ended = Execution(workflow, arn, before).ended(mails=1)
    assert_failed(ended, "SecretNotFound")


def test_a_daily_check_whose_function_dies_each_time_is_mailed_shortly(workflow: Workflow) -> None:
    workflow.deploy(_001_a="SELECT 1;")
    before = len(workflow.cloud.mails)
    with workflow.configured("preflight", memory_size=10):
        (arn,) = workflow.cloud.daily_check().started
        ended = Execution(workflow, arn, before).ended(mails=1)
    assert (ended.status, ended.error) == ("FAILED", "Runtime.OutOfMemory")
    assert [mail.subject for mail in ended.mails] == ["[local] Daily check FAILED: the cause is not known yet"]


def test_what_cannot_be_mailed_fails_the_machines_that_only_mail(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS)
    with unmailable(workflow):
        (arn,) = workflow.cloud.daily_check().started
        assert Execution(workflow, arn, 0).ended().status == "FAILED"
        with workflow.secret(None):
            (arn,) = workflow.cloud.daily_check().started
            ended = Execution(workflow, arn, 0).ended()
        assert (ended.status, ended.error) == ("FAILED", "SecretNotFound")
        execution = workflow.start()
        in_the_middle_of(workflow, execution, "pg_sleep")
        execution.stop()
        (notice, *_) = until(lambda: notices_of(workflow, execution), "a notice")
        assert notice.ended().status == "FAILED"


def test_an_aborted_run_is_told_where_preflight_dies(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS)
    execution = workflow.start(ANA)
    in_the_middle_of(workflow, execution, "pg_sleep")
    with workflow.configured("preflight", memory_size=10):
        execution.stop()
        ended = execution.ended(mails=1)
    (mail,) = ended.mails
    assert ended.status == "ABORTED"
    assert mail.subject == "[local] Migration STOPPED: the cause is not known yet"
    assert "WHAT HAPPENED\n  Reported error: ABORTED\n" in mail.body
    assert mail.body.rstrip().endswith(f"aurora-migrations logs {ended.arn.rpartition(':')[2]} --env local")


def test_a_run_that_breaks_inside_the_state_machine_is_told_by_the_notice_machine(workflow: Workflow) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (id int);")
    machine = workflow.states.describe_state_machine(stateMachineArn=workflow.cloud.machine)["definition"]
    definition = json.loads(machine)
    definition["States"]["Begin"] = {"Type": "Pass", "Parameters": {"a.$": "$.nowhere"}, "Next": "Preflight"}
    workflow.states.update_state_machine(stateMachineArn=workflow.cloud.machine, definition=json.dumps(definition))
    try:
        ended = workflow.run(ANA, mails=1)
    finally:
        workflow.states.update_state_machine(stateMachineArn=workflow.cloud.machine, definition=machine)
    (mail,) = ended.mails
    assert (ended.status, ended.error) == ("FAILED", "States.Runtime")
    assert "Step Functions ended the execution" in mail.body
    assert "\n  Error       States.Runtime\n" in mail.body
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body
    assert workflow.tables == []


def test_a_database_that_is_away_does_not_hide_who_started_the_run_that_was_stopped(workflow: Workflow) -> None:
    workflow.deploy(_001_slow=SLEEPS)
    execution = workflow.start(ANA)
    in_the_middle_of(workflow, execution, "pg_sleep")
    execution.stop()
    workflow.server.kill()
    try:
        (mail,) = execution.ended(mails=1).mails
    finally:
        workflow.server.restart()
    assert "It could not be read: " in mail.body
    assert "\n  Started by  ana@build-7 (cli)\n" in mail.body


def notices_of(workflow: Workflow, execution: Execution) -> list[Execution]:
    """The executions of the notice machine about an execution."""
    found = workflow.executions("notice")
    return [each for each in found if execution.arn in json.dumps(workflow.history(each.arn)[:1], default=str)]
