"""The failure branch, run: every kind of failure is mailed, can be read, and ends in its own error and cause."""

from __future__ import annotations

import json

import pytest

from aurora_migrations.cdk import texts
from aurora_migrations.cdk.failure_branch import MISUNDERSTOOD
from aurora_migrations.cdk.texts import run_again
from aurora_migrations.cdk.workflow import STARTS
from aurora_migrations.engine.errors import TRY_AGAIN
from functions import mail
from functions.error_payload import document
from functions.remediation import next_command
from tests.cdk.cloud import Machine
from tests.cdk.running import run
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION, REGION, Example, examples
from tools.documents import golden

BRANCH = "In apply"
RUN_018 = "aurora-migrations run 018 --env dev"
BEGUN = {"preflight": {"Payload": {"started": golden.VALUES["started"], "again": RUN_018}}}
SEEN = {"Look at the database": {"pending": 2, "applied": 16, "database_now": golden.PENDING}}
ODD_LOOK = {"Look at the database": {"pending": 2}}


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
    subject, body = golden.told(example)
    return document(example.error, {"subject": subject, "body": body}, execution=EXECUTION)


PASSED_ON = ("InvalidInput", "HazardRefused", "LockTimeout", "MigrationChanged", "MigrationFailed")


@pytest.mark.parametrize(
    "example", [each for each in examples() if each.name in PASSED_ON], ids=lambda example: example.name
)
def test_mail_of_an_error_of_ours_is_passed_on_unchanged(example: Example, workflow: Machine) -> None:
    ran = run(workflow, BRANCH, raised(example.error.name, as_it_leaves(example)))
    assert ran.mails == [golden.told(example)]
    assert (ran.status, ran.error) == ("FAILED", example.error.name)
    assert json.loads(str(ran.cause))["errorType"] == example.error.name


@pytest.mark.parametrize(("fact", "mails"), [(True, 0), (False, 1), ("yes", 1)])
def test_error_that_who_asked_sees_is_mailed_to_nobody(fact: object, mails: int, workflow: Machine) -> None:
    example = examples()[0]
    told = json.dumps({**json.loads(as_it_leaves(example)), mail.SEEN_BY_ASKER: fact})
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


UNKNOWN = "The cause could not be determined because Lambda did not return an error type."
BROKEN_OFF = json.dumps({"errorMessage": '{"cut": "in the mid', "errorType": "MigrationFailed"})


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        ("", texts.NO_CAUSE),
        ("The state timed out.", "The state timed out."),
        ('{"errorMessage": "cut in the mid', texts.CANNOT_BE_READ),
        ('{"errorType": "Runtime.ExitError"}', texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": None, "errorType": "Odd"}), texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": "{'a': 1}", "errorType": "KeyError"}), texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": "no JSON", "errorType": "ModuleNotFoundError"}), "no JSON"),
        (json.dumps({"errorMessage": '{"error": "X"}', "errorType": "X"}), texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": '{"mail": {"subject": "s"}}', "errorType": "X"}), texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": '{"mail": {"subject": "s", "body": 1}}', "errorType": "X"}), texts.CANNOT_BE_READ),
        (BROKEN_OFF, texts.CANNOT_BE_READ),
        ("[1, 2]", texts.CANNOT_BE_READ),
        ('Lambda returned {"errorMessage": "cut in the mid', texts.CANNOT_BE_READ),
        (json.dumps({"errorMessage": 'It said {"a": 1}.', "errorType": "X"}), texts.CANNOT_BE_READ),
        (
            f'{UNKNOWN} Returned payload: {{"errorMessage":"2026 1-1 Task timed out after 900.00 seconds"}}',
            texts.CUT_OFF,
        ),
        (f"{UNKNOWN} Task timed out after 3 s", f"{UNKNOWN} Task timed out after 3 s"),
    ],
    ids=[
        *("empty", "prose", "cut", "no-message", "null", "python", "foreign", "no-mail", "half-a-mail", "odd-mail"),
        *("cut-inside", "array", "json-in-prose", "json-in-a-message", "out-of-time", "out-of-time-in-prose"),
    ],
)
def test_what_is_not_an_error_of_ours_is_mailed_with_what_it_says_to_people(
    cause: str, why: str, workflow: Machine, environment: str
) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "Some.Error", "Cause": cause}}, answers=SEEN)
    ((subject, message),) = ran.mails
    assert subject == f"[{environment}] Some.Error in apply"
    assert "WHAT HAPPENED\n  Some.Error, in the step apply\n" in message
    assert f"WHY\n  {why}\n" in message
    assert "{" not in message
    assert (ran.status, ran.error) == ("FAILED", "Some.Error")
    assert (ran.cause or "") == (cause or texts.NO_CAUSE)


