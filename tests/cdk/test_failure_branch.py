"""The failure branch, run: every kind of failure is mailed, can be read, and ends in its own error and cause."""

from __future__ import annotations

import json

import pytest

from aurora_migrations.cdk.machines.failure_branch import CONTRACT_BROKEN
from aurora_migrations.cdk.workflow import STARTS
from aurora_migrations.engine.steps.execution import ADOPTIONS, READ_ONLY_ACTIONS, SEEN_BY_INITIATOR
from aurora_migrations.engine.steps.layout import Mail
from functions import mail
from functions.entrypoint import document
from functions.workflow_mails import NO_CAUSE
from tests.cdk.cloud import Machine
from tests.cdk.running import run
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from tools.documents import golden

BRANCH = "Apply failed"
WRITTEN = {"subject": "[dev] Runtime.ExitError in apply", "body": "Written by preflight, with a \\ and a ' and {}."}
WRITTEN |= {"severity": "low", "error": "Runtime.ExitError", "migration": "018", "chat": "{}"}
ANSWER = {"Write the mail": {"mail": WRITTEN}}
MAIL = (WRITTEN["subject"], WRITTEN["body"])


def raised(error: str, text: str) -> dict[str, object]:
    """What a Catch writes when a function has raised."""
    cause = {"errorMessage": text, "errorType": error, "requestId": "11111111-2222", "stackTrace": []}
    return {"starts": 1, "failure": {"Error": error, "Cause": json.dumps(cause)}}


@pytest.fixture
def environment() -> str:
    """One will do: the branch is the same in all, but for the name."""
    return "dev"


def as_it_leaves(example: Example) -> str:
    """The document of an example's error, with its mail, as `functions.entrypoint` makes it."""
    subject, body = golden.failure_mail(example)
    written = Mail(subject, body, "high", example.error.name, "018")
    return document(example.error, written.to_dict(), execution=EXECUTION)


PASSED_ON = ("InvalidInput", "HazardRefused", "LockTimeout", "MigrationChanged", "MigrationFailed")


@pytest.mark.parametrize(
    "example", [each for each in examples() if each.name in PASSED_ON], ids=lambda example: example.name
)
def test_mail_of_an_error_of_ours_is_passed_on_unchanged(example: Example, workflow: Machine) -> None:
    ran = run(workflow, BRANCH, raised(example.error.name, as_it_leaves(example)))
    assert ran.mails == [golden.failure_mail(example)]
    known = {"severity": "high", "environment": "dev", "error": example.error.name, "migration": "018"}
    assert ran.attributes == [known]
    assert (ran.status, ran.error) == ("FAILED", example.error.name)
    assert json.loads(str(ran.cause))["errorType"] == example.error.name


@pytest.mark.parametrize(("fact", "mails"), [(True, 0), (False, 1), ("yes", 1)])
def test_error_that_who_asked_sees_is_mailed_to_nobody(fact: object, mails: int, workflow: Machine) -> None:
    example = examples()[0]
    document = json.loads(as_it_leaves(example))
    written = document.pop("mail")
    told = json.dumps({**document, SEEN_BY_INITIATOR: fact, "mail": written})
    ran = run(workflow, BRANCH, raised(example.error.name, told))
    assert len(ran.mails) == mails
    assert (ran.status, ran.error) == ("FAILED", example.error.name)
    assert json.loads(str(ran.cause))["errorMessage"] == told


def test_document_of_the_largest_error_comes_through_whole(workflow: Machine) -> None:
    """Lambda quotes it once more; Step Functions cuts a Cause at 32,768 characters."""
    error = examples()[0].error
    error.message, error.facts["excerpt"] = '"\\' * 9_000, '"\\' * 9_000
    written = mail.failure(error, mail.Run(ENVIRONMENT, "apply", EXECUTION, ARN, {"requested_by": '"' * 256}))
    caught = raised(error.name, document(error, written.to_dict(), execution=EXECUTION))
    assert len(caught["failure"]["Cause"]) < 32_768
    assert run(workflow, BRANCH, caught).mails == [(written.subject, written.body)]


