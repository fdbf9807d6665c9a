"""The failure branch, run: every kind of failure is mailed, can be read, and ends in its own error and cause."""

from __future__ import annotations

import json

import pytest

from functions.migrator.errors import LockTimeout, MigrationFailed
from tests.infra.cloud import Machine
from tests.infra.running import run

BRANCH = "Cause given?"


def raised(error: str, text: str) -> dict[str, object]:
    """What a Catch writes when a function has raised."""
    cause = {"errorMessage": text, "errorType": error, "requestId": "11111111-2222", "stackTrace": []}
    return {"starts": 1, "failure": {"Error": error, "Cause": json.dumps(cause)}}


@pytest.fixture
def environment() -> str:
    """One will do: the branch is the same in all, but for the name."""
    return "dev"


def test_error_of_ours_is_mailed_with_all_that_it_knows(workflow: Machine, environment: str) -> None:
    error = LockTimeout('Waited 2 s for "orders"; it\'s held by {pid 4711}.', next_command="aurora-migrations run 017")
    ran = run(workflow, BRANCH, raised(error.name, json.dumps(error.to_dict())))
    ((subject, message),) = ran.mails
    assert subject == f"[{environment}] LockTimeout: migrations failed"
    lines = message.splitlines()
    assert f"What   LockTimeout: {error.message}" in lines
    assert f"Why    {error.cause}" in lines
    assert f"State  {error.state}" in lines
    assert f"Do     {error.solution}" in lines
    assert "Next   aurora-migrations run 017" in lines
    assert "Execution  e" in lines
    assert "#/v2/executions/details/arn:aws:states:" in lines[-1]
    assert (ran.status, ran.error) == ("FAILED", "LockTimeout")
    assert json.loads(str(ran.cause))["errorType"] == "LockTimeout"


@pytest.mark.parametrize(
    "cause",
    [
        "",
        "The state timed out.",
        '{"errorMessage": "cut in the mid',
        '{"errorType": "Runtime.ExitError"}',
        json.dumps({"errorMessage": None, "errorType": "Odd"}),
        json.dumps({"errorMessage": "{'a': 1}", "errorType": "KeyError"}),
        json.dumps({"errorMessage": "no JSON", "errorType": "ModuleNotFoundError"}),
        json.dumps({"errorMessage": '{"cut": "in the mid', "errorType": "MigrationFailed"}),
        "[1, 2]",
    ],
    ids=["empty", "prose", "cut", "no-message", "null", "python", "foreign", "cut-inside", "array"],
)
def test_what_is_not_an_error_of_ours_is_mailed_as_it_is(cause: str, workflow: Machine, environment: str) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "Some.Error", "Cause": cause}})
    ((subject, message),) = ran.mails
    assert subject == f"[{environment}] migrations failed"
    assert "What   Some.Error\n" in message
    assert f"Why    {cause}\n" in message
    assert (ran.status, ran.error, ran.cause or "") == ("FAILED", "Some.Error", cause)


def test_failure_without_a_cause_is_mailed_too(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "States.Timeout"}})
    assert "Why    No cause was given." in ran.mails[0][1]
    assert (ran.status, ran.error) == ("FAILED", "Workflow.States.Timeout")


def test_mail_that_cannot_be_sent_does_not_hide_the_error(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "MigrationFailed", "Cause": "why"}}, topic=False)
    assert (ran.mails, ran.status, ran.error, ran.cause) == ([], "FAILED", "MigrationFailed", "why")


def test_subject_is_one_that_sns_takes_for_every_error_and_environment(workflow: Machine) -> None:
    error = MigrationFailed("x")
    ran = run(workflow, BRANCH, raised(error.name, json.dumps(error.to_dict())))
    longest = len(ran.mails[0][0]) + 20 + 20  # of an environment's name, and of an error's beyond this one's
    assert ran.mails[0][0].isascii()
    assert longest < 100


def test_message_of_the_longest_cause_fits_into_a_mail(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "E", "Cause": "x" * 32_768}})
    assert len(ran.mails[0][1].encode()) < 262_144


@pytest.mark.parametrize("answer", [{}, {"next": "sing"}, {"next": "done"}], ids=["nothing", "unknown", "no-result"])
def test_answer_that_is_not_understood_fails_and_is_mailed(answer: dict[str, str], workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": answer}})
    assert (ran.status, ran.error, len(ran.mails)) == ("FAILED", "ContractBroken", 1)


def test_plan_and_list_are_answered_with_preflights_result(workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": {"next": "done", "result": {"status": "success"}}}})
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", {"status": "success"}, [])


def test_third_package_in_one_run_is_mailed(workflow: Machine) -> None:
    data = {"starts": 3, "failure": {"Error": "PackageChanged", "Cause": "again"}}
    ran = run(workflow, "Start over?", data)
    assert (ran.status, ran.error, len(ran.mails)) == ("FAILED", "PackageChanged", 1)
