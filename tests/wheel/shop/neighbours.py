"""Deploys the templates of two projects into one account of a local cloud, on the databases of their names on the
server at the URL, and prints what each deployment has started and how that ended."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from aurora_migrations.local.account import ACCOUNT, KEY, PARAMETERS, REGION, isolated_environment

PROJECTS = ("one", "other")


def parameter(name: str) -> dict[str, str]:
    return {"parameter": f"{PARAMETERS}/{name}"}


def settings(project: str) -> dict[str, Any]:
    """The environments of a project's cdk.json."""
    address = {name: parameter(name) for name in ("host", "port", "secret")}
    group = parameter("group")
    return {
        "prod": {
            "account": ACCOUNT,
            "region": REGION,
            "network": {
                "vpc": parameter("vpc"),
                "subnets": [parameter("subnet")],
                "database_security_group": group,
                "secrets_endpoint": group,
            },
            "database": {**address, "name": project},
            "emails": ["team@example.com"],
        }
    }


def main(url: str) -> None:
    import boto3

    from aurora_migrations import project
    from aurora_migrations.local.cloud.cloud import opened
    from aurora_migrations.local.cloud.package_cache import package
    from aurora_migrations.local.cloud.services import cloudformation
    from aurora_migrations.local.cloud.services.stepfunctions import find

    kept = project.cache() / "cloud"
    templates = {}
    for name in PROJECTS:
        (path,) = Path(name, "aurora-migrations.out").glob("*.template.json")
        template: dict[str, Any] = json.loads(path.read_text())
        template["Parameters"]["PackageBucket"]["Default"] = cloudformation.BUCKET
        key = package(kept, Path(name, "migrations"), print).name
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::Lambda::Function":
                resource["Properties"]["Code"]["S3Key"] = key  # of this machine's processor
                resource["Properties"]["Environment"]["Variables"]["DATABASE_SSLMODE"] = "disable"
        templates[path.name.removesuffix(".template.json")] = key, json.dumps(template)
    (first, (_, text)), (second, (key, other)) = templates.items()
    with opened(url, Path("one", "migrations"), kept, hurry=True, stack=(first, text)) as cloud:
        session = boto3.Session(aws_access_key_id=KEY, aws_secret_access_key=cloud.secret_key, region_name=REGION)
        client = {name: session.client(name, endpoint_url=cloud.endpoint) for name in ("s3", "secretsmanager")}
        login = json.loads(client["secretsmanager"].get_secret_value(SecretId="local/database")["SecretString"])
        del login["dbname"]  # with it, a secret is of one database
        client["secretsmanager"].put_secret_value(SecretId="local/database", SecretString=json.dumps(login))
        client["s3"].put_object(Bucket=cloudformation.BUCKET, Key=key, Body=b"-")
        stacks = session.client("cloudformation", endpoint_url=cloud.endpoint)
        arns = [cloud.stack.arn, stacks.create_stack(StackName=second, TemplateBody=other)["StackId"]]
        for role in cloudformation.roles():
            cloud.server.register_role(role)
        started = {}
        for arn in arns:
            detail = {"stack-id": arn, "status-details": {"status": "CREATE_COMPLETE"}}
            sent = cloud.bus.put("aws.cloudformation", "CloudFormation Stack Status Change", detail, [arn])
            started[arn.split("/")[1]] = sent.started
        executions = [find(each) for each in (each for arns in started.values() for each in arns)]
        while any(each.status == "RUNNING" for each in executions):
            time.sleep(0.05)
        ended = {each.execution_arn: [each.status, each.cause] for each in executions}
        refused = [f"{each.action} {each.resource}" for each in cloud.server.made if not each.allowed]
        print(json.dumps({"started": started, "ended": ended, "refused": refused}))


if __name__ == "__main__":
    with isolated_environment():
        main(sys.argv[1])
