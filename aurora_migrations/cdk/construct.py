"""The construct: `AuroraMigrations`, in anybody's stack. It takes what it needs from a cluster, or as properties, and
puts together the constructs of the other modules.

    from aurora_migrations.cdk import AuroraMigrations

    AuroraMigrations(self, "Migrations", cluster=cluster, migrations="db/migrations", alert_emails=["team@example.com"])
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, Literal
from weakref import WeakKeyDictionary

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_rds as rds
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_sns as sns
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct, IConstruct
from pydantic import ValidationError

from aurora_migrations.cdk import compliance
from aurora_migrations.cdk.alerts import Alerts, make_key
from aurora_migrations.cdk.config import DEPLOY, NAME, STACK, Environment, SettingsError
from aurora_migrations.cdk.config_fields import Deployed, describe_mistakes
from aurora_migrations.cdk.functions import Functions, Package, bundled, packaging_errors
from aurora_migrations.cdk.machines.gate import Gate
from aurora_migrations.cdk.machines.watchdogs import DailyCheck, Notice, Watchdogs
from aurora_migrations.cdk.naming import STACK_TAG, name_of
from aurora_migrations.cdk.network import Network
from aurora_migrations.cdk.package import PackagingError
from aurora_migrations.cdk.triggers import DeadLetters, DeployTrigger
from aurora_migrations.cdk.workflow import Workflow
from aurora_migrations.engine.options import Encrypted, Hazards
from aurora_migrations.engine.steps.execution import ActionName

# Keys of cdk.json whose properties have other names.
_PROPERTIES = {
    "network.database_security_group": "security_group",
    "network.": "",
    "database.name": "database_name",
    "database.": "",
    "emails": "alert_emails",
}


# Of each app: the path of the construct that has a name in an account and a region.
_NAMES: MutableMapping[IConstruct, dict[tuple[str, str, str], str]] = WeakKeyDictionary()


class Migrations(Construct):
    """Runs one database's migrations, by validated settings. In other stacks use `AuroraMigrations`."""

    def __init__(
        self, scope: Construct, id: str, settings: Environment, package: Package, shared: Alerts | None = None
    ) -> None:
        """Builds it. `shared` is the topic, and the key, of an environment's several databases."""
        super().__init__(scope, id)
        self._refuse_a_second_one_of_this_name(settings)
        key = make_key(self, settings) if shared is None else shared.key
        network = Network(self, "Network", settings)
        alerts = Alerts(self, "Alerts", settings=settings, key=key, shared=shared)
        functions = Functions(self, "Functions", settings=settings, network=network, key=key, package=package)
        workflow = Workflow(self, "Workflow", settings=settings, functions=functions, alerts=alerts)
        dead_letters = DeadLetters(self, "DeadLetters", settings=settings, alerts=alerts, key=key)
        trigger = DeployTrigger(
            self, "OnDeploy", settings=settings, machine=workflow.machine, dead_letters=dead_letters
        )
        watchdogs = Watchdogs(settings=settings, functions=functions, alerts=alerts, dead_letters=dead_letters)
        Notice(self, "Notice", watchdogs, workflow.machine)
        if settings.daily_check:
            DailyCheck(self, "Daily", watchdogs)
        self.environment = settings.name
        """The environment's name, as mails show it and `--env` takes it."""
        self.state_machine: sfn.StateMachine = workflow.machine
        """The state machine that applies migrations. An empty input `{}` runs everything pending."""
        self.topic: sns.Topic = alerts.topic
        """The topic that failures are mailed to."""
        self.functions: Mapping[str, lambda_.IFunction] = dict(functions.aliases)
        """`preflight`, `apply` and `verify`, as the state machine calls them."""
        self.security_group: ec2.ISecurityGroup = network.group
        """The functions' security group."""
        self._write_outputs(workflow, functions, alerts, dead_letters)
        if settings.deployment == "waits":
            gate = Gate(self, "Gate", settings=settings, functions=functions, alerts=alerts, package=package)
            gate.open_after(network, functions, workflow, shared or alerts, dead_letters, trigger)
            self.gate: cdk.CustomResource | None = gate.resource
            """What waits for the run, with `deployment="waits"`."""
        else:
            self.gate = None
        compliance.acknowledge(self, settings)

    def grant_start(self, grantee: iam.IGrantable) -> iam.Grant:
        """Lets someone start executions, read how they went, and stop them."""
        self.state_machine.grant_read(grantee)
        self.state_machine.grant(grantee, "states:ListTagsForResource")  # by which `--env` finds the stack
        self.state_machine.grant_execution(grantee, "states:DescribeExecution", "states:StopExecution")
        return self.state_machine.grant_start_execution(grantee)

    def metric_failed(self, **options: Any) -> cloudwatch.Metric:
        """Executions that failed, in the options of a CloudWatch metric (`period=`, `statistic=`)."""
        return self.state_machine.metric_failed(**options)

    def metric_succeeded(self, **options: Any) -> cloudwatch.Metric:
        """Executions that succeeded."""
        return self.state_machine.metric_succeeded(**options)

    def metric_time(self, **options: Any) -> cloudwatch.Metric:
        """How long executions took, in milliseconds."""
        return self.state_machine.metric_time(**options)

    def _refuse_a_second_one_of_this_name(self, settings: Environment) -> None:
        """CloudFormation would refuse it too, but in the middle of a deployment. Where it isn't known yet which account
        a stack goes to, other stacks are left to that."""
        stack = cdk.Stack.of(self)
        where = stack.account, stack.region
        if any(map(cdk.Token.is_unresolved, where)):
            where = _outermost(stack).node.path, ""
        names = _NAMES.setdefault(self.node.root, {})
        first = names.setdefault((*where, settings.name), self.node.path)
        if first != self.node.path:
            same = f"{first} has the same name, account and region"
            raise SettingsError(f"AuroraMigrations {self.node.path}: `environment` can't be {settings.name!r}: {same}.")

    def _write_outputs(
        self, workflow: Workflow, functions: Functions, alerts: Alerts, dead_letters: DeadLetters
    ) -> None:
        """The names that people and the command line need. None is exported: what others import can't be changed any
        more. In a stack of others they begin with the construct's own id, and the state machine's tags say where they
        are."""
        stack = cdk.Stack.of(self)
        ids = [scope.node.id for scope in self.node.scopes if scope.node.path.startswith(f"{stack.node.path}/")]
        prefix = re.sub("[^A-Za-z0-9]", "", "".join(part for part in ids if part != "Default"))
        for name, (value, description) in _outputs(workflow, functions, alerts, dead_letters).items():
            output = cdk.CfnOutput(self, name, value=value, description=description)
            if prefix:
                output.override_logical_id(f"{prefix}{name}")
        if prefix:
            machines = ["AWS::StepFunctions::StateMachine"]
            where = f"{stack.stack_name}/{prefix}"
            cdk.Tags.of(workflow.machine).add(STACK_TAG, where, include_resource_types=machines)