def test_failure_without_a_cause_is_mailed_too(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "States.Timeout"}}, answers=SEEN)
    assert f"WHY\n  {texts.NO_CAUSE}\n" in ran.mails[0][1]
    assert (ran.status, ran.error) == ("FAILED", "Workflow.States.Timeout")


def died(**more: str) -> dict[str, object]:
    cause = {"errorType": golden.VALUES["error"], "errorMessage": golden.VALUES["why"]}
    return {**BEGUN, "failure": {"Error": golden.VALUES["error"], "Cause": json.dumps(cause)}, **more}


def golden_mail(name: str, environment: str, keep: str = "\0") -> tuple[str, str]:
    """A golden file's mail, as another environment has it; what is to be kept names the old one."""
    text = (golden.MAILS / f"{name}.txt").read_text("utf-8")
    parts = (part.replace(ENVIRONMENT, environment) for part in text.split(keep))
    subject, _, body = keep.join(parts).removeprefix("Subject: ").partition("\n\n")
    return subject, body


def without_execution(mail: tuple[str, str]) -> tuple[str, str]:
    return mail[0], mail[1].partition("THIS EXECUTION")[0].replace(f"logs {EXECUTION} ", "logs e ")


def test_mail_about_a_function_that_died_says_what_was_seen(workflow: Machine, environment: str) -> None:
    ran = run(workflow, BRANCH, died(), answers=SEEN)
    (told,) = ran.mails
    assert without_execution(told) == without_execution(golden_mail("function-died", environment))
    assert f"THIS EXECUTION\n{golden.VALUES['started']}\n  Execution   e\n" in told[1]
    assert f"home?region={REGION}#/v2/executions/details/arn:aws:states:" in told[1].splitlines()[-1]


def test_mail_about_a_function_that_died_is_sent_though_nobody_can_look(workflow: Machine, environment: str) -> None:
    """The state that looks catches everything, and goes on to the mail that does without."""
    (caught,) = workflow.states["Look at the database"]["Catch"]
    assert (caught["ErrorEquals"], caught["ResultPath"]) == (["States.ALL"], "$.unlooked")
    unlooked = {"Error": golden.VALUES["unseen"], "Cause": "-"}
    data = {**died(), **{name: {"text": golden.VALUES[name]} for name in ("name", "why", "started")}}
    remedy = {"to_do": run_again("dev").to_do.format("e"), "command": f"  {RUN_018}"}
    data["failure"] |= {"step": {"text": "apply"}, "remedy": remedy}
    ran = run(workflow, caught["Next"], {**data, "unlooked": unlooked})
    assert without_execution(ran.mails[0]) == without_execution(golden_mail("function-died-and-no-look", environment))


def test_look_that_is_not_understood_does_not_keep_the_mail(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, died(), answers=ODD_LOOK)
    assert f"It could not be looked at: {MISUNDERSTOOD['Error']}." in ran.mails[0][1]


def test_look_waits_until_the_server_has_ended_what_a_dead_function_left(workflow: Machine) -> None:
    wait = workflow.states["Let it settle"]
    assert (wait["Type"], wait["Next"]) == ("Wait", "Look at the database")
    assert wait["Seconds"] >= 5


def test_mail_that_cannot_be_sent_does_not_hide_the_error(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "MigrationFailed", "Cause": "why"}}, topic=False, answers=SEEN)
    assert (ran.mails, ran.status, ran.error, ran.cause) == ([], "FAILED", "MigrationFailed", "why")


