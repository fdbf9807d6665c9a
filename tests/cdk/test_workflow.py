"""The state machine: what follows what, what is tried again, and that no failure is silent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from statelint.config import Config
from statelint.linter import Linter
from statelint.problem import ProblemType

from aurora_migrations.cdk.machines.failure_branch import TYPED
from aurora_migrations.cdk.retries import CONNECTION, CONTENTION, every_error
from aurora_migrations.cdk.workflow import PAUSE, STARTS
from aurora_migrations.engine.errors import MigratorError
from functions.preflight import DATABASE_ATTEMPTS
from tests.cdk.cloud import Machine, Template, some
from tests.cdk.running import events, run

RETRIED_BY_DESIGN = {
    "DatabaseUnreachable": True,
    "DatabaseBusy": True,
    "ConnectionLost": True,
    "NotAWriter": True,
    "LockTimeout": True,
    "Deadlock": True,
    "AnotherRunInProgress": True,
    "InvalidInput": False,
    "ActionNotAllowed": False,
    "InvalidManifest": False,
    "PackageChanged": False,
    "SecretNotFound": False,
    "SecretAccessDenied": False,
    "SecretMalformed": False,
    "AuthenticationFailed": False,
    "MigrationChanged": False,
    "MigrationMissing": False,
    "OutOfOrder": False,
    "InDoubt": False,
    "MigrationFailed": False,
    "StatementTimeout": False,
    "Cancelled": False,
    "VerificationFailed": False,
}


def retriers(task: dict[str, Any], error: str) -> list[dict[str, Any]]:
    return [retrier for retrier in task.get("Retry", []) if error in retrier["ErrorEquals"]]


def test_begins_with_preflight_then_apply_then_verify(workflow: Machine) -> None:
    assert (workflow.definition["StartAt"], workflow.after("Begin")) == ("Begin", ["Preflight"])
    assert workflow.after("Preflight") == ["What next?"]
    assert set(workflow.after("What next?")) == {"Apply", "Verify", "Result returned", "Invalid answer of preflight"}
    assert set(workflow.after("All applied?")) == {"Apply", "Verify", "Invalid answer of apply"}
    assert workflow.after("Apply") == ["All applied?"]
    assert workflow.after("Verify") == ["Succeeded"]


def test_every_task_catches_everything_and_leads_to_the_topic_and_then_to_fail(workflow: Machine) -> None:
    for name, task in workflow.tasks.items():
        last = task["Catch"][-1]
        assert last["ErrorEquals"] == ["States.ALL"], name
        assert not any("States.ALL" in catch["ErrorEquals"] for catch in task["Catch"][:-1]), name
        for way in workflow.paths(last["Next"]):
            assert workflow.states[way[-1]]["Type"] == "Fail", (name, way)
            if name != "Notify failure":
                kept = "$.unwritten" if name == "Write the mail" else "$.failure"
                assert last["ResultPath"] == kept, name
                assert "Notify failure" in way or seen_by_asker(workflow, way), (name, way)


def seen_by_asker(workflow: Machine, way: list[str]) -> bool:
    """Whether it leads past the mail by a first choice, because who typed the command sees the error."""
    end = way.index("Error of Step Functions?")
    choice = workflow.states[way[end - 1]]["Choices"][0]
    return choice["Next"] == way[end] and choice["Comment"] in (TYPED, "shown at the terminal")


def test_states_are_few_enough_to_be_read_as_a_picture(templates: dict[str, Template]) -> None:
    """Of the environment that has all: with a daily check, and with the three states that mail success."""
    sizes = {name: len(machine.states) for name, machine in templates["prod"].machines.items()}
    assert sizes["aurora-migrations-prod"] + 3 <= 35
    assert sum(sizes.values()) + 3 <= 60


def test_what_cannot_be_mailed_fails_with_the_first_error_all_the_same(workflow: Machine) -> None:
    notify = workflow.states["Notify failure"]
    assert notify["Catch"][0]["ResultPath"] != "$.failure"
    assert notify["ResultPath"] is None


def test_fail_keeps_the_original_error_and_cause(workflow: Machine) -> None:
    fails = {name: state for name, state in workflow.states.items() if state["Type"] == "Fail"}
    assert {name: (fail["ErrorPath"], fail["CausePath"]) for name, fail in fails.items()} == {
        "Failed": ("$.failure.Error", "$.failure.Cause"),
        "Failed in the workflow": ("States.Format('Workflow.{}', $.failure.Error)", "$.failure.Cause"),
    }


def test_every_choice_has_a_default_and_looks_before_it_compares(template: Template) -> None:
    for machine in template.machines.values():
        choices = {name: state for name, state in machine.states.items() if state["Type"] == "Choice"}
        for name, state in some(choices).items():
            assert state["Default"], name
            for choice in some(state["Choices"]):
                tests = list(flat(choice))
                asked = [test["Variable"] for test in tests if "IsPresent" in test]
                compared = [test["Variable"] for test in tests if "IsPresent" not in test]
                assert set(compared) <= {*asked, "$.starts", "$.failure.Error"}, name


def flat(choice: dict[str, Any]) -> list[dict[str, Any]]:
    for word in ("And", "Or"):
        if word in choice:
            return [test for each in choice[word] for test in flat(each)]
    return flat(choice["Not"]) if "Not" in choice else [choice]


FORMS = {"Read cause": '{"errorMessage":*}', "Read error": '{"error": "*"mail": {"subject": "*"}}'}


def test_text_is_parsed_only_if_it_has_the_form_of_what_we_or_lambda_write(workflow: Machine) -> None:
    parsing = {name for name, state in workflow.states.items() if "StringToJson" in json.dumps(state)}
    assert parsing == {*FORMS}
    for name in parsing:
        (path,) = [text.split("(")[1][:-1] for text in workflow.states[name]["Parameters"].values()]
        before = {key: state for key, state in workflow.states.items() if name in workflow.after(key)}
        for key, state in some(before).items():
            assert state["Type"] == "Choice", key
            (choice,) = [choice for choice in state["Choices"] if choice["Next"] == name]
            assert {"Variable": path, "StringMatches": FORMS[name]} in flat(choice)
            assert {"Variable": path, "IsString": True} in flat(choice)


@pytest.mark.parametrize("error", list(every_error()), ids=lambda error: error.__name__)
def test_transient_errors_of_the_engine_are_tried_again_and_no_others(
    error: type[MigratorError], templates: dict[str, Template]
) -> None:
    for machine in templates["dev"].machines.values():
        for name, task in machine.calls.items():
            found = retriers(task, error.__name__)
            assert bool(found) == error.retryable, name
            for retrier in found:
                assert retrier["JitterStrategy"] == "FULL"
                assert retrier["BackoffRate"] > 1
                assert retrier["MaxDelaySeconds"] <= 300


@pytest.mark.parametrize(("error", "retried"), RETRIED_BY_DESIGN.items())
def test_table_of_the_design_is_what_is_built(error: str, retried: bool, templates: dict[str, Template]) -> None:
    machine = templates["prod"].machine("aurora-migrations-prod")
    assert {name: bool(retriers(task, error)) for name, task in machine.calls.items()} == dict.fromkeys(
        ("Preflight", "Apply", "Verify", "Write the mail"), retried
    )


def test_no_retry_is_over_before_preflight_writes_the_mail_without_a_look() -> None:
    assert min(CONNECTION.attempts, CONTENTION.attempts) >= DATABASE_ATTEMPTS


@pytest.mark.parametrize("error", ["Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"])
def test_function_that_died_is_called_once_more_when_its_orphan_is_gone(error: str, workflow: Machine) -> None:
    for task in workflow.calls.values():
        (retrier,) = retriers(task, error)
        assert retrier["MaxAttempts"] == 1
        assert retrier["IntervalSeconds"] >= 15
        assert retrier["JitterStrategy"] == "NONE", "full jitter may make it at once"


@pytest.mark.parametrize("error", ["Lambda.TooManyRequestsException", "Lambda.ServiceException"])
def test_trouble_of_lambda_itself_is_tried_again_with_jitter_and_a_cap(error: str, workflow: Machine) -> None:
    for task in workflow.calls.values():
        (retrier,) = retriers(task, error)
        assert retrier["JitterStrategy"] == "FULL"
        assert retrier["MaxAttempts"] >= 5
        assert retrier["MaxDelaySeconds"] <= 60


def test_nothing_is_tried_again_whatever_the_error(template: Template) -> None:
    for machine in template.machines.values():
        for task in machine.tasks.values():
            names = [error for retrier in task.get("Retry", []) for error in retrier["ErrorEquals"]]
            assert not {"States.ALL", "States.TaskFailed", "States.Timeout"} & set(names)
            assert len(names) == len(set(names))


def test_package_that_changed_starts_over_at_preflight_a_bounded_number_of_times(workflow: Machine) -> None:
    for name in ("Apply", "Verify"):
        first = workflow.states[name]["Catch"][0]
        assert (first["ErrorEquals"], first["Next"]) == (["PackageChanged"], "Start over?")
    choice = workflow.states["Start over?"]
    assert choice["Choices"] == [{"Variable": "$.starts", "NumericLessThan": STARTS, "Next": "Start over"}]
    assert all("Notify failure" in way or seen_by_asker(workflow, way) for way in workflow.paths(choice["Default"]))
    again = workflow.states["Start over"]
    grows = {"starts.$": "States.MathAdd($.starts, 1)", "pause.$": f"States.MathAdd($.pause, {PAUSE})"}
    assert again["Parameters"] == {**grows, "apply.$": "$.apply"}
    assert (workflow.states["Begin"]["Result"]["starts"], workflow.states["Begin"]["Result"]["pause"]) == (1, 0)


def test_run_that_starts_over_gives_the_deployment_time_and_more_each_time(workflow: Machine) -> None:
    """The functions' aliases change one after the other, seconds apart: at once it would find the same again."""
    ways = [way for way in workflow.paths("Start over?") if "Preflight" in way]
    assert ways
    for way in ways:
        waits = [
            workflow.states[name] for name in way[: way.index("Preflight")] if workflow.states[name]["Type"] == "Wait"
        ]
        assert [wait["SecondsPath"] for wait in waits] == ["$.pause"], way
    assert PAUSE >= 30
    assert 5 <= STARTS <= 10