class AuroraMigrations(Migrations):
    """Runs the migrations of a folder on a database after a deployment of this stack, and on demand; mails every
    failure. docs/reference/construct.md has an example of each property."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        migrations: str | Path = "migrations",
        alert_emails: Sequence[str],
        cluster: rds.IDatabaseCluster | None = None,
        host: str | Mapping[str, str] | None = None,
        port: int | str | Mapping[str, str] | None = None,
        database_name: str | Mapping[str, str] | None = None,
        secret: secretsmanager.ISecret | str | Mapping[str, str] | None = None,
        secret_key: kms.IKey | str | Mapping[str, str] | None = None,
        sslmode: Encrypted = "verify-full",
        vpc: ec2.IVpc | str | Mapping[str, str] | None = None,
        subnets: ec2.SubnetSelection | Sequence[ec2.ISubnet | str | Mapping[str, str]] | None = None,
        security_group: ec2.ISecurityGroup | str | Mapping[str, str] | None = None,
        secrets_endpoint: ec2.ISecurityGroup | str | Mapping[str, str] = "create",
        environment: str | None = None,
        project: str | None = None,
        deployment: Literal["starts", "waits"] = "starts",
        watch_stacks: Sequence[str] = (),
        allowed_actions: Sequence[ActionName] | None = None,
        hazards: Hazards = "warn",
        daily_check: bool = True,
        on_verify_failure: Literal["alert", "rollback"] = "alert",
        success_mail: bool = False,
        chat: bool = False,
        limits: Mapping[str, str] | None = None,
        log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO",
        log_retention_days: int = 90,
        package: Package | None = None,
    ) -> None:
        """Builds the construct.

        Args:
            migrations: the folder of the .sql files, relative to where the app is started.
            alert_emails: who failures are mailed to.
            cluster: the Aurora cluster. Host, port, secret, security group and VPC are its own, unless they are given.
            host, port, database_name: where the database is; the cluster's writer endpoint. An imported cluster doesn't
                know its database's name.
            secret, secret_key: the secret with user and password, and the key that encrypts it if it is one's own.
            sslmode: how the server's certificate is checked.
            vpc, subnets: where the functions run; the cluster's subnets by default, otherwise private ones.
            security_group: the cluster's; it gets one rule, for the functions.
            secrets_endpoint: `create` makes a VPC endpoint for Secrets Manager; or the security group of one that is
                there.
            environment, project: the name in mails, in `--env` and in the names of resources is PROJECT-ENVIRONMENT;
                by default it is made of the stack's name and, if it isn't `Migrations`, the construct's id.
            deployment: `starts` a run after the deployment, or `waits` for it and fails if it does.
            watch_stacks, allowed_actions, hazards, daily_check, on_verify_failure, success_mail, chat, limits,
                log_level, log_retention_days: as in cdk.json: docs/reference/settings.md.
            package: what runs in Lambda, if it isn't built from the folder.

        Raises:
            SettingsError: mistakes in the properties, one a line.
            PackagingError: the package can't be built, such as of a migration that can't be read.
        """
        stack = cdk.Stack.of(scope)
        where = f"AuroraMigrations {scope.node.path}/{id}"
        if cluster is not None:
            _check_cluster(cluster, where)
        if project is not None and environment is None:
            both = "the name is PROJECT-ENVIRONMENT, or without both made of the stack's"
            raise SettingsError(f"{where}: `project` is given without `environment`: {both}.")
        if package is None and not Path(migrations).is_dir():
            raise SettingsError(f"{where}: `migrations` must be a folder, and {str(migrations)!r} is none.")
        if environment is None and cdk.Token.is_unresolved(stack.stack_name):
            raise SettingsError(f"{where}: `environment` is missing: the name of a nested stack isn't known before.")
        derived = name_of(stack.stack_name if id == "Migrations" else f"{stack.stack_name}-{id}")
        given: dict[str, Any] = {
            NAME: derived if environment is None else (environment, project),
            STACK: stack.stack_name,
            DEPLOY: f"npx aws-cdk@2 deploy {_outermost(stack).node.path}",
            "network": {
                **_network(cluster, vpc, subnets, security_group, where),
                "secrets_endpoint": _id(secrets_endpoint, "security_group_id"),
            },
            "database": {
                **_database(cluster, host, port, database_name, where),
                **_secret(cluster, secret, secret_key, where),
                "sslmode": sslmode,
            },
            "emails": alert_emails,
            "watch_stacks": watch_stacks,
            "hazards": hazards,
            "daily_check": daily_check,
            "on_verify_failure": on_verify_failure,
            "success_mail": success_mail,
            "chat": chat,
            "limits": limits or {},
            "deployment": deployment,
            "log_level": log_level,
            "log_retention_days": log_retention_days,
            **({} if allowed_actions is None else {"allowed_actions": allowed_actions}),
            **({} if cdk.Token.is_unresolved(stack.region) else {"region": stack.region}),
        }
        try:
            settings = Environment.model_validate(given)
        except ValidationError as error:
            lines = describe_mistakes(error, Environment, "", where)
            raise SettingsError("\n".join(map(_with_property, lines))) from None
        known = len(packaging_errors)
        try:
            super().__init__(scope, id, settings, package or bundled(Path(migrations)))
        except RuntimeError:  # the CDK's, with pages of its own frames
            if len(packaging_errors) == known:
                raise
            raise PackagingError(f"{where}: {packaging_errors[-1]}") from None
        if self.gate is not None and cluster is not None:  # its instances too, where it is made in the same app
            self.gate.node.add_dependency(cluster)


def _with_property(line: str) -> str:
    """The line of a mistake, with the property's name for the key's."""
    line = line.replace(": ``", ": `environment`", 1)  # what isn't about a key
    for key, name in _PROPERTIES.items():
        line = line.replace(f" `{key}", f" `{name}")
    return line


def _outermost(stack: cdk.Stack) -> cdk.Stack:
    """The stack that is deployed: of a nested one that which it is in."""
    return _outermost(stack.nested_stack_parent) if stack.nested_stack_parent is not None else stack


# ---- from constructs of the CDK to values of the settings -----------------------------------------------------------


def _check_cluster(cluster: Any, where: str) -> None:
    """Refuses what isn't an Aurora PostgreSQL cluster."""
    if not hasattr(type(cluster), "cluster_endpoint"):
        instead = "for another server, give `host`, `secret`, `security_group` and `vpc`"
        found = repr(cluster) if isinstance(cluster, str) else f"a {type(cluster).__name__}"
        raise SettingsError(f"{where}: `cluster` must be an rds.IDatabaseCluster, not {found}; {instead}.")
    engine = getattr(cluster, "engine", None)  # an imported one need not know its
    if engine is not None and "postgres" not in engine.engine_type:
        raise SettingsError(f"{where}: `cluster` must be of PostgreSQL, and is {engine.engine_type}.")


