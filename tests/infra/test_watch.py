"""What no Catch sees is mailed too: an execution that was ended, and a run that never began."""

from __future__ import annotations

import json
from typing import Any

import pytest

from documents import golden
from documents.examples import ARN, EXECUTION
from infra.naming import Names
from tests.infra.cloud import Machine, Template
from tests.infra.running import run
from tests.infra.test_failures import golden_mail, without_execution
from tests.infra.test_triggers import matches
from tests.infra.test_workflow import flat

ENDED = {"executionArn": ARN, "name": EXECUTION, "status": "TIMED_OUT"}
SEEN = {"Payload": {"applied": 16, "pending": 2, "database_now": golden.PENDING}}


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
    assert all("ErrorPath" in fail for fail in fails)
    ran = run(workflow, "By Step Functions itself?", {"failure": {"Error": "States.Timeout", "Cause": "-"}})
    assert ran.error == "Workflow.States.Timeout"


def test_end_of_another_machine_does_not_match(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert not matches(rule, event(template, names, "TIMED_OUT", stateMachineArn="<other>"))


def test_notice_tells_what_it_saw(notice: Machine, environment: str) -> None:
    ran = run(notice, "Seen?", {**ENDED, "look": SEEN})
    assert ran.mails == [golden_mail("execution-ended", environment, keep="execution:aurora-migrations-prod")]
    assert ran.status == "SUCCEEDED"


def test_notice_is_sent_though_the_database_cannot_be_looked_at(notice: Machine, environment: str) -> None:
    (caught,) = notice.states["Look"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    ran = run(notice, caught["Next"], {**ENDED, "failure": {"Error": golden.VALUES["unseen"], "Cause": "-"}})
    wanted = golden_mail("execution-ended-and-no-look", environment, keep="execution:aurora-migrations-prod")
    assert ran.mails == [wanted]


def test_notice_is_sent_though_the_answer_is_not_understood(notice: Machine) -> None:
    ran = run(notice, "Seen?", {**ENDED, "look": {"Payload": {"applied": 16, "pending": 2}}})
    assert "It could not be looked at: ContractBroken." in ran.mails[0][1]


def test_notice_waits_before_it_looks(notice: Machine) -> None:
    for way in notice.paths(notice.definition["StartAt"]):
        before = [notice.states[name] for name in way[: way.index("Look")]]
        assert sum(state.get("Seconds", 0) for state in before if state["Type"] == "Wait") >= 30


AT_WORK = {"Payload": {**SEEN["Payload"], "running": str(golden.HOLDER)}}


@pytest.mark.parametrize("name", ["notice", "daily"])
def test_while_somebody_is_at_work_it_looks_again(name: str, template: Template, names: Names) -> None:
    machine = template.machine(names.of(name))
    stopped = {**machine.states, "Let it go on": {"Type": "Succeed"}}
    given = {**ENDED, "again": {"looks": 1}, "look": AT_WORK}
    ran = run(Machine({**machine.definition, "States": stopped}), "At work?", given)
    assert (ran.output["again"], ran.mails) == ({"looks": 2}, [])
    assert (machine.states["Let it go on"]["Type"], machine.after("Let it go on")) == ("Wait", ["Look"])


@pytest.mark.parametrize("name", ["notice", "daily"])
def test_it_looks_for_as_long_as_a_call_can_last_and_not_for_ever(name: str, template: Template, names: Names) -> None:
    machine = template.machine(names.of(name))
    (choice,) = machine.states["At work?"]["Choices"]
    (most,) = [test["NumericLessThan"] for test in flat(choice) if "NumericLessThan" in test]
    waits = (most - 1) * machine.states["Let it go on"]["Seconds"]
    longest = max(function.properties["Timeout"] for function in template.of("Lambda::Function"))
    assert longest < waits < 2 * longest + 600
    look = machine.states["Look"]["TimeoutSeconds"]
    assert most * look + waits < machine.definition["TimeoutSeconds"], "or it would end without a mail"


def test_who_is_still_at_work_at_the_end_is_told(notice: Machine, environment: str) -> None:
    busy = {**AT_WORK["Payload"], "database_now": golden.BUSY}
    ran = run(notice, "Seen?", {**ENDED, "again": {"looks": 1_000}, "look": {"Payload": busy}})
    wanted = golden_mail("execution-ended-and-still-at-work", environment, keep="execution:aurora-migrations-prod")
    assert ran.mails == [wanted]
    assert "At work now: aurora-migrations" in ran.mails[0][1]


@pytest.mark.parametrize("running", [None, {}], ids=["nobody", "odd"])
def test_where_nobody_is_at_work_the_mail_is_sent_at_once(running: Any, notice: Machine) -> None:
    seen = {"Payload": {**SEEN["Payload"], "running": running}}
    assert len(run(notice, "Seen?", {**ENDED, "again": {"looks": 1}, "look": seen}).mails) == 1


def test_daily_mail_never_says_that_nothing_runs_what_is_pending(daily: Machine) -> None:
    ran = run(daily, "Anything pending?", {"look": SEEN})
    assert "nothing runs" not in ran.mails[0][1]
    assert "a run is under way" in ran.mails[0][1].replace("\n  ", " ")


def test_daily_check_mails_what_is_pending(daily: Machine, environment: str) -> None:
    ran = run(daily, "Anything pending?", {"look": SEEN})
    assert ran.status == "SUCCEEDED"
    assert without_execution(ran.mails[0]) == without_execution(golden_mail("daily-check-pending", environment))


def test_daily_check_mails_nothing_if_nothing_is_pending(daily: Machine) -> None:
    ran = run(daily, "Anything pending?", {"look": {"Payload": {**SEEN["Payload"], "pending": 0}}})
    assert (ran.status, ran.mails) == ("SUCCEEDED", [])


def test_daily_check_mails_why_it_could_not_look(daily: Machine) -> None:
    (caught,) = daily.states["Look"]["Catch"]
    ran = run(daily, caught["Next"], {"failure": {"Error": "Runtime.ExitError", "Cause": "killed"}})
    assert (ran.status, ran.error) == ("FAILED", "Runtime.ExitError")
    assert "The daily check of migrations on dev failed" in ran.mails[0][1]
    assert "It could not be looked at: that is what failed." in ran.mails[0][1]
    assert list(daily.calls) == ["Look"]  # not once more


def test_both_only_ask_for_the_plan(notice: Machine, daily: Machine) -> None:
    for machine, trigger in ((notice, "notice"), (daily, "daily")):
        assert machine.states["Look"]["Parameters"]["Payload"]["input"]["trigger"] == trigger
        assert json.loads(json.dumps(machine.states["Look"]["Parameters"]["Payload"]["input"]))["action"] == "plan"
        assert list(machine.calls) == ["Look"]


def test_daily_check_runs_once_a_day(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("daily")).properties
    assert rule["ScheduleExpression"] == "cron(0 6 * * ? *)"