def test_states_that_start_over_wait_as_the_state_says(workflow: Machine) -> None:
    """As moto runs them: what `Start over` leaves is what the Wait takes, also the third time."""
    definition = {**workflow.states, "Preflight": {"Type": "Succeed"}}
    kept = {"apply": {"Payload": {}}}
    data = {"starts": 3, "pause": 2 * PAUSE, **kept, "preflight": {}, "failure": {"Error": "PackageChanged"}}
    ran = run(Machine({"StartAt": "Start over?", "States": definition}), "Start over?", data)
    assert ran.output == {"starts": 4, "pause": 3 * PAUSE, **kept}


def test_functions_get_the_payload_that_they_are_written_for(workflow: Machine) -> None:
    common = {
        "execution.$": "$$.Execution.Name",
        "execution_arn.$": "$$.Execution.Id",
        "started_at.$": "$$.Execution.StartTime",
        "input.$": "$$.Execution.Input",
    }
    later = {"package.$": "$.preflight.Payload.package", "so_far.$": "$.apply.Payload"}
    payloads = {name: task["Parameters"]["Payload"] for name, task in workflow.calls.items()}
    writing = payloads.pop("Write the mail")
    assert writing.pop("report")
    assert writing == {
        **{key: value for key, value in common.items() if key != "input.$"},
        "input": {"action": "plan", "trigger": "failure"},
    }
    assert payloads == {
        "Preflight": common | {"package": "", "so_far": {}},
        "Apply": common | later,
        "Verify": common | later,
    }


