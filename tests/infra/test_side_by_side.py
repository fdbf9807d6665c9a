"""Two environments in one account: no name of one is a name of the other, and everything named says whose it is."""

from __future__ import annotations

from collections.abc import Iterator

from tests.infra.cloud import Template

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


def test_every_name_says_which_environment_it_is_of(templates: dict[str, Template]) -> None:
    for environment, template in templates.items():
        assert [name for name in named(template) if f"-{environment}" not in name] == []


def test_stacks_are_named_by_their_environment(templates: dict[str, Template]) -> None:
    names = {name: template.name for name, template in templates.items()}
    assert names == {"dev": "AuroraMigrationsRunnerStack-dev", "prod": "AuroraMigrationsRunnerStack-prod"}


def test_outputs_tell_names_and_arns_of_machine_functions_and_topic(templates: dict[str, Template]) -> None:
    for template in templates.values():
        outputs = template.body["Outputs"]
        things = ("StateMachine", "PreflightFunction", "ApplyFunction", "VerifyFunction", "AlertTopic")
        assert {f"{thing}{word}" for thing in things for word in ("Name", "Arn")} <= set(outputs)
        assert all(output["Description"] for output in outputs.values())
