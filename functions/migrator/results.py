"""What a run answers, as data that becomes JSON."""

from __future__ import annotations

from dataclasses import dataclass

from functions.migrator.errors import MigratorError
from functions.migrator.expectations import Check


@dataclass(frozen=True)
class FileDone:
    """A file that this run applied or rolled back."""

    migration: str
    file: str
    duration_ms: float
    checks: tuple[Check, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The file as JSON-able data."""
        verified = [{"promise": check.promise, "found": check.found} for check in self.checks]
        return {
            "migration": self.migration,
            "file": self.file,
            "duration_ms": round(self.duration_ms, 1),
            "verified": verified,
        }


@dataclass(frozen=True)
class RunResult:
    """A run that ended well.

    Attributes:
        migration: the target, or the last one applied; None if there was none.
        applied: files that this run applied (or rolled back), in that order.
        already_applied: since when the target had been in, if it was before this run.
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


def failure(error: MigratorError, migration: str | None, execution: str) -> dict[str, object]:
    """A run that failed, in the shape of `RunResult.to_dict`."""
    about = {"migration": migration or error.facts.get("migration"), "execution": execution}
    return {
        "status": "failed",
        **about,
        **{fact: value for fact, value in error.to_dict().items() if fact not in about},
    }
