"""What no Catch sees is mailed too: an execution that was ended, and a run that never began."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.texts import begin_again, timed_out
from aurora_migrations.engine.errors import TRY_AGAIN
from functions.mail import LOOKS
from functions.remediation import next_command
from tests.cdk.cloud import Machine, Template, some
from tests.cdk.running import run
from tests.cdk.test_failures import golden_mail, without_execution
from tests.cdk.test_triggers import matches
from tests.cdk.test_workflow import flat
from tests.examples.examples import ARN, EXECUTION
from tools.documents import golden

ENDED = {
    "executionArn": ARN,
    "name": EXECUTION,
    "status": "TIMED_OUT",
    "started": {"text": golden.VALUES["started"]},
    "end": golden.advised(timed_out("dev", 43_200_000), begin_again("dev"), environment="dev").parts(),
}
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
    assert all("ErrorPath" in fail for fail in some(fails))
    ran = run(workflow, "By Step Functions itself?", {"failure": {"Error": "States.Timeout", "Cause": "-"}})
    assert ran.error == "Workflow.States.Timeout"


def test_end_of_another_machine_does_not_match(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("on-end")).properties["EventPattern"]
    assert not matches(rule, event(template, names, "TIMED_OUT", stateMachineArn="<other>"))


def test_notice_tells_what_it_saw(notice: Machine, environment: str) -> None:
    ran = run(notice, "Seen?", {**ENDED, "look": SEEN})
    assert ran.mails == [golden_mail("execution-timed-out", environment, keep="execution:aurora-migrations-prod")]
    assert ran.status == "SUCCEEDED"


def test_notice_is_sent_though_the_database_cannot_be_looked_at(notice: Machine, environment: str) -> None:
    (caught,) = notice.states["Look"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    ran = run(notice, caught["Next"], {**ENDED, "failure": {"Error": golden.VALUES["unseen"], "Cause": "-"}})
    wanted = golden_mail("execution-timed-out-and-no-look", environment, keep="execution:aurora-migrations-prod")
    assert ran.mails == [wanted]


def test_notice_is_sent_though_the_answer_is_not_understood(notice: Machine) -> None:
    ran = run(notice, "Seen?", {**ENDED, "look": {"Payload": {"applied": 16, "pending": 2}}})
    assert "It could not be looked at: ContractBroken." in ran.mails[0][1]


# ---- looks that were typed ------------------------------------------------------------------------------------------

CLI = {"trigger": "cli", "requested_by": "ana@build-7"}


def typed(action: str) -> dict[str, str]:
    return {"action": action, **CLI}


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
@pytest.mark.parametrize("separators", [(", ", ": "), (",", ":")], ids=["as-typed", "dense"])
def test_look_that_was_typed_is_mailed_to_nobody(status: str, separators: tuple[str, str], notice: Machine) -> None:
    given = {**detail(status, {}), "input": json.dumps(typed("status"), separators=separators)}
    ran = run(notice, notice.definition["StartAt"], given, answers=TOLD)
    assert (ran.status, ran.mails) == ("SUCCEEDED", [])


@pytest.mark.parametrize("action", LOOKS)
def test_every_look_is_known_as_one(action: str, notice: Machine) -> None:
    assert run(notice, notice.definition["StartAt"], detail("ABORTED", typed(action)), answers=TOLD).mails == []


MAILED = [
    typed("run-migration"),
    typed("rollback"),
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
NAMES = ("run", "rollback", "empty", "unknown", "no-action", "console", "schedule", "odd", "forged", "named-so", "list")


@pytest.mark.parametrize("asked", MAILED, ids=NAMES)
def test_everything_else_is_mailed(asked: object, notice: Machine) -> None:
    assert len(run(notice, notice.definition["StartAt"], detail("ABORTED", asked), answers=TOLD).mails) == 1


# ---- how it ended, and who started it -------------------------------------------------------------------------------


def detail(status: str, asked: object, **more: Any) -> dict[str, Any]:
    """Of the event, as AWS's guide shows it; `error` as DescribeExecution has it."""
    told = {"executionArn": ARN, "stateMachineArn": "arn:-", "name": EXECUTION, "status": status}
    times = {"startDate": 1_551_225_271_984, "stopDate": 1_551_225_291_984}
    return {**told, **times, "input": json.dumps(asked), "inputDetails": {"included": True}, "output": None, **more}


RUN_018 = "aurora-migrations run 018 --env dev"
TOLD = {"Ask who started it": {"started": golden.VALUES["started"], "again": RUN_018}, "Look": SEEN["Payload"]}
UNTOLD = {"Ask who started it": {}, "Look": SEEN["Payload"]}


