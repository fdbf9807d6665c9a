"""How long things may take in an environment, and which times can work together."""

from __future__ import annotations

from dataclasses import dataclass

from functions.migrator.deadline import RESERVE
from infra.reader import Reader
from infra.retries import ASLEEP, CONNECTION, CONTENTION, DIED, SERVICE, Retry, of_calls

LAMBDA_CEILING_MS = 900_000
SHORTEST_FUNCTION_MS = 30_000  # RESERVE, and what reading the secret and connecting may take when they are slow
TASK_MARGIN_MS = 60_000  # what a task waits longer than its function may run
_LEAST = {"lock_wait": 0}  # milliseconds; 0 means that only the state machine waits
_RETRIES = "all the time in which errors are tried again"


@dataclass(frozen=True)
class Limits:
    """How long things may take, in milliseconds, each strictly inside the next.

    Attributes:
        lock_timeout, statement_timeout: what a file has that sets none of its own.
        lock_wait: how long a call waits for others, who hold locks or are at work; then the machine waits.
        function_timeout: apply's and verify's.
        run_timeout: a whole execution's.
    """

    lock_timeout: int = 2_000
    statement_timeout: int = 780_000
    lock_wait: int = 60_000
    function_timeout: int = LAMBDA_CEILING_MS
    run_timeout: int = 43_200_000

    @property
    def task_timeout(self) -> int:
        """What the state machine gives a function's call."""
        return self.function_timeout + TASK_MARGIN_MS

    @property
    def retries(self) -> tuple[Retry, ...]:
        """What the state machine tries again."""
        return of_calls(self.lock_wait / 1_000, (self.run_timeout - self.task_timeout) / 1_000)

    @property
    def shortest_run(self) -> int:
        """A call, and before it the longest that an error is tried again. Another run is waited for as long as there is
        time, and so isn't counted."""
        waiting = (retry.waits * 1_000 + retry.attempts * self.lock_wait for retry in (CONTENTION, CONNECTION))
        dying = DIED.waits * 1_000 + DIED.attempts * self.task_timeout
        return self.task_timeout + max(*waiting, SERVICE.waits * 1_000, ASLEEP.waits * 1_000, dying)


def read_limits(keys: Reader) -> Limits:
    """What stands in `limits`.

    Raises:
        SettingsError: a mistake in it.
    """
    names = ("lock_timeout", "lock_wait", "statement_timeout", "function_timeout", "run_timeout")
    limits = Limits(**{name: keys.duration(name, getattr(Limits, name), least=_LEAST.get(name, 1)) for name in names})
    _refuse_spans(keys, limits)
    _refuse_ladder(keys, limits)
    keys.finish()
    return limits


def _refuse_ladder(keys: Reader, limits: Limits) -> None:
    kept = f"and the {RESERVE // 1_000} s that each call keeps for its end"
    function = ("function_timeout", limits.function_timeout)
    ladder = (
        ("lock_timeout", limits.lock_timeout, "statement_timeout", limits.statement_timeout),
        (f"statement_timeout {kept}", limits.statement_timeout + RESERVE, *function),
        (f"lock_wait {kept}", limits.lock_wait + RESERVE, *function),
        (f"function_timeout, a minute and {_RETRIES}", limits.shortest_run, "run_timeout", limits.run_timeout),
    )
    for lower, low, upper, high in ladder:
        if low >= high:
            raise keys.wrong(upper, f"must be longer than {lower} ({low / 1000:g} s), and is {high / 1000:g} s")


def _refuse_spans(keys: Reader, limits: Limits) -> None:
    for key in ("function_timeout", "run_timeout"):
        value = getattr(limits, key)
        if value % 1_000:
            raise keys.wrong(key, f"must be whole seconds, such as {value // 1_000 + 1}s, and is {value} ms")
    if not SHORTEST_FUNCTION_MS <= limits.function_timeout <= LAMBDA_CEILING_MS:
        now = f"and is {limits.function_timeout / 1_000:g} s"
        why = "a call keeps 10 s for its end and must reach secret and database first; Lambda ends it after 15min"
        raise keys.wrong("function_timeout", f"must be at least 30s and at most 15min, {now}: {why}")
