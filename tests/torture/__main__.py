"""`python -m tests.torture`: injects faults at random instants of real runs. Exit code 1 if a check fails."""

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence

from tests import servers
from tests.torture.faults import FAULTS
from tests.torture.job import Order, outcomes
from tests.torture.nontransactional.case import STRIKES
from tests.torture.report import Report, violation

EVERY = 50  # cases between two lines of progress


def main(argv: Sequence[str] | None = None) -> int:
    order = _parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the jobs' servers are stopped, as after Ctrl-C
    report, began = Report(order.seed, order.nontransactional), time.monotonic()
    print(f"seed {order.seed}, {order.count} cases, {order.jobs} jobs", file=sys.stderr, flush=True)
    try:
        for outcome in outcomes(order):
            report.add(outcome)
            if outcome.problems:
                print(violation(outcome, _options(order)), flush=True)
            if len(report.found) % EVERY == 0:
                print(f"{time.monotonic() - began:5.0f} s  {report.last_line}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("Stopped by Ctrl-C.", file=sys.stderr)
    print(report)
    missed = [] if order.nontransactional else report.missed
    return 0 if len(report.found) == order.count and not report.violations and not missed else 1


def _options(order: Order) -> str:
    """What repeats its cases, but for the seed."""
    nontransactional = " --nontransactional" if order.nontransactional else ""
    return f"{nontransactional} --postgres {order.major}"


def _parse(argv: Sequence[str] | None) -> Order:
    made = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    made.add_argument("--count", type=int, default=1_000, help="how many cases (default: 1000)")
    made.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the first (default: any)")
    made.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), help="how many at once (default: 2 a core)"
    )
    made.add_argument("--fault", default="", metavar="WORDS", help="only kinds with these words in their names")
    made.add_argument(
        "--nontransactional", action="store_true", help="in each phase of statements that run outside a transaction"
    )
    made.add_argument("--kind", default="", metavar="WORDS", help="of these, only kinds and phases with these words")
    majors = [found.major for found in servers.available()]
    made.add_argument("--postgres", type=int, choices=majors, default=majors[0], help="the major version")
    found = made.parse_args(argv)
    outside = found.nontransactional
    known = [fault.name for fault in (STRIKES if outside else FAULTS)]
    if not any(found.fault in name for name in known):
        made.error(f"there is no such kind; there are: {', '.join(known)}")
    return Order(
        *(found.seed, found.count, found.jobs, found.postgres, found.fault), nontransactional=outside, kind=found.kind
    )


if __name__ == "__main__":
    sys.exit(main())
