"""Preflight, apply and verify: one package, three handlers, each with a role of its own and only what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from aurora_migrations import project
from aurora_migrations.cdk.alerts import make_log
from aurora_migrations.cdk.config import Environment, Limits
from aurora_migrations.cdk.config_fields import Parameter
from aurora_migrations.cdk.naming import ALIAS, Names
from aurora_migrations.cdk.network import Network, resolve
from aurora_migrations.cdk.package import ARM64, CERTIFICATES, MIGRATIONS, PackagingError, build, inspect
from aurora_migrations.engine import MigratorError

ROOT = "/var/task"  # where Lambda unpacks the package
NAMESPACE = "AuroraMigrations"

# What Lambda itself does, as the function's role, to put a function into a VPC.
INTERFACE_ACTIONS = (
    "ec2:AssignPrivateIpAddresses",
    "ec2:CreateNetworkInterface",
    "ec2:DeleteNetworkInterface",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSubnets",
    "ec2:UnassignPrivateIpAddresses",
)


@dataclass(frozen=True)
class Kind:
    """One of the three functions: its module in functions/, what it is for, and its limits in milliseconds."""

    name: str
    purpose: str
    lock_timeout: int
    lock_wait: int
    statement_timeout: int
    timeout: int
    memory_mb: int = 512


def kinds(limits: Limits) -> tuple[Kind, Kind, Kind]:
    """Preflight, apply, verify. Preflight only reads small things and must not keep anybody waiting."""
    preflight = Kind(
        "preflight",
        "Checks secret, connection and history; reports what is pending. Changes nothing.",
        lock_timeout=min(limits.lock_timeout, 2_000),
        lock_wait=min(limits.lock_wait, 30_000),
        statement_timeout=min(limits.statement_timeout, 60_000),
        timeout=min(limits.function_timeout, 120_000),
    )
    same = (limits.lock_timeout, limits.lock_wait, limits.statement_timeout, limits.function_timeout)
    apply = Kind("apply", "Applies pending migrations, each all or not at all.", *same, memory_mb=1024)
    return preflight, apply, Kind("verify", "Checks the expectations of the migrations.", *same)


class Functions(Construct):
    """The three functions."""

    def __init__(
        self, scope: Construct, name: str, *, settings: Environment, network: Network, key: kms.Key, package: Package
    ) -> None:
        super().__init__(scope, name)
        self._settings = settings
        self._network = network
        self.timeouts = {kind.name: kind.timeout for kind in kinds(settings.limits)}  # milliseconds
        self.retries = settings.limits.retries  # what a call of theirs tries again
        self.logs: dict[str, logs.LogGroup] = {}
        # What the state machine calls: the versions that were deployed with it.
        self.aliases: dict[str, lambda_.Alias] = {}
        for kind in kinds(settings.limits):
            place = Construct(self, kind.name.capitalize())
            function_name = Names(settings.name).of(kind.name)
            log = make_log(place, settings, key, Names(settings.name).function_log(kind.name))
            function = lambda_.Function(
                place,
                "Function",
                function_name=function_name,
                description=kind.purpose,
                code=package.code,
                runtime=package.runtime,
                architecture=package.architecture,
                handler=f"functions.{kind.name}.handler",
                timeout=cdk.Duration.millis(kind.timeout),
                memory_size=kind.memory_mb,
                environment=self._environment(kind),
                role=self._role(place, function_name, log),
                log_group=log,
                vpc=network.vpc,
                vpc_subnets=network.subnets,
                security_groups=[network.group],
                current_version_options=lambda_.VersionOptions(description=self._from_parameters()),
            )
            self.logs[kind.name] = log
            self.aliases[kind.name] = lambda_.Alias(place, "Alias", alias_name=ALIAS, version=function.current_version)

    def _from_parameters(self) -> str | None:
        """What the function gets from the parameter store, for its version's description.

        The CDK makes a new version where the template changes, and a parameter's value isn't in the template. But
        CloudFormation replaces a version whose description changes, and the alias follows. (An export can't change
        while it is imported.) A description has 256 characters at most, so ids come without what they all have.
        """
        database, subnets = self._settings.database, self._settings.network.subnets
        whole = [
            resolve(self, each) for each in (database.host, database.port, database.name) if isinstance(each, Parameter)
        ]
        parts = [(each, "-", 1) for each in subnets] + [(database.secret, ":", 6)]
        short = [
            cdk.Fn.select(at, cdk.Fn.split(mark, resolve(self, each)))
            for each, mark, at in parts
            if isinstance(each, Parameter)
        ]
        return " ".join((*whole, *short)) or None

    def _environment(self, kind: Kind) -> dict[str, str]:
        settings, database = self._settings, self._settings.database
        variables = {
            "ENVIRONMENT": settings.name,
            "DATABASE_SECRET_ARN": resolve(self, database.secret),
            "DATABASE_HOST": resolve(self, database.host),
            "DATABASE_PORT": resolve(self, database.port),
            "DATABASE_NAME": resolve(self, database.name),
            "DATABASE_SSLMODE": database.sslmode,
            "DATABASE_SSLROOTCERT": f"{ROOT}/{CERTIFICATES}",
            "ALLOWED_ACTIONS": ",".join(settings.allowed_actions),
            "LOCK_TIMEOUT_MS": str(kind.lock_timeout),
            "STATEMENT_TIMEOUT_MS": str(kind.statement_timeout),
            "LOCK_WAIT_MS": str(kind.lock_wait),
            "HAZARDS": settings.hazards,
            "MIGRATIONS_DIR": f"{ROOT}/{MIGRATIONS}",
            "POWERTOOLS_SERVICE_NAME": kind.name,
            "POWERTOOLS_METRICS_NAMESPACE": NAMESPACE,
            "POWERTOOLS_LOG_LEVEL": settings.log_level,
        }
        if settings.deploy is not None:
            variables["DEPLOY_COMMAND"] = settings.deploy
        if self._network.secrets_url is not None:
            variables["AWS_ENDPOINT_URL_SECRETS_MANAGER"] = self._network.secrets_url
        return variables

    def _role(self, place: Construct, function: str, log: logs.LogGroup) -> iam.Role:
        role = iam.Role(
            place,
            "Role",
            assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"),
            description=f"What {function} may do: write its log, read the database's secret, run in the VPC.",
        )
        log.grant_write(role)
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["secretsmanager:GetSecretValue"], resources=[resolve(self, self._settings.database.secret)]
            )
        )
        if self._settings.database.secret_key is not None:
            via = f"secretsmanager.{cdk.Stack.of(self).region}.amazonaws.com"
            role.add_to_policy(
                iam.PolicyStatement(
                    actions=["kms:Decrypt"],
                    resources=[resolve(self, self._settings.database.secret_key)],
                    conditions={"StringEquals": {"kms:ViaService": via}},
                )
            )
        # Lambda makes network interfaces as this role; the function's own code may not.
        arn = cdk.Stack.of(self).format_arn(
            service="lambda", resource="function", resource_name=function, arn_format=cdk.ArnFormat.COLON_RESOURCE_NAME
        )
        own_code = {"ArnEquals": {"lambda:SourceFunctionArn": arn}}
        actions = list(INTERFACE_ACTIONS)
        role.add_to_policy(iam.PolicyStatement(actions=actions, resources=["*"]))
        role.add_to_policy(
            iam.PolicyStatement(effect=iam.Effect.DENY, actions=actions, resources=["*"], conditions=own_code)
        )
        return role


# ---- their package ---------------------------------------------------------------------------------------------------

packaging_errors: list[str] = []
"""Why the package couldn't be built."""


