"""What a run answers, as data that becomes JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.history import Applied
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.locks.budget import Held
from aurora_migrations.engine.verification.expectations import Check


@dataclass(frozen=True)
class FileDone:
    """A file that this run applied or rolled back.

    Attributes:
        held: the locks it held that blocked the application, for how long.
        waits: what tries that were rolled back had waited for, and who was in the way.
    """

    migration: str
    file: str
    duration_ms: float
    checks: tuple[Check, ...] = ()
    held: tuple[Held, ...] = ()
    waits: tuple[LockWait, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The file as JSON-able data."""
        verified = [{"promise": check.promise, "found": check.found} for check in self.checks]
        return {
            "migration": self.migration,
            "file": self.file,
            "duration_ms": round(self.duration_ms, 1),
            "verified": verified,
            "locks": [asdict(lock) for lock in self.held],
            "waits": [wait.to_dict() for wait in self.waits],
        }


@dataclass(frozen=True)
class RunResult:
    """A run that ended well.

    Attributes:
        migration: the target, or the last one applied; None if there was none.
        applied: files that this run applied (or rolled back), in that order.
        already_applied: since when the target had been in, if it was before this run.
        remaining: files that this run has left to do, as it may not begin another.
        notices: what a person should know though nothing is wrong.
        hazards: what may hurt in the files that ran, and was told of before they did.
    """

    migration: str | None
    message: str
    execution: str
    database: str
    duration_ms: float
    applied: tuple[FileDone, ...]
    notices: tuple[str, ...] = ()
    hazards: tuple[str, ...] = ()
    action: str = "run-migration"
    already_applied: str | None = None
    remaining: int = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything a person should know though the run ended well."""
        return (*self.notices, *self.hazards)

    def to_dict(self) -> dict[str, object]:
        """The contract of the product: `status`, `migration` and `message` stay; more may join."""
        return {
            "status": "success",
            "migration": self.migration,
            "message": self.message,
            "action": self.action,
            "execution": self.execution,
            "database": self.database,
            "rolled_back" if self.action == "rollback" else "applied": [file.to_dict() for file in self.applied],
            "already_applied": self.already_applied,
            "warnings": list(self.warnings),
            "duration_ms": round(self.duration_ms, 1),
        }


def success_message(done: Sequence[str], target: str | None, already: Applied | None) -> str:
    """What a run did, in a sentence.

    Args:
        done: the numbers of the migrations that it applied, in order.
        already: the target's record, if it was in before the run.
    """
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
