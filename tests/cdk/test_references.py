"""An environment of which nothing is known before another stack was deployed: all from its exports and parameters."""

from __future__ import annotations

from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import Resource, Template
from tests.cdk.conftest import synthesised

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
        "database": {name: refer(name) for name in ("host", "port", "name", "secret")} | {"secret_key": refer("key")},
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
    """What tests/cdk/cloud.py writes for a value that CloudFormation finds."""
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


def test_alias_follows_when_only_a_parameters_value_changes(referring: dict[str, Template]) -> None:
    """A version is a copy of its function, and CloudFormation makes another only where a property of its own changes,
    all of which need a replacement. So every parameter of the function must be in one."""
    template = referring["parameter"]
    for function in functions(template, "parameter"):
        (version,) = [v for v in template.of("Lambda::Version") if v.properties["FunctionName"] == f"<{function.id}>"]
        (alias,) = [a for a in template.of("Lambda::Alias") if a.properties["FunctionName"] == f"<{function.id}>"]
        assert alias.properties["FunctionVersion"] == f"<{version.id}.Version>"
        resources = template.body["Resources"]
        used = parameters(resources[function.id]["Properties"], template)
        assert used == parameters(resources[version.id]["Properties"]["Description"], template)
        assert len(used) == len(("host", "port", "name", "secret", "subnet-a", "subnet-b"))


def parameters(value: Any, template: Template) -> set[str]:
    """The template's parameters that a value refers to."""
    if isinstance(value, dict):
        named = {value["Ref"]} if value.get("Ref") in template.body["Parameters"] else set()
        return named.union(*(parameters(each, template) for each in value.values()))
    return set().union(*(parameters(each, template) for each in value)) if isinstance(value, list) else set()


def test_description_with_values_from_parameters_is_short_enough(referring: dict[str, Template]) -> None:
    """With the longest that RDS makes of a cluster's name of 20 characters, and four subnets, there is room left."""
    version = referring["parameter"].of("Lambda::Version")[0]
    body = referring["parameter"].body
    values = {
        "/shop/host": f"{'c' * 20}.cluster-{'x' * 12}.ap-southeast-1.rds.amazonaws.com",
        "/shop/secret": f"arn:aws:secretsmanager:ap-southeast-1:111122223333:secret:rds!cluster-{'u' * 36}-AbCdEf",
        **{f"/shop/subnet-{which}": f"subnet-{'0' * 17}" for which in "ab"},
        "/shop/port": "54321",
        "/shop/name": "n" * 20,
    }
    text = filled(body["Resources"][version.id]["Properties"]["Description"], body, values)
    assert "subnet-" not in text
    assert "arn:" not in text
    assert len(text) + 2 * 18 <= 256


def filled(value: Any, body: dict[str, Any], values: dict[str, str]) -> Any:
    """What CloudFormation makes of a text of Ref, Join, Split and Select."""
    if isinstance(value, list):
        return [filled(each, body, values) for each in value]
    if not isinstance(value, dict):
        return value
    ((name, argument),) = value.items()
    if name == "Ref":
        return values[body["Parameters"][argument]["Default"]]
    first, second = filled(argument, body, values)
    return {"Fn::Join": lambda: first.join(second), "Fn::Split": lambda: second.split(first)}.get(
        name, lambda: second[int(first)]
    )()


def test_version_needs_no_description_where_nothing_comes_from_a_parameter(referring: dict[str, Template]) -> None:
    """What another stack exports can't change while it is imported."""
    assert [v for v in referring["export"].of("Lambda::Version") if "Description" in v.properties] == []


def test_cloudformation_is_clean(referring: dict[str, Template], kind: str) -> None:
    config = ManualArgs(ignore_checks=["W3005"])  # see test_compliance.py
    assert [str(match) for match in lint_file(referring[kind].path, config=config)] == []
