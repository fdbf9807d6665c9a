"""Verify: what is there now: the tables that were touched, their rows and indexes, and promises that hold for ever."""

from __future__ import annotations

from typing import Any

from aurora_migrations.engine.verification.checks import verify
from functions.entrypoint import Call, entrance


@entrance("verify")
def handler(call: Call) -> dict[str, Any]:
    """Returns the state machine's own answer: `status`, `migration`, `message`, what was applied and inspected.

    Raises:
        VerificationFailed: what was applied stays, but isn't as it should be.
        MigratorError: nothing could be inspected.
    """
    report = call.logged_in(verify)
    call.story.count("TablesVerified", len(report.tables))
    return report.to_dict()
