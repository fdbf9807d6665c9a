"""What no Catch sees is mailed too: an execution that was ended, and a run that never began."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from aurora_migrations.engine.steps.execution import ADOPTIONS, READ_ONLY_ACTIONS
from tests.cdk.cloud import Machine, Template, some
from tests.cdk.running import run
from tests.cdk.test_failure_branch import DIED, WRITTEN, golden_mail, without_execution
from tests.cdk.test_triggers import matches
from tests.examples.examples import ARN, EXECUTION, REGION
from tools.documents import golden

MAIL = (WRITTEN["subject"], WRITTEN["body"])
NO_MAIL: list[Any] = [{}, {"mail": {"subject": "s"}}, {"again": "yes"}, {"started": "-", "again": "run"}, "text", None]


@pytest.fixture
def environment() -> str:
    return "dev"


@pytest.fixture
def notice(template: Template, names: Names) -> Machine:
    return template.machine(names.of("notice"))


@pytest.fixture
def daily(template: Template, names: Names) -> Machine:
    return template.machine(names.of("daily"))


def event(template: Template, names: Names, status: str, **detail: Any) -> dict[str, Any]:
    machine = template.one("StepFunctions::StateMachine", StateMachineName=names.of())
    return {
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"stateMachineArn": f"<{machine.id}>", "status": status, **detail},
    }


@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        ("TIMED_OUT", None, True),
        ("ABORTED", None, True),
        ("FAILED", "States.Runtime", True),
        ("FAILED", "States.DataLimitExceeded", True),
        ("FAILED", "States.ParameterPathFailure", True),
        ("FAILED", "States.Permissions", True),
        ("FAILED", "States.Timeout", True),
        ("FAILED", "", False),
        ("FAILED", "Workflow.States.Timeout", False),
        ("FAILED", "MigrationFailed", False),
        ("SUCCEEDED", None, False),
        ("RUNNING", None, False),
    ],
)
def test_ends_that_the_machine_could_not_mail_itself_match(
    status: str, error: str | None, told: bool, template: Template, names: Names
) -> None:
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert matches(rule, event(template, names, status, error=error)) == told


def test_failure_of_which_the_event_names_no_error_matches(template: Template, names: Names) -> None:
    """As in AWS's own example of the event, of 2019. Where none ever did, failures would be mailed twice, not never."""
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert matches(rule, event(template, names, "FAILED"))


def test_no_fail_of_ours_bears_what_the_rule_hears(workflow: Machine) -> None:
    """Else a failure would be mailed twice."""
    fails = [state for state in workflow.states.values() if state["Type"] == "Fail"]
    assert all("ErrorPath" in fail for fail in some(fails))
    ran = run(workflow, "Error of Step Functions?", {"failure": {"Error": "States.Timeout", "Cause": "-"}})
    assert ran.error == "Workflow.States.Timeout"


