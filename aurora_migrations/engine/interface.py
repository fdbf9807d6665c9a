"""The engine's interface: the request of a run, the listener that is notified of its progress, and its result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from aurora_migrations.engine.options import Limits

if TYPE_CHECKING:
    from aurora_migrations.engine.catalog.effects import Rows
    from aurora_migrations.engine.errors import MigratorError
    from aurora_migrations.engine.expectations import Check
    from aurora_migrations.engine.history import Applied
    from aurora_migrations.engine.locks.blockers import LockWait
    from aurora_migrations.engine.locks.budget import Held
    from aurora_migrations.engine.migrations import Migration
    from aurora_migrations.engine.options import Hazards
    from aurora_migrations.engine.postgres.session import Holder, Session
    from aurora_migrations.engine.script import Action, Hazard, RunningStatement, Source


class FileDone(NamedTuple):
    """A file that this run applied or rolled back."""

    migration: str
    file: str
    duration_ms: float
    checks: tuple[Check, ...] = ()
    held: tuple[Held, ...] = ()  # the locks it held that block the application, and for how long
    waits: tuple[LockWait, ...] = ()  # what attempts that were rolled back had waited for, and the blockers
    rows: tuple[Rows, ...] = ()  # the rows it wrote, by table; only of a file that was replayed and is one unit
    warnings: tuple[str, ...] = ()  # how it differs from its replay

    def to_dict(self) -> dict[str, object]:
        """The file as JSON-able data; tuples, as an empty one takes no memory, and most are."""
        return {
            "migration": self.migration,
            "file": self.file,
            "duration_ms": round(self.duration_ms, 1),
            "verified": tuple({"promise": check.promise, "found": check.found} for check in self.checks),
            "rows": tuple(map(vars, self.rows)),
            "locks": tuple(map(vars, self.held)),
            "waits": tuple(map(asdict, self.waits)),
        }


class RunResult(NamedTuple):
    """A run that ended well."""

    migration: str | None  # the target, or the last one applied; None if there was none
    message: str
    execution: str
    database: str
    duration_ms: float
    applied: tuple[FileDone, ...]  # files that this run applied (or rolled back), in that order
    notices: tuple[str, ...] = ()  # what a person should know though nothing is wrong
    # Of the files that ran, those that they don't allow; each was reported before its file ran.
    hazards: tuple[str, ...] = ()
    action: str = "run-migration"
    already_applied: str | None = None  # since when the target is applied, if it was before this run
    remaining: int = 0  # files that are still to be done, as the run may not begin another
    running: str | None = None  # the statement that the server goes on with though the run's time is up

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything a person should know though the run ended well."""
        return (*self.notices, *self.hazards, *(warning for file in self.applied for warning in file.warnings))

    def to_dict(self) -> dict[str, object]:
        """The result as JSON-able data."""
        return {
            **success(self.action, self.execution, self.database, self.migration, self.message),
            "rolled_back" if self.action == "rollback" else "applied": [file.to_dict() for file in self.applied],
            "already_applied": self.already_applied,
            "warnings": list(self.warnings),
            "duration_ms": round(self.duration_ms, 1),
        }


def success(action: str, execution: str, database: str, migration: object, message: object) -> dict[str, object]:
    """What every result begins with. The product's contract: `status`, `migration` and `message` stay."""
    about = {"action": action, "execution": execution, "database": database}
    return {"status": "success", "migration": migration, "message": message, **about}


def success_message(done: Sequence[str], target: str | None, already: Applied | None) -> str:
    """What a run did, in a sentence."""
    if already is not None:
        return f"Migration {already.label} was already applied at {already.applied_at}"
    if not done:
        return "Nothing to do: every migration is applied"
    if target or len(done) == 1:
        return f"Migration {done[-1]} executed successfully"
    return f"{len(done)} migrations executed successfully, {done[0]} to {done[-1]}"


def rollback_message(done: Sequence[str]) -> str:
    """What a rollback did, in a sentence."""
    return f"{'Migration' if len(done) == 1 else 'Migrations'} {', '.join(done)} rolled back successfully"


