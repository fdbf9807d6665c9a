"""The two doors out: the database's port and Secrets Manager, opened from and to exactly one group each."""

from __future__ import annotations

from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from tests.cdk.cloud import Template, some

DATABASE, ENDPOINT = "sg-00000000000000000", "/shop/prod/secrets-endpoint-security-group"


@pytest.fixture
def runner(template: Template, names: Names) -> str:
    group = template.one("EC2::SecurityGroup", GroupName=names.of("runner"))
    return f"<{group.id}.GroupId>"


def doors(template: Template, kind: str) -> list[dict[str, Any]]:
    return [rule.properties for rule in template.of(f"EC2::SecurityGroup{kind}")]


def test_functions_stand_in_the_subnets_set_with_the_runners_group(templates: dict[str, Template]) -> None:
    found = {}
    for name, template in templates.items():
        places = [function.properties["VpcConfig"] for function in template.of("Lambda::Function")]
        assert all(place == places[0] for place in some(places))
        found[name] = places[0]["SubnetIds"]
    assert found == {
        "dev": ["subnet-0000000000000000a", "subnet-0000000000000000b"],
        "prod": ["<import shop-prod-private-subnet-a>", "<import shop-prod-private-subnet-b>"],
    }


def test_runner_reaches_the_database_and_secrets_manager_and_nothing_else(template: Template, runner: str) -> None:
    out = [rule for rule in doors(template, "Egress") if rule["GroupId"] == runner]
    assert sorted((rule["FromPort"], rule["ToPort"], rule["IpProtocol"]) for rule in out) == [
        (443, 443, "tcp"),
        (5432, 5432, "tcp"),
    ]
    assert all("CidrIp" not in rule and rule["DestinationSecurityGroupId"] for rule in out)
    for group in template.of("EC2::SecurityGroup"):
        inline = group.properties.get("SecurityGroupEgress", [])
        assert [rule for rule in inline if rule["CidrIp"] != "255.255.255.255/32"] == []  # CloudFormation's "nothing"
        assert "SecurityGroupIngress" not in group.properties


def test_clusters_group_gets_one_rule_for_the_runner(templates: dict[str, Template]) -> None:
    groups = {"dev": DATABASE, "prod": "<import shop-prod-database-security-group>"}
    for name, template in templates.items():
        into = [rule for rule in doors(template, "Ingress") if rule["GroupId"] == groups[name]]
        (rule,) = into
        assert (rule["FromPort"], rule["ToPort"]) == (5432, 5432)
        runner = template.one("EC2::SecurityGroup", GroupName=Names(name).of("runner"))
        assert rule["SourceSecurityGroupId"] == f"<{runner.id}.GroupId>"


def test_secrets_are_reached_through_the_existing_endpoint_where_there_is_one(templates: dict[str, Template]) -> None:
    template = templates["prod"]
    assert not template.has("EC2::VPCEndpoint")
    (out,) = [rule for rule in doors(template, "Egress") if rule["FromPort"] == 443]
    assert out["DestinationSecurityGroupId"] == ENDPOINT


def test_endpoint_of_our_own_serves_only_us(templates: dict[str, Template]) -> None:
    template = templates["dev"]
    (endpoint,) = template.of("EC2::VPCEndpoint")
    assert endpoint.properties["PrivateDnsEnabled"] is False, "it would capture the whole VPC's calls"
    (group,) = endpoint.properties["SecurityGroupIds"]
    into = [rule for rule in doors(template, "Ingress") if rule["GroupId"] == group]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in into] == [(443, 443)]
    (statement,) = endpoint.properties["PolicyDocument"]["Statement"]
    assert statement["Action"] == "secretsmanager:GetSecretValue"
    assert statement["Resource"].endswith(":secret:replace-me-AbCdEf")
    for function in template.of("Lambda::Function"):
        address = function.properties["Environment"]["Variables"]["AWS_ENDPOINT_URL_SECRETS_MANAGER"]
        assert address.startswith("https://")
        assert f"{endpoint.id}.DnsEntries" in address


def test_network_and_database_may_come_from_exports_and_parameters(templates: dict[str, Template]) -> None:
    parameters = templates["prod"].body["Parameters"]
    defaults = {p["Default"] for p in parameters.values() if p["Type"] == "AWS::SSM::Parameter::Value<String>"}
    assert {"/shop/prod/database-secret-arn", "/shop/prod/secrets-endpoint-security-group"} <= defaults
    group = templates["prod"].one("EC2::SecurityGroup", GroupName="aurora-migrations-prod-runner")
    assert group.properties["VpcId"] == "<import shop-prod-vpc>"
