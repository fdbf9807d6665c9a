"""Jobs: processes that share the cases of a run, each with a server of its own.

`python -m tests.torture.job SEED COUNT MAJOR` runs these cases one after the other, and writes an outcome a line.
"""

import json
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests import servers
from tests.torture import case
from tests.torture.case import Outcome
from tests.torture.world import World, world

ROOT = Path(__file__).resolve().parents[2]


def outcomes(seed: int, count: int, jobs: int, major: int) -> Iterator[Outcome]:
    """The outcomes of the cases `seed` to `seed + count - 1`, as they come.

    Args:
        major: the version of PostgreSQL.

    Raises:
        RuntimeError: a job has failed, which says nothing about the product.
    """
    seeds = range(seed, seed + count)
    shares = [seeds[number::jobs] for number in range(jobs) if seeds[number::jobs]]
    processes = [_start(share, major) for share in shares]
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
            raise RuntimeError(f"a job has failed (its words are above): {failed}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _start(share: range, major: int) -> subprocess.Popen[str]:
    words = [share.start, len(share), share.step, major]
    command = [sys.executable, "-m", f"{__package__}.job", *map(str, words)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def _pass_on(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def main(first: int, count: int, step: int, major: int) -> None:
    """The job."""
    programs = next(found for found in servers.available() if found.major == major)
    with servers.folder() as folder, world(programs, folder) as made:
        for seed in range(first, first + count * step, step):
            print(json.dumps(asdict(_run(made, seed))), flush=True)


def _run(made: World, seed: int) -> Outcome:
    drawn = case.draw(seed)
    try:
        return case.run(made, drawn)
    except Exception:  # of the harness itself: told as a violation, so that it isn't overlooked
        said = traceback.format_exc()
        return Outcome(seed, drawn.fault.name, drawn.action, str(drawn), False, "?", "", "?", 0.0, [said])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
