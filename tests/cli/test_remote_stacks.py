"""The stack of an environment on AWS: its own, or one of somebody else's with the construct in it."""

from __future__ import annotations

import json

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
