"""A sample of `python -m tests.torture`: each kind of fault once, at other instants each time; and some of the kinds of
statements outside transactions, in other phases each time."""

import random
import sys

import pytest

from aurora_migrations.embedded.binaries import Installation

SECONDS = 18  # in which cases are begun; an idle machine is through with all before
FEWEST = 4  # that even a very busy machine gets through
PHASES = 32  # cases of statements outside transactions
ON_POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has neither SIGKILL, SIGSTOP nor a process that forks"
)


@ON_POSIX
def test_fault_at_any_instant_leaves_database_history_and_answer_in_agreement(programs: Installation) -> None:
    """Of an apply and of a rollback; the next run finishes. A failure names the seed that repeats its case."""
    from tests.torture.case import KINDS  # which Windows can't import
    from tests.torture.job import Order, outcomes
    from tests.torture.report import Report, violation

    seed = random.randrange(1_000_000)
    report = Report(seed)
    for outcome in outcomes(Order(seed, len(KINDS), 4, programs.major, longest=0.6, budget=SECONDS)):
        report.add(outcome)
    print(report)
    assert not report.violations, "\n".join(map(violation, report.violations))
    assert not report.missed
    assert report.injections >= FEWEST


@ON_POSIX
def test_a_statement_outside_a_transaction_struck_in_any_phase_is_done_once(programs: Installation) -> None:
    """By the same run or the next; no invalid index, intent or lock is left. A failure names the seed that repeats
    its case."""
    from tests.torture.job import Order, outcomes
    from tests.torture.report import Report, violation

    seed = random.randrange(1_000_000)
    report = Report(seed, nontransactional=True)
    order = Order(seed, PHASES, 4, programs.major, longest=0.6, budget=SECONDS, nontransactional=True)
    for outcome in outcomes(order):
        report.add(outcome)
    print(report)
    options = f" --nontransactional --postgres {programs.major}"
    assert not report.violations, "\n".join(violation(found, options) for found in report.violations)
    assert report.injections