def failure(error: MigratorError, migration: str | None, execution: str) -> dict[str, object]:
    """A run that failed, in the shape of `RunResult.to_dict`."""
    about = {"migration": migration or error.facts.get("migration"), "execution": execution}
    return {
        "status": "failed",
        **about,
        **{fact: value for fact, value in error.to_dict().items() if fact not in about},
    }


class Listener:
    """Notified of a run's events as they happen; this one ignores them all."""

    def connected(self, session: Session) -> None:
        """A session is open."""

    def closed(self) -> None:
        """That session is closed."""

    def waiting(self, holder: Holder | None) -> None:
        """Another run has the lock."""

    def hazard_found(self, hazard: Hazard) -> None:
        """A file that is about to run has a hazard that it doesn't allow."""

    def blocked(self, wait: LockWait) -> None:
        """An attempt was rolled back, because others hold locks; the next one begins when they have released them."""

    def planned(self, action: Action, migrations: Sequence[Migration]) -> None:
        """These are pending, as far as that is known before the run has the lock."""

    def begins(self, action: Action, migrations: Sequence[Migration]) -> None:
        """The run has the lock and does these, in this order."""

    def executing(self, action: Action, migration: Migration) -> None:
        """A file begins."""

    def statement_running(self, at: RunningStatement) -> None:
        """The server has been running this for a while: once for each message that was sent to it; for a statement
        outside any transaction again whenever its progress shows a change."""

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        """A file is committed: applied, or rolled back."""


class Listeners(Listener):
    """Several listeners in one, notified in their order."""

    def __init__(self, *listeners: Listener) -> None:
        def notify(event: str, *details: object) -> None:
            for listener in listeners:
                getattr(listener, event)(*details)

        for event in (name for name in vars(Listener) if not name.startswith("_")):
            setattr(self, event, partial(notify, event))


@dataclass(frozen=True)
class Request:
    """The request of a run."""

    url: str  # the database
    source: Source  # the migrations: the compiler, or a manifest that it has written
    execution: str  # the run's name, in pg_stat_activity and in the history
    requested_by: str  # the initiator, as that gives its name
    wait: float = 60.0  # seconds to wait for another run to end
    limits: Limits = field(default_factory=Limits)  # time limits, where a file sets none
    hazards: Hazards = "warn"  # whether a hazard that its file doesn't allow is refused, or only reported
    listener: Listener = field(default_factory=Listener)
    # Called before each attempt with the limits of the file; returns what is left of them.
    limits_now: Callable[[Limits], Limits] = lambda limits: limits
    # Called before every file but the first, with the milliseconds that the file which is about to be committed has
    # taken, or 0; if it returns False, the run ends there, successfully.
    may_begin: Callable[[float], bool] = lambda _: True
    # Whether a file may begin with the COMMIT of the one before; then `may_begin` is called before that.
    begins_ahead: bool = True
    # Whether the run's time is up. A statement outside any transaction is then left to the server.
    is_time_up: Callable[[], bool] = lambda: False
    # Whether this may be one of several calls of the execution; then what it has rolled back before (a call may fail
    # after it, or its answer be lost) counts as confirmed.
    resumes: bool = False
    # When it began, as its initiator passes it; together with the name it identifies the execution.
    execution_start: str = ""


class LogEvent(StrEnum):
    """The names of the functions' log lines, under the key `event`. Programs read these and never the message, which is
    for people and may change; so a name in use stays."""

    CALL_STARTED = "call_started"  # of a function; with the execution's input
    SECRET_READ = "secret_read"
    CONNECTED = "connected"
    WAITING_FOR_RUN = "waiting_for_run"  # another run holds the lock
    HAZARD_FOUND = "hazard_found"
    BLOCKED = "blocked"  # by sessions that hold locks; the attempt was rolled back
    MIGRATION_STARTED = "migration_started"  # applied, or rolled back: the key `action`
    STATEMENT_RUNNING = "statement_running"  # for more than two seconds; also one that another call has left
    MIGRATION_FINISHED = "migration_finished"
    CONNECTION_CLOSED = "connection_closed"
    MAIL_FAILED = "mail_failed"  # one couldn't be written; the call goes on
    CALL_FINISHED = "call_finished"
    CALL_FAILED = "call_failed"
