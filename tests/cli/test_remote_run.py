"""`aurora-migrations run --env`: who asks, what happens meanwhile, the result, and every way to fail."""

from __future__ import annotations

import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from aurora_migrations.cli.remote.environment import Environment
from tests.cli.cloud import DOCUMENT, Cloud, answering, caused, interrupted, spoilt, stops_explained, waiting
from tests.cli.conftest import Call

RAN: dict[str, Any] = {
    "status": "success",
    "migration": "017",
    "message": "Migration 017 executed successfully",
    "action": "run-migration",
    "execution": "any",
    "database": "shop",
    "applied": [{"migration": "017", "file": "017_create_log.sql", "duration_ms": 12.5, "verified": []}],
    "applied_count": 1,
    "already_applied": None,
    "verified": {
        "tables": [
            {
                "table": "dry_run_log",
                "exists": True,
                "rows": 0,
                "counted": True,
                "bytes": 16384,
                "indexes": [
                    {"index": "dry_run_log_pkey", "state": "valid and ready"},
                    {"index": "dry_run_log_at", "state": "being built"},
                ],
            }
        ],
        "tables_count": 1,
        "always": [],
        "always_count": 0,
    },
    "warnings": ["017_create_log.sql:3:1: may hurt [some-rule]"],
    "duration_ms": 900.0,
}


