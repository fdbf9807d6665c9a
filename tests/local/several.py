"""A stack of two databases, in a local cloud of this process: `python -m tests.local.several URL FOLDER`. URL is of the
server that has both.

Prints what a deployment started, as JSON, for tests/local/test_several.py. In a process of its own, as moto's services
are."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import boto3

import aurora_migrations.cdk  # noqa: F401 - sets the CDK's Node, so it comes first

import aws_cdk as cdk  # isort: skip
from aws_cdk import aws_lambda as lambda_  # isort: skip

from aurora_migrations.cdk.config import read_environments
from aurora_migrations.cdk.functions import Package
from aurora_migrations.cdk.stack import MigrationsStack
from aurora_migrations.local.account import ACCOUNT, KEY, PARAMETERS, REGION
from aurora_migrations.local.cloud.cloud import opened
from aurora_migrations.local.cloud.services.stepfunctions import find
from tests.paths import ROOT

DATABASES = ("shop", "billing")


def main(url: str, folder: Path) -> None:
    migrations = folder / "migrations"
    migrations.mkdir(parents=True)
    # Shop has a table of this name already, so one machine fails while the other succeeds.
    (migrations / "001_orders.sql").write_text("CREATE TABLE orders (id int PRIMARY KEY);\n", "utf-8")
    stack = ("AuroraMigrationsRunnerStack-prod", template(folder / "cdk.out", migrations))
    with opened(url, migrations, ROOT / "build" / "cloud", hurry=True, stack=stack) as cloud:
        session = boto3.Session(aws_access_key_id=KEY, aws_secret_access_key=cloud.secret_key, region_name=REGION)
        secrets = session.client("secretsmanager", endpoint_url=cloud.endpoint)
        login = json.loads(secrets.get_secret_value(SecretId="local/database")["SecretString"])
        del login["dbname"]  # as that of a cluster is: with it, a secret is of one database
        secrets.put_secret_value(SecretId="local/database", SecretString=json.dumps(login))
        executions = [find(arn) for arn in cloud.deployed("CREATE_COMPLETE").started]
        while any(each.status == "RUNNING" for each in executions):
            time.sleep(0.05)
        ended = {each.state_machine_arn.rpartition(":")[2]: each.status for each in executions}
        refused = [f"{each.action} {each.resource}" for each in cloud.server.made if not each.allowed]
        mails = [mail.subject for mail in cloud.mails]
        print(json.dumps({"ended": ended, "refused": refused, "mails": mails}))


def template(out: Path, migrations: Path) -> str:
    def parameter(name: str) -> dict[str, str]:
        return {"parameter": f"{PARAMETERS}/{name}"}

    address = {"host": parameter("host"), "port": parameter("port"), "secret": parameter("secret")}
    settings = {
        "account": ACCOUNT,
        "region": REGION,
        "network": {
            "vpc": parameter("vpc"),
            "subnets": [parameter("subnet")],
            "database_security_group": parameter("group"),
            "secrets_endpoint": parameter("group"),
        },
        "databases": {name: {**address, "name": name, "migrations": str(migrations)} for name in DATABASES},
        "emails": ["you@example.com"],
    }
    runtime = lambda_.Runtime(f"python{sys.version_info.major}.{sys.version_info.minor}", lambda_.RuntimeFamily.PYTHON)
    package = Package(lambda_.Code.from_cfn_parameters(), runtime, lambda_.Architecture.X86_64)
    app = cdk.App(outdir=str(out), analytics_reporting=False)
    stack = MigrationsStack(app, read_environments({"prod": settings}), package)
    app.synth()
    body: dict[str, Any] = json.loads((out / f"{stack.stack_name}.template.json").read_text("utf-8"))
    for resource in body["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":  # without TLS, which cdk.json can't say
            resource["Properties"]["Environment"]["Variables"]["DATABASE_SSLMODE"] = "disable"
    return json.dumps(body)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
