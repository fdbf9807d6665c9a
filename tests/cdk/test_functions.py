"""The functions: what they find in Lambda, and what they may do, which is no more than they need."""

from __future__ import annotations

from typing import Any

import pytest

from aurora_migrations.cdk.config import read_environments
from aurora_migrations.cdk.functions import INTERFACE_ACTIONS
from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import ACCOUNT, REGION, Resource, Template
from tests.cdk.conftest import context

EXPECTED_VARIABLES = {
    *("ENVIRONMENT", "DATABASE_SECRET_ARN", "DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME", "DATABASE_SSLMODE"),
    *("DATABASE_SSLROOTCERT", "ALLOWED_ACTIONS", "LOCK_TIMEOUT_MS", "STATEMENT_TIMEOUT_MS", "LOCK_WAIT_MS", "HAZARDS"),
    *("MIGRATIONS_DIR", "POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"),
}
STEPS = ("preflight", "apply", "verify")


@pytest.fixture(params=STEPS)
def function(request: pytest.FixtureRequest, template: Template, names: Names) -> Resource:
    return template.one("Lambda::Function", FunctionName=names.of(request.param))


def role_of(function: Resource) -> str:
    return str(function.properties["Role"]).removeprefix("<").removesuffix(".Arn>")


def log_of(function: Resource) -> str:
    return str(function.properties["LoggingConfig"]["LogGroup"])


def test_there_are_three_and_no_other(template: Template, names: Names) -> None:
    assert {each.properties["FunctionName"] for each in template.of("Lambda::Function")} == set(map(names.of, STEPS))


def test_role_may_write_its_own_log_read_the_secret_and_stand_in_the_vpc_and_nothing_else(
    function: Resource, template: Template, environment: str
) -> None:
    (settings,) = read_environments(context()["environments"], environment)
    database = settings.database
    allowed = [s for s in template.statements(role_of(function)) if s["Effect"] == "Allow"]
    interfaces = {"Effect": "Allow", "Action": list(INTERFACE_ACTIONS), "Resource": ["*"]}
    log = {"Effect": "Allow", "Action": ["logs:CreateLogStream", "logs:PutLogEvents"]}
    secret = {"Effect": "Allow", "Action": ["secretsmanager:GetSecretValue"]}
    variables = function.properties["Environment"]["Variables"]
    expected: list[dict[str, Any]] = [
        {**log, "Resource": [log_of(function).replace(">", ".Arn>")]},
        {**secret, "Resource": [variables["DATABASE_SECRET_ARN"]]},
        interfaces,
    ]
    if database.secret_key is not None:
        via = {"StringEquals": {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"}}
        key = {
            "Effect": "Allow",
            "Action": ["kms:Decrypt"],
            "Resource": [database.secret_key.parameter],
            "Condition": via,
        }
        expected.insert(2, key)
    assert sorted(allowed, key=str) == sorted(expected, key=str)


def test_code_of_a_function_may_not_use_what_lambda_needs_for_the_vpc(function: Resource, template: Template) -> None:
    (denied,) = [s for s in template.statements(role_of(function)) if s["Effect"] == "Deny"]
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.properties['FunctionName']}"
    assert set(denied["Action"]) == set(INTERFACE_ACTIONS)
    assert denied["Condition"] == {"ArnEquals": {"lambda:SourceFunctionArn": arn}}


def test_each_function_has_a_role_of_its_own(template: Template) -> None:
    roles = [role_of(function) for function in template.of("Lambda::Function")]
    assert len(set(roles)) == len(roles)
    for role in template.of("IAM::Role"):
        assert "ManagedPolicyArns" not in role.properties, role.id


def test_function_finds_its_settings_and_no_secret(function: Resource, template: Template) -> None:
    variables = function.properties["Environment"]["Variables"]
    own_endpoint = {"AWS_ENDPOINT_URL_SECRETS_MANAGER"} if template.has("EC2::VPCEndpoint") else set()
    assert set(variables) == EXPECTED_VARIABLES | own_endpoint
    assert all(isinstance(value, str) and value for value in variables.values())
    assert variables["MIGRATIONS_DIR"] == "/var/task/migrations"
    assert variables["DATABASE_SSLROOTCERT"] == "/var/task/rds-ca.pem"


def test_environments_differ_as_their_settings_do(templates: dict[str, Template]) -> None:
    found = {}
    for name, template in templates.items():
        function = template.one("Lambda::Function", FunctionName=Names(name).of("apply"))
        found[name] = function.properties["Environment"]["Variables"]
    more = ["rollback", "resolve", "cancel", "adopt", "baseline", "rehearse"]
    assert found["dev"]["ALLOWED_ACTIONS"].split(",")[-6:] == more
    assert not {*more} & {*found["prod"]["ALLOWED_ACTIONS"].split(",")}
    assert (found["dev"]["HAZARDS"], found["prod"]["HAZARDS"]) == ("warn", "refuse")
    assert found["prod"]["DATABASE_HOST"] == "<import shop-prod-database-host>"
    assert found["prod"]["DATABASE_SECRET_ARN"] == "/shop/prod/database-secret-arn"
    assert found["dev"]["DATABASE_SSLMODE"] == "verify-full"


def test_log_group_is_its_own_kept_for_the_days_set_and_encrypted(
    function: Resource, template: Template, environment: str
) -> None:
    (log,) = [each for each in template.of("Logs::LogGroup") if log_of(function) == f"<{each.id}>"]
    (settings,) = read_environments(context()["environments"], environment)
    days = settings.log_retention_days
    assert log.properties["LogGroupName"] == f"/aws/lambda/{function.properties['FunctionName']}"
    assert log.properties["RetentionInDays"] == days
    assert log.properties["KmsKeyId"] == f"<{template.of('KMS::Key')[0].id}.Arn>"


def test_all_logs_are_kept_as_long_and_encrypted(template: Template) -> None:
    logs = template.of("Logs::LogGroup")
    assert len({log.properties["RetentionInDays"] for log in logs}) == 1
    assert all(log.properties["KmsKeyId"] for log in logs)


def test_function_runs_on_what_its_package_was_made_for(function: Resource) -> None:
    assert function.properties["Architectures"] == ["arm64"]
    assert function.properties["Runtime"] == "python3.14"


def test_all_functions_share_one_asset(template: Template) -> None:
    keys = {function.properties["Code"]["S3Key"] for function in template.of("Lambda::Function")}
    assert len(keys) == 1


def test_alias_of_each_function_is_what_is_called(template: Template) -> None:
    aliases = template.of("Lambda::Alias")
    assert [alias.properties["Name"] for alias in aliases] == ["live"] * 3
    may_call = [
        (statement["Resource"], role.id)
        for role in template.of("IAM::Role")
        for statement in template.statements(role.id)
        if "lambda:InvokeFunction" in statement["Action"]
    ]
    called = {arn for resources, _ in may_call for arn in resources}
    assert called == {f"<{alias.id}>" for alias in aliases}
