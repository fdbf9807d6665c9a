"""What holds for all that the tests of the workflow have run, so it comes last: rights, secrets, every Catch."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.local.cloud.endpoint import policies_of
from aurora_migrations.local.cloud.services.cloudformation import roles
from tests.conftest import CLOUDS_OF_THEIR_OWN
from tests.workflow.helpers import Workflow

CANARY = "canary-row-7f3c91"
MACHINES = ("", "notice", "daily")
# What the template grants and a laptop doesn't use: why it must be there all the same.
UNUSED = {
    "ec2:AssignPrivateIpAddresses": "Lambda puts the function into the VPC",
    "ec2:CreateNetworkInterface": "the same",
    "ec2:DeleteNetworkInterface": "the same",
    "ec2:DescribeNetworkInterfaces": "the same",
    "ec2:DescribeSubnets": "the same",
    "ec2:UnassignPrivateIpAddresses": "the same",
}


@pytest.fixture
def after_all_others(request: pytest.FixtureRequest) -> None:
    """Of a part of the tests, nothing can be said about all of them."""
    files = {Path(item.path).name for item in request.session.items if Path(item.path).parent.name == "workflow"}
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")} - {*CLOUDS_OF_THEIR_OWN}
    if not there <= files or request.config.getoption("-k") or any("::" in each for each in request.config.args):
        pytest.skip("says something of all tests of the workflow, and not all were chosen")


@pytest.mark.parametrize(
    "mistake",
    ["CREATE UNIQUE INDEX a_email ON a (email);", "ALTER TABLE a ALTER email TYPE integer USING email::integer;"],
    ids=["a-key", "a-cast"],
)
def test_neither_the_password_nor_a_row_is_in_any_log_state_metric_or_mail(workflow: Workflow, mistake: str) -> None:
    workflow.deploy(_001_a="CREATE TABLE a (email text);")
    workflow.run()
    workflow.query(f"INSERT INTO a VALUES ('{CANARY}'), ('{CANARY}') RETURNING email")
    workflow.deploy(_002_b=mistake)
    assert workflow.run(mails=1).error == "MigrationFailed"
    told = [*workflow.texts(), *_histories(workflow), *(f"{m.subject}\n{m.body}" for m in workflow.cloud.mails)]
    assert any("MigrationFailed" in text for text in told)
    assert [text for text in told if CANARY in text or workflow.server.password in text] == []


def granted(role: str) -> set[str]:
    """The actions that some statement of the role's policies allows."""
    statements = [each for policy in policies_of(role) for each in _many(policy["Statement"])]
    return {action for each in statements if each["Effect"] == "Allow" for action in _many(each["Action"])}


def _many(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.usefixtures("after_all_others")
def test_no_function_lacked_a_right_and_those_never_used_are_known(workflow: Workflow) -> None:
    made = workflow.cloud.server.made
    denied = {call.action for call in made if not call.allowed}
    assert denied <= {"secretsmanager:GetSecretValue"}  # one test takes that right away, to see it told
    used = {call.action for call in made if call.allowed}
    for role in roles():
        assert {call.action for call in made if call.role == role} <= granted(role)
    assert set().union(*(granted(role) for role in roles())) - used == set(UNUSED)


@pytest.mark.usefixtures("after_all_others")
def test_every_catch_was_taken(workflow: Workflow) -> None:
    wanted, taken = set(), set()
    for machine in MACHINES:
        arn = f"{workflow.cloud.machine}-{machine}" if machine else workflow.cloud.machine
        definition = json.loads(workflow.states.describe_state_machine(stateMachineArn=arn)["definition"])
        wanted |= {(machine, name, each["Next"]) for name, each in _catches(definition)}
        for execution in workflow.executions(machine):
            taken |= {(machine, *way) for way in _ways(workflow.history(execution.arn))}
    assert wanted - taken == set()


def _catches(definition: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, state in definition["States"].items():
        for each in state.get("Catch", []):
            yield name, each


def _ways(history: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """From which state an execution went to which, after a failure."""
    current, failed = "", False
    for event in history:
        if "stateEnteredEventDetails" in event:
            name = event["stateEnteredEventDetails"]["name"]
            if failed:
                yield current, name
            current, failed = name, False
        failed = failed or event["type"] in ("TaskFailed", "TaskTimedOut")
        failed = failed and event["type"] != "TaskSucceeded"


def _histories(workflow: Workflow) -> Iterator[str]:
    for machine in MACHINES:
        for execution in workflow.executions(machine):
            yield json.dumps(workflow.history(execution.arn), default=str)
