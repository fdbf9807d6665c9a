"""Jobs: processes that share the cases of a run, each with a server of its own.

Each runs its cases one after the other, and writes an outcome a line.
"""

import contextlib
import itertools
import json
import math
import queue
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from tests import servers
from tests.torture import case
from tests.torture.case import Outcome
from tests.torture.nontransactional import case as nontransactional
from tests.torture.nontransactional.stage import Stage, stage
from tests.torture.world import World, world

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Order:
    """What to run.

    Attributes:
        seed: of the first case; the next ones follow it.
        fault: words in the names of the kinds that are meant; none: all.
        kind: the same, of the kinds of statements and of their phases.
        jobs: how many cases at once.
        major: the version of PostgreSQL.
        longest: seconds that a fault lasts at most.
        budget: seconds after which no job begins another case, once it has its server.
    """

    seed: int
    count: int
    jobs: int
    major: int
    fault: str = ""
    longest: float = 3.5
    budget: float = math.inf
    nontransactional: bool = False
    kind: str = ""

    def seeds(self, number: int) -> Iterator[int]:
        """Those of job `number`."""
        meant = (seed for seed in itertools.count(self.seed) if self._is_meant(seed))
        return itertools.islice(meant, number, self.count, self.jobs)

    def _is_meant(self, seed: int) -> bool:
        if not self.nontransactional:
            return self.fault in case.draw(seed).fault.name
        drawn = nontransactional.draw(seed)
        return self.fault in drawn.fault.name and self.kind in f"{drawn.kind.name}: {drawn.phase.name}"


def outcomes(order: Order) -> Iterator[Outcome]:
    """The outcomes of the cases, as they come.

    Raises:
        RuntimeError: a job has failed, which isn't the product's fault.
    """
    processes = [_start(order, number) for number in range(min(order.jobs, order.count))]
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for process in processes:
        threading.Thread(target=_pass_on, args=(process, lines), daemon=True).start()
    try:
        left = len(processes)
        while left:
            line = lines.get()
            if line is None:
                left -= 1
            else:
                yield Outcome(**json.loads(line))
        failed = [process.args for process in processes if process.wait()]
        if failed:
            raise RuntimeError(f"a job has failed (its output is above): {failed}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _start(order: Order, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"{__package__}.job", json.dumps(asdict(order)), str(number)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def _pass_on(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def main(order: Order, number: int) -> None:
    """Job `number` of those that share the cases: each takes every so many-th."""
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, _stop)
    programs = next(found for found in servers.available() if found.major == order.major)
    place = stage if order.nontransactional else world
    with servers.folder() as folder, place(programs, folder, order.longest) as made:
        end = time.monotonic() + order.budget
        for seed in order.seeds(number):
            if time.monotonic() > end:
                break
            print(json.dumps(asdict(_run(made, seed))), flush=True)


def _stop(number: int, frame: FrameType | None) -> None:
    """Once, so that the server is stopped in peace."""
    for ends in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ends, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(made: World | Stage, seed: int) -> Outcome:
    try:
        if isinstance(made, Stage):
            return nontransactional.run(made, nontransactional.draw(seed))
        return case.run(made, case.draw(seed))
    except Exception:  # of the harness itself: reported as a violation, so that it isn't overlooked
        return Outcome(seed, "?", "?", "?", False, "?", "?", 0.0, [traceback.format_exc()])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(Order(**json.loads(sys.argv[1])), int(sys.argv[2]))
