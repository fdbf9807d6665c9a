"""What things are called, so that environments stand side by side in one account and people find them."""

from __future__ import annotations

from dataclasses import dataclass

ALIAS = "live"  # of each function: what the state machine calls

PARTS = (
    *("preflight", "apply", "verify", "notice", "daily"),  # functions, state machines, their logs and rules
    *("on-deploy", "on-end", "alerts", "dead-letters", "runner", "secrets"),
)
"""What names end in, after the environment's. No environment may end so: `x-notice` would share names with `x`."""


def taken(environment: str) -> str | None:
    """The part that an environment's name ends in, None if it ends in none."""
    return next((part for part in PARTS if environment.endswith(f"-{part}")), None)


@dataclass(frozen=True)
class Names:
    """The names of one environment's things; every one holds the environment's name."""

    environment: str

    @property
    def stack(self) -> str:
        """The CloudFormation stack."""
        return f"AuroraMigrationsRunnerStack-{self.environment}"

    def of(self, *parts: str) -> str:
        """`aurora-migrations-dev-preflight`."""
        return "-".join(("aurora-migrations", self.environment, *parts))

    def function_log(self, function: str) -> str:
        """A function's log group, where Lambda's own tools look for it."""
        return f"/aws/lambda/{self.of(function)}"

    def machine_log(self, *parts: str) -> str:
        """A state machine's log group. The prefix keeps it out of the account's one log resource policy, which is
        limited in size."""
        return f"/aws/vendedlogs/states/{self.of(*parts)}"
