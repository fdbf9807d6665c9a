"""What to type to deploy: also the state machines' mails tell it, so it stands apart from what only Lambda has."""

from __future__ import annotations

_LOCAL = "local"  # the environment of the local cloud, which the CDK doesn't deploy to


def deploy_command(environment: str) -> str:
    """What puts changed files and settings into an environment."""
    if environment == _LOCAL:
        return "aurora-migrations deploy --local"
    return f"npx aws-cdk@2 deploy AuroraMigrationsRunnerStack-{environment} --context env={environment}"
