"""The stack of an environment on AWS: its own, or one of somebody else's with the construct in it."""

from __future__ import annotations

import json
from typing import Any

import botocore.client
import pytest
from botocore.exceptions import ClientError

from tests.cli.cloud import Cloud, answering
from tests.cli.conftest import Call
from tests.cli.test_remote_read_only import ALL


def test_an_environment_in_a_stack_of_others_is_found_by_the_tag_of_its_state_machine(cloud: Cloud, call: Call) -> None:
    """As the construct of the CDK leaves it: two in one stack, whose outputs begin with their ids."""
    cloud.environment = "shop-prod"
    machine = cloud._make_machine(answering(ALL))
    tag = {"key": "aurora-migrations:stack", "value": "Shop-Prod/Orders"}
    cloud.client("stepfunctions").tag_resource(resourceArn=machine, tags=[tag])
    outputs = {"OrdersStateMachineArn": machine, "MigrationsStateMachineArn": f"{machine}-other"}
    template = {
        "Resources": {"Any": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {name: {"Value": value} for name, value in outputs.items()},
    }
    cloud.client("cloudformation").create_stack(StackName="Shop-Prod", TemplateBody=json.dumps(template))
    told = call("list", "--env", "shop-prod", "--output", "json")
    assert told.code == 0, told


def test_who_may_not_read_the_tag_is_told_so(cloud: Cloud, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = botocore.client.BaseClient._make_api_call

    def denied(self: Any, name: str, parameters: Any) -> Any:
        if name == "ListTagsForResource":
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}}, name)
        return real(self, name, parameters)

    monkeypatch.setattr(botocore.client.BaseClient, "_make_api_call", denied)
    told = call("list", "--env", "shop-prod", "--output", "json")
    assert told.json["error"] == "StackNotFound"
    assert told.json["solution"].endswith("this role needs states:ListTagsForResource to find it.")


def answers(name: str) -> dict[str, Any]:
    return answering({**ALL, "list-migrations": {**ALL["list-migrations"], "message": f"This is {name}."}})


@pytest.mark.parametrize("name", ["prod-shop", "prod-billing"])
def test_each_database_of_an_environment_has_a_name_of_its_own(cloud: Cloud, call: Call, name: str) -> None:
    cloud.deploy_several("prod", {name: answers(name) for name in ("shop", "billing")})
    told = call("list", "--env", name, "--output", "json")
    assert told.code == 0, told
    assert told.json["message"] == f"This is {name.removeprefix('prod-')}."


def test_environment_with_several_databases_is_told_with_what_to_write(cloud: Cloud, call: Call) -> None:
    cloud.deploy_several("prod", {name: answers(name) for name in ("shop", "billing")})
    told = call("run", "--env", "prod", "--output", "json")
    assert (told.code, told.json["error"]) == (1, "StackNotFound")
    assert told.json["message"] == "The environment prod has several databases: prod-billing, prod-shop."
    assert told.json["environments"] == ["prod-billing", "prod-shop"]
    assert told.json["solution"] == "Write `--env` with one of these names."


def test_unknown_environment_is_told_with_those_of_every_database(cloud: Cloud, call: Call) -> None:
    cloud.deploy_several("prod", {name: answers(name) for name in ("shop", "billing")})
    told = call("list", "--env", "prod-shops")
    assert told.code == 1
    assert "Environments there: prod-billing, prod-shop." in told.err
