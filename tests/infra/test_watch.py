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
        ("FAILED", "MigrationFailed", False),
        ("FAILED", "States.Timeout", False),
        ("SUCCEEDED", None, False),
        ("RUNNING", None, False),
    ],
)
def test_ends_that_the_machine_could_not_mail_itself_match(
    status: str, error: str | None, told: bool, template: Template, names: Names
) -> None:
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert matches(rule, event(template, names, status, error=error)) == told


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
    first = notice.states[notice.definition["StartAt"]]
    assert (first["Type"], first["Next"]) == ("Wait", "Look")
    assert first["Seconds"] >= 30


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
