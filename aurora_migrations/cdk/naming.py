"""Names of resources. Each contains the environment's name, so that one account can have several environments."""

from __future__ import annotations

import re
from dataclasses import dataclass

ENVIRONMENT = "[a-z][a-z0-9-]{0,19}"  # pattern of an environment's name
LOCAL = "local"  # the environment that the local cloud is
ALIAS = "live"  # of each function: what the state machine calls

PARTS = (
    *("preflight", "apply", "verify", "notice", "daily"),  # functions, state machines, their logs and rules
    *("on-deploy", "on-end", "alerts", "dead-letters", "runner", "secrets"),
)
"""What names end in, after the environment's. No environment may end so: `x-notice` would share names with `x`."""


def check_environment_name(environment: str) -> str:
    """The name, if an environment may have it.

    Raises:
        ValueError: the name isn't allowed; the message has the reason.
    """
    no = "can't be an environment's name"
    if not re.fullmatch(ENVIRONMENT, environment):
        form = "write up to 20 lower-case letters, digits and hyphens, beginning with a letter"
        raise ValueError(f"{no}: {form}; it becomes part of the name of everything in the stack")
    if environment == LOCAL:
        raise ValueError(f"{no}: `--env {LOCAL}` is the local cloud")
    for part in PARTS:
        if environment.endswith(f"-{part}"):
            other = environment.removesuffix(f"-{part}")
            raise ValueError(f"{no}: something in the stack of {other!r} has the same name, which ends in `-{part}`")
    return environment


@dataclass(frozen=True)
class Names:
    """The names of one environment's things; every one holds the environment's name."""

    environment: str

    @property
    def stack(self) -> str:
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
