"""Deploys the template into moto, with what it expects to find in an account: network, secret, parameters, bucket."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.cloudformation.models import cloudformation_backends
from moto.ec2.models import ec2_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.ssm.models import ssm_backends

from aurora_migrations.cdk.naming import ALIAS, Names
from aurora_migrations.local.cloud.account import ACCOUNT, ENVIRONMENT, PARAMETERS, PARTITION, REGION
from aurora_migrations.local.cloud.lambda_service.database_login import Login
from aurora_migrations.local.cloud.services import cloudformation

BUCKET = "local-packages"
NAMES = tuple(Names(ENVIRONMENT).of(function) for function in ("preflight", "apply", "verify"))  # of the functions
_BOOTSTRAPPED = {"/cdk-bootstrap/hnb659fds/version": "30"}


@dataclass(frozen=True)
class Stack:
    """The deployed stack: its ARN, its outputs, and the ARN of the database's secret."""

    arn: str
    outputs: Mapping[str, str]
    secret: str


def deploy(template: str, package: str, login: Login, prepare: Callable[[str], str]) -> Stack:
    """Makes everything that the template says.

    Args:
        package: the key of the functions' package.
        prepare: makes of a state machine's definition the one to interpret.
    """
    cloudformation.teach(prepare)
    secret = _make_account(login, package)
    named = json.loads(template)["Parameters"]
    parameters = {name: value for name in named if (value := _of_package(name, package))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = _cloudformation().create_stack(Names(ENVIRONMENT).stack, template, parameters)
    return Stack(made.stack_id, {output["OutputKey"]: output["OutputValue"] for output in made.outputs}, secret)


def deploy_package(package: str) -> None:
    """Puts another package in the functions' place: new code, a new version, the alias on it."""
    _upload(package)
    backend = lambda_backends[ACCOUNT][REGION]
    for name in NAMES:
        backend.get_function(name).update_function_code({"S3Bucket": BUCKET, "S3Key": package})
        version: Any = backend.publish_version(name)
        backend.update_alias(ALIAS, name, str(version.version), "", "")


def roles() -> list[str]:
    """The ARNs of the functions' roles."""
    backend = lambda_backends[ACCOUNT][REGION]
    return [str(backend.get_function(name).role) for name in NAMES]


def _make_account(login: Login, package: str) -> str:
    """What another stack, the console and `cdk bootstrap` have made on AWS; returns the secret's ARN."""
    network = ec2_backends[ACCOUNT][REGION]
    vpc = network.default_vpc.id
    subnets = [subnet.id for zone in network.subnets.values() for subnet in zone.values()]
    groups = [group.id for group in network.groups[vpc].values()]
    secrets = secretsmanager_backends[ACCOUNT][REGION]
    made = secrets.create_secret("local/database", login.secret, None, None, [], None, None, [], False)
    secret = str(json.loads(made)["ARN"])
    values = {"vpc": vpc, "subnet": subnets[0], "group": groups[0], "secret": secret}
    where = {"host": login.host, "port": str(login.port), "database": login.database}
    parameters = {f"{PARAMETERS}/{name}": value for name, value in {**values, **where}.items()}
    for name, value in {**parameters, **_BOOTSTRAPPED}.items():
        ssm_backends[ACCOUNT][REGION].put_parameter(name, "", value, "String", "", "", False, [], "text", None, None)
    s3_backends[ACCOUNT][PARTITION].create_bucket(BUCKET, REGION)
    _upload(package)
    return secret


def _upload(package: str) -> None:
    """The package itself stays in its folder, from which it is run; the bucket knows it by its key."""
    s3_backends[ACCOUNT][PARTITION].put_object(BUCKET, package, package.encode())


def _of_package(parameter: str, package: str) -> str | None:
    if "LambdaSourceBucketName" in parameter:
        return BUCKET
    return package if "LambdaSourceObjectKey" in parameter else None


def _cloudformation() -> Any:
    return cloudformation_backends[ACCOUNT][REGION]
