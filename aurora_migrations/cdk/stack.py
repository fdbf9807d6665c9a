"""An environment's stack: the construct in a stack of its own, which no other project's stack can replace unnoticed.
`add_stacks` makes those of an app's `cdk.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from aurora_migrations.cdk import compliance
from aurora_migrations.cdk.config import Environment, read_environments
from aurora_migrations.cdk.construct import Migrations
from aurora_migrations.cdk.functions import Package, bundled

_OWNER = "Project"


class MigrationsStack(cdk.Stack):
    """Runs one database's migrations after a deployment, on demand, and reports every failure."""

    def __init__(
        self,
        scope: Construct,
        settings: Environment,
        package: Package | Callable[[cdk.Stack], Package],
        project: str | None = None,
        **options: Any,
    ) -> None:
        """Builds the stack, with the options of any. On AWS its package is `bundled(migrations)`; it may be made in the
        stack itself."""
        super().__init__(
            scope,
            settings.stack,
            env=cdk.Environment(account=settings.account, region=settings.region),
            description=f"Migrations of the PostgreSQL database of {settings.name}: state machine, functions, alerts.",
            **options,
        )
        # `Default` is left out of logical ids, so these are what they would be without the construct.
        made = package if isinstance(package, Package) else package(self)
        self.migrations = Migrations(self, "Default", settings, made)
        if project is not None:
            self._refuse_other_projects(project)

    def _refuse_other_projects(self, project: str) -> None:
        """Has CloudFormation refuse this template, before it changes anything, for a stack of another project. The CDK
        and the AWS CLI keep a parameter's value of the last deployment, so it says whose stack it is."""
        owner = cdk.CfnParameter(
            self, _OWNER, type="String", default=project, description="The project that this stack belongs to."
        )
        is_ours = cdk.Fn.condition_equals(owner.value_as_string, project)
        reason = f"This stack belongs to another project, and the template is of {project}. Name one of them otherwise."
        assertion = cdk.CfnRuleAssertion(assert_=is_ours, assert_description=reason)
        cdk.CfnRule(self, "OfThisProject", assertions=[assertion])


def add_stacks(app: cdk.App, migrations: str | Path = "migrations") -> list[MigrationsStack]:
    """A stack for each environment of the context `environments`, or for the one that the context `env` names; what
    cdk-nag finds makes the synthesis fail.

    Raises:
        SettingsError: a mistake in the settings.
    """
    context: Mapping[str, Any] = {name: app.node.try_get_context(name) for name in ("environments", "env", "project")}
    chosen = None if context["env"] is None else str(context["env"])
    found = read_environments(context["environments"], chosen, context["project"])
    compliance.check(app)
    return [MigrationsStack(app, each, bundled(Path(migrations)), context["project"]) for each in found]