UNREADABLE = [
    "",
    "The state timed out.",
    '{"errorMessage": "cut in the mid',
    '{"errorType": "Runtime.ExitError"}',
    json.dumps({"errorMessage": None, "errorType": "Odd"}),
    json.dumps({"errorMessage": "{'a': 1}", "errorType": "KeyError"}),
    json.dumps({"errorMessage": "no JSON", "errorType": "ModuleNotFoundError"}),
    json.dumps({"errorMessage": '{"error": "X"}', "errorType": "X"}),
    json.dumps({"errorMessage": '{"mail": {"subject": "s"}}', "errorType": "X"}),
    json.dumps({"errorMessage": '{"mail": {"subject": "s", "body": 1}}', "errorType": "X"}),
    json.dumps({"errorMessage": '{"mail": null}', "errorType": "X"}),
    json.dumps({"errorMessage": '{"cut": "in the mid', "errorType": "MigrationFailed"}),
    "[1, 2]",
    '{"no", "JSON"}',
    json.dumps({"errorMessage": '{"no", "JSON"}', "errorType": "X"}),
    json.dumps({"errorMessage": '{"error": "cut", "mail": {"subject": "in the', "errorType": "X"}),
    'Lambda returned {"errorMessage": "cut in the mid',
    "'\\\"{}" * 5_000,
    "x" * 32_768,
]
IDS = ("empty", "prose", "cut", "no-message", "null", "python", "foreign", "no-mail", "half-a-mail", "odd-mail")
IDS += (
    "null-mail",
    "cut-inside",
    "array",
    "no-json",
    "no-json-inside",
    "cut-mail",
    "json-in-prose",
    "odd-characters",
    "longest",
)


@pytest.mark.parametrize("cause", UNREADABLE, ids=IDS)
def test_failure_of_which_no_function_has_written_a_mail_is_mailed_by_preflight(cause: str, workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "Some.Error", "Cause": cause}}, answers=ANSWER)
    assert ran.mails == [MAIL]
    assert (ran.status, ran.error, ran.cause or "") == ("FAILED", "Some.Error", cause)


def test_failure_without_a_cause_is_mailed_too(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "States.Timeout"}}, answers=ANSWER)
    assert ran.mails == [MAIL]
    assert (ran.status, ran.error, ran.cause) == ("FAILED", "Workflow.States.Timeout", NO_CAUSE)


DIED: dict[str, object] = {
    "failure": {"Error": golden.DIED.error, "Cause": json.dumps({"errorMessage": golden.DIED.why})}
}


def without_execution(mail: tuple[str, str]) -> tuple[str, list[str]]:
    """Subject and words: an environment's name decides where lines end."""
    return mail[0], mail[1].partition("EXECUTION")[0].split()


def golden_mail(name: str, environment: str) -> tuple[str, str]:
    """A golden file's mail, as another environment has it."""
    text = (golden.MAILS / f"{name}.txt").read_text("utf-8").replace(f"on {ENVIRONMENT}", f"on {environment}")
    text = text.replace(f"[{ENVIRONMENT}]", f"[{environment}]").replace(f"--env {ENVIRONMENT}", f"--env {environment}")
    subject, _, body = text.removeprefix("Subject: ").partition("\n\n")
    return subject, body


SHORT = "failure-no-function-could-tell"
ODD_ANSWERS = [{}, {"mail": None}, {"mail": {"subject": "s"}}, {"mail": {"subject": "s", "body": 7}}, "text", None]


@pytest.mark.parametrize("answer", ODD_ANSWERS, ids=str)
def test_answer_that_is_no_mail_is_replaced_by_a_short_one(answer: object, workflow: Machine) -> None:
    """As that of a function of an older version."""
    ran = run(workflow, BRANCH, DIED, answers={"Write the mail": answer})
    (told,) = ran.mails
    assert without_execution(told) == without_execution(golden_mail(SHORT, "dev"))
    assert f"home?region={REGION}#/v2/executions/details/arn:aws:states:" in told[1].splitlines()[-1]
    assert (ran.status, ran.error) == ("FAILED", golden.DIED.error)


@pytest.mark.parametrize("name", ["VeryLongName" * 20, 'Café\'s \\ "{}" {', "A\nB"])
def test_where_preflight_fails_too_a_short_mail_is_sent_whatever_the_error_is_called(
    name: str, workflow: Machine
) -> None:
    """The state that has the mail written catches everything, and goes on to one that needs no function."""
    (caught,) = workflow.states["Write the mail"]["Catch"]
    assert (caught["ErrorEquals"], caught["ResultPath"]) == (["States.ALL"], "$.unwritten")
    data = {"failure": {"Error": name, "Cause": "why"}, "unwritten": {"Error": "Runtime.ExitError", "Cause": "-"}}
    ran = run(workflow, caught["Next"], data)
    ((subject, body),) = ran.mails
    assert (subject, f"WHAT HAPPENED\n  Reported error: {name}\n" in body) == (golden_mail(SHORT, "dev")[0], True)
    assert ran.attributes == [{"severity": "high", "environment": "dev", "error": name, "migration": "none"}]
    assert (ran.status, ran.error, ran.cause) == ("FAILED", name, "why")


def test_subject_of_the_short_mail_is_one_that_sns_takes(workflow: Machine) -> None:
    subject = workflow.states["Write a short mail"]["Parameters"]["Payload"]["mail"]["subject"]
    assert subject.isascii()
    assert len(subject) + 20 < 100  # an environment's name has up to 20 characters


