"""Apply: runs migrations (or their down files), each in a transaction of its own, as many as a call's time allows."""

from __future__ import annotations

from typing import Any

from functions.apply.batch import apply
from functions.entrypoint import Call, Deployment, lambda_handler


def handler(event: Any, context: Any, deployment: Deployment | None = None) -> dict[str, Any]:
    """Lambda's entry point. Tests pass a `deployment` of their own."""
    return lambda_handler("apply", apply_batch, event, context, deployment)


def apply_batch(call: Call) -> dict[str, Any]:
    """Returns `outcome` (more or done), what remains, and what this call and those before it have done.

    Raises:
        MigratorError: the first thing that went wrong; its file is rolled back, those before it stay.
    """
    progress = call.with_database_login(apply)
    call.telemetry.count("MigrationsRemaining", progress.remaining)
    return progress.to_dict()