def _value(given: Any) -> Any:
    """The value, or the token for it."""
    if isinstance(given, (str, int, float)) and cdk.Token.is_unresolved(given):
        return Deployed(token=given if isinstance(given, str) else cdk.Tokenization.stringify_number(given))
    return given


def _id(given: Any, attribute: str) -> Any:
    """A construct's attribute, which is taken as it is: a lookup begins with values that no ID looks like. Of anything
    else the value."""
    return Deployed(token=getattr(given, attribute)) if hasattr(given, attribute) else _value(given)


def _database(cluster: Any, host: Any, port: Any, name: Any, where: str) -> dict[str, Any]:
    if cluster is not None and (host is None or port is None):
        try:
            endpoint = cluster.cluster_endpoint
        except RuntimeError as error:  # of an imported one
            if host is None:
                missing = "`host` is missing: the imported cluster has no endpoint"
                raise SettingsError(f"{where}: {missing}; give it `cluster_endpoint_address` and `port`.") from error
        else:
            host = endpoint.hostname if host is None else host
            port = endpoint.port if port is None else port
    if name is None and cluster is not None:
        name = getattr(cluster.node.default_child, "database_name", None)
    if isinstance(port, float) and not cdk.Token.is_unresolved(port):  # as JavaScript has it
        port = int(port)
    found = {"host": _value(host), "port": _value(port), "name": _value(name)}
    return {key: value for key, value in found.items() if value is not None}


