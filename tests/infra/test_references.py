"""An environment of which nothing is known before another stack was deployed: all from its exports and parameters."""

from __future__ import annotations

from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from infra.naming import Names
from tests.infra.cloud import Resource, Template
from tests.infra.conftest import synthesised

STEPS = ("preflight", "apply", "verify")


def all_by(kind: str) -> dict[str, Any]:
    def refer(name: str) -> dict[str, str]:
        return {kind: f"shop-{name}" if kind == "export" else f"/shop/{name}"}

    return {
        "network": {
            "vpc": refer("vpc"),
            "subnets": [refer("subnet-a"), refer("subnet-b")],
            "database_security_group": refer("database-group"),
            "secrets_endpoint": refer("endpoint-group"),
        },
        "database": {name: refer(name) for name in ("host", "port", "name", "secret", "secret_key")},
        "emails": ["team@example.com"],
    }


@pytest.fixture(scope="module")
def referring(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    return synthesised(tmp_path_factory.mktemp("references"), {kind: all_by(kind) for kind in ("export", "parameter")})


@pytest.fixture(params=["export", "parameter"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def found(kind: str, name: str) -> str:
    """What tests/infra/cloud.py writes for a value that CloudFormation finds."""
    return f"<import shop-{name}>" if kind == "export" else f"/shop/{name}"


def functions(template: Template, kind: str) -> list[Resource]:
    return [template.one("Lambda::Function", FunctionName=Names(kind).of(step)) for step in STEPS]


def test_functions_connect_where_the_other_stack_says(referring: dict[str, Template], kind: str) -> None:
    for function in functions(referring[kind], kind):
        variables = function.properties["Environment"]["Variables"]
        told = {key: variables[f"DATABASE_{key}"] for key in ("HOST", "PORT", "NAME", "SECRET_ARN")}
        assert told == {
            "HOST": found(kind, "host"),
            "PORT": found(kind, "port"),
            "NAME": found(kind, "name"),
            "SECRET_ARN": found(kind, "secret"),
        }


def test_door_to_the_database_is_opened_at_the_port_that_the_other_stack_says(
    referring: dict[str, Template], kind: str
) -> None:
    template, port = referring[kind], found(kind, "port")
    into = [rule.properties for rule in template.of("EC2::SecurityGroupIngress")]
    out = [rule.properties for rule in template.of("EC2::SecurityGroupEgress")]
    assert [(r["FromPort"], r["ToPort"]) for r in into if r["GroupId"] == found(kind, "database-group")] == [
        (port, port)
    ]
    assert [
        (r["FromPort"], r["ToPort"]) for r in out if r["DestinationSecurityGroupId"] == found(kind, "database-group")
    ] == [(port, port)]


def test_cloudformation_is_clean(referring: dict[str, Template], kind: str) -> None:
    config = ManualArgs(ignore_checks=["W3005"])  # see test_compliance.py
    assert [str(match) for match in lint_file(referring[kind].path, config=config)] == []