def test_run_says_who_asks_and_where_before_anything_else(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    answer = call("run", "017", "--env", "dev")
    assert answer.code == 0
    first = answer.err.splitlines()[0]
    assert first == "dev: account 123456789012 as user/moto, eu-west-1"


@pytest.mark.parametrize(
    ("partition", "region", "host"),
    [
        ("aws", "eu-west-1", "console.aws.amazon.com"),
        ("aws-cn", "cn-north-1", "console.amazonaws.cn"),
        ("aws-us-gov", "us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_link_leads_to_the_console_of_the_partition(partition: str, region: str, host: str) -> None:
    arn = f"arn:{partition}:states:{region}:123456789012:execution:aurora-migrations-dev:cli-1"
    page = f"https://{host}/states/home?region={region}#/v2/executions/details/{arn}"
    assert Environment("dev", None).console(arn) == page
    assert Environment("local", None, "http://127.0.0.1:1").console(arn) is None


def test_run_tells_the_result_and_saves_it(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    answer = call("run", "17", "--env", "dev")
    assert answer.message == RAN["message"]
    assert "Saved to migration-017-output.json" in answer.out
    assert json.loads(Path("migration-017-output.json").read_text("utf-8")) == RAN
    assert "Warning: 017_create_log.sql:3:1: may hurt" in answer.err
    assert "dry_run_log_at (being built)" in answer.out
    (execution,) = cloud.executions()
    asked = execution["input"]
    assert (asked["action"], asked["target"], asked["trigger"]) == ("run-migration", "17", "cli")
    assert "@" in asked["requested_by"]
    assert execution["name"] in answer.err


def test_programs_get_one_document_and_nothing_else(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    answer = call("run", "--env", "dev", "--output", "json")
    assert (answer.code, answer.err, answer.json) == (0, "", RAN)
    assert cloud.executions()[0]["input"].keys() == {"action", "trigger", "requested_by"}


def test_error_of_the_engine_is_told_as_if_it_had_happened_here(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": ("LockTimeout", caused(DOCUMENT))}))
    answer = call("run", "018", "--env", "dev", "--region", "eu-west-1")
    assert answer.code == 1
    shown = answer.err[answer.err.index("\nLockTimeout") :]
    assert shown == (
        "\nLockTimeout: A lock on orders was not to be had within 2 s.\n\n"
        "  Why    Another session holds a lock that the statement needs.\n"
        "  State  Nothing else was changed. Applied by this run: 017.\n"
        "  Do     Run again when that session has ended, or end it.\n"
        "  Next   aurora-migrations run 018 --env dev --region eu-west-1\n"
        "Saved to migration-018-output.json\n"
    )
    saved = json.loads(Path("migration-018-output.json").read_text("utf-8"))
    assert (saved["status"], saved["error"], saved["migration"]) == ("failed", "LockTimeout", "018")
    assert saved["execution"] == cloud.executions()[0]["name"]


def test_what_was_asked_wrongly_is_wrong_usage_there_too(cloud: Cloud, call: Call) -> None:
    wrong = {**DOCUMENT, "error": "InvalidInput", "message": "There is no migration 999."}
    cloud.deploy(answering({"run-migration": ("InvalidInput", caused(wrong))}))
    assert call("run", "999", "--env", "dev").code == 2
    answer = call("run", "999", "--env", "dev", "--output", "json")
    assert (answer.code, answer.json["error"]) == (2, "InvalidInput")


STRANGE = [
    ("Lambda.Unknown", "The function died.", "The function died."),
    ("Workflow.States.Runtime", '{"errorMessage": "Task timed out after 900 s"}', "Task timed out after 900 s"),
    ("ContractBroken", '{"not": "ours"', '{"not": "ours"'),
    ("Odd", '{"errorMessage": "{\\"error\\": 1}"}', '{"error": 1}'),
]


@pytest.mark.parametrize(("error", "cause", "told"), STRANGE)
def test_failure_that_is_none_of_the_engine_keeps_its_name_and_words(
    cloud: Cloud, call: Call, error: str, cause: str, told: str
) -> None:
    cloud.deploy(answering({"run-migration": (error, cause)}))
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert f"\n{error}: The execution {cloud.executions()[0]['name']} failed: {told}\n" in answer.err
    assert f"Next   aurora-migrations logs {cloud.executions()[0]['name']} --env dev\n" in answer.err


def test_answer_that_is_none_of_ours_is_a_named_error(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": {"something": "else"}}))
    answer = call("run", "--env", "dev")
    assert answer.code == 1
    assert "\nContractBroken: The execution " in answer.err
    assert "Another version of aurora-migrations deployed the stack" in answer.err


def test_answer_that_lacks_what_this_version_shows_is_a_named_error(cloud: Cloud, call: Call) -> None:
    verbs = {"list-migrations": "list", "status": "status", "plan": "plan", "verify": "verify", "history": "history"}
    least = {"status": "success", "migration": None, "message": "as before"}
    cloud.deploy_bare(answering(dict.fromkeys(verbs, least)))
    for verb in verbs.values():
        answer = call(verb, "--env", "dev")
        assert (answer.code, answer.out) == (1, "")
        assert "\nContractBroken: The execution read-" in answer.err
        assert "but its answer has no '" in answer.err


@pytest.fixture
def _stops_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    stops_explained(monkeypatch)


@pytest.mark.usefixtures("_stops_are_explained")
def test_execution_that_somebody_stopped_says_so(cloud: Cloud, call: Call) -> None:
    cloud.deploy(waiting())

    def stop() -> None:
        states = cloud.client("stepfunctions")
        arn = ""
        while not arn or len(states.get_execution_history(executionArn=arn)["events"]) < 2:
            time.sleep(0.02)  # moto doesn't hear a stop before the first state
            arn = next((each["executionArn"] for each in cloud.executions()), "")
        states.stop_execution(executionArn=arn, error="Stopped", cause="by the on-call person")

    other = threading.Thread(target=stop)
    other.start()
    answer = call("run", "--env", "dev", "--verbose")
    other.join()
    assert answer.code == 1
    assert "\nCancelled: The execution " in answer.err
    assert "was stopped: by the on-call person." in answer.err
    assert "A function call that was running continues to its end." in answer.err
    assert "Next   aurora-migrations status --env dev\n" in answer.err


# ---- what happens meanwhile -----------------------------------------------------------------------------------------


def test_states_and_log_lines_are_told_as_they_happen(cloud: Cloud, call: Call) -> None:
    cloud.deploy(waiting(2))

    def work() -> None:
        while not (found := cloud.executions()):
            time.sleep(0.02)
        name = found[0]["name"]
        time.sleep(0.5)  # after the state was entered
        cloud.log(
            "apply", name, "Executing migration 018", event="migration_started", file="018_add.sql", migration="018"
        )
        cloud.log(
            "apply",
            name,
            "At work",
            event="statement_running",
            file="018_add.sql",
            line=3,
            statements="statement 2 of 5",
        )
        blockers = ["psql of jane (pid 7, idle in transaction)"]
        cloud.log(
            "apply",
            name,
            "Waiting for other locks",
            event="blocked",
            level="WARNING",
            table="orders",
            mode="SHARE",
            blockers=blockers,
        )
        cloud.log("apply", "cli-another", "Executing migration 099", event="migration_started", file="099_other.sql")
        cloud.put("apply", json.dumps({"_aws": {}, "correlation_id": name, "LockWaits": 1}))
        cloud.put("apply", f"START RequestId: {name}")

    other = threading.Thread(target=work)
    other.start()
    answer = call("run", "--env", "dev", "--verbose")
    other.join()
    lines = [line.split("Z  ", 1)[1] for line in answer.err.splitlines() if "Z  " in line[:12]]
    assert lines == [
        "machine    Apply",
        "apply      Executing migration 018: 018_add.sql",
        "apply      At work: 018_add.sql:3, statement 2 of 5",
        "apply      Waiting for other locks: SHARE on orders, held by psql of jane (pid 7, idle in transaction)",
        "machine    Succeeded",
    ]


def test_try_that_failed_and_the_next_one_are_told(cloud: Cloud, call: Call) -> None:
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::sns:publish",
        "Parameters": {"TopicArn": "arn:aws:sns:eu-west-1:123456789012:none", "Message": "x"},
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}],
        "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Failed"}],
        "End": True,
    }
    failed = {"Type": "Fail", "Error": "LockTimeout", "Cause": caused(DOCUMENT)}
    cloud.deploy({"StartAt": "Apply", "States": {"Apply": task, "Failed": failed}})
    answer = call("run", "--env", "dev", "--verbose")
    assert answer.code == 1
    lines = [line.split("machine    ")[1] for line in answer.err.splitlines() if "  machine  " in line]
    assert [line.split(": ")[0] for line in lines] == [
        "Apply",
        "Apply failed with SNS.NotFoundException",
        "Apply is tried again",
        "Apply failed with SNS.NotFoundException",
        "Failed",
    ]


def test_without_the_right_to_read_logs_the_run_is_followed_all_the_same(cloud: Cloud, call: Call) -> None:
    cloud.deploy(answering({"run-migration": RAN}))
    for step in ("preflight", "apply", "verify"):
        cloud.client("logs").delete_log_group(logGroupName=cloud.names.function_log(step))
    answer = call("run", "017", "--env", "dev")
    assert answer.code == 0
    assert answer.err.count("The functions' logs can't be read") == 1
    assert answer.message == RAN["message"]


# ---- an answer that is lost -----------------------------------------------------------------------------------------


STATES = "https://states.eu-west-1.amazonaws.com/"
LOST = [
    pytest.param(ReadTimeoutError(endpoint_url=STATES), "CloudUnreachable", id="timeout"),
    pytest.param(ConnectionClosedError(endpoint_url=STATES), "CloudUnreachable", id="connection closed"),
    pytest.param(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text"), "CloudUnreachable", id="no text"),
    pytest.param(
        ClientError(
            {"Error": {"Code": "InternalFailure", "Message": "x"}, "ResponseMetadata": {"HTTPStatusCode": 500}},
            "StartExecution",
        ),
        "CloudRefused",
        id="500",
    ),
]


@pytest.mark.parametrize(("error", "name"), LOST)
def test_start_whose_answer_is_lost_names_what_may_have_been_started(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, error: Exception, name: str
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StartExecution", error)
    answer = call("run", "017", "--env", "dev")
    (execution,) = cloud.executions()
    assert answer.code == 1
    assert f"\n{name}: " in answer.err
    assert f"  State  The execution {execution['name']} may have been started.\n" in answer.err
    assert ". But check first whether this one was started.\n" in answer.err
    assert answer.err.endswith(f"  Next   aurora-migrations logs {execution['name']} --follow --env dev\n")
    assert not Path("migration-017-output.json").exists()


def test_start_that_was_refused_has_changed_nothing(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.deploy(waiting())
    refused = ClientError({"Error": {"Code": "ExecutionLimitExceeded", "Message": "Too many."}}, "StartExecution")
    spoilt(monkeypatch, "StartExecution", refused, before=True)
    answer = call("run", "017", "--env", "dev")
    assert "  State  Nothing was changed.\n" in answer.err
    assert not Path("migration-017-output.json").exists()


def test_look_whose_answer_is_lost_has_changed_nothing(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StartExecution", ReadTimeoutError(endpoint_url=STATES))
    answer = call("list", "--env", "dev")
    assert "  State  Nothing was changed.\n" in answer.err
    assert "  Next   aurora-migrations doctor --env dev\n" in answer.err


def test_second_try_finds_what_the_first_has_started_and_follows_it(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS says of an execution that has ended that it is there; of one that runs, what it said the first time."""
    cloud.deploy(answering({"run-migration": RAN}))
    there = ClientError({"Error": {"Code": "ExecutionAlreadyExists", "Message": "x"}}, "StartExecution")
    spoilt(monkeypatch, "StartExecution", there)
    answer = call("run", "017", "--env", "dev")
    assert (answer.code, answer.message) == (0, RAN["message"])
    (execution,) = cloud.executions()
    spoilt(monkeypatch, "DescribeExecution", ("AccessDeniedException", "jane is not authorized"), before=True)
    answer = call("run", "017", "--env", "dev")
    told = re.search(r"  State  The execution (cli-\S+) has been started, and has ended\.\n", answer.err)
    assert told
    assert told[1] != execution["name"]
    assert answer.err.endswith(f"  Next   aurora-migrations logs {told[1]} --follow --env dev\n")


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


class Keyboard:
    """A person who types these lines; None is Ctrl-C."""

    def __init__(self, *lines: str | None) -> None:
        self._lines = list(lines)

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        line = self._lines.pop(0)
        if line is None:
            raise KeyboardInterrupt
        return line


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it is followed."""
    interrupted(monkeypatch)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("keys", [["l\n"], [""], [None]], ids=["l", "end of input", "Ctrl-C again"])
def test_ctrl_c_asks_and_may_leave_it_running(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, keys: list[str | None]
) -> None:
    cloud.deploy(waiting())
    monkeypatch.setattr("sys.stdin", Keyboard(*keys))
    answer = call("run", "--env", "dev")
    assert answer.code == 130
    (execution,) = cloud.executions()
    assert execution["status"] == "RUNNING"
    look = f"aurora-migrations logs {execution['name']} --follow --env dev"
    assert answer.err.endswith(f"\nThe execution {execution['name']} is still running. To follow it: {look}\n")


@pytest.mark.usefixtures("ctrl_c", "_stops_are_explained")
def test_ctrl_c_asks_and_may_stop_it(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.deploy(waiting())
    monkeypatch.setattr("sys.stdin", Keyboard("s\n"))
    answer = call("run", "--env", "dev")
    (execution,) = cloud.executions()
    assert (answer.code, execution["status"]) == (1, "ABORTED")
    assert "s: stop it   l: leave it running" in answer.err
    assert "was stopped: Ctrl-C by " in answer.err


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_asks_and_may_go_on_watching(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.deploy(waiting(2))
    monkeypatch.setattr("sys.stdin", Keyboard("\n"))
    answer = call("run", "--env", "dev", "--output", "json")
    assert answer.code == 0
    assert cloud.executions()[0]["status"] == "SUCCEEDED"


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_without_anybody_to_ask_leaves_it_running(cloud: Cloud, call: Call) -> None:
    cloud.deploy(waiting())
    answer = call("run", "--env", "dev")
    assert answer.code == 130
    assert cloud.executions()[0]["status"] == "RUNNING"
    assert "is still running. To follow it: aurora-migrations logs " in answer.err


STOP_FAILS = [
    pytest.param(("AccessDeniedException", "jane is not authorized"), "AccessDenied", id="without the right"),
    pytest.param(EndpointConnectionError(endpoint_url=STATES), "CloudUnreachable", id="network away"),
]


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize(("error", "name"), STOP_FAILS)
def test_stop_that_fails_says_that_the_execution_goes_on(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, error: Any, name: str
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StopExecution", error, before=True)
    monkeypatch.setattr("sys.stdin", Keyboard("s\n"))
    answer = call("run", "017", "--env", "dev")
    (execution,) = cloud.executions()
    assert (answer.code, execution["status"]) == (1, "RUNNING")
    assert f"\n{name}: " in answer.err
    assert f"  State  The execution {execution['name']} has been started and is still running.\n" in answer.err
    assert answer.err.endswith(f"  Next   aurora-migrations logs {execution['name']} --follow --env dev\n")
    assert not Path("migration-017-output.json").exists()


@pytest.mark.usefixtures("ctrl_c")
def test_login_that_has_expired_when_it_is_to_be_stopped(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StopExecution", ("ExpiredTokenException", "The token is expired"), before=True)
    monkeypatch.setattr("sys.stdin", Keyboard("s\n"))
    answer = call("run", "--env", "dev", "--region", "eu-west-1", "--output", "json")
    (execution,) = cloud.executions()
    assert (answer.code, answer.json["error"]) == (1, "LoginExpired")
    look = f"aurora-migrations logs {execution['name']} --follow --env dev --region eu-west-1"
    assert answer.json["solution"] == f"Log in again, and follow it without starting another one: {look}"
    assert answer.json["next_command"] == "aws sso login"


@pytest.mark.parametrize("keyboard", [Keyboard(), None], ids=["at a terminal", "in a pipeline"])
def test_ctrl_c_while_it_is_being_started_names_it(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, keyboard: Keyboard | None
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StartExecution", KeyboardInterrupt())
    if keyboard:
        monkeypatch.setattr("sys.stdin", keyboard)
    answer = call("run", "017", "--env", "dev")
    (execution,) = cloud.executions()
    assert answer.code == 130
    look = f"aurora-migrations logs {execution['name']} --follow --env dev"
    assert answer.err.endswith(f"\nThe execution {execution['name']} may have been started. To follow it: {look}\n")


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_it_is_being_stopped_names_it(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, "StopExecution", KeyboardInterrupt(), before=True)
    monkeypatch.setattr("sys.stdin", Keyboard("s\n"))
    answer = call("run", "--env", "dev")
    assert answer.code == 130
    (execution,) = cloud.executions()
    look = f"aurora-migrations logs {execution['name']} --follow --env dev"
    said = f"\nThe execution {execution['name']} may have been stopped, or may still be running. To follow it: {look}\n"
    assert answer.err.endswith(said)


@pytest.mark.parametrize(("operation", "words"), [("DescribeStacks", ["run"]), ("StartExecution", ["list"])])
def test_ctrl_c_before_anything_can_have_been_changed_says_no_more(
    cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch, operation: str, words: list[str]
) -> None:
    cloud.deploy(waiting())
    spoilt(monkeypatch, operation, KeyboardInterrupt())
    answer = call(*words, "--env", "dev")
    assert answer.code == 130
    assert answer.err.endswith("\naurora-migrations: stopped by Ctrl-C.\n")
