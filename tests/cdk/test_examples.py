"""The folders in examples/: each is synthesised, with its package, and names what is there. So is a page's code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cfnlint.api import lint_file
from cfnlint.config import ManualArgs

from tests.cdk.cloud import Template
from tests.cli.conftest import calling
from tests.cli.test_schemas import fits
from tests.paths import ROOT

EXAMPLES = ROOT / "examples"
STACK = "AuroraMigrationsRunnerStack-shop-prod"


def test_every_folder_is_in_the_table() -> None:
    table = re.findall(r"(?m)^\| \[([\w-]+)\]\(([\w-]+)\) \|", (EXAMPLES / "README.md").read_text("utf-8"))
    assert {name for name, _ in table} == {path.name for path in EXAMPLES.iterdir() if path.is_dir()}


@pytest.fixture(scope="module")
def existing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the existing app writes."""
    out = tmp_path_factory.mktemp("existing")
    command, variables = [sys.executable, "app.py"], {**os.environ, "CDK_OUTDIR": str(out)}
    ran = subprocess.run(command, cwd=EXAMPLES / "existing-cdk-app", env=variables, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return out


def test_existing_app_has_its_migrations_in_the_package(existing: Path) -> None:
    template = Template(existing / "ShopProd.template.json")
    function = template.one("Lambda::Function", FunctionName="aurora-migrations-shop-prod-apply")
    asset = existing / f"asset.{function.properties['Code']['S3Key'].removesuffix('.zip')}"
    assert [path.name for path in (asset / "migrations").glob("*.sql")] == ["001_customers.sql"]


def test_existing_app_waits_for_a_cluster_that_scales_to_zero_and_needs_no_nat(existing: Path) -> None:
    template = Template(existing / "ShopProd.template.json")
    (cluster,) = template.of("RDS::DBCluster")
    assert cluster.properties["ServerlessV2ScalingConfiguration"]["MinCapacity"] == 0
    assert not template.has("EC2::NatGateway")
    assert template.has("CloudFormation::CustomResource")


@pytest.mark.parametrize("name", ["plain", "terraform"])
def test_template_and_zip_need_one_bucket_and_nothing_of_the_cdk(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, where the CDK is loaded already."""
    monkeypatch.chdir(EXAMPLES / name)
    data = calling(capsys)("synth", "--out", str(tmp_path), "--output", "json").json
    fits("synth", data)
    (path,) = data["templates"]
    assert Path(path) == tmp_path / f"{STACK}.template.json"
    template = Template(Path(path))
    package = Path(data["package"])
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([package.name, Path(path).name])
    with zipfile.ZipFile(package) as archive:
        assert {"functions/apply.py", "migrations/001_customers.sql"} <= set(archive.namelist())
    for function in template.of("Lambda::Function"):
        assert function.properties["Code"] == {"S3Bucket": "<PackageBucket>", "S3Key": package.name}
    assert {name for name, each in template.body["Parameters"].items() if "Default" not in each} == {"PackageBucket"}
    assert "cdk-hnb659fds" not in Path(path).read_text("utf-8")
    assert [str(each) for each in lint_file(Path(path), config=ManualArgs(ignore_checks=["W3005"]))] == []


def test_terraform_names_the_stack_its_parameters_and_outputs() -> None:
    text = (EXAMPLES / "terraform" / "main.tf").read_text("utf-8")
    settings = json.loads((EXAMPLES / "terraform" / "cdk.json").read_text("utf-8"))["context"]["environments"]["prod"]
    assert f'"{STACK}"' in text
    referred = {each["parameter"] for each in settings["database"].values() if isinstance(each, dict)}
    assert set(re.findall(r'name  = "(/[^"]+)"', text)) == referred
    assert "PackageBucket = " in text
    assert 'outputs["StateMachineArn"]' in text


# What the code on the page is used in: a stack with the construct, and an app with a pipeline.
GATE = """
import aws_cdk as cdk
from aws_cdk import aws_iam as iam, aws_rds as rds, aws_sns as sns, pipelines
from aurora_migrations.cdk import AuroraMigrations

app = cdk.App(context={"aws:cdk:bundling-stacks": []}, outdir=OUT)
self = cdk.Stack(app, "Own")
cluster, service = cluster_of(self), sns.Topic(self, "Service")
__GATE__
__ROLE__

class ShopStack(cdk.Stack):
    def __init__(self, scope, id):
        super().__init__(scope, id)
        AuroraMigrations(
            self, "Migrations", cluster=cluster_of(self), alert_emails=["team@example.com"], deployment="waits"
        )

self = cdk.Stack(app, "Delivery")
source = pipelines.CodePipelineSource.git_hub("owner/repository", "main")
pipeline = pipelines.CodePipeline(self, "Pipeline", synth=pipelines.ShellStep("Synth", input=source, commands=["-"]))
__PIPELINE__
app.synth()
"""


def test_the_code_on_the_page_about_the_gate_is_synthesised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import aurora_migrations.cdk  # noqa: F401 - sets the CDK's Node, so it comes first

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_ec2 as ec2  # isort: skip
    from aws_cdk import aws_rds as rds  # isort: skip

    def cluster_of(stack: cdk.Stack) -> rds.IDatabaseCluster:
        return rds.DatabaseCluster(
            stack,
            "Database",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_16_4),
            vpc=ec2.Vpc(stack, "Vpc", max_azs=2),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            default_database_name="shop",
        )

    page = (ROOT / "docs" / "how-to" / "gate.md").read_text("utf-8")
    blocks = re.findall(r"(?s)```python\n(.*?)```", page)
    program = GATE
    for place, block in zip(("__GATE__", "__ROLE__", "__PIPELINE__"), blocks, strict=True):
        program = program.replace(place, block)
    (tmp_path / "migrations").mkdir()
    monkeypatch.chdir(tmp_path)
    exec(compile(program, "gate.md", "exec"), {"cluster_of": cluster_of, "OUT": str(tmp_path / "out")})
    own = Template(tmp_path / "out" / "Own.template.json")
    by_web = "sts:AssumeRoleWithWebIdentity"
    (role,) = [each for each in own.of("IAM::Role") if by_web in json.dumps(each.properties)]
    actions = {action for each in own.statements(role.id) for action in each["Action"]}
    listed = re.search(r"(?m)^\| all verbs \| (.+) \|$", (ROOT / "docs/reference/cli.md").read_text("utf-8"))
    assert listed
    needed = set(re.findall(r"`(\w+:\w+)`", listed[1])) - {"sts:GetCallerIdentity"}  # which everybody may call
    assert needed | {"sts:AssumeRole", "states:ListTagsForResource"} <= actions
    deployed = (tmp_path / "out" / "assembly-Delivery-Prod" / "manifest.json").read_text("utf-8")
    assert '"stackName": "Prod-Shop"' in deployed, "as the page says"
