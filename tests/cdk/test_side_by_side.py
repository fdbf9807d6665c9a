"""Two environments in one account: no name of one is a name of the other, and everything named says whose it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aurora_migrations.cdk.naming import PARTS, check_environment_name
from tests.cdk.cloud import Template, some
from tests.cdk.conftest import context, synthesised

NAMES = {
    *("FunctionName", "StateMachineName", "TopicName", "QueueName", "LogGroupName", "RoleName", "GroupName"),
    *("AlarmName", "AliasName", "PolicyName", "ManagedPolicyName", "BucketName", "TableName", "DashboardName"),
}
UNIQUE_WITHIN = {
    ("AWS::Lambda::Alias", "Name"),
    ("AWS::IAM::Policy", "PolicyName"),
    ("AWS::Lambda::Alias", "FunctionName"),
}


def named(template: Template) -> Iterator[str]:
    """Names that an account and region have once; an alias's and an inline policy's are only their owner's."""
    for resource in template.resources:
        for key, value in resource.properties.items():
            is_name = key in NAMES or key == "Name"
            if is_name and (resource.type, key) not in UNIQUE_WITHIN and not str(value).startswith("<"):
                yield f"{resource.type} {value}"
    for output in template.body["Outputs"].values():
        if "Export" in output:
            yield f"export {output['Export']['Name']}"


def test_no_name_is_shared(templates: dict[str, Template]) -> None:
    dev, prod = (list(named(templates[name])) for name in ("dev", "prod"))
    assert len(dev) > 15
    assert set(dev) & set(prod) == set()
    assert len(set(dev)) == len(dev)


def test_no_name_is_shared_where_one_environments_name_begins_with_the_others(tmp_path: Path) -> None:
    data = context()["environments"]["dev"]
    templates = synthesised(tmp_path, {"dev": data, "dev-eu": data})
    one, other = (set(named(template)) for template in templates.values())
    assert one & other == set()


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """The stack of the environment dev of each of two projects."""
    environments, folder = {"dev": context()["environments"]["dev"]}, tmp_path_factory.mktemp("projects")
    return {name: synthesised(folder / name, environments, name)["dev"] for name in ("shop", "billing")}


def test_two_projects_in_one_account_share_no_name(projects: dict[str, Template]) -> None:
    shop, billing = (set(named(template)) for template in projects.values())
    assert shop & billing == set()
    assert [template.name for template in projects.values()] == [
        "AuroraMigrationsRunnerStack-shop-dev",
        "AuroraMigrationsRunnerStack-billing-dev",
    ]


def test_functions_of_a_project_name_the_command_that_deploys_it(projects: dict[str, Template]) -> None:
    function = projects["shop"].one("Lambda::Function", FunctionName="aurora-migrations-shop-dev-apply")
    command = function.properties["Environment"]["Variables"]["DEPLOY_COMMAND"]
    assert command == "npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-shop-dev --context env=dev"


def test_cloudformation_refuses_a_template_of_another_project(projects: dict[str, Template]) -> None:
    """The CDK and the AWS CLI deploy with a parameter's value of before, which is the project's that made the stack."""
    for name, template in projects.items():
        parameter = template.body["Parameters"]["Project"]
        assert (parameter["Type"], parameter["Default"]) == ("String", name)
        (assertion,) = template.body["Rules"]["OfThisProject"]["Assertions"]
        assert assertion["Assert"] == {"Fn::Equals": [{"Ref": "Project"}, name]}
        assert f"belongs to another project, and the template is of {name}" in assertion["AssertDescription"]


def test_no_environment_may_be_called_as_something_in_anothers_stack(tmp_path: Path) -> None:
    """With `x` there can be no `x-notice`: the former's state machine of that name would be the latter's main one."""
    waiting = context()["environments"]["dev"] | {"deployment": "waits"}  # which has all that there is
    template = synthesised(tmp_path, {"on": waiting | {"watch_stacks": ["shop"]}})["on"]
    names = {name.rpartition(" ")[2].rpartition("/")[2] for name in named(template)}
    parts = {name.removeprefix("aurora-migrations-on-") for name in names} - {"aurora-migrations-on"}
    assert parts == set(PARTS)
    for part in PARTS:
        with pytest.raises(ValueError, match=f"ends in `-{part}`"):
            check_environment_name(f"x-{part}")
    assert [(one, other) for one in PARTS for other in PARTS if one.endswith(f"-{other}")] == []


def test_every_name_says_which_environment_it_is_of(templates: dict[str, Template]) -> None:
    for environment, template in templates.items():
        assert [name for name in some(list(named(template))) if f"-{environment}" not in name] == []


def test_stacks_are_named_by_their_environment(templates: dict[str, Template]) -> None:
    names = {name: template.name for name, template in templates.items()}
    assert names == {"dev": "AuroraMigrationsRunnerStack-dev", "prod": "AuroraMigrationsRunnerStack-prod"}


def test_outputs_tell_names_and_arns_of_machine_functions_and_topic(templates: dict[str, Template]) -> None:
    for template in templates.values():
        outputs = template.body["Outputs"]
        things = ("StateMachine", "PreflightFunction", "ApplyFunction", "VerifyFunction", "AlertTopic")
        assert {f"{thing}{word}" for thing in things for word in ("Name", "Arn")} <= set(outputs)
        assert all(output["Description"] for output in outputs.values())
