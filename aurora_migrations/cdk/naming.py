"""Names of resources. Each contains the environment's name, so that one account can have several environments; with the
setting `project` the name is PROJECT-ENVIRONMENT, so that it can have several projects too."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

ENVIRONMENT = "[a-z][a-z0-9-]{0,19}"  # pattern of an environment's name, without the project's
# Of one of an environment's databases. As `OrdersArchive`, in logical ids, it still differs from all others.
DATABASE = "[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*"
PROJECT = "[a-z][a-z0-9-]{0,14}"
LONGEST = 36  # characters of both: with those around it a function's name has 64, Lambda's limit
LOCAL = "local"  # the environment that the local cloud is
STACK_TAG = "aurora-migrations:stack"  # of a state machine: the name of its stack, and how its outputs begin there
ALIAS = "live"  # of each function: what the state machine calls

PARTS = (
    *("preflight", "apply", "verify", "notice", "daily", "gate"),  # functions, state machines, their logs and rules
    *("on-deploy", "on-end", "alerts", "dead-letters", "runner", "secrets"),
)
"""What names end in, after the environment's. No environment may end so: `x-notice` would share names with `x`."""


def full_name(environment: str, project: str | None) -> str:
    """`shop-prod`, or `prod` without a project. Raises ValueError if that can't be part of names."""
    if project is not None and not re.fullmatch(PROJECT, project):
        form = "write up to 15 lower-case letters, digits and hyphens, beginning with a letter"
        raise ValueError(f"can't be of the project {project!r}: {form}; it becomes part of every name")
    check_environment_name(environment)
    return environment if project is None else check_parts(f"{project}-{environment}")


def name_of(text: str) -> str:
    """A name made of a stack's and a construct's; the same text always makes the same name, and others others."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])", "-", text)
    name = re.sub("[^a-z0-9]+", "-", words.lower()).strip("-")
    name = name if name[:1].isalpha() else f"m-{name}"
    if len(name) <= LONGEST and not any(name.endswith(f"-{part}") for part in PARTS) and name != LOCAL:
        return name
    return f"{name[: LONGEST - 9].rstrip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
    return check_parts(environment)


def check_parts(environment: str) -> str:
    """The name, if nothing of another environment can have it. Raises ValueError otherwise."""
    for part in PARTS:
        if environment.endswith(f"-{part}"):
            other = environment.removesuffix(f"-{part}")
            why = f"something in the stack of {other!r} has the same name, which ends in `-{part}`"
            raise ValueError(f"can't be an environment's name: {why}")
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
