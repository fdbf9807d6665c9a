"""An environment with several databases: a state machine, functions and rights for each; one stack, topic and key."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from aurora_migrations.cdk.config import MOST_DATABASES, OneOfSeveral, SettingsError, read_environments
from tests.cdk.cloud import Template, some
from tests.cdk.conftest import context, synthesised
from tests.cdk.test_config import DEV
from tests.cdk.test_side_by_side import named
from tests.cli.conftest import calling
from tests.cli.test_schemas import fits
from tests.paths import ROOT

SHOP = {**DEV["database"], "migrations": "db/shop"}
BILLING = {
    "host": "billing.example.internal",
    "name": "billing",
    "secret": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:billing-AbCdEf",
    "migrations": "db/billing",
    "security_group": "sg-0b0b0b0b",
}


def several(databases: Any, **more: Any) -> dict[str, Any]:
    return {key: value for key, value in DEV.items() if key != "database"} | {"databases": databases} | more


# ---- settings -------------------------------------------------------------------------------------------------------


def test_each_database_has_its_own_address_folder_and_group_and_all_else_of_the_environment() -> None:
    data = several({"shop": SHOP, "order-archive": BILLING}, hazards="refuse")
    shop, archive = read_environments({"prod": data}, project="acme")
    assert isinstance(shop, OneOfSeveral)
    assert isinstance(archive, OneOfSeveral)
    assert (shop.name, archive.name) == ("acme-prod-shop", "acme-prod-order-archive")
    assert {each.stack for each in (shop, archive)} == {"AuroraMigrationsRunnerStack-acme-prod"}
    command = "npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-acme-prod --context env=prod"
    assert [each.deploy for each in (shop, archive)] == [command] * 2
    assert (shop.database.name, archive.database.name) == ("shop", "billing")
    assert (shop.security_group, archive.security_group) == (shop.network.database_security_group, "sg-0b0b0b0b")
    assert [each.hazards for each in (shop, archive)] == ["refuse"] * 2


def without(database: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in database.items() if name != key}


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "both": (
        {**DEV, "databases": {"shop": SHOP}},
        [
            "` has both `database` and `databases`: write each database in `databases`, with a name and its folder "
            "`migrations`."
        ],
    ),
    "neither": (without(DEV, "database"), [".database` is missing: the database to migrate."]),
    "none": (several({}), [".databases` must be an object with an object per database."]),
    "a list": (several([SHOP]), [".databases` must be an object with an object per database."]),
    "no object": (several({"shop": "x"}), ['.databases.shop` must be an object, not "x".']),
    "too many": (
        several({f"shop-{letter}": SHOP for letter in "abcdefg"}),
        [".databases` may have 6 items at most, and has 7: CloudFormation takes no template of more than 1 MB."],
    ),
    "no folder": (
        several({"shop": without(SHOP, "migrations")}),
        [".databases.shop.migrations` is missing: the folder of its migrations, relative to `cdk.json`."],
    ),
    "empty folder": (
        several({"shop": {**SHOP, "migrations": ""}}),
        ['.databases.shop.migrations` must be the folder of its migrations, relative to `cdk.json`, not "".'],
    ),
    "unknown key": (
        several({"shop": {**SHOP, "sll": 1}}),
        [
            ".databases.shop.sll` is unknown; known keys: host, port, name, secret, secret_key, sslmode, migrations, "
            "security_group."
        ],
    ),
    "reader": (
        several({"shop": {**SHOP, "host": "x.cluster-ro-a1.eu-west-1.rds.amazonaws.com"}}),
        [".databases.shop.host` is the cluster's reader endpoint: write the cluster's writer endpoint."],
    ),
    "group": (
        several({"shop": {**SHOP, "security_group": "group"}}),
        [
            ".databases.shop.security_group` must be the ID of its cluster's security group, if that isn't "
            '`network.database_security_group`, or {"export": "NAME"} or {"parameter": "/NAME"}, not "group".'
        ],
    ),
    "what is the environment's is told once": (
        several({"shop": without(SHOP, "name"), "billing": without(BILLING, "host")}, emails=["nonsense"]),
        [
            ".databases.shop.name` is missing: the database's name.",
            '.emails[0]` must be a plain e-mail address, such as team@example.com, not "nonsense".',
            ".databases.billing.host` is missing: the cluster's writer endpoint.",
        ],
    ),
    "two regions": (
        several({"shop": SHOP, "billing": BILLING}, region="us-east-1"),
        [
            f".region` is us-east-1, and `databases.{name}.secret` is in eu-west-1: all must be in one region."
            for name in ("shop", "billing")
        ],
    ),
    "name": (
        several({"Shop": SHOP}),
        [
            ".databases.Shop` can't be a database's name: write lower-case words of letters and digits that begin with "
            "a letter, joined by hyphens."
        ],
    ),
    "long name": (
        several({"a-long-long-name": SHOP}),
        [
            ".databases.a-long-long-name` makes the name prod-a-long-long-name, which can't be an environment's name: "
            "write up to 20 lower-case letters, digits and hyphens, beginning with a letter; it becomes part of the "
            "name of everything in the stack."
        ],
    ),
    "name of something else": (
        several({"alerts": SHOP}),
        [
            ".databases.alerts` makes the name prod-alerts, which can't be an environment's name: something in the "
            "stack of 'prod' has the same name, which ends in `-alerts`."
        ],
    ),
}


@pytest.mark.parametrize(("data", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistake_names_its_key_its_database_and_its_environment(data: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read_environments({"prod": data})
    assert str(caught.value).splitlines() == [f"cdk.json: `environments.prod{line}" for line in told]


@pytest.mark.parametrize("other", [DEV, several({"archive": SHOP})], ids=["one", "several"])
def test_name_of_another_environment_is_refused_whichever_is_chosen(other: dict[str, Any]) -> None:
    environments = {"prod": several({"shop": SHOP}), "prod-shop": other}
    told = r"`environments\.prod\.databases\.shop` can't be named prod-shop: `environments\.prod-shop` has a machine"
    with pytest.raises(SettingsError, match=told):
        read_environments(environments, "prod")


def test_editors_find_the_same_mistakes() -> None:
    schema = Draft202012Validator(json.loads((ROOT / "docs" / "schemas" / "cdk.json").read_text("utf-8")))

    def fits(data: dict[str, Any]) -> bool:
        return schema.is_valid({"context": {"environments": {"prod": data}}})

    assert fits(several({"shop": SHOP, "order-archive": BILLING}))
    assert fits(DEV)
    for name in ("both", "neither", "none", "a list", "no object", "too many", "no folder", "unknown key", "name"):
        assert not fits(MISTAKES[name][0]), name


# ---- the stack ------------------------------------------------------------------------------------------------------


def databases() -> dict[str, Any]:
    return {"shop": {**SHOP, "migrations": "migrations"}, "billing": {**BILLING, "migrations": "migrations"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """Of two databases."""
    data = several(databases(), network=context()["environments"]["dev"]["network"])
    return synthesised(tmp_path_factory.mktemp("several"), {"prod": data})["prod"]


def test_there_are_two_machines_and_one_topic_with_one_subscription_and_one_key(stack: Template) -> None:
    for name in ("prod-shop", "prod-billing"):
        assert stack.machine(f"aurora-migrations-{name}")
    for type in ("SNS::Topic", "SNS::Subscription", "KMS::Key"):
        assert stack.one(type)
    assert stack.one("SNS::Topic").properties["TopicName"] == "aurora-migrations-prod-alerts"
    names = list(named(stack))
    assert len(set(names)) == len(names)


def test_topic_key_and_subscription_keep_the_ids_that_they_have_with_one_database(
    stack: Template, templates: dict[str, Template]
) -> None:
    """So an environment gets a second database, and nobody has to confirm a subscription again."""

    def shared(template: Template) -> set[str]:
        kinds = ("AWS::SNS::", "AWS::KMS::")
        return {name for name, each in template.body["Resources"].items() if each["Type"].startswith(kinds)}

    assert shared(stack) == shared(templates["dev"])


@pytest.mark.parametrize("function", ["preflight", "apply", "verify"])
def test_functions_read_their_own_secret_and_no_others(stack: Template, function: str) -> None:
    for name, database, other in (("shop", SHOP, BILLING), ("billing", BILLING, SHOP)):
        found = stack.one("Lambda::Function", FunctionName=f"aurora-migrations-prod-{name}-{function}").properties
        variables = found["Environment"]["Variables"]
        assert (variables["ENVIRONMENT"], variables["DATABASE_HOST"]) == (f"prod-{name}", database["host"])
        assert variables["DEPLOY_COMMAND"].endswith("deploy AuroraMigrationsRunnerStack-prod --context env=prod")
        (role,) = {str(value) for value in [found["Role"]]}
        policies = json.dumps(
            [each for each in stack.body["Resources"].values() if each["Type"] == "AWS::IAM::Policy"
             and any(json.dumps(ref["Ref"])[1:-1] in role for ref in each["Properties"]["Roles"])]
        )  # fmt: skip
        assert database["secret"] in policies
        assert other["secret"] not in policies


def test_functions_reach_their_own_cluster_only(stack: Template) -> None:
    network = context()["environments"]["dev"]["network"]
    rules = [each["Properties"] for each in stack.body["Resources"].values() if each["Type"].endswith("GroupIngress")]
    entered = [rule["GroupId"] for rule in rules if rule["FromPort"] == 5432]
    assert sorted(entered) == sorted([network["database_security_group"], "sg-0b0b0b0b"])
    told = {rule["GroupId"]: rule["Description"] for rule in rules if rule["FromPort"] == 5432}
    assert told["sg-0b0b0b0b"] == "migrations of prod-billing"


def test_a_machine_may_call_its_own_functions_only(stack: Template) -> None:
    for name, other in (("Shop", "Billing"), ("Billing", "Shop")):
        policies = {
            key: json.dumps(each)
            for key, each in stack.body["Resources"].items()
            if each["Type"] == "AWS::IAM::Policy" and key.startswith(name)
        }
        for key, policy in some(policies).items():
            assert f'"{other}' not in policy, key


def test_deployment_of_the_stack_starts_both(stack: Template) -> None:
    for name in ("prod-shop", "prod-billing"):
        rule = stack.one("Events::Rule", Name=f"aurora-migrations-{name}-on-deploy").properties
        pattern = json.dumps(rule["EventPattern"])
        assert "stack/AuroraMigrationsRunnerStack-prod" in pattern
        assert f"stack/AuroraMigrationsRunnerStack-{name}" not in pattern


def test_mails_and_alarms_name_the_machine(stack: Template) -> None:
    for name, other in (("prod-shop", "prod-billing"), ("prod-billing", "prod-shop")):
        alarm = stack.one("CloudWatch::Alarm", AlarmName=f"aurora-migrations-{name}-dead-letters").properties
        assert name in alarm["AlarmDescription"]
        text = json.dumps(stack.machine(f"aurora-migrations-{name}").definition)
        assert f'"{name}"' in text
        assert other not in text


def test_state_machines_say_where_their_outputs_are(stack: Template) -> None:
    for name in ("Shop", "Billing"):
        machine = stack.one("StepFunctions::StateMachine", StateMachineName=f"aurora-migrations-prod-{name.lower()}")
        tag = {"Key": "aurora-migrations:stack", "Value": f"AuroraMigrationsRunnerStack-prod/{name}"}
        assert tag in machine.properties["Tags"]
        assert f"{name}StateMachineArn" in stack.body["Outputs"]


def test_template_of_the_most_databases_is_one_that_cloudformation_takes(tmp_path: Path) -> None:
    """With all that there is, and the longest names."""
    subnets = [f"subnet-{number:017x}" for number in range(16)]
    network = context()["environments"]["dev"]["network"] | {"subnets": subnets}
    each = {f"d{number}-{'x' * 12}": databases()["billing"] for number in range(MOST_DATABASES)}
    more = {"success_mail": True, "chat": True, "deployment": "waits", "network": network}
    emails = [f"{number}@example.com" for number in range(20)]
    template = synthesised(tmp_path, {"prod": several(each, watch_stacks=["shop"], **(more | {"emails": emails}))})
    assert template["prod"].path.stat().st_size < 1_000_000
    assert len(template["prod"].body["Resources"]) < 500
    assert len(template["prod"].body["Outputs"]) <= 200


def test_folder_that_is_not_there_is_told_before_anything_is_built(tmp_path: Path) -> None:
    data = several({"shop": SHOP, "billing": {**BILLING, "migrations": "migrations"}})
    with pytest.raises(SettingsError) as caught:
        synthesised(tmp_path, {"prod": data})
    assert str(caught.value) == "cdk.json: `migrations` of prod-shop must be a folder, and 'db/shop' is none."


# ---- `synth`, with a package of each folder --------------------------------------------------------------------------


def test_each_folder_is_a_package_and_functions_have_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three databases, of which two have one folder."""
    for name in ("shop", "billing"):
        (tmp_path / "db" / name).mkdir(parents=True)
        (tmp_path / "db" / name / f"001_{name}.sql").write_text(f"CREATE TABLE {name} (id int PRIMARY KEY);\n")
    data = several({"shop": SHOP, "outlet": {**SHOP, "name": "outlet"}, "billing": BILLING})
    (tmp_path / "cdk.json").write_text(json.dumps({"context": {"environments": {"prod": data}}}))
    monkeypatch.chdir(tmp_path)
    told = calling(capsys)("synth", "--out", str(tmp_path / "out"), "--output", "json").json
    fits("synth", told)
    assert len(told["packages"]) == 2
    files = {}
    for package in told["packages"]:
        with zipfile.ZipFile(tmp_path / package) as archive:
            files[Path(package).name] = [name for name in archive.namelist() if name.endswith(".sql")]
    (path,) = told["templates"]
    template = Template(tmp_path / path)
    for name, file in (("shop", "001_shop"), ("outlet", "001_shop"), ("billing", "001_billing")):
        for kind in ("preflight", "apply", "verify"):
            function = template.one("Lambda::Function", FunctionName=f"aurora-migrations-prod-{name}-{kind}").properties
            assert files[function["Code"]["S3Key"]] == [f"migrations/{file}.sql"]
            command = function["Environment"]["Variables"]["DEPLOY_COMMAND"]
            assert "deploy --stack-name AuroraMigrationsRunnerStack-prod " in command
    assert [name for name, each in template.body["Parameters"].items() if "Default" not in each] == ["PackageBucket"]