def test_first_call_of_apply_has_nothing_so_far(workflow: Machine) -> None:
    assert workflow.states["Begin"]["Result"]["apply"] == {"Payload": {}}


def test_answer_is_what_verify_says_or_what_preflight_was_asked_for(workflow: Machine) -> None:
    assert workflow.states["Succeeded"]["InputPath"] == "$.Payload"
    assert workflow.states["Result returned"]["InputPath"] == "$.preflight.Payload.result"


def test_timeouts_form_a_ladder(template: Template, workflow: Machine, names: Any) -> None:
    for task in workflow.calls.values():
        function = called(template, task)
        variables = function["Environment"]["Variables"]
        lock, statement = (int(variables[f"{name}_TIMEOUT_MS"]) / 1000 for name in ("LOCK", "STATEMENT"))
        ladder = [lock, statement, function["Timeout"], task["TimeoutSeconds"], workflow.definition["TimeoutSeconds"]]
        assert ladder == sorted(set(ladder)), ladder
        assert int(variables["LOCK_WAIT_MS"]) / 1000 < function["Timeout"]


def test_longest_sum_of_retries_fits_into_the_execution(workflow: Machine) -> None:
    """Waiting for locks must not eat the time that the execution has."""
    for task in workflow.calls.values():
        waits = 0.0
        for retrier in task["Retry"]:
            cap = retrier.get("MaxDelaySeconds", 10**6)
            waits += sum(min(cap, retrier["IntervalSeconds"] * 2**n) for n in range(retrier["MaxAttempts"]))
        assert waits + task["TimeoutSeconds"] < workflow.definition["TimeoutSeconds"]


