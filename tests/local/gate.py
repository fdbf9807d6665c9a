"""Deployments that wait for their run, in a local cloud of this process: `python -m tests.local.gate URL FOLDER`.

Writes what came of each as JSON, for tests/local/test_gate.py. In a process of its own, as moto's services are."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from moto.cloudformation.models import cloudformation_backends

from aurora_migrations.cdk.naming import Names
from aurora_migrations.local.account import ACCOUNT, ENVIRONMENT, KEY, REGION
from aurora_migrations.local.cloud.cloud import Cloud, opened
from aurora_migrations.local.cloud.services.custom_resources import DeploymentFailed
from aurora_migrations.local.cloud.template_cache import synthesize
from tests.paths import ROOT


def main(url: str, folder: Path) -> None:
    migrations = folder / "migrations"
    migrations.mkdir(parents=True)
    template = folder / "template.json"
    synthesize(template, "disable", deployment="waits")
    stack, kept = (Names(ENVIRONMENT).stack, template.read_text("utf-8")), ROOT / "build" / "cloud"
    found: dict[str, Any] = {}

    write(migrations, "001_shoes", "CREATE TABLE shoes (id int PRIMARY KEY);")
    with opened(url, migrations, kept, hurry=True, stack=stack) as cloud:
        found["created"] = described(cloud)
        write(migrations, "002_size", "ALTER TABLE shoes ADD COLUMN size int;")
        found["updated"] = published(cloud)
        write(migrations, "003_colour", "ALTER TABLE shoes ADD COLUMN colour text;")
        write(migrations, "004_wrong", "ALTER TABLE boots ADD COLUMN size int;")
        found["failed"] = published(cloud)
        write(migrations, "004_wrong", "ALTER TABLE shoes ADD COLUMN heel int;")
        found["mended"] = published(cloud)
        (gate,) = cloud.stack.custom_resources
        gate.request("Delete", cloud.functions.invoke)
        found["deleted"] = described(cloud)
        found["refused"] = [f"{each.action} {each.resource}" for each in cloud.server.made if not each.allowed]

    write(migrations, "005_wrong", "ALTER TABLE boots ADD COLUMN size int;")
    try:
        with opened(url, migrations, kept, hurry=True, stack=stack):
            found["not created"] = None
    except DeploymentFailed as error:
        found["not created"] = str(error)
    print(json.dumps(found))


def write(folder: Path, name: str, sql: str) -> None:
    (folder / f"{name}.sql").write_text(f"{sql}\n", encoding="utf-8")


def published(cloud: Cloud) -> dict[str, Any]:
    before, started, reason = cloud.mails, time.monotonic(), None
    try:
        cloud.publish()
    except DeploymentFailed as error:
        reason = str(error)
    mails = [mail.subject for mail in cloud.mails[len(before) :]]
    return described(cloud) | {"reason": reason, "mails": mails, "seconds": time.monotonic() - started}


def described(cloud: Cloud) -> dict[str, Any]:
    """The stack's status, its executions with their inputs, and the package of the functions."""
    session = boto3.Session(aws_access_key_id=KEY, aws_secret_access_key=cloud.secret_key, region_name=REGION)
    states = session.client("stepfunctions", endpoint_url=cloud.endpoint)
    listed = states.list_executions(stateMachineArn=cloud.machine)["executions"]
    asked = [states.describe_execution(executionArn=each["executionArn"]) for each in listed]
    stack = cloudformation_backends[ACCOUNT][REGION].stacks[cloud.stack.arn]
    lambdas = session.client("lambda", endpoint_url=cloud.endpoint)
    apply = lambdas.get_function(FunctionName="aurora-migrations-local-apply", Qualifier="live")["Configuration"]
    return {
        "status": stack.status,
        "runs": [[each["name"], each["status"], json.loads(each["input"])] for each in asked],
        "arn": cloud.stack.arn,
        "version": apply["Version"],
        "gates": len(states.list_executions(stateMachineArn=f"{cloud.machine}-gate")["executions"]),
    }


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
