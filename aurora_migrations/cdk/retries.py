"""Retry rules of the state machine's tasks. The engine's errors are named by their classes, so that a rename can't
unhook a retry; never `States.ALL` or `States.TaskFailed`, which would also retry permanent errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aurora_migrations.engine import errors
from aurora_migrations.engine.errors import AnotherRunInProgress, MigratorError


@dataclass(frozen=True)
class Retry:
    """Errors with the same retry rule. Times are seconds; full jitter spreads each wait from zero to its length."""

    errors: tuple[str, ...]
    first_wait: int
    attempts: int
    longest_wait: int | None = None
    jitter: bool = True

    @property
    def waits(self) -> int:
        """All its waits together, at their longest."""
        longest = self.longest_wait or self.first_wait * 2**self.attempts
        return sum(min(longest, self.first_wait * 2**number) for number in range(self.attempts))


def retryable(family: str) -> tuple[str, ...]:
    """The names of a family's errors that the engine calls transient."""
    return tuple(error.__name__ for error in every_error() if error.family == family and error.retryable)


def every_error() -> Iterator[type[MigratorError]]:
    """Every class of the engine's errors; not those that the command line adds (cli/remote/aws_errors.py)."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, MigratorError) and kind is not MigratorError:
            yield kind


# The function died: retry once, and not before the server has ended its session (5 s at most: see DESIGN 5).
# Without jitter, which could make it at once. The Runtime's two are those of a process that was killed or ended itself,
# mostly for lack of memory: see docs/decisions/0013.
DIED = Retry(
    ("Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "Runtime.OutOfMemory"),
    first_wait=20,
    attempts=1,
    jitter=False,
)

# Lambda itself is busy, or failed before our code ran.
SERVICE = Retry(
    (
        "Lambda.TooManyRequestsException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.EC2ThrottledException",
        "Lambda.EC2UnexpectedException",
        "Lambda.ENILimitReachedException",
        "Lambda.SubnetIPAddressLimitReachedException",
    ),
    first_wait=2,
    attempts=6,
    longest_wait=60,
)

# A function in a VPC that nobody has called for weeks is put to sleep. The call that wakes it fails, and so do others
# until its network interfaces are there again, which takes minutes: see docs/decisions/0018. Without jitter, as nobody
# else is waiting and all of the time may be needed.
ASLEEP = Retry(
    (
        "Lambda.ResourceNotReadyException",
        "Lambda.ResourceConflictException",
        "Lambda.ENINotReadyException",
        "Lambda.CodeArtifactUserPendingException",
    ),
    first_wait=10,
    attempts=10,
    longest_wait=60,
    jitter=False,
)

# A failover or a restart of the database takes a minute or two, seldom more: with full jitter these take 3 min 38 s in
# the middle, and less than two in 1 % of cases.
CONNECTION = Retry((*retryable("connection"), *retryable("secret")), first_wait=5, attempts=10, longest_wait=60)

ANOTHER_RUN = AnotherRunInProgress.__name__
CONTENTION = Retry(
    tuple(name for name in retryable("contention") if name != ANOTHER_RUN),
    first_wait=15,
    attempts=6,
    longest_wait=300,
)

PATIENCE = 3_600  # seconds that another run is waited for
_LONGEST_TURN = 60  # seconds between two attempts to get the run lock; with full jitter half of it on average


def call_retries(lock_wait: float, room: float) -> tuple[Retry, ...]:
    """All retry rules of a function call, which itself waits `lock_wait` seconds for another run; the execution has
    `room` seconds beside one."""
    # About an hour for another run, whose calls may take a quarter of one each; or half of the room, if that is less.
    attempts = int(min(PATIENCE, room / 2) / (lock_wait + _LONGEST_TURN / 2))
    another = Retry((ANOTHER_RUN,), first_wait=15, attempts=max(1, attempts), longest_wait=_LONGEST_TURN)
    return (another, CONTENTION, CONNECTION, SERVICE, ASLEEP, DIED)


# Publishing a mail.
MAIL = Retry(
    ("SNS.InternalErrorException", "SNS.ThrottledException", "SNS.KMSThrottlingException", "SNS.SdkClientException"),
    first_wait=2,
    attempts=5,
    longest_wait=30,
)


# Otherwise a new transient error in a family without a retry rule would silently not be retried.
_KNOWN = {name for retry in call_retries(0, PATIENCE) for name in retry.errors}
if _FORGOTTEN := [error.__name__ for error in every_error() if error.retryable and error.__name__ not in _KNOWN]:
    raise ValueError(f"The engine calls {', '.join(_FORGOTTEN)} transient, and no retry of cdk/retries.py does.")
