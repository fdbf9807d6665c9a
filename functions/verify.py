"""Verify: checks the tables that were changed, their rows and indexes, and lasting expectations."""

from __future__ import annotations

from typing import Any

from aurora_migrations.engine.steps.verify import verify
from functions.entrypoint import Call, Deployment, lambda_handler


def handler(event: Any, context: Any, deployment: Deployment | None = None) -> dict[str, Any]:
    """Lambda's entry point. Tests pass a `deployment` of their own."""
    return lambda_handler("verify", _verify, event, context, deployment)


def _verify(call: Call) -> dict[str, Any]:
    """Returns the state machine's own answer: `status`, `migration`, `message`, what was applied and inspected."""
    report = call.with_database_login(verify)
    call.telemetry.count("TablesVerified", len(report.tables))
    return report.to_dict()
