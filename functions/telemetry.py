"""Log lines and metrics of one call of a function: JSON, each line with the execution's name and the event's.

Nothing here may be handed a password or a row: the engine's errors and events carry neither.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from aws_lambda_powertools.logging import Logger
from aws_lambda_powertools.metrics import Metrics, MetricUnit

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.interface import FileDone, Listener, LogEvent
from aurora_migrations.engine.steps.execution import IGNORED, KEYS
from aurora_migrations.engine.steps.layout import in_a_line

if TYPE_CHECKING:
    from aurora_migrations.engine.locks.blockers import LockWait
    from aurora_migrations.engine.migrations import Migration
    from aurora_migrations.engine.postgres.session import Holder, Session
    from aurora_migrations.engine.script import Action, Hazard, RunningStatement

_NAMED = 10  # blockers in one line
_SHOWN = 100  # keys
_SOONEST, _LATEST = 2.0, 60.0  # seconds between two lines about the progress of statements: it doubles
NAMESPACE = "AuroraMigrations"
_VERBS: dict[Action, tuple[str, str]] = {
    "apply": ("Executing", "Executed"),
    "rollback": ("Rolling back", "Rolled back"),
}


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what stdout is when a line is written, not to what it was when the module was loaded."""

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        """It is always stdout."""


class Telemetry(Listener):
    """Log lines and metrics of one call."""

    def __init__(self, step: str) -> None:
        self.logger = Logger(service=step, logger_handler=_Stdout(), utc=True, use_rfc3339=True)
        self.metrics = Metrics(namespace=NAMESPACE, service=step)
        self._connected = False
        self._pause, self._next = _SOONEST, 0.0  # of lines about progress: for how long, and until when

    def begin_call(self, execution: str, request_id: str) -> None:
        """Begins a call: from here on each line carries the execution's name."""
        self._connected = False
        self._pause, self._next = _SOONEST, 0.0
        self.logger.clear_state()
        self.logger.set_correlation_id(execution)
        self.logger.append_keys(request_id=request_id)
        self.metrics.clear_metrics()
        self.metrics.add_metadata("correlation_id", execution)

    def log_input(self, execution_input: object) -> None:
        """Logs the execution's input: the values of known keys, and only the names of others."""
        given = execution_input if isinstance(execution_input, Mapping) else {}
        known = {key: in_a_line(str(given[key])) for key in KEYS if given.get(key) is not None}
        unknown = [in_a_line(str(key)) for key in given if key not in (*KEYS, *IGNORED)][:_SHOWN]
        self.logger.info("Event received", event=LogEvent.CALL_STARTED, asked=known, unknown_keys=unknown)

    def log_settings(self, environment: str) -> None:
        """Adds the environment to log lines and metrics."""
        self.logger.append_keys(environment=environment)
        self.metrics.add_dimension("environment", environment)

    def log_login(self, secret: str, user: str) -> None:
        """Logs that the login was read."""
        self.logger.info("Credentials fetched", event=LogEvent.SECRET_READ, secret=secret, user=user)

    def connected(self, session: Session) -> None:
        self._connected = True
        info, server = session.wire.connection.info, session.server
        self.logger.info(
            "Connected",
            event=LogEvent.CONNECTED,
            host=info.host,
            port=info.port,
            database=server.database,
            role=server.user,
            server_version=server.version,
            pid=server.pid,
            tls=bool(session.wire.connection.pgconn.ssl_in_use),
        )

    def waiting(self, holder: Holder | None) -> None:
        if holder and holder.doing:  # which changes every second
            if self._is_time_for_progress():
                self.logger.info(
                    "At work", event=LogEvent.STATEMENT_RUNNING, holder=str(holder), statement=holder.doing
                )
            return
        self.logger.warning("Waiting for another run to end", event=LogEvent.WAITING_FOR_RUN, holder=str(holder))

    def hazard_found(self, hazard: Hazard) -> None:
        self.logger.warning("Hazard found", event=LogEvent.HAZARD_FOUND, hazard=str(hazard), help=hazard.help)

    def blocked(self, wait: LockWait) -> None:
        self.logger.warning(
            "Waiting for other locks",
            event=LogEvent.BLOCKED,
            table=wait.table,
            mode=wait.mode,
            waited_ms=round(wait.waited_ms, 1),
            blockers=[str(blocker) for blocker in wait.blockers[:_NAMED]],
            queries=[blocker.query for blocker in wait.blockers[:_NAMED] if blocker.query],
        )
        self.count("LockWaits", 1)

    def executing(self, action: Action, migration: Migration) -> None:
        what: dict[str, Any] = {"action": action, "migration": migration.label, "file": migration.name}
        message = f"{_VERBS[action][0]} migration {migration.label}"
        self.logger.info(message, event=LogEvent.MIGRATION_STARTED, **what)

    def statement_running(self, at: RunningStatement) -> None:
        place: dict[str, Any] = {"file": at.file, "line": at.line, "statements": at.statements}
        if at.progress and not self._is_time_for_progress():
            return
        if at.progress:
            facts = ("phase", "percent", "waits_for")
            place |= {fact: getattr(at.progress, fact) for fact in facts} | {"progress": str(at.progress)}
        self.logger.info("At work", event=LogEvent.STATEMENT_RUNNING, **place)

    def _is_time_for_progress(self) -> bool:
        """An hour's build takes less than a hundred lines."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next, self._pause = now + self._pause, min(2 * self._pause, _LATEST)
        return True

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        duration = round(done.duration_ms, 1)
        self.logger.info(
            f"{_VERBS[action][1]} migration {migration.label}",
            event=LogEvent.MIGRATION_FINISHED,
            action=action,
            migration=migration.label,
            file=done.file,
            duration_ms=duration,
            verified=[f"{check.promise}: {check.found}" for check in done.checks],
            rows=[str(rows) for rows in done.rows],
            differs=list(done.warnings),
            locks=[str(lock) for lock in done.held],
        )
        self.count("MigrationsExecuted", 1)
        self.metrics.add_metric("MigrationDuration", MetricUnit.Milliseconds, duration)

    def closed(self) -> None:
        if self._connected:
            self.logger.info("Connection closed", event=LogEvent.CONNECTION_CLOSED)
        self._connected = False

    def log_answer(self, answer: dict[str, Any]) -> None:
        """Logs the answer that goes to the state machine."""
        keys = ("next", "outcome", "status", "pending", "remaining", "message")
        shown = {key: answer[key] for key in keys if key in answer}
        self.logger.info("Step done", event=LogEvent.CALL_FINISHED, answer=shown)

    def log_error(self, error: MigratorError, event: LogEvent = LogEvent.CALL_FAILED) -> None:
        """Logs an error that goes to the state machine; with another `event`, one that doesn't."""
        self.logger.error(f"{error.name}: {error.message}", event=event, error=error.to_dict())
        self.count("Failures", 1)

    def count(self, name: str, value: float) -> None:
        """Adds a count to the metrics."""
        self.metrics.add_metric(name, MetricUnit.Count, value)

    def end_call(self) -> None:
        """Ends a call: writes its metrics."""
        if self.metrics.metric_set:
            self.metrics.flush_metrics()