def test_end_of_another_machine_does_not_match(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert not matches(rule, event(template, names, "TIMED_OUT", stateMachineArn="<other>"))


def detail(status: str, asked: object = None, **more: Any) -> dict[str, Any]:
    """Of the event, as AWS's guide shows it; `error` as DescribeExecution has it."""
    told = {"executionArn": ARN, "stateMachineArn": "arn:-", "name": EXECUTION, "status": status}
    times = {"startDate": 1_551_225_271_984, "stopDate": 1_551_225_291_984}
    return {**told, **times, "input": json.dumps(asked), "inputDetails": {"included": True}, "output": None, **more}


TOLD = {"Write the mail": {"again": False, "looks": 1, "mail": WRITTEN}}
BUSY = {"again": True, "looks": 1, "mail": None}


def test_notice_sends_what_preflight_writes(notice: Machine) -> None:
    ran = run(notice, notice.definition["StartAt"], detail("TIMED_OUT"), answers=TOLD)
    assert (ran.status, ran.mails) == ("SUCCEEDED", [MAIL])


def test_preflight_is_given_the_event_and_what_it_cannot_know(notice: Machine) -> None:
    (writing,) = notice.calls.values()
    given = writing["Parameters"]["Payload"]["report"]
    assert (given.pop("about"), given.pop("looks") > 1, given.pop("limit_ms")) == ("end", True, 43_200_000)
    assert given == {"state.$": "$", "retries.$": "$$.State.RetryCount"}


def assert_short(told: tuple[str, str]) -> None:
    """It is the notice machine's own mail."""
    assert without_execution(told) == without_execution(golden_mail("end-no-function-could-tell", "dev"))
    page = f"https://console.aws.amazon.com/states/home?region={REGION}#/v2/executions/details/{ARN}"
    assert told[1].endswith(f"EXECUTION\n  {page}\n")


@pytest.mark.parametrize("answer", NO_MAIL, ids=str)
def test_answer_that_is_no_mail_is_replaced_by_a_short_one(answer: object, notice: Machine) -> None:
    """As that of a function of an older version."""
    ran = run(notice, notice.definition["StartAt"], detail("TIMED_OUT"), answers={"Write the mail": answer})
    (told,) = ran.mails
    assert_short(told)
    assert ran.status == "SUCCEEDED"


def test_where_preflight_fails_a_short_mail_is_sent(notice: Machine) -> None:
    (caught,) = notice.states["Write the mail"]["Catch"]
    assert (caught["ErrorEquals"], caught["ResultPath"]) == (["States.ALL"], None)
    (told,) = run(notice, caught["Next"], detail("TIMED_OUT")).mails
    assert_short(told)


def test_notice_that_cannot_be_sent_fails(notice: Machine) -> None:
    ran = run(notice, notice.definition["StartAt"], detail("TIMED_OUT"), answers=TOLD, topic=False)
    assert (ran.status, ran.mails) == ("FAILED", [])


# ---- looks that were typed ------------------------------------------------------------------------------------------

CLI = {"trigger": "cli", "requested_by": "ana@build-7"}


def typed(action: str) -> dict[str, str]:
    return {"action": action, **CLI}


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")], ids=["as-typed", "dense"])
def test_look_that_was_typed_is_mailed_to_nobody(status: str, separators: tuple[str, str], notice: Machine) -> None:
    given = {**detail(status), "input": json.dumps(typed("status"), separators=separators)}
    ran = run(notice, notice.definition["StartAt"], given, answers=TOLD)
    assert (ran.status, ran.mails) == ("SUCCEEDED", [])


@pytest.mark.parametrize("action", [*READ_ONLY_ACTIONS, *ADOPTIONS])
def test_every_look_is_known_as_one(action: str, notice: Machine) -> None:
    assert run(notice, notice.definition["StartAt"], detail("ABORTED", typed(action)), answers=TOLD).mails == []


MAILED = [
    typed("run-migration"),
    typed("rollback"),
    {**typed("adopt"), "confirm": "017"},
    {**typed("baseline"), "target": "017", "confirm": "017"},
    typed(""),
    typed("sing"),
    CLI,
    {"action": "status"},
    {"action": "status", "trigger": "schedule"},
    {**CLI, "action": {"a": 1}},
    {**typed("rollback"), "requested_by": '"action": "status"'},
    {**typed("run-migration"), "requested_by": "status"},
    ["status", "cli"],
]
NAMES = ("run", "rollback", "adopt", "baseline")
NAMES += ("empty", "unknown", "no-action", "console", "schedule", "odd", "forged", "named-so", "list")


@pytest.mark.parametrize("asked", MAILED, ids=NAMES)
def test_everything_else_is_mailed(asked: object, notice: Machine) -> None:
    assert len(run(notice, notice.definition["StartAt"], detail("ABORTED", asked), answers=TOLD).mails) == 1


@pytest.mark.parametrize("more", [{"input": None}, {"input": 7}], ids=["null", "odd"])
def test_event_with_an_odd_input_is_mailed_too(more: dict[str, Any], notice: Machine) -> None:
    assert run(notice, notice.definition["StartAt"], detail("ABORTED", **more), answers=TOLD).mails == [MAIL]


def test_event_without_an_input_is_mailed_too(notice: Machine) -> None:
    short = {key: detail("ABORTED")[key] for key in ("executionArn", "name", "status")}
    assert run(notice, notice.definition["StartAt"], short, answers=TOLD).mails == [MAIL]


@pytest.mark.parametrize("start", ["Mail written?", "Write a short mail"])
def test_long_input_does_not_stay_in_the_state(start: str, notice: Machine) -> None:
    """A state holds 256 KB, an event too, and the mail still comes to it. A Catch adds nothing."""
    states = {**notice.states, "Send": {"Type": "Succeed"}}
    given = detail("ABORTED", {"trigger": "x" * 200_000})
    begin = "Write the mail" if start == "Mail written?" else start
    ran = run(Machine({**notice.definition, "States": states}), begin, given, answers=TOLD)
    assert len(json.dumps(ran.output)) < 4_000


def test_rule_passes_on_what_the_event_says_as_it_is(template: Template, names: Names) -> None:
    """A template in its place would have to be filled, with what may be missing."""
    (target,) = template.one("Events::Rule", Name=names.of("on-end")).properties["Targets"]
    assert target["InputPath"] == "$.detail"
    assert {"Input", "InputTransformer"} & target.keys() == set()


def test_notice_waits_before_it_looks(notice: Machine) -> None:
    for way in notice.paths(notice.definition["StartAt"]):
        before = [notice.states[name] for name in way[: way.index("Write the mail")]] if "Write the mail" in way else []
        assert not before or sum(state.get("Seconds", 0) for state in before if state["Type"] == "Wait") >= 30


LOOKING = {
    "notice": ("Write the mail", "Wait for sessions to end"),
    "daily": ("Check the database", "Wait for the run"),
}


@pytest.mark.parametrize("name", LOOKING)
def test_while_somebody_is_at_work_it_looks_again(name: str, template: Template, names: Names) -> None:
    machine, (look, wait) = template.machine(names.of(name)), LOOKING[name]
    stopped = {**machine.states, wait: {"Type": "Succeed"}}
    ran = run(Machine({**machine.definition, "States": stopped}), look, detail("ABORTED"), answers={look: BUSY})
    assert (ran.output, ran.mails) == (BUSY, [])
    assert (machine.states[wait]["Type"], machine.after(wait)) == ("Wait", [look])
    assert machine.states[look]["Parameters"]["Payload"]["report"]["state.$"] == "$"


@pytest.mark.parametrize("name", LOOKING)
def test_it_looks_for_as_long_as_a_call_can_last_and_not_for_ever(name: str, template: Template, names: Names) -> None:
    machine, (look, wait) = template.machine(names.of(name)), LOOKING[name]
    most = machine.states[look]["Parameters"]["Payload"]["report"]["looks"]
    waits = (most - 1) * machine.states[wait]["Seconds"]
    longest = max(function.properties["Timeout"] for function in template.of("Lambda::Function"))
    assert longest < waits < 2 * longest + 600
    timeout = machine.states[look]["TimeoutSeconds"]
    assert (most + 1) * timeout + waits < machine.definition["TimeoutSeconds"], "or it would end without a mail"


PENDING = {"Check the database": {"again": False, "looks": 1, "mail": WRITTEN}}
DAILY = {"trigger": "daily"}


def test_daily_check_mails_what_is_pending(daily: Machine) -> None:
    ran = run(daily, "Check the database", DAILY, answers=PENDING)
    assert (ran.status, ran.mails) == ("SUCCEEDED", [MAIL])


def test_daily_check_mails_nothing_if_nothing_is_pending(daily: Machine) -> None:
    ran = run(daily, "Check the database", DAILY, answers={"Check the database": {"again": False, "mail": None}})
    assert (ran.status, ran.mails) == ("SUCCEEDED", [])


@pytest.mark.parametrize("answer", NO_MAIL, ids=str)
def test_answer_to_the_daily_check_that_is_not_understood_is_mailed(answer: object, daily: Machine) -> None:
    """It never passes for one that says that nothing is pending."""
    ran = run(
        daily, "Check the database", DAILY, answers={"Check the database": answer, "Write the mail": {"mail": WRITTEN}}
    )
    assert (ran.status, ran.error, ran.mails) == ("FAILED", "ContractBroken", [MAIL])


def test_daily_check_mails_why_it_could_not_look(daily: Machine) -> None:
    """By a second call, which looks once more; about an error of ours it passes on the mail in the error."""
    (caught,) = daily.states["Check the database"]["Catch"]
    assert (caught["ErrorEquals"], caught["ResultPath"]) == (["States.ALL"], "$.failure")
    ran = run(daily, caught["Next"], DIED, answers={"Write the mail": {"mail": WRITTEN}})
    assert (ran.status, ran.error, ran.mails) == ("FAILED", "Runtime.ExitError", [MAIL])
    given = daily.states["Write the mail"]["Parameters"]["Payload"]["report"]
    assert given["input"] == golden.DAILY


def test_daily_check_of_which_preflight_can_tell_nothing_is_mailed_shortly(daily: Machine) -> None:
    (caught,) = daily.states["Write the mail"]["Catch"]
    ((subject, body),) = run(daily, caught["Next"], {**DIED, "unwritten": {}}).mails
    assert subject == "[dev] Daily check FAILED: the cause is not known yet"
    assert "WHAT HAPPENED\n  Reported error: Runtime.ExitError\n" in body


def test_daily_check_whose_mail_cannot_be_sent_fails(daily: Machine) -> None:
    ran = run(daily, "Check the database", DAILY, answers=PENDING, topic=False)
    assert (ran.status, ran.mails) == ("FAILED", [])


def test_all_calls_of_both_only_ask_for_the_plan(notice: Machine, daily: Machine) -> None:
    wanted = {
        "notice": {"Write the mail": "notice"},
        "daily": {"Check the database": "daily", "Write the mail": "failure"},
    }
    for machine, triggers in ((notice, wanted["notice"]), (daily, wanted["daily"])):
        inputs = {name: task["Parameters"]["Payload"]["input"] for name, task in machine.calls.items()}
        assert inputs == {name: {"action": "plan", "trigger": trigger} for name, trigger in triggers.items()}


def test_daily_check_runs_once_a_day(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("daily")).properties
    assert rule["ScheduleExpression"] == "cron(0 6 * * ? *)"
