"""Halts a run's statement in a phase, and lets it go on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from tests.database.helpers import ask
from tests.servers import Database
from tests.torture.nontransactional.phases import Halt

STEP = 0.001  # seconds that a process of the server goes on between two looks
LOOK = 0.5  # seconds that a look may take
_CHECKPOINTER = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
_AT_STATEMENT = """
    SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'aurora-migrations %' AND state = 'active'
       AND datname = current_database() AND query ~ '^(CREATE INDEX|CREATE DATABASE)'
"""


class Halting:
    """The halts of one phase. The first is set up at once; `reach` goes through all of them."""

    def __init__(self, database: Database, halts: Sequence[Halt]) -> None:
        self._database, self._halts = database, halts
        self._sessions: list[psycopg.Connection[Any]] = []
        self._stopped: set[int] = set()
        self._released = threading.Event()
        self._set_up(halts[0])

    def reach(self, is_running: Callable[[], bool]) -> bool:
        """Waits until the statement is halted in the phase; False if the run ends before."""
        for number, halt in enumerate(self._halts):
            if number:
                before = self._sessions
                self._sessions = []
                self._set_up(halt)
                _close(before)
            while not (self._stop_when(halt) if halt.stops == "backend" else ask(self._database, halt.reached)):
                if not is_running():
                    return False
                time.sleep(0.002)
        return True

    def release(self, later: float = 0.0) -> None:
        """Lets it go on. What is called twice does nothing."""
        if self._released.wait(later):
            return
        self._released.set()
        self._continue(list(self._stopped))
        _close(self._sessions)

    def _set_up(self, halt: Halt) -> None:
        if halt.stops == "checkpointer":
            ((pid,),) = ask(self._database, _CHECKPOINTER)
            self._stop(pid)
        if halt.session:
            options = {"dbname": halt.database} if halt.database else {}
            session = psycopg.connect(self._database.url, autocommit=True, application_name="somebody", **options)
            self._sessions.append(session)
            for statement in halt.session:
                session.execute(statement.encode())

    def _stop(self, pid: int) -> None:
        self._stopped.add(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)

    def _stop_when(self, halt: Halt) -> bool:
        """Has the run's process go on by small steps, until it is there or isn't at the statement any more."""
        with psycopg.connect(self._database.url, autocommit=True) as looking:
            while pids := [pid for (pid,) in looking.execute(_AT_STATEMENT).fetchall()]:
                # A process may have been stopped with a lock that the look needs.
                too_long = threading.Timer(LOOK, self._continue, (pids,))
                for pid in pids:
                    self._stop(pid)
                too_long.start()
                reached = bool(looking.execute(halt.reached.encode()).fetchall())
                too_long.cancel()
                if reached and self._stopped:
                    return True
                self._continue(pids)
                time.sleep(STEP)
        return False

    def _continue(self, pids: Sequence[int]) -> None:
        for pid in pids:
            self._stopped.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def _close(sessions: Sequence[psycopg.Connection[Any]]) -> None:
    for session in sessions:
        session.close()
