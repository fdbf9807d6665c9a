"""With `on_verify_failure` = `rollback`, a failed check of verify has apply roll the run back, which still fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import Machine
from tests.cdk.conftest import context, synthesised
from tests.cdk.running import run

MAIL = {"subject": "of verify", "body": "b", "severity": "high", "error": "VerificationFailed", "migration": "002"}
CAUGHT = {
    "Error": "VerificationFailed",
    "Cause": json.dumps({"errorMessage": json.dumps({"error": "VerificationFailed", "mail": {**MAIL, "chat": "c"}})}),
}


@pytest.fixture(scope="module")
def undoing(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    environments = {"dev": {**context()["environments"]["dev"], "on_verify_failure": "rollback"}}
    templates = synthesised(tmp_path_factory.mktemp("cdk.out"), environments)
    return templates["dev"].machine(Names("dev").of())


def state(**more: Any) -> dict[str, Any]:
    return {"preflight": {"Payload": {"package": "d"}}, "failure": CAUGHT, **more}


def test_only_a_failed_check_leads_there_and_any_error_from_there_to_the_failure_branch(undoing: Machine) -> None:
    ways = {tuple(each["ErrorEquals"]): each["Next"] for each in undoing.states["Verify"]["Catch"]}
    assert ways["VerificationFailed",] == "Roll back"
    assert ways["States.ALL",] == "Verify failed"
    assert list(ways).index(("VerificationFailed",)) < list(ways).index(("States.ALL",))
    ((errors, noted),) = [(each["ErrorEquals"], each["Next"]) for each in undoing.states["Roll back"]["Catch"]]
    assert (errors, undoing.states[noted]["Result"]) == (["States.ALL"], "rollback")
    for way in undoing.paths(noted):
        assert undoing.states[way[-1]]["Type"] == "Fail"


def test_by_default_there_are_no_such_states(workflow: Machine) -> None:
    assert "Roll back" not in workflow.states
    assert all(each["ErrorEquals"] != ["VerificationFailed"] for each in workflow.states["Verify"]["Catch"])


def test_it_calls_apply_with_the_failure_and_is_retried_as_every_call(undoing: Machine) -> None:
    task, apply = undoing.calls["Roll back"], undoing.calls["Apply"]
    assert task["Parameters"]["FunctionName"] == apply["Parameters"]["FunctionName"]
    assert task["Parameters"]["Payload"]["report"] == {"about": "undo", "failure.$": "$.failure"}
    assert (task["Retry"], task["TimeoutSeconds"]) == (apply["Retry"], apply["TimeoutSeconds"])


def test_as_long_as_there_is_more_it_is_called_again(undoing: Machine) -> None:
    (again,) = undoing.states["All rolled back?"]["Choices"]
    assert again["Next"] == "Roll back"
    assert '"more"' in json.dumps(again)


@pytest.mark.parametrize("answer", [{"outcome": "nothing"}, {"outcome": 1}, {}, []], ids=str)
def test_where_nothing_was_to_be_rolled_back_the_mail_of_verify_is_sent(answer: Any, undoing: Machine) -> None:
    ran = run(undoing, "Roll back", state(), answers={"Roll back": answer})
    assert (ran.status, ran.error, ran.cause) == ("FAILED", "VerificationFailed", CAUGHT["Cause"])
    assert [subject for subject, _ in ran.mails] == ["of verify"]


def test_it_takes_three_states(undoing: Machine, templates: Any) -> None:
    plain = templates["dev"].machine(Names("dev").of())
    assert len(undoing.states) - len(plain.states) == 3
