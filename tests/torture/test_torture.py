"""A sample of what `python -m tests.torture` does: each kind of fault once, at instants that no other run has had."""

import random
import sys

import pytest

from local.installation import Installation
from tests.torture.case import KINDS
from tests.torture.job import Order, outcomes
from tests.torture.report import Report, violation

SECONDS = 15  # in which cases are begun
FEWEST = 4  # that even a very busy machine gets through; an idle one: all


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL, SIGSTOP nor a process that forks")
def test_whatever_strikes_a_run_leaves_what_history_and_words_say(programs: Installation) -> None:
    """Applying and rolling back; the run that follows finishes. The seed of a case that failed repeats it."""
    seed = random.randrange(1_000_000)
    report = Report(seed)
    for outcome in outcomes(Order(seed, len(KINDS), 3, programs.major, longest=0.6, budget=SECONDS)):
        report.add(outcome)
    print(report)
    assert not report.violations, "\n".join(map(violation, report.violations))
    assert not report.missed
    assert report.injections >= FEWEST