def test_preflight_waits_until_the_server_has_ended_what_a_dead_function_left(workflow: Machine) -> None:
    wait = workflow.states["Wait for sessions to end"]
    assert (wait["Type"], wait["Next"]) == ("Wait", "Write the mail")
    assert wait["Seconds"] >= 5


def test_preflight_is_told_what_was_caught_and_what_was_asked_for(workflow: Machine) -> None:
    assert workflow.calls["Write the mail"]["Parameters"]["Payload"]["report"] == {
        "about": "failure",
        "failure.$": "$.failure",
        "input.$": "$$.Execution.Input",
        "retries.$": "$$.State.RetryCount",
    }


def test_mail_that_cannot_be_sent_does_not_hide_the_error(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "MigrationFailed", "Cause": "why"}}, topic=False, answers=ANSWER)
    assert (ran.mails, ran.status, ran.error, ran.cause) == ([], "FAILED", "MigrationFailed", "why")


@pytest.mark.parametrize("answer", [{}, {"next": "sing"}, {"next": "done"}], ids=["nothing", "unknown", "no-result"])
def test_answer_that_is_not_understood_fails_and_is_mailed(answer: dict[str, str], workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": answer}}, answers=ANSWER)
    assert (ran.status, ran.error, ran.mails) == ("FAILED", CONTRACT_BROKEN["Error"], [MAIL])


def noted(workflow: Machine, start: str, data: dict[str, object]) -> dict[str, str]:
    """What preflight would be told of a failure."""
    states = {**workflow.states, "Write the mail": {"Type": "Succeed"}}
    caught: dict[str, str] = run(Machine({**workflow.definition, "States": states}), start, data).output["failure"]
    return caught


def test_answer_of_apply_that_is_not_understood_is_told_as_apply_s(workflow: Machine) -> None:
    caught = noted(workflow, "All applied?", {"apply": {"Payload": {"outcome": "sing"}}})
    assert caught == {**CONTRACT_BROKEN, "step": "apply"}


# ---- looks that were typed ------------------------------------------------------------------------------------------

CLI = {"trigger": "cli", "requested_by": "ana@build-7"}


@pytest.mark.parametrize("action", [*READ_ONLY_ACTIONS, *ADOPTIONS])
def test_look_that_was_typed_fails_without_a_mail(action: str, workflow: Machine) -> None:
    ran = run(workflow, "Preflight failed", {"action": action, **CLI, **DIED}, answers=ANSWER)
    assert (ran.status, ran.error, ran.mails) == ("FAILED", golden.DIED.error, [])
    assert json.loads(str(ran.cause))["errorMessage"] == golden.DIED.why


def test_look_that_was_typed_and_has_no_cause_ends_in_its_own_error(workflow: Machine) -> None:
    ran = run(workflow, "Preflight failed", {"action": "plan", **CLI, "failure": {"Error": "States.Timeout"}})
    assert (ran.status, ran.error, ran.cause) == ("FAILED", "Workflow.States.Timeout", NO_CAUSE)
    assert ran.mails == []


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "run-migration", **CLI},
        {"action": "rollback", **CLI},
        {"action": "resolve", **CLI},
        {"action": "cancel", **CLI},
        {"action": "adopt", "confirm": "017", **CLI},
        {"action": "baseline", "target": "017", "confirm": "017", **CLI},
        {"action": "", **CLI},
        {"action": "sing", **CLI},
        {"action": 7, **CLI},
        CLI,
        {"action": "status"},
        {"action": "status", "trigger": "schedule"},
        {"action": "status", "trigger": ["cli"]},
    ],
    ids=[
        "run",
        "rollback",
        "resolve",
        "cancel",
        "adopt",
        "baseline",
        "empty",
        "unknown",
        "odd-action",
        "no-action",
        "console",
        "schedule",
        "odd-trigger",
    ],
)
def test_everything_else_is_mailed(asked: dict[str, object], workflow: Machine) -> None:
    ran = run(workflow, "Preflight failed", {**asked, **DIED}, answers=ANSWER)
    assert (ran.status, len(ran.mails)) == ("FAILED", 1)


# ---- in which step --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["preflight", "apply", "verify"])
def test_every_step_leads_to_a_mail_that_names_it(step: str, workflow: Machine) -> None:
    caught = workflow.states[step.capitalize()]["Catch"][-1]
    assert noted(workflow, caught["Next"], DIED)["step"] == step


def test_plan_and_list_are_answered_with_preflights_result(workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": {"next": "done", "result": {"status": "success"}}}})
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", {"status": "success"}, [])


def test_package_too_many_in_one_run_is_mailed(workflow: Machine) -> None:
    data = {"starts": STARTS, "failure": {"Error": "PackageChanged", "Cause": "again"}}
    ran = run(workflow, "Start over?", data, answers=ANSWER)
    assert (ran.status, ran.error, len(ran.mails)) == ("FAILED", "PackageChanged", 1)
