"""Which events start a run, judged by EventBridge's rules of matching as moto implements them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from moto.events.models import EventPattern

from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import ACCOUNT, REGION, Template


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    return EventPattern.load(json.dumps(pattern)).matches_event(event)  # type: ignore[arg-type]


def deployed(stack: str, status: str, unique: str = "/1c2fa620-982a-11e3-aff7-50e2416294e0") -> dict[str, Any]:
    """The event as CloudFormation's user guide shows it ("Stack Status Change event detail"), for a stack of ours."""
    arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}{unique}"
    return {
        "version": "0",
        "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718",
        "detail-type": "CloudFormation Stack Status Change",
        "source": "aws.cloudformation",
        "account": ACCOUNT,
        "time": "2017-12-22T18:43:48Z",
        "region": REGION,
        "resources": [arn],
        "detail": {
            "stack-id": arn,
            "status-details": {"status": status, "status-reason": ""},
            "client-request-token": "",
        },
    }


@pytest.fixture
def rule(template: Template, names: Names) -> dict[str, Any]:
    return template.one("Events::Rule", Name=names.of("on-deploy")).properties


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE"])
@pytest.mark.parametrize("unique", ["", "/1c2fa620-982a-11e3-aff7-50e2416294e0"], ids=["documented", "with-id"])
def test_deployment_of_our_own_stack_starts_a_run(status: str, unique: str, rule: dict[str, Any], names: Names) -> None:
    assert matches(rule["EventPattern"], deployed(names.stack, status, unique))


@pytest.mark.parametrize(
    "status",
    [
        "UPDATE_ROLLBACK_COMPLETE",
        "ROLLBACK_COMPLETE",
        "CREATE_IN_PROGRESS",
        "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
        "DELETE_COMPLETE",
        "UPDATE_FAILED",
    ],
)
def test_deployment_that_is_not_done_or_was_rolled_back_starts_none(
    status: str, rule: dict[str, Any], names: Names
) -> None:
    assert not matches(rule["EventPattern"], deployed(names.stack, status))


@pytest.mark.parametrize("unique", ["", "/1c2fa620"])
def test_stack_with_a_longer_or_another_name_starts_none(unique: str, rule: dict[str, Any], names: Names) -> None:
    for stack in (f"{names.stack}2", f"{names.stack}-blue", f"X{names.stack}", "teststack"):
        assert not matches(rule["EventPattern"], deployed(stack, "CREATE_COMPLETE", unique))


def test_resource_of_our_stack_starts_none(rule: dict[str, Any], names: Names) -> None:
    event = deployed(names.stack, "CREATE_COMPLETE") | {"detail-type": "CloudFormation Resource Status Change"}
    assert not matches(rule["EventPattern"], event)


def test_watched_stack_starts_a_run_where_it_is_watched(templates: dict[str, Template]) -> None:
    event = deployed("shop-prod-application", "UPDATE_COMPLETE")
    found = {
        name: matches(template.one("Events::Rule", Name=Names(name).of("on-deploy")).properties["EventPattern"], event)
        for name, template in templates.items()
    }
    assert found == {"dev": False, "prod": True}


def test_run_knows_that_a_deployment_asked_for_it(rule: dict[str, Any]) -> None:
    (target,) = rule["Targets"]
    made = target["InputTransformer"]["InputTemplate"]
    for name, path in target["InputTransformer"]["InputPathsMap"].items():
        assert path == "$.detail.stack-id"
        made = made.replace(f"<{name}>", '"STACK"')
    assert json.loads(made) == {"trigger": "deploy", "requested_by": "STACK"}


def test_every_rule_starts_one_machine_with_a_role_that_may_do_just_that(template: Template) -> None:
    for each in template.of("Events::Rule"):
        (target,) = each.properties["Targets"]
        role = target["RoleArn"].removeprefix("<").removesuffix(".Arn>")
        assert template.statements(role) == [
            {"Action": ["states:StartExecution"], "Effect": "Allow", "Resource": [target["Arn"]]}
        ]


def test_event_that_starts_nothing_is_kept_and_mailed(template: Template, environment: str) -> None:
    (queue,) = template.of("SQS::Queue")
    for each in template.of("Events::Rule"):
        (target,) = each.properties["Targets"]
        assert target["DeadLetterConfig"]["Arn"] == f"<{queue.id}.Arn>"
        assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] >= 3600
    (alarm,) = template.of("CloudWatch::Alarm")
    assert alarm.properties["Dimensions"] == [{"Name": "QueueName", "Value": f"<{queue.id}.QueueName>"}]
    assert_rings_for_each_new_one(alarm.properties)
    assert alarm.properties["AlarmActions"] == [f"<{template.of('SNS::Topic')[0].id}>"]
    assert_says_what_to_do(alarm.properties["AlarmDescription"], environment)


def assert_rings_for_each_new_one(alarm: dict[str, Any]) -> None:
    """What is sent, not what lies there: a message stays for 14 days. One of the last minutes is enough, as many as
    CloudWatch may learn of it late, and none is no news."""
    assert (alarm["Namespace"], alarm["MetricName"], alarm["Statistic"]) == ("AWS/SQS", "NumberOfMessagesSent", "Sum")
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert (alarm["Period"], alarm["DatapointsToAlarm"], alarm["TreatMissingData"]) == (60, 1, "notBreaching")
    assert 15 < alarm["EvaluationPeriods"] < 60


def test_alarm_names_every_rule_whose_event_may_lie_there(template: Template, names: Names) -> None:
    (alarm,) = template.of("CloudWatch::Alarm")
    for rule in template.of("Events::Rule"):
        part = rule.properties["Name"].removeprefix(f"{names.of()}-")
        assert f"({part})" in alarm.properties["AlarmDescription"].replace("\n  ", " ")
    assert "delete the message" in alarm.properties["AlarmDescription"].replace("\n  ", " ")


def assert_says_what_to_do(description: str, environment: str) -> None:
    """CloudWatch takes 1,024 characters, also for the longest name of an environment."""
    assert len(description.replace(environment, "e" * 20)) < 1_024
    assert f"queue\n  aurora-migrations-{environment}-dead-letters." in description
    assert f"\n     aurora-migrations run --env {environment}\n" in description