def noticed(notice: Machine, given: dict[str, Any], answers: dict[str, Any]) -> tuple[str, str]:
    """The mail about an event."""
    (mail,) = run(notice, notice.definition["StartAt"], given, answers=answers).mails
    return mail


@pytest.mark.parametrize(
    ("status", "error", "name"),
    [
        ("ABORTED", {}, "execution-aborted"),
        ("TIMED_OUT", {"error": "States.Timeout"}, "execution-timed-out"),
        ("FAILED", {"error": "States.Runtime"}, "execution-failed"),
    ],
)
def test_each_way_to_end_has_a_mail_of_its_own(
    status: str, error: dict[str, str], name: str, notice: Machine, environment: str
) -> None:
    who = golden.mail.started(golden.ASKED, "Ctrl-C by ben@build-8" if status == "ABORTED" else None)
    mail = noticed(
        notice, detail(status, {}, **error), {**TOLD, "Ask who started it": {"started": who, "again": RUN_018}}
    )
    assert mail == golden_mail(name, environment, keep="execution:aurora-migrations-prod")


def test_rollback_that_ran_out_of_time_is_not_undone_by_the_next_command(notice: Machine, environment: str) -> None:
    status = str(next_command(TRY_AGAIN, golden.UNDOING, environment))
    told = {**TOLD, "Ask who started it": {"started": golden.mail.started(golden.UNDOING), "again": status}}
    mail = noticed(notice, detail("TIMED_OUT", golden.UNDOING, error="States.Timeout"), told)
    name = "execution-timed-out-in-a-rollback"
    assert mail == golden_mail(name, environment, keep="execution:aurora-migrations-prod")


def test_where_nobody_says_what_was_asked_the_advice_is_to_look_first(notice: Machine, environment: str) -> None:
    mail = noticed(notice, detail("TIMED_OUT", golden.UNDOING, error="States.Timeout"), UNTOLD)
    name = "execution-timed-out-and-nobody-told"
    assert mail == golden_mail(name, environment, keep="execution:aurora-migrations-prod")


@pytest.mark.parametrize("status", ["ABORTED", "TIMED_OUT", "FAILED"])
@pytest.mark.parametrize("answers", [TOLD, UNTOLD], ids=["told", "untold"])
def test_mail_about_every_end_warns_of_undoing_a_rollback(
    status: str, answers: dict[str, Any], notice: Machine
) -> None:
    body = " ".join(noticed(notice, detail(status, {}), answers)[1].split())
    assert "look first" in body.lower()
    assert "a run applies anew what" in body


@pytest.mark.parametrize("more", [{}, {"error": None}], ids=["none", "null"])
def test_failure_of_which_the_event_names_no_error_is_mailed_too(more: dict[str, Any], notice: Machine) -> None:
    _, body = noticed(notice, detail("FAILED", {}, **more), TOLD)
    assert "broke inside its state machine." in body
    assert "WHY\n  Step Functions itself ended the execution" in body


@pytest.mark.parametrize(
    ("asked", "words", "answer"),
    [
        ({"trigger": "deploy", "requested_by": "arn:aws:cloudformation:eu-west-1:1:stack/x/1"}, "a deployment;", {}),
        ({"trigger": "cli", "requested_by": "ana@build-7"}, "a command line;", {}),
        ({}, "hand, and nobody is named", {}),
        ({}, "hand, and nobody is named", {"started": None}),
        ({"requested_by": "ana\n\nNEXT COMMAND\n  rm -r /"}, "somebody;", {}),
        ("no object", "somebody;", {}),
    ],
    ids=["deployment", "terminal", "hand", "unknown", "forged", "text"],
)
def test_who_started_it_is_told_in_words_of_ours_where_no_function_says_it(
    asked: object, words: str, answer: dict[str, Any], notice: Machine
) -> None:
    _, body = noticed(notice, detail("ABORTED", asked), {**UNTOLD, "Ask who started it": answer})
    about = " ".join(body.partition("THIS EXECUTION\n")[2].split())
    assert about.startswith(f"Started by {words}")
    assert "rm -r" not in about


@pytest.mark.parametrize("more", [{"input": None}, {"input": 7}], ids=["null", "odd"])
def test_event_with_an_odd_input_is_mailed_too(more: dict[str, Any], notice: Machine) -> None:
    assert "Started by  somebody; the input" in noticed(notice, detail("ABORTED", {}, **more), UNTOLD)[1]


def test_event_without_an_input_is_mailed_too(notice: Machine) -> None:
    short = {key: detail("ABORTED", {})[key] for key in ("executionArn", "name", "status")}
    assert "Started by  somebody; the input" in noticed(notice, short, UNTOLD)[1]


