"""An environment's stack: the construct in a stack of its own, which no other project's stack can replace unnoticed.
`add_stacks` makes those of an app's `cdk.json`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import aws_cdk as cdk
from constructs import Construct

from aurora_migrations.cdk import compliance
from aurora_migrations.cdk.alerts import Alerts, make_key
from aurora_migrations.cdk.config import Environment, OneOfSeveral, read_environments
from aurora_migrations.cdk.construct import Migrations
from aurora_migrations.cdk.functions import Package, bundled

_OWNER = "Project"


class MigrationsStack(cdk.Stack):
    """Runs one database's migrations after a deployment, on demand, and reports every failure. Of an environment with
    several databases it runs those of each, with one topic and one key."""

    def __init__(
        self,
        scope: Construct,
        settings: Environment | Sequence[Environment],
        package: Package | Callable[[cdk.Stack, Environment], Package],
        project: str | None = None,
        **options: Any,
    ) -> None:
        """Builds the stack, with the options of any. `settings` are several where one environment has several
        databases. On AWS the package is `bundled(migrations)`; it may be made in the stack itself, for each."""
        first, *others = [settings] if isinstance(settings, Environment) else settings
        several = isinstance(first, OneOfSeveral)
        what = "PostgreSQL databases" if several else "the PostgreSQL database"
        super().__init__(
            scope,
            first.stack,
            env=cdk.Environment(account=first.account, region=first.region),
            description=f"Migrations of {what} of {first.shared_name}: state machine, functions, alerts.",
            **options,
        )
        shared: Alerts | None = None
        if several:  # at the ids that they have in the stack of one database, so that subscriptions survive the change
            shared = Alerts(self, "Alerts", settings=first, key=make_key(self, first, *others))
        self.databases: dict[str, Migrations] = {}
        """By the name that `--env` takes."""
        for each in (first, *others):
            made = package if isinstance(package, Package) else package(self, each)
            words = each.name.removeprefix(f"{each.shared_name}-").split("-")
            # `Default` is left out of logical ids, so these are what they would be without the construct.
            id = "".join(map(str.capitalize, words)) if several else "Default"
            self.databases[each.name] = Migrations(self, id, each, made, shared)
        self.migrations = self.databases[first.name]
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


def by_stack(environments: Sequence[Environment]) -> list[tuple[Environment, ...]]:
    """The settings of each stack: several where an environment has several databases."""
    return [tuple(each) for _, each in groupby(environments, key=lambda settings: settings.stack)]


def add_stacks(app: cdk.App, migrations: str | Path = "migrations", root: str | Path = ".") -> list[MigrationsStack]:
    """A stack for each environment of the context `environments`, or for the one that the context `env` names; what
    cdk-nag finds makes the synthesis fail. The folders of several databases are in `root`.

    Raises:
        SettingsError: a mistake in the settings.
    """
    context: Mapping[str, Any] = {name: app.node.try_get_context(name) for name in ("environments", "env", "project")}
    chosen = None if context["env"] is None else str(context["env"])
    found = read_environments(context["environments"], chosen, context["project"])
    compliance.check(app)
    folders = {each.name: each.folder(Path(migrations), Path(root)) for each in found}  # all mistakes come first

    def package(stack: cdk.Stack, settings: Environment) -> Package:
        return bundled(folders[settings.name])

    return [MigrationsStack(app, each, package, context["project"]) for each in by_stack(found)]
