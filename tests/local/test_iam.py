"""What a role's policies allow: as IAM decides it, and never more where something isn't understood."""

from __future__ import annotations

from typing import Any

import pytest

from aurora_migrations.local.cloud.services.iam import Call, allows, read_call, resource_of

SECRET = "arn:aws:secretsmanager:us-east-1:123456789012:secret:local/database-AbCdEf"
READ = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": SECRET}


def decided(*statements: dict[str, Any], action: str = "secretsmanager:GetSecretValue") -> bool:
    return allows([{"Statement": list(statements)}], action, SECRET)


def test_what_a_statement_names_is_allowed_and_nothing_else() -> None:
    assert decided(READ)
    assert not decided(READ, action="secretsmanager:PutSecretValue")
    assert not decided({**READ, "Resource": SECRET.replace("AbCdEf", "GhIjKl")})
    assert not decided()


@pytest.mark.parametrize(
    ("action", "resource"),
    [("secretsmanager:Get*", SECRET), ("*", "*"), (["a:B", "SecretsManager:GetSecretValue"], [SECRET[:-3] + "???"])],
    ids=["star-in-the-action", "all", "lists-and-question-marks"],
)
def test_wildcards_and_lists(action: Any, resource: Any) -> None:
    assert decided({"Effect": "Allow", "Action": action, "Resource": resource})


def test_a_deny_goes_before_any_allow() -> None:
    assert not decided(READ, {"Effect": "Deny", "Action": "*", "Resource": "*"})


@pytest.mark.parametrize("operator", ["StringEquals", "NumericLessThan"])
def test_a_statement_with_a_condition_never_grants_and_always_denies(operator: str) -> None:
    condition = {"Condition": {operator: {"kms:ViaService": "1"}}}
    assert not decided({**READ, **condition})
    assert not decided(READ, {"Effect": "Deny", "Action": "*", "Resource": "*", **condition})


def test_a_bracket_in_a_resource_is_a_bracket() -> None:
    statement = {"Effect": "Allow", "Action": "a:B", "Resource": "arn:[x]:*"}
    assert allows([{"Statement": statement}], "a:B", "arn:[x]:1")
    assert not allows([{"Statement": statement}], "a:B", "arn:x:1")


def called(service: str, action: str, body: bytes) -> Call:
    scope = f"Credential=KEY/20261127/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=x"
    from io import BytesIO

    return read_call(
        {
            "wsgi.input": BytesIO(body),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 {scope}",
            "HTTP_X_AMZ_TARGET": f"x.{action}",
            "PATH_INFO": "/",
        }
    )


@pytest.mark.parametrize(
    ("call", "resource"),
    [
        (called("secretsmanager", "GetSecretValue", f'{{"SecretId": "{SECRET}"}}'.encode()), SECRET),
        (
            called("logs", "PutLogEvents", b'{"logGroupName": "/g", "logStreamName": "s"}'),
            "arn:aws:logs:us-east-1:123456789012:log-group:/g:log-stream:s",
        ),
        (
            called("logs", "CreateLogStream", b'{"logGroupName": "/g", "logStreamName": "s"}'),
            "arn:aws:logs:us-east-1:123456789012:log-group:/g:*",
        ),
        (called("sns", "Publish", b""), "*"),
    ],
    ids=["secret", "stream", "group", "unknown"],
)
def test_resources_are_named_as_policies_name_them(call: Call, resource: str) -> None:
    assert (call.key, call.region) == ("KEY", "us-east-1")
    assert resource_of(call) == resource