@dataclass(frozen=True)
class Package:
    """What runs in Lambda, and on what. The local cloud puts in another one and leaves the rest of the template."""

    code: lambda_.Code
    runtime: lambda_.Runtime
    architecture: lambda_.Architecture


@jsii.implements(cdk.ILocalBundling)
class _Bundler:
    def __init__(self, migrations: Path) -> None:
        self._migrations = migrations

    def try_bundle(self, output_dir: str, *args: Any, **options: Any) -> bool:
        """Builds the package in the CDK's output directory. Errors are also kept in `packaging_errors`: on its way
        through the CDK's core an exception loses its class and gains pages of frames."""
        try:
            build(Path(output_dir), self._migrations)
            if wrong := inspect(Path(output_dir), ARM64):
                raise PackagingError("\n".join(("The Lambda package is not as it should be:", *wrong)))
        except (PackagingError, MigratorError) as error:
            packaging_errors.append(str(error))
            raise
        return True


def bundled(migrations: Path) -> Package:
    """The package for AWS, with the migrations of a folder: Python 3.14 on ARM, which costs less than on Intel and
    starts as fast. It is built by our own code instead of in Docker, and hashed by what comes out."""
    code = lambda_.Code.from_asset(
        str(project.FUNCTIONS),
        asset_hash_type=cdk.AssetHashType.OUTPUT,
        bundling=cdk.BundlingOptions(
            image=cdk.DockerImage.from_registry("not-used"),
            # The CDK bundles once for equal options, among which it doesn't count `local`.
            command=[str(migrations.resolve())],
            local=_Bundler(migrations),
        ),
    )
    return Package(code, lambda_.Runtime.PYTHON_3_14, lambda_.Architecture.ARM_64)
