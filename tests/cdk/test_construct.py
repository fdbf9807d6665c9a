"""The construct in stacks of others: beside a cluster, in a Stage, twice in one stack; and what the CDK does to all."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from aurora_migrations.cdk.config import Database, Environment, Network, SettingsError
from aurora_migrations.cdk.construct import Migrations
from aurora_migrations.cdk.naming import LONGEST, PARTS, name_of
from tests.cdk.cloud import ACCOUNT, REGION, Template
from tests.cdk.test_side_by_side import named
from tests.paths import ROOT

SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop-AbCdEf"
WRITER = f"shop.cluster-c1a2b3d4e5f6.{REGION}.rds.amazonaws.com"
READER = WRITER.replace("cluster-", "cluster-ro-")
PLAIN: dict[str, Any] = {
    "host": WRITER,
    "database_name": "shop",
    "secret": SECRET,
    "vpc": "vpc-0123456789abcdef0",
    "subnets": ["subnet-0123456789abcdef0"],
    "security_group": "sg-0123456789abcdef0",
    "alert_emails": ["team@example.com"],
}
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("construct") / "db"
    made.mkdir()
    return made


@pytest.fixture(scope="module")
def written(folder: Path) -> Path:
    """The assembly of an app with three stacks, none of which is ours."""
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_ec2 as ec2  # isort: skip
    from aws_cdk import aws_iam as iam  # isort: skip
    from aws_cdk import aws_kms as kms  # isort: skip
    from aws_cdk import aws_rds as rds  # isort: skip
    from aws_cdk import aws_sns as sns  # isort: skip

    app = cdk.App(context={"aws:cdk:bundling-stacks": []}, outdir=str(folder.parent / "out"))
    where = cdk.Environment(account=ACCOUNT, region=REGION)

    shop = cdk.Stack(app, "ShopProd", env=where)
    cluster = rds.DatabaseCluster(
        shop,
        "Database",
        engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_16_4),
        vpc=ec2.Vpc(shop, "Vpc", max_azs=2),
        writer=rds.ClusterInstance.serverless_v2("Writer"),
        credentials=rds.Credentials.from_username("shop", encryption_key=kms.Key(shop, "Key")),
        default_database_name="shop",
    )
    gated = AuroraMigrations(
        shop, "Migrations", cluster=cluster, migrations=folder, alert_emails=["team@example.com"], deployment="waits"
    )
    sns.Topic(shop, "Application").node.add_dependency(gated)
    gated.grant_start(iam.Role(shop, "Starter", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com")))

    beside = cdk.Stack(app, "Beside", env=where)
    nested = cdk.NestedStack(beside, "Nested")
    for scope, name in ((beside, "beside"), (nested, "nested")):
        AuroraMigrations(
            scope,
            "Migrations",
            cluster=cluster,
            environment=name,
            migrations=folder,
            alert_emails=["team@example.com"],
            deployment="waits",
        )

    staged = cdk.Stack(cdk.Stage(app, "Prod", env=where), "Shop")
    group = ec2.SecurityGroup.from_security_group_id(staged, "Group", "sg-0123456789abcdef0")
    imported = rds.DatabaseCluster.from_database_cluster_attributes(
        staged,
        "Imported",
        cluster_identifier="shop",
        cluster_endpoint_address=WRITER,
        port=5433,
        security_groups=[group],
    )
    given = {key: PLAIN[key] for key in ("secret", "vpc", "subnets", "alert_emails")}
    for id, name in (("Migrations", "shop"), ("Orders", "orders")):
        AuroraMigrations(staged, id, cluster=imported, database_name=name, migrations=folder, **given)

    plain = cdk.Stack(app, "Plain", env=where)
    made = AuroraMigrations(
        plain,
        "Migrations",
        migrations=folder,
        project="billing",
        environment="dev",
        limits={"lock_timeout": "3s"},
        **(PLAIN | {"host": {"export": "billing-host"}}),
    )
    assert made.functions.keys() == {"preflight", "apply", "verify"}
    iam.PermissionsBoundary.of(made).apply(iam.ManagedPolicy.from_managed_policy_arn(plain, "Boundary", BOUNDARY))
    cdk.Tags.of(made).add("team", "billing")
    cdk.RemovalPolicies.of(made).retain()
    assert {made.metric_failed().metric_name, made.metric_time().metric_name} == {"ExecutionsFailed", "ExecutionTime"}
    return Path(app.synth().directory)


@pytest.fixture(scope="module")
def shop(written: Path) -> Template:
    return Template(written / "ShopProd.template.json")


@pytest.fixture(scope="module")
def staged(written: Path) -> Template:
    (path,) = (written / "assembly-Prod").glob("*.template.json")
    return Template(path)


@pytest.fixture(scope="module")
def plain(written: Path) -> Template:
    return Template(written / "Plain.template.json")


def variables(template: Template, environment: str) -> dict[str, str]:
    name = f"aurora-migrations-{environment}-apply"
    found: dict[str, str] = template.one("Lambda::Function", FunctionName=name).properties["Environment"]["Variables"]
    return found


def test_everything_about_the_database_is_taken_from_a_cluster(shop: Template) -> None:
    (cluster,) = shop.of("RDS::DBCluster")
    found = variables(shop, "shop-prod")
    assert {key: found[f"DATABASE_{key}"] for key in ("HOST", "PORT", "NAME")} == {
        "HOST": f"<{cluster.id}.Endpoint.Address>",
        "PORT": f"<{cluster.id}.Endpoint.Port>",
        "NAME": "shop",
    }
    (attached,) = shop.of("SecretsManager::SecretTargetAttachment")
    assert found["DATABASE_SECRET_ARN"] == f"<{attached.id}>"
    function = shop.one("Lambda::Function", FunctionName="aurora-migrations-shop-prod-apply")
    private = [each.id for each in shop.of("EC2::Subnet") if not each.properties["MapPublicIpOnLaunch"]]
    assert function.properties["VpcConfig"]["SubnetIds"] == [f"<{subnet}>" for subnet in private]
    into = [rule.properties for rule in shop.of("EC2::SecurityGroupIngress")]
    (opened,) = [rule for rule in into if rule["GroupId"] in cluster.properties["VpcSecurityGroupIds"]]
    assert opened["FromPort"] == f"<{cluster.id}.Endpoint.Port>"


def test_a_cluster_may_be_in_another_stack_which_needs_nothing_of_this_one(written: Path, shop: Template) -> None:
    beside = Template(written / "Beside.template.json")
    assert variables(beside, "beside")["DATABASE_HOST"].startswith("<import ShopProd:")
    assert "ImportValue" not in json.dumps(shop.body)
    manifest = json.loads((written / "manifest.json").read_text("utf-8"))["artifacts"]
    assert "ShopProd" in manifest["Beside"]["dependencies"]


def test_a_nested_stack_is_deployed_by_the_one_that_it_is_in(written: Path) -> None:
    (path,) = written.glob("BesideNested*.template.json")
    nested = Template(path)
    assert variables(nested, "nested")["DEPLOY_COMMAND"] == "npx aws-cdk@2 deploy Beside"
    (gate,) = nested.of("Lambda::Function")[3:]
    assert gate.properties["FunctionName"] == "aurora-migrations-nested-gate"


def test_the_key_of_the_clusters_secret_may_be_used(shop: Template) -> None:
    role = shop.one("Lambda::Function", FunctionName="aurora-migrations-shop-prod-apply").properties["Role"]
    statements = shop.statements(str(role).removeprefix("<").removesuffix(".Arn>"))
    secret_key = shop.of("SecretsManager::Secret")[0].properties["KmsKeyId"]
    assert [secret_key] in [each["Resource"] for each in statements if each["Action"] == ["kms:Decrypt"]]


def test_a_deployment_that_waits_does_so_after_the_database_and_before_the_application(shop: Template) -> None:
    (gate,) = shop.of("CloudFormation::CustomResource")
    after = shop.body["Resources"][gate.id]["DependsOn"]
    (instance,) = shop.of("RDS::DBInstance")
    assert instance.id in after
    (topic,) = [id for id, each in shop.body["Resources"].items() if id.startswith("Application")]
    assert gate.id in shop.body["Resources"][topic]["DependsOn"]


def test_a_deployment_that_waits_is_no_event_that_starts_another_run(shop: Template, staged: Template) -> None:
    def rules(template: Template) -> set[str]:
        return {rule.properties["Name"].rpartition("-on-")[2] for rule in template.of("Events::Rule")}

    assert "deploy" not in rules(shop)
    assert "deploy" in rules(staged)


def test_the_rule_in_a_stage_names_the_real_stack(staged: Template) -> None:
    rule = staged.one("Events::Rule", Name="aurora-migrations-prod-shop-on-deploy")
    arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/Prod-Shop"
    assert rule.properties["EventPattern"]["resources"] == [arn, {"prefix": f"{arn}/"}]
    assert variables(staged, "prod-shop")["DEPLOY_COMMAND"] == "npx aws-cdk@2 deploy Prod/Shop"


def test_two_in_one_stack_share_no_name_and_no_output(staged: Template) -> None:
    names = list(named(staged))
    assert len(names) == len(set(names))
    assert {variables(staged, name)["DATABASE_NAME"] for name in ("prod-shop", "prod-shop-orders")} == {
        "shop",
        "orders",
    }
    outputs = staged.body["Outputs"]
    assert {"MigrationsStateMachineArn", "OrdersStateMachineArn"} <= outputs.keys()
    tags = {
        each.properties["StateMachineName"]: each.properties.get("Tags")
        for each in staged.of("StepFunctions::StateMachine")
    }
    assert tags["aurora-migrations-prod-shop-orders"] == [
        {"Key": "aurora-migrations:stack", "Value": "Prod-Shop/Orders"}
    ]


def test_an_imported_cluster_keeps_its_port(staged: Template) -> None:
    assert variables(staged, "prod-shop")["DATABASE_PORT"] == "5433"
    assert {rule.properties["ToPort"] for rule in staged.of("EC2::SecurityGroupEgress")} == {443, 5433}


def test_project_and_environment_are_part_of_names_and_settings_are_those_of_cdk_json(plain: Template) -> None:
    found = variables(plain, "billing-dev")
    assert (found["DATABASE_HOST"], found["LOCK_TIMEOUT_MS"]) == ("<import billing-host>", "3000")


def test_tags_boundaries_and_removal_policies_of_the_cdk_reach_what_is_in_it(plain: Template) -> None:
    roles = plain.of("IAM::Role")
    assert {role.properties.get("PermissionsBoundary") for role in roles} == {BOUNDARY}
    for kind in ("KMS::Key", "SNS::Topic", "StepFunctions::StateMachine", "Lambda::Function"):
        for each in plain.of(kind):
            assert {"Key": "team", "Value": "billing"} in each.properties["Tags"]
            assert plain.body["Resources"][each.id]["DeletionPolicy"] == "Retain"


def test_who_may_start_may_read_how_it_went_and_stop_it(shop: Template) -> None:
    (role,) = [each for each in shop.of("IAM::Role") if each.id.startswith("Starter")]
    actions = {action for each in shop.statements(role.id) for action in each["Action"]}
    needed = ("StartExecution", "DescribeExecution", "GetExecutionHistory", "ListTagsForResource", "StopExecution")
    assert {f"states:{action}" for action in needed} <= actions


@pytest.mark.parametrize("name", ["shop", "staged", "plain"])
def test_cloudformation_is_clean(name: str, request: pytest.FixtureRequest) -> None:
    template: Template = request.getfixturevalue(name)
    found = lint_file(template.path, config=ManualArgs(ignore_checks=["W3005"]))
    ours = [each for each in found if str(each.path[1]).startswith(("Migrations", "Orders"))]
    assert [str(each) for each in ours] == []


def test_its_own_stack_has_the_logical_ids_that_deployed_ones_have(templates: dict[str, Template]) -> None:
    """Others would have CloudFormation make what it names again under the same name, and fail. Never change one."""
    named_ids = {
        "AWS::Lambda::Function": {
            "FunctionsPreflightFunctionCF885F4A",
            "FunctionsApplyFunctionA81FBBCC",
            "FunctionsVerifyFunctionE49925FB",
        },
        "AWS::Lambda::Alias": {
            "FunctionsPreflightAlias98CCD5B8",
            "FunctionsApplyAliasBD060306",
            "FunctionsVerifyAliasB9EB8025",
        },
    }
    for template in templates.values():
        for kind, ids in named_ids.items():
            assert {each.id for each in template.resources if each.type == kind} == ids
    pinned = json.loads((Path(__file__).parent / "logical_ids.json").read_text("utf-8"))
    found = {id: each["Type"] for id, each in templates["dev"].body["Resources"].items()}
    kept = {id: kind for id, kind in found.items() if kind not in ("AWS::Lambda::Version", "AWS::IAM::Policy")}
    assert kept == pinned


def test_the_page_has_an_example_of_each_property_and_attribute() -> None:
    from aurora_migrations.cdk import AuroraMigrations

    page = (ROOT / "docs" / "reference" / "construct.md").read_text("utf-8")
    shown = set(re.findall(r"(?m)^- `(\w+)=", page))
    properties = set(inspect.signature(AuroraMigrations.__init__).parameters) - {"self", "scope", "id", "package"}
    assert properties - shown == set()
    for name in ("state_machine", "topic", "functions", "security_group", "gate", "environment"):
        assert f"`{name}`" in page
    methods = {name for name, each in vars(Migrations).items() if callable(each) and not name.startswith("_")}
    assert [name for name in methods if f"{name}(" not in page] == []


# ---- mistakes -------------------------------------------------------------------------------------------------------


def refused(folder: Path, **properties: Any) -> str:
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip

    stack = cdk.Stack(cdk.App(), "Shop")
    with pytest.raises(SettingsError) as caught:
        AuroraMigrations(stack, "Migrations", **({"migrations": folder} | PLAIN | properties))
    return str(caught.value).removeprefix("AuroraMigrations Shop/Migrations: ")


def test_what_an_imported_cluster_or_secret_does_not_know_must_be_given(folder: Path) -> None:
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_rds as rds  # isort: skip
    from aws_cdk import aws_secretsmanager as secretsmanager  # isort: skip

    stack = cdk.Stack(cdk.App(), "Shop")
    cluster = rds.DatabaseCluster.from_database_cluster_attributes(stack, "Imported", cluster_identifier="shop")
    secret = secretsmanager.Secret.from_secret_name_v2(stack, "Secret", "shop")
    nested = cdk.NestedStack(stack, "Nested")
    for scope, properties, told in (
        (
            stack,
            {"host": None, "cluster": cluster},
            "`host` is missing: the imported cluster has no endpoint; give it ",
        ),
        (
            stack,
            {"secret": secret},
            "`secret` can't be used: one that is imported by its name has no complete ARN; use ",
        ),
        (nested, {}, "`environment` is missing: the name of a nested stack isn't known before."),
    ):
        with pytest.raises(SettingsError) as caught:
            AuroraMigrations(scope, "Migrations", **({"migrations": folder} | PLAIN | properties))
        assert told in str(caught.value)


@pytest.mark.parametrize(
    ("properties", "told"),
    [
        ({"host": READER}, "`host` is the cluster's reader endpoint: write the cluster's writer endpoint."),
        (
            {"alert_emails": ["nonsense"]},
            '`alert_emails[0]` must be a plain e-mail address, such as team@example.com, not "nonsense".',
        ),
        ({"alert_emails": []}, "`alert_emails` must have at least one item."),
        ({"host": None}, "`host` is missing: the cluster's writer endpoint."),
        (
            {"security_group": "sg"},
            '`security_group` must be the ID of the cluster\'s security group, or {"export": "NAME"} or '
            '{"parameter": "/NAME"}, not "sg".',
        ),
        ({"database_name": "a b"}, '`database_name` must be the database\'s name, or {"export": "NAME"} or '),
        ({"limits": {"lock": "2s"}}, "`limits.lock` is unknown; known keys: lock_timeout, "),
        ({"migrations": "nowhere"}, "`migrations` must be a folder, and 'nowhere' is none."),
        ({"environment": "Dev"}, "`environment` can't be an environment's name: write up to 20 "),
        ({"project": "shop"}, "`project` is given without `environment`: the name is PROJECT-ENVIRONMENT, or "),
        ({"subnets": PLAIN["subnets"][0]}, '`subnets` must be a list, not "subnet-0123456789abcdef0".'),
        (
            {"cluster": "shop"},
            "`cluster` must be an rds.IDatabaseCluster, not 'shop'; for another server, give `host`, `secret`, ",
        ),
        ({"environment": "dev", "project": "Shop!"}, "`environment` can't be of the project 'Shop!': write up to 15 "),
        (
            {"deployment": "waits", "limits": {"run_timeout": "2h"}},
            '`deployment` can\'t be "waits": CloudFormation waits for an hour, so `limits.run_timeout` may be 55min at '
            "most, and is 2h.",
        ),
        (
            {"watch_stacks": ["Shop"]},
            "`watch_stacks` lists the environment's own stack, Shop, which is always watched.",
        ),
    ],
    ids=str,
)
def test_a_mistake_is_told_as_in_cdk_json_by_the_propertys_name(
    folder: Path, properties: dict[str, Any], told: str
) -> None:
    found = refused(folder, **properties)
    assert told in found, found
    assert len(found.splitlines()) == 1


def test_a_cluster_must_be_one_of_aurora_postgresql(folder: Path) -> None:
    import aws_cdk as cdk
    from aws_cdk import aws_ec2 as ec2
    from aws_cdk import aws_rds as rds

    stack = cdk.Stack(cdk.App(), "Databases")
    vpc = ec2.Vpc(stack, "Vpc")
    postgres = rds.DatabaseInstanceEngine.postgres(version=rds.PostgresEngineVersion.VER_16_4)
    instance = rds.DatabaseInstance(stack, "Instance", engine=postgres, vpc=vpc)
    assert "`cluster` must be an rds.IDatabaseCluster, not a DatabaseInstance; " in refused(folder, cluster=instance)
    mysql = rds.DatabaseClusterEngine.aurora_mysql(version=rds.AuroraMysqlEngineVersion.VER_3_07_1)
    writer = rds.ClusterInstance.serverless_v2("Writer")
    cluster = rds.DatabaseCluster(stack, "Cluster", engine=mysql, vpc=vpc, writer=writer)
    assert refused(folder, cluster=cluster) == "`cluster` must be of PostgreSQL, and is aurora-mysql."


def test_subnets_whose_number_is_not_known_are_refused(folder: Path) -> None:
    import aws_cdk as cdk

    given = cdk.Fn.split(",", cdk.Fn.import_value("subnets"))
    assert "can't be a list that is only known at the deployment" in refused(folder, subnets=given)


def test_the_secret_must_be_in_the_stacks_region(folder: Path) -> None:
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip

    stack = cdk.Stack(cdk.App(), "Shop", env=cdk.Environment(account=ACCOUNT, region="us-east-1"))
    with pytest.raises(SettingsError) as caught:
        AuroraMigrations(stack, "Migrations", migrations=folder, **PLAIN)
    told = f"`region` is us-east-1, and `secret` is in {REGION}: all must be in one region."
    assert str(caught.value) == f"AuroraMigrations Shop/Migrations: {told}"


def test_a_migration_that_can_not_be_packaged_is_told_without_the_frames_of_the_cdk(tmp_path: Path) -> None:
    from aurora_migrations.cdk import AuroraMigrations, PackagingError

    import aws_cdk as cdk  # isort: skip

    (tmp_path / "001_a.sql").write_text("CREATE TABEL a ();\n")
    stack = cdk.Stack(cdk.App(outdir=str(tmp_path / "out")), "Shop")
    with pytest.raises(PackagingError) as caught:
        AuroraMigrations(stack, "Migrations", migrations=tmp_path, **PLAIN)
    assert str(caught.value).startswith("AuroraMigrations Shop/Migrations: 001_a.sql:1:8: ")
    assert caught.value.__suppress_context__


def test_every_setting_of_cdk_json_is_a_property() -> None:
    from aurora_migrations.cdk import AuroraMigrations

    properties = set(inspect.signature(AuroraMigrations.__init__).parameters)
    elsewhere = {"account", "region", "databases"}  # of the stack; several constructs
    renamed = {"database_security_group": "security_group", "emails": "alert_emails"}
    keys = {name for name, each in Environment.model_fields.items() if not each.validation_alias} - elsewhere
    keys = keys - {"network", "database"} | {*Network.model_fields, *Database.model_fields} - {"name"}
    assert {renamed.get(key, key) for key in keys} - properties == set()


def test_two_of_one_name_in_an_account_are_refused_at_synthesis(folder: Path) -> None:
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip

    app = cdk.App(context={"aws:cdk:bundling-stacks": []})
    for account, name in ((ACCOUNT, "One"), ("222233334444", "Two")):
        stack = cdk.Stack(app, name, env=cdk.Environment(account=account, region=REGION))
        AuroraMigrations(stack, "Migrations", migrations=folder, environment="dev", **PLAIN)
    stack = cdk.Stack(app, "Three", env=cdk.Environment(account=ACCOUNT, region=REGION))
    with pytest.raises(SettingsError) as caught:
        AuroraMigrations(stack, "Migrations", migrations=folder, environment="dev", **PLAIN)
    assert str(caught.value) == (
        "AuroraMigrations Three/Migrations: `environment` can't be 'dev': One/Migrations has the same name, account "
        "and region."
    )


def test_two_of_one_name_in_a_stack_are_refused_wherever_that_goes(folder: Path) -> None:
    from aurora_migrations.cdk import AuroraMigrations

    import aws_cdk as cdk  # isort: skip

    app = cdk.App(context={"aws:cdk:bundling-stacks": []})
    for name in ("One", "Two"):  # maybe of two accounts
        stack = cdk.Stack(app, name)
        AuroraMigrations(stack, "Migrations", migrations=folder, environment="dev", **PLAIN)
    with pytest.raises(SettingsError, match="`environment` can't be 'dev': Two/Migrations has the same name, account"):
        AuroraMigrations(stack, "Others", migrations=folder, environment="dev", **PLAIN)


def test_a_name_made_of_a_stacks_can_be_part_of_others() -> None:
    assert name_of("ShopProd") == "shop-prod"
    assert name_of("9-lives") == "m-9-lives"
    long = [name_of("Shop" * 20), name_of("Shop" * 20 + "2"), *(name_of(f"Shop-{part}") for part in PARTS)]
    assert len(set(long)) == len(long)
    assert all(len(name) <= LONGEST for name in long)
    assert not any(name.endswith(f"-{part}") for name in long for part in PARTS)
