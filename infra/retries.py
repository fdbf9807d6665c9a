"""Which errors a task tries again, and how. The engine's errors are named by their classes, so that a rename can't
unhook a retry; never `States.ALL` or `States.TaskFailed`, which would try again what can't get better."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn

from functions.migrator import errors
from functions.migrator.errors import MigratorError


@dataclass(frozen=True)
class Retry:
    """Errors that are tried again alike. Times are seconds; full jitter spreads each wait from zero to its length."""

    errors: tuple[str, ...]
    first_wait: int
    attempts: int
    longest_wait: int | None = None
    jitter: bool = True

    def add_to(self, task: sfn.TaskStateBase) -> None:
        """Hooks it to a task."""
        task.add_retry(
            errors=list(self.errors),
            interval=cdk.Duration.seconds(self.first_wait),
            max_attempts=self.attempts,
            backoff_rate=2,
            max_delay=None if self.longest_wait is None else cdk.Duration.seconds(self.longest_wait),
            jitter_strategy=sfn.JitterType.FULL if self.jitter else sfn.JitterType.NONE,
        )


def retryable(family: str) -> tuple[str, ...]:
    """The names of a family's errors that the engine calls transient."""
    return tuple(error.__name__ for error in every_error() if error.family == family and error.retryable)


def every_error() -> Iterator[type[MigratorError]]:
    """Every class of the engine's errors; not those that a terminal adds to them (`cli.remote.errors`)."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, MigratorError) and kind is not MigratorError:
            yield kind


# The function died: once more, and not before the server has ended what it left (5 s at most: see DESIGN 5).
# Without jitter, which could make it at once. The Runtime's two are those of a process that was killed or ended itself,
# mostly for want of memory: see docs/decisions/0013.
DIED = Retry(
    ("Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"),
    first_wait=20,
    attempts=1,
    jitter=False,
)

# Lambda itself is busy, or had trouble before our code ran.
SERVICE = Retry(
    (
        "Lambda.TooManyRequestsException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ResourceNotReadyException",
        "Lambda.EC2ThrottledException",
        "Lambda.EC2UnexpectedException",
        "Lambda.ENILimitReachedException",
        "Lambda.SubnetIPAddressLimitReachedException",
    ),
    first_wait=2,
    attempts=6,
    longest_wait=60,
)

CONNECTION = Retry((*retryable("connection"), *retryable("secret")), first_wait=5, attempts=5, longest_wait=60)
CONTENTION = Retry(retryable("contention"), first_wait=15, attempts=6, longest_wait=300)
ALL = (CONTENTION, CONNECTION, SERVICE, DIED)

# Publishing a mail.
MAIL = Retry(
    ("SNS.InternalErrorException", "SNS.ThrottledException", "SNS.KMSThrottlingException", "SNS.SdkClientException"),
    first_wait=2,
    attempts=5,
    longest_wait=30,
)


def _check() -> None:
    """A new transient error in a family that no retry knows would silently not be retried."""
    known = {name for retry in ALL for name in retry.errors}
    forgotten = [error.__name__ for error in every_error() if error.retryable and error.__name__ not in known]
    if forgotten:
        raise ValueError(f"The engine calls {', '.join(forgotten)} transient, and no retry of infra/retries.py does.")


_check()