def _secret(cluster: Any, secret: Any, key: Any, where: str) -> dict[str, Any]:
    secret = getattr(cluster, "secret", None) if secret is None else secret
    if key is None:
        key = getattr(secret, "encryption_key", None)
    if hasattr(secret, "secret_arn"):
        if secret.secret_full_arn is None:
            complete = "one that is imported by its name has no complete ARN; use Secret.from_secret_complete_arn"
            raise SettingsError(f"{where}: `secret` can't be used: {complete}.")
        secret = secret.secret_full_arn
    key = getattr(key, "key_arn", key)
    return {name: _value(value) for name, value in (("secret", secret), ("secret_key", key)) if value is not None}


def _network(cluster: Any, vpc: Any, subnets: Any, group: Any, where: str) -> dict[str, Any]:
    if group is None and cluster is not None:
        group = next(iter(cluster.connections.security_groups), None)
    if vpc is None:
        vpc = getattr(cluster, "vpc", None)
        subnets = getattr(cluster, "vpc_subnets", None) if subnets is None else subnets
    if not isinstance(subnets, str) and cdk.Token.is_unresolved(subnets):
        each = "give a list with one item for each, such as cdk.Fn.select(0, ...)"
        raise SettingsError(f"{where}: `subnets` can't be a list that is only known at the deployment: {each}.")
    if subnets is None or isinstance(subnets, ec2.SubnetSelection):
        if isinstance(subnets, ec2.SubnetSelection) and not hasattr(vpc, "select_subnets"):
            raise SettingsError(f"{where}: `subnets` must be a list of IDs where `vpc` is one, too.")
        if hasattr(vpc, "select_subnets"):
            chosen = vpc.select_subnets(**(subnets._values if subnets is not None else {}))
            subnets = [Deployed(token=subnet) for subnet in dict.fromkeys(chosen.subnet_ids)]
    elif not isinstance(subnets, str):
        subnets = [_id(subnet, "subnet_id") for subnet in subnets]
    found = {
        "vpc": _id(vpc, "vpc_id"),
        "subnets": subnets,
        "database_security_group": _id(group, "security_group_id"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _outputs(
    workflow: Workflow, functions: Functions, alerts: Alerts, dead_letters: DeadLetters
) -> dict[str, tuple[str, str]]:
    machine = workflow.machine
    values = {
        "StateMachineName": (machine.state_machine_name, "Start executions of this one; an empty input {} will do."),
        "StateMachineArn": (machine.state_machine_arn, "The same, as an ARN."),
        "StateMachineLog": (workflow.log.log_group_name, "What the state machine did."),
        "AlertTopicName": (alerts.topic.topic_name, "Failures are mailed to its subscribers."),
        "AlertTopicArn": (alerts.topic.topic_arn, "The same, as an ARN."),
        "DeadLetterQueueName": (dead_letters.queue.queue_name, "Events that started nothing."),
        "DeadLetterQueueUrl": (dead_letters.queue.queue_url, "The same, as a URL."),
    }
    for kind, alias in functions.aliases.items():
        word = kind.capitalize()
        values[f"{word}FunctionName"] = (alias.version.lambda_.function_name, f"The function {kind}.")
        values[f"{word}FunctionArn"] = (alias.function_arn, "Its alias, which the state machine calls.")
        values[f"{word}FunctionLog"] = (functions.logs[kind].log_group_name, "Its log.")
    return values
