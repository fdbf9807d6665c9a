"""Rights over the whole stack: wildcards only where AWS forces them, each listed; who may publish, start, read."""

from __future__ import annotations

from typing import Any

from aurora_migrations.cdk.functions import INTERFACE_ACTIONS
from tests.cdk.cloud import Template, some

FORCED = {
    # Lambda demands them on every resource, to stand in a VPC.
    *INTERFACE_ACTIONS,
    # Log delivery of Step Functions knows no resources.
    *("logs:CreateLogDelivery", "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery"),
    *("logs:ListLogDeliveries", "logs:PutResourcePolicy", "logs:DescribeResourcePolicies", "logs:DescribeLogGroups"),
    # Neither does X-Ray.
    *("xray:PutTraceSegments", "xray:PutTelemetryRecords", "xray:GetSamplingRules", "xray:GetSamplingTargets"),
}


def allowed(template: Template) -> list[tuple[str, dict[str, Any]]]:
    found = [(role.id, statement) for role in template.of("IAM::Role") for statement in template.statements(role.id)]
    return some([(role, statement) for role, statement in found if statement["Effect"] == "Allow"])


def who_may(template: Template, action: str) -> set[str]:
    return some({role for role, statement in allowed(template) if action in statement["Action"]})


def machine_roles(template: Template) -> set[str]:
    arns = [machine.properties["RoleArn"] for machine in template.of("StepFunctions::StateMachine")]
    return {arn.removeprefix("<").removesuffix(".Arn>") for arn in arns}


def test_no_action_is_a_wildcard(template: Template) -> None:
    assert [s for _, s in allowed(template) if any("*" in action for action in s["Action"])] == []


def test_no_resource_is_a_wildcard_but_those_that_aws_forces(template: Template) -> None:
    wild = [(role, s) for role, s in allowed(template) if any("*" in str(resource) for resource in s["Resource"])]
    for role, statement in some(wild):
        assert set(statement["Action"]) <= FORCED, role
        assert statement["Resource"] == ["*"], role


def test_only_state_machines_publish_and_only_to_the_topic(template: Template) -> None:
    (topic,) = template.of("SNS::Topic")
    publishing = [(role, s) for role, s in allowed(template) if "sns:Publish" in s["Action"]]
    assert {role for role, _ in publishing} == machine_roles(template)
    assert all(s["Resource"] == [f"<{topic.id}>"] for _, s in publishing)


def test_who_publishes_may_use_the_topics_key(template: Template) -> None:
    (key,) = template.of("KMS::Key")
    for role in who_may(template, "sns:Publish"):
        statements = template.statements(role)
        (use,) = [s for s in statements if "kms:GenerateDataKey" in s["Action"]]
        assert set(use["Action"]) == {"kms:Decrypt", "kms:GenerateDataKey"}
        assert use["Resource"] == [f"<{key.id}.Arn>"]


def test_only_rules_start_executions_and_only_state_machines_call_functions(template: Template) -> None:
    for role in template.of("IAM::Role"):
        (trusted,) = role.properties["AssumeRolePolicyDocument"]["Statement"]
        service = trusted["Principal"]["Service"]
        if role.id in who_may(template, "states:StartExecution"):
            assert service == "events.amazonaws.com"
        if role.id in who_may(template, "lambda:InvokeFunction"):
            assert service.startswith("states.")


def test_only_functions_read_the_secret(template: Template) -> None:
    roles = {function.properties["Role"] for function in template.of("Lambda::Function")}
    assert {f"<{role}.Arn>" for role in who_may(template, "secretsmanager:GetSecretValue")} == roles
