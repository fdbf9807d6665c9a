"""The settings of the environment `local`: what cdk.json would say, with everything that differs from machine to
machine left to parameters, so that one template serves them all."""

from __future__ import annotations

from aurora_migrations.cdk.config import Environment, read_environments
from aurora_migrations.engine.steps.execution_input import ACTIONS
from aurora_migrations.local.cloud.account import ACCOUNT, ENVIRONMENT, PARAMETERS, REGION


def settings(sslmode: str) -> Environment:
    """What `infra` makes the stack of.

    Args:
        sslmode: libpq's, as the database's URL says.
    """
    names = {"host": "host", "port": "port", "name": "database", "secret": "secret"}
    network = {
        "vpc": _parameter("vpc"),
        "subnets": [_parameter("subnet")],
        "database_security_group": _parameter("group"),
    }
    written = {
        "account": ACCOUNT,
        "region": REGION,
        "network": {**network, "secrets_endpoint": _parameter("group")},
        "database": {key: _parameter(name) for key, name in names.items()},
        "emails": ["you@example.com"],
        "allowed_actions": ACTIONS,
        "log_retention_days": 1,
    }
    (made,) = read_environments({"laptop": written})
    # What no environment in cdk.json may have: this name, and an sslmode without TLS.
    database = made.database.model_copy(update={"sslmode": sslmode})
    return made.model_copy(update={"name": ENVIRONMENT, "database": database})


def _parameter(name: str) -> dict[str, str]:
    return {"parameter": f"{PARAMETERS}/{name}"}
