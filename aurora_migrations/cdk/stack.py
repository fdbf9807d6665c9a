"""The stack of an environment: puts together the constructs of the other modules."""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct

from aurora_migrations.cdk import compliance, outputs
from aurora_migrations.cdk.alerts import Alerts, make_key
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.network import Network
from aurora_migrations.cdk.package.bundling import Package
from aurora_migrations.cdk.triggers import DeadLetters, DeployTrigger
from aurora_migrations.cdk.watchdogs import DailyCheck, Notice, Watchdogs
from aurora_migrations.cdk.workflow import Workflow


class MigrationsStack(cdk.Stack):
    """Runs one database's migrations after a deployment, on demand, and reports every failure."""

    def __init__(self, scope: Construct, settings: Environment, package: Package) -> None:
        """Builds the stack. On AWS its package is `bundling.bundled(migrations)`."""
        super().__init__(
            scope,
            Names(settings.name).stack,
            env=cdk.Environment(account=settings.account, region=settings.region),
            description=f"Migrations of the PostgreSQL database of {settings.name}: state machine, functions, alerts.",
        )
        key = make_key(self, settings)
        network = Network(self, "Network", settings)
        alerts = Alerts(self, "Alerts", settings=settings, key=key)
        functions = Functions(self, "Functions", settings=settings, network=network, key=key, package=package)
        workflow = Workflow(self, "Workflow", settings=settings, functions=functions, alerts=alerts)
        dead_letters = DeadLetters(self, "DeadLetters", settings=settings, alerts=alerts, key=key)
        DeployTrigger(self, "OnDeploy", settings=settings, machine=workflow.machine, dead_letters=dead_letters)
        watchdogs = Watchdogs(settings=settings, functions=functions, alerts=alerts, dead_letters=dead_letters)
        Notice(self, "Notice", watchdogs, workflow.machine)
        if settings.daily_check:
            DailyCheck(self, "Daily", watchdogs)
        outputs.add_outputs(self, workflow=workflow, functions=functions, alerts=alerts, dead_letters=dead_letters)
        compliance.acknowledge(self)
