"""The settings of the environment `local`: what cdk.json would say, with everything that differs from machine to
machine left to parameters, so that one template serves them all."""

from __future__ import annotations

from infra.settings import ACTIONS, Database, Network, Reference, Settings
from local.cloud.identity import ACCOUNT, ENVIRONMENT, REGION

EMAIL = "you@example.com"
PARAMETERS = "/aurora-migrations/local"


def settings(sslmode: str) -> Settings:
    """What `infra` makes the stack of.

    Args:
        sslmode: libpq's, as the database's URL says.
    """
    return Settings(
        name=ENVIRONMENT,
        account=ACCOUNT,
        region=REGION,
        network=Network(_parameter("vpc"), (_parameter("subnet"),), _parameter("group"), _parameter("group")),
        database=Database(
            host=_parameter("host"),
            port=_parameter("port"),
            name=_parameter("database"),
            secret=_parameter("secret"),
            sslmode=sslmode,
        ),
        emails=(EMAIL,),
        allowed_actions=ACTIONS,
        log_retention_days=1,
    )


def _parameter(name: str) -> Reference:
    return Reference("parameter", f"{PARAMETERS}/{name}")
