"""What a try may make the application wait: all its statements share it, and it never runs out into no limit at all."""

from __future__ import annotations

import pytest

from aurora_migrations.engine.locks.blockers import Observer
from aurora_migrations.engine.locks.budget import Budget


def budget_of(promise: int, attempt: int) -> Budget:
    """One that has begun, where nobody can look who is in the way."""
    budget = Budget(promise, attempt, 0, Observer("no URL", "nobody looks"))
    budget.start()
    return budget


@pytest.mark.parametrize(
    ("spent", "left"),
    [([], 900), ([600], 300), ([600, 250], 50), ([890], 10), ([900], 10), ([600, 300.4], 10), ([5_000], 10)],
)
def test_statements_share_what_was_promised_and_the_last_still_has_a_limit(spent: list[float], left: int) -> None:
    """PostgreSQL takes a lock_timeout of 0 for none."""
    budget = budget_of(1_000, 1_000)
    for elapsed_ms in spent:
        budget.consume(None, elapsed_ms)
    assert budget.remaining_ms() == left


def test_short_try_waits_no_longer_than_it_may() -> None:
    budget = budget_of(60_000, 200)
    budget.consume(None, 50)
    assert budget.remaining_ms() == 150


def test_end_of_a_unit_that_is_late_still_has_a_limit() -> None:
    """PostgreSQL takes a statement_timeout of 0 for none."""
    budget = budget_of(0, 100)
    assert budget.cap_timeout(0) == budget.cap_timeout(5_000) == 10