LONGEST = "Lambda.SubnetIPAddressLimitReachedException"


@pytest.mark.parametrize("name", ["VeryLongName" * 30, LONGEST, "Caf\u00e9", "A B"])
def test_subject_is_one_that_sns_takes_whatever_the_error_is_called(name: str, workflow: Machine) -> None:
    ran = run(workflow, "In start over", {"failure": {"Error": name, "Cause": "why"}}, answers=SEEN)
    ((subject, _),) = ran.mails
    assert subject.isascii()
    assert len(subject) + 20 < 100  # an environment's name has up to 20 characters


def test_message_of_the_longest_cause_fits_into_a_mail(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {"failure": {"Error": "E", "Cause": "x" * 32_768}}, answers=SEEN)
    assert len(ran.mails[0][1].encode()) < 262_144


@pytest.mark.parametrize("answer", [{}, {"next": "sing"}, {"next": "done"}], ids=["nothing", "unknown", "no-result"])
def test_answer_that_is_not_understood_fails_and_is_mailed(answer: dict[str, str], workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": answer}}, answers=SEEN)
    assert (ran.status, ran.error) == ("FAILED", MISUNDERSTOOD["Error"])
    wanted = golden_mail("answer-not-understood", "dev")
    assert without_execution(ran.mails[0]) == without_execution(wanted)


def test_answer_of_apply_that_is_not_understood_is_told_as_apply_s(workflow: Machine) -> None:
    ran = run(workflow, "All applied?", {**BEGUN, "apply": {"Payload": {"outcome": "sing"}}}, answers=SEEN)
    assert ran.mails[0][0] == f"[dev] {MISUNDERSTOOD['Error']} in apply"
    assert "NEXT COMMAND\n  npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-dev --context env=dev\n" in ran.mails[0][1]


# ---- looks that were typed ------------------------------------------------------------------------------------------

CLI = {"trigger": "cli", "requested_by": "ana@build-7"}


@pytest.mark.parametrize("action", mail.LOOKS)
def test_look_that_was_typed_fails_without_a_mail(action: str, workflow: Machine) -> None:
    given = {"action": action, **CLI, "failure": died()["failure"]}
    ran = run(workflow, "In preflight", given, answers=SEEN)
    assert (ran.status, ran.error, ran.mails) == ("FAILED", golden.VALUES["error"], [])
    assert json.loads(str(ran.cause))["errorMessage"] == golden.VALUES["why"]


def test_look_that_was_typed_and_has_no_cause_ends_in_its_own_error(workflow: Machine) -> None:
    ran = run(workflow, "In preflight", {"action": "plan", **CLI, "failure": {"Error": "States.Timeout"}})
    assert (ran.status, ran.error, ran.cause) == ("FAILED", "Workflow.States.Timeout", texts.NO_CAUSE)
    assert ran.mails == []


@pytest.mark.parametrize(
    "asked",
    [
        {"action": "run-migration", **CLI},
        {"action": "rollback", **CLI},
        {"action": "", **CLI},
        {"action": "sing", **CLI},
        {"action": 7, **CLI},
        CLI,
        {"action": "status"},
        {"action": "status", "trigger": "schedule"},
        {"action": "status", "trigger": ["cli"]},
    ],
    ids=["run", "rollback", "empty", "unknown", "odd-action", "no-action", "console", "schedule", "odd-trigger"],
)
def test_everything_else_is_mailed(asked: dict[str, object], workflow: Machine) -> None:
    ran = run(workflow, "In preflight", {**asked, "failure": died()["failure"]}, answers=SEEN)
    assert (ran.status, len(ran.mails)) == ("FAILED", 1)


# ---- what to type next ----------------------------------------------------------------------------------------------


def answered(again: object, asked: dict[str, str] = golden.ASKED) -> dict[str, object]:
    """What is there when apply died after such an answer of preflight."""
    return {**died(), "preflight": {"Payload": {"started": golden.mail.started(asked), "again": again}}}


def test_rollback_that_died_is_not_undone_by_the_next_command(workflow: Machine, environment: str) -> None:
    again = str(next_command(TRY_AGAIN, golden.UNDOING, environment))
    ran = run(workflow, BRANCH, answered(again, golden.UNDOING), answers=SEEN)
    wanted = golden_mail("function-died-in-a-rollback", environment)
    assert without_execution(ran.mails[0]) == without_execution(wanted)
    assert "NEXT COMMAND\n  aurora-migrations status --env dev\n" in ran.mails[0][1]


def test_where_preflight_died_the_advice_is_to_look_first(workflow: Machine, environment: str) -> None:
    ran = run(workflow, "In preflight", {"failure": died()["failure"], **golden.ASKED}, answers=SEEN)
    wanted = golden_mail("function-died-and-told-nothing", environment)
    assert without_execution(ran.mails[0]) == without_execution(wanted)


@pytest.mark.parametrize("again", [None, 7, {"a": "b"}], ids=["null", "number", "object"])
def test_command_that_is_no_text_is_not_taken(again: object, workflow: Machine) -> None:
    ran = run(workflow, BRANCH, answered(again), answers=SEEN)
    assert "NEXT COMMAND\n  aurora-migrations status --env dev\n" in ran.mails[0][1]


def test_preflight_of_an_older_version_names_no_command(workflow: Machine) -> None:
    older = {"preflight": {"Payload": {"started": golden.VALUES["started"]}}}
    ((_, message),) = run(workflow, BRANCH, {**died(), **older}, answers=SEEN).mails
    assert "NEXT COMMAND\n  aurora-migrations status --env dev\n" in message
    assert "Look first: " in message
    assert golden.VALUES["started"] in message


# ---- in which step, and who started it ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["preflight", "apply", "verify"])
def test_every_step_leads_to_a_mail_that_names_it(step: str, workflow: Machine) -> None:
    caught = workflow.states[step.capitalize()]["Catch"][-1]
    ran = run(workflow, caught["Next"], died(), answers=SEEN)
    assert ran.mails[0][0].endswith(f" in {step}")
    assert f", in the step {step}\n" in ran.mails[0][1]


BY_HAND = "hand, and nobody is named (the console, or AWS's own tools)"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"trigger": "deploy", "requested_by": "arn:aws:cloudformation:eu-west-1:1:stack/x/1"}, "a deployment;"),
        ({"trigger": "cli", "requested_by": "ana@build-7"}, "a command line;"),
        ({}, BY_HAND),
        ({"requested_by": "ana\n\nNEXT COMMAND\n  rm -r /"}, "somebody;"),
        ({"trigger": "x" * 100_000}, "somebody;"),
        ({"trigger": {"a": 1}, "requested_by": ["'}"]}, "somebody;"),
        ({"trigger": None}, "somebody;"),
    ],
    ids=["deployment", "terminal", "hand", "forged", "long", "odd", "null"],
)
def test_who_started_it_is_told_in_words_of_ours_where_no_function_said_it(
    asked: dict[str, object], words: str, workflow: Machine
) -> None:
    data = {"failure": died()["failure"]}
    ran = run(workflow, "In preflight", {**data, **asked}, answers=SEEN)
    about = ran.mails[0][1].partition("THIS EXECUTION\n")[2]
    assert " ".join(about.split()).startswith(f"Started by {words}")
    assert "rm -r" not in about
    assert len(about) < 1_000


def test_words_of_a_function_that_are_no_text_are_not_taken(workflow: Machine) -> None:
    ran = run(workflow, BRANCH, {**died(), "preflight": {"Payload": {"started": 7}}}, answers=SEEN)
    assert BY_HAND in " ".join(ran.mails[0][1].split())


def test_plan_and_list_are_answered_with_preflights_result(workflow: Machine) -> None:
    ran = run(workflow, "What next?", {"preflight": {"Payload": {"next": "done", "result": {"status": "success"}}}})
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", {"status": "success"}, [])


def test_package_too_many_in_one_run_is_mailed(workflow: Machine) -> None:
    data = {"starts": STARTS, "failure": {"Error": "PackageChanged", "Cause": "again"}}
    ran = run(workflow, "Start over?", data, answers=SEEN)
    assert (ran.status, ran.error, len(ran.mails)) == ("FAILED", "PackageChanged", 1)