def test_function_that_cannot_be_asked_does_not_keep_the_mail(notice: Machine) -> None:
    (caught,) = notice.states["Ask who started it"]["Catch"]
    assert (caught["ErrorEquals"], caught["ResultPath"]) == (["States.ALL"], None)
    ran = run(notice, caught["Next"], detail("ABORTED", {"trigger": "deploy"}), answers={"Look": SEEN["Payload"]})
    assert "Started by  a deployment; the input" in ran.mails[0][1]


def test_long_input_does_not_stay_in_the_state(notice: Machine) -> None:
    """A state holds 256 KB, an event too, and the look and the mail still come to it."""
    small = Machine({**notice.definition, "States": {**notice.states, "Begin": {"Type": "Succeed"}}})
    given = detail("ABORTED", {"trigger": "x" * 200_000})
    ran = run(small, notice.definition["StartAt"], given, answers={"Ask who started it": {}})
    assert len(json.dumps(ran.output)) < 4_000


def test_rule_passes_on_what_the_event_says_as_it_is(template: Template, names: Names) -> None:
    """A template in its place would have to be filled, with what may be missing."""
    (target,) = template.one("Events::Rule", Name=names.of("on-end")).properties["Targets"]
    assert target["InputPath"] == "$.detail"
    assert {"Input", "InputTransformer"} & target.keys() == set()


def test_notice_waits_before_it_looks(notice: Machine) -> None:
    for way in notice.paths("Ask who started it"):
        before = some([notice.states[name] for name in way[: way.index("Look")]])
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
    choice, _ = machine.states["At work?"]["Choices"]
    (most,) = [test["NumericLessThan"] for test in flat(choice) if "NumericLessThan" in test]
    waits = (most - 1) * machine.states["Let it go on"]["Seconds"]
    longest = max(function.properties["Timeout"] for function in template.of("Lambda::Function"))
    assert longest < waits < 2 * longest + 600
    look = machine.states["Look"]["TimeoutSeconds"]
    assert (most + 1) * look + waits < machine.definition["TimeoutSeconds"], "or it would end without a mail"


def test_who_is_still_at_work_at_the_end_is_told(notice: Machine, environment: str) -> None:
    busy = {**AT_WORK["Payload"], "database_now": golden.BUSY}
    ran = run(notice, "Seen?", {**ENDED, "again": {"looks": 1_000}, "look": {"Payload": busy}})
    wanted = golden_mail("execution-timed-out-and-still-at-work", environment, keep="execution:aurora-migrations-prod")
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
    assert "THIS EXECUTION\n  Started by  the daily check\n" in ran.mails[0][1]


def test_daily_check_does_not_advise_a_run_while_one_is_at_work(daily: Machine, environment: str) -> None:
    busy = {"Payload": {**AT_WORK["Payload"], "database_now": golden.BUSY}}
    ran = run(daily, "Anything pending?", {"again": {"looks": 1_000}, "look": busy})
    wanted = golden_mail("daily-check-pending-and-still-at-work", environment)
    assert without_execution(ran.mails[0]) == without_execution(wanted)


def test_daily_check_mails_nothing_if_nothing_is_pending(daily: Machine) -> None:
    ran = run(daily, "Anything pending?", {"look": {"Payload": {**SEEN["Payload"], "pending": 0}}})
    assert (ran.status, ran.mails) == ("SUCCEEDED", [])


def test_daily_check_mails_why_it_could_not_look(daily: Machine) -> None:
    (caught,) = daily.states["Look"]["Catch"]
    ran = run(daily, caught["Next"], {"failure": {"Error": "Runtime.ExitError", "Cause": "killed"}})
    assert (ran.status, ran.error) == ("FAILED", "Runtime.ExitError")
    assert "The daily check of migrations on dev failed" in ran.mails[0][1]
    assert "It could not be looked at: that is what failed." in ran.mails[0][1]
    assert "Started by  the daily check\n" in ran.mails[0][1]
    assert "aurora-migrations status --env dev" in ran.mails[0][1], "a look, as the check was"
    assert list(daily.calls) == ["Look"]  # not once more


def test_both_only_ask_for_the_plan(notice: Machine, daily: Machine) -> None:
    for machine, trigger in ((notice, "notice"), (daily, "daily")):
        assert machine.states["Look"]["Parameters"]["Payload"]["input"]["trigger"] == trigger
        assert json.loads(json.dumps(machine.states["Look"]["Parameters"]["Payload"]["input"]))["action"] == "plan"
    assert list(notice.calls) == ["Ask who started it", "Look"]
    assert list(daily.calls) == ["Look"]


def test_daily_check_runs_once_a_day(template: Template, names: Names) -> None:
    rule = template.one("Events::Rule", Name=names.of("daily")).properties
    assert rule["ScheduleExpression"] == "cron(0 6 * * ? *)"
