"""Follows an execution to its end, and tells what happens as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from aurora_migrations.cli.remote.aws_errors import CloudError
from aurora_migrations.cli.remote.display import Screen
from aurora_migrations.cli.remote.environment import Place
from aurora_migrations.cli.remote.events import Events
from aurora_migrations.cli.remote.executions import RUNNING, Execution, look
from aurora_migrations.cli.remote.failing import ANSWERS, ERRORS, explain, is_transient
from aurora_migrations.cli.remote.function_logs import Line, Log
from aurora_migrations.cli.remote.story import tell

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds
_PATIENCE = 60.0  # seconds that the network may be away
_LATE = 5.0  # seconds that CloudWatch gets to show the last lines, when the execution is over
_Answer = TypeVar("_Answer")


@dataclass
class Follower:
    """Follows one execution. Asked again, it goes on where it was."""

    place: Place
    execution: Execution
    screen: Screen
    _events: Events = field(init=False)
    _log: Log | None = field(init=False)
    _told: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._events = Events(self.place, self.execution.arn)
        self._log = Log(self.place, self.execution)

    def to_the_end(self) -> Execution:
        """Waits for the end, and tells what happens until then.

        Raises:
            CloudError: there is no way to look any more; the execution goes on.
        """
        pause = _FIRST_PAUSE
        with self.screen.busy():
            while True:
                found = self._patiently(lambda: look(self.place, self.execution.arn))
                self._tell_news()
                if found.status != RUNNING:
                    self._wait_for_the_last_lines()
                    return self._complete(found)
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

    def once(self) -> Execution:
        """Tells what has happened until now."""
        found = self._patiently(lambda: look(self.place, self.execution.arn))
        self._tell_news()
        return self._complete(found)

    def _complete(self, found: Execution) -> Execution:
        """Why it was stopped stands for sure in its history only."""
        stopped = self._events.stopped
        return replace(found, error=found.error or stopped.get("error"), cause=found.cause or stopped.get("cause"))

    def _tell_news(self) -> None:
        lines = self._patiently(self._events.news)
        self.screen.tell(sorted([*lines, *self._logged()], key=lambda line: line.at))

    def _logged(self) -> list[Line]:
        """What the functions logged. Who may start executions, but not read logs, is told so once."""
        if self._log is None:
            return []
        try:
            lines = [tell(record) for record in self._log.news()]
        except ERRORS as error:
            if not is_transient(error):
                self._log = None
                self.screen.note(f"The functions' logs can't be read, so not everything is shown. {explain(error)}")
            return []
        self._told += sum(line.ends for line in lines)
        return lines

    def _wait_for_the_last_lines(self) -> None:
        deadline = time.monotonic() + _LATE
        while self._log and self._told < self._events.calls and time.monotonic() < deadline:
            time.sleep(_FIRST_PAUSE)
            self.screen.tell(self._logged())

    def _patiently(self, ask: Callable[[], _Answer]) -> _Answer:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                return ask()
            except ANSWERS as error:
                if not is_transient(error) or time.monotonic() > deadline:
                    raise self.lost(explain(error)) from error
            time.sleep(_LONGEST_PAUSE)

    def lost(self, error: CloudError) -> CloudError:
        """The same error; but something goes on."""
        name = self.execution.name
        return error.while_it_goes_on(name, f"The execution {name} has been started and goes on by itself.")
