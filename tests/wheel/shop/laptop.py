"""Deploys the stack Laptop into a local cloud on the database at the URL, and prints how the run of that ended."""

import json
import sys
import time
from pathlib import Path
from typing import Any

from aurora_migrations.local.account import isolated_environment

with isolated_environment():
    from aurora_migrations import project
    from aurora_migrations.local.cloud.cloud import opened
    from aurora_migrations.local.cloud.services.stepfunctions import find

    template: dict[str, Any] = json.loads(Path("cdk.out/Laptop.template.json").read_text())
    for place in ("Bucket", "Object"):  # where the package is; on AWS `cdk deploy` has uploaded it
        name = {"Bucket": "LambdaSourceBucketName", "Object": "LambdaSourceObjectKey"}[place]
        template["Parameters"][name] = {"Type": "String"}
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            code = {"S3Bucket": {"Ref": "LambdaSourceBucketName"}, "S3Key": {"Ref": "LambdaSourceObjectKey"}}
            resource["Properties"]["Code"] = code
            resource["Properties"]["Environment"]["Variables"]["DATABASE_SSLMODE"] = "disable"
    with opened(
        sys.argv[1], Path("db/shop"), project.cache() / "cloud", hurry=True, stack=("Laptop", json.dumps(template))
    ) as cloud:
        (started,) = cloud.deployed("CREATE_COMPLETE").started
        execution = find(started)
        while execution.status == "RUNNING":
            time.sleep(0.05)
        facts = {"machine": cloud.machine, "status": execution.status}
        print(json.dumps({**facts, "output": execution.output, "error": execution.error, "cause": execution.cause}))
