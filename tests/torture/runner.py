"""`aurora-migrations` in a process of its own that is forked from one which has imported everything: a run then costs a
tenth of a second instead of half of one, and is a process like any other."""

import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import aurora_migrations.compiler.check  # noqa: F401 (what a run imports only when it needs it)
from aurora_migrations.cli.main import main
from aurora_migrations.cli.verbs import rollback, run
from aurora_migrations.engine import Request
from aurora_migrations.engine.locks import locked_session

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
BEGUN = "begun"  # a file
PRINTED = ("out", "err")  # files for stdout and stderr, 1 and 2


class Runner:
    """A run of the command line.

    Attributes:
        argv: what it was called with, but for where the database is.
    """

    def __init__(
        self, argv: Sequence[str], url: str, migrations: Path, folder: Path, settle_time: float | None = None
    ) -> None:
        """Starts it.

        Args:
            folder: where it leaves what it prints.
            settle_time: seconds in which it must find out a commit's fate, in place of its own.
        """
        self.argv = list(argv)
        place = ["--database-url", url, "--migrations", str(migrations), "--output", "json"]
        self._folder = Path(tempfile.mkdtemp(dir=folder))
        for name in PRINTED:  # here, as it may be killed before it begins
            (self._folder / name).touch()
        self._process = FORKS.Process(target=_run, args=([*argv, *place], self._folder, settle_time))
        self._process.start()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    @property
    def begun(self) -> bool:
        """Whether the command has begun in it."""
        return (self._folder / BEGUN).exists()

    def signal(self, number: int) -> None:
        """Sends it a signal; none if it has ended."""
        if self._process.pid is not None and self.running:
            os.kill(self._process.pid, number)

    def finish(self, timeout: float) -> tuple[int, dict[str, Any], str]:
        """Its exit code (negative: the signal that ended it), its answer, and what it printed on stderr."""
        self._process.join(timeout)
        if self.running:
            self.signal(signal.SIGKILL)
            self._process.join()
            raise AssertionError(f"still at work after {timeout:.0f} s: {' '.join(self.argv)}")
        out, err = (self._folder.joinpath(name).read_text() for name in PRINTED)
        code = self._process.exitcode
        assert code is not None
        return code, _answer(out), err


def _end_in_time() -> None:
    """From SIGUSR1 on the run's time is up, as at the end of a function's."""
    over, make_request = threading.Event(), run.make_request
    signal.signal(signal.SIGUSR1, lambda *_: over.set())

    def in_time(*args: Any, **options: Any) -> Request:
        made = make_request(*args, **options)
        return replace(made, is_time_up=over.is_set, may_begin=lambda _: not over.is_set())

    run.make_request = rollback.make_request = in_time


def _answer(out: str) -> dict[str, Any]:
    try:
        found = json.loads(out) if out.strip() else {}
    except json.JSONDecodeError:  # it was killed while it wrote
        return {}
    assert isinstance(found, dict)
    return found


def _run(argv: list[str], folder: Path, settle_time: float | None) -> None:
    """In the process: as `python -m aurora_migrations` from a terminal in that folder."""
    os.chdir(folder)
    for number, name in enumerate(PRINTED, 1):
        opened = os.open(name, os.O_WRONLY)
        os.dup2(opened, number)
        os.close(opened)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_in_time()
    if settle_time is not None:
        locked_session.SETTLE_TIME = settle_time
    Path(BEGUN).touch()
    try:
        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except KeyboardInterrupt:  # after the command's own handling: Python would end with this code
        code = 130
    os._exit(code)  # here, as a signal that comes while the fork server ends the process makes it exit with 1
