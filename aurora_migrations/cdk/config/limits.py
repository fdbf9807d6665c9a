"""How long things may take in an environment, and which times can work together."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from aurora_migrations.cdk.config.fields import Duration, Model
from aurora_migrations.cdk.retries import ASLEEP, CONNECTION, CONTENTION, DIED, SERVICE, Retry, call_retries
from aurora_migrations.engine.options import write_duration
from aurora_migrations.engine.steps.step import RESERVE

_LONGEST_CALL_MS = 900_000  # of Lambda
_SHORTEST_CALL_MS = 30_000  # RESERVE, and what reading the secret and connecting may take when they are slow
TASK_MARGIN_MS = 60_000  # what a task waits longer than its function may run


class Limits(Model):
    """How long things may take, each strictly inside the next."""

    lock_timeout: Duration = Field(default="2s", ge=1, title="a time longer than 0s", validate_default=True)
    """How long a statement may wait for locks, if its file sets no limit."""
    statement_timeout: Duration = Field(default="13min", validate_default=True)
    """How long a statement may run, if its file sets no limit."""
    lock_wait: Duration = Field(default="1min", validate_default=True)
    """How long a call waits for others that hold locks or are running; then the state machine waits. With `0s` only the
    state machine waits."""
    function_timeout: Duration = Field(
        default="15min",
        ge=_SHORTEST_CALL_MS,
        le=_LONGEST_CALL_MS,
        multiple_of=1_000,
        title="whole seconds from 30s to 15min",
        validate_default=True,
    )
    """The time limit of apply and verify, in whole seconds from `30s` to `15min`. A call must reach secret and database
    first and keeps 10 s for its end; Lambda ends it after 15 minutes."""
    run_timeout: Duration = Field(default="12h", multiple_of=1_000, title="whole seconds", validate_default=True)
    """The time limit of a whole execution, in whole seconds."""

    @field_validator("statement_timeout", "function_timeout", "run_timeout")
    @classmethod
    def _longer_than_what_is_inside(cls, value: int, info: ValidationInfo) -> int:
        """Compares with the limits before it. One that is wrong itself isn't among them, and counts as nothing."""
        lock, statement, wait, function = (info.data.get(name, 0) for name in list(cls.model_fields)[:4])
        end = f"and the {write_duration(RESERVE)} that each call keeps for its end"
        tried = "function_timeout, a minute and all the time in which errors are tried again"
        inside = {
            "statement_timeout": [("lock_timeout", lock)],
            "function_timeout": [
                (f"statement_timeout {end}", statement + RESERVE),
                (f"lock_wait {end}", wait + RESERVE),
            ],
            "run_timeout": [(tried, _shortest_run(function + TASK_MARGIN_MS, wait))],
        }
        for what, inner in inside[str(info.field_name)]:
            if value <= inner:
                found = write_duration(value)
                raise ValueError(f"must be longer than {what} ({write_duration(inner)}), and is {found}")
        return value

    @property
    def task_timeout(self) -> int:
        """What the state machine gives a function's call."""
        return self.function_timeout + TASK_MARGIN_MS

    @property
    def retries(self) -> tuple[Retry, ...]:
        """What the state machine tries again."""
        return call_retries(self.lock_wait / 1_000, (self.run_timeout - self.task_timeout) / 1_000)


def _shortest_run(task_timeout: int, lock_wait: int) -> int:
    """A call, and before it the longest that an error is tried again. Another run is waited for as long as there is
    time, and so isn't counted."""
    waiting = (retry.waits * 1_000 + retry.attempts * lock_wait for retry in (CONTENTION, CONNECTION))
    dying = DIED.waits * 1_000 + DIED.attempts * task_timeout
    return task_timeout + max(*waiting, SERVICE.waits * 1_000, ASLEEP.waits * 1_000, dying)