def test_a_week_of_waiting_for_a_statement_stays_below_the_quota_of_events(
    template: Template, workflow: Machine
) -> None:
    """Call after call of apply, each as long as its function may take: by what ten more of them add."""
    more = {"outcome": "more", "remaining": 1, "running": "CREATE INDEX CONCURRENTLY book_title_idx"}
    data = {"starts": 1, "pause": 0, "apply": {"Payload": {}}, "preflight": {"Payload": {"package": "0"}}}
    few, many = (
        events(workflow, "Apply", data, {"Apply": [*[more] * calls, {"outcome": "done"}], "Verify": [{}]})
        for calls in (2, 12)
    )
    assert many.count("TaskSucceeded") == few.count("TaskSucceeded") + 10
    of_a_call = (len(many) - len(few)) // 10
    calls = 7 * 24 * 3600 // called(template, workflow.states["Apply"])["Timeout"]
    assert of_a_call * 10 == len(many) - len(few)
    assert len(few) + of_a_call * calls < 25_000 / 3


def called(template: Template, task: dict[str, Any]) -> dict[str, Any]:
    """The properties of the function that a task calls, through its alias."""
    (alias,) = [a for a in template.of("Lambda::Alias") if task["Parameters"]["FunctionName"] == f"<{a.id}>"]
    (function,) = [f for f in template.of("Lambda::Function") if alias.properties["FunctionName"] == f"<{f.id}>"]
    return function.properties


def test_calls_go_through_the_alias_of_their_own_function(template: Template, workflow: Machine) -> None:
    handlers = {name: called(template, task)["Handler"] for name, task in workflow.calls.items()}
    assert handlers.pop("Write the mail") == handlers["Preflight"]
    assert handlers == {name: f"functions.{name.lower()}.handler" for name in ("Preflight", "Apply", "Verify")}


def test_execution_is_logged_wholly_and_traced(template: Template) -> None:
    for machine in template.of("StepFunctions::StateMachine"):
        logging = machine.properties["LoggingConfiguration"]
        assert (logging["Level"], logging["IncludeExecutionData"]) == ("ALL", True)
        assert machine.properties["TracingConfiguration"] == {"Enabled": True}


def test_amazon_states_language_is_valid(template: Template) -> None:
    """But for BackoffRate, which the CDK writes as 2 where the linter wants 2.0, the same number to JSON; and for line
    ends inside of a States.Format, for which the linter's pattern has no sign."""
    for name, machine in template.machines.items():
        definition = json.loads(json.dumps(machine.definition).replace("\\n", " "))
        assert Linter.validate(definition, Config({ProblemType.FLOAT})) == [], name


def test_linter_of_the_language_sees_a_mistake(workflow: Machine) -> None:
    definition = {**workflow.definition, "States": {**workflow.states, "Apply": {"Type": "Task", "Next": "Nowhere"}}}
    assert len(Linter.validate(definition, Config({ProblemType.FLOAT}))) >= 2
