"""Preflight: the secret, the connection, the package, and what there is to do. Changes nothing."""

from __future__ import annotations

from typing import Any

from functions.edge import Call, entrance
from functions.mail import database_now, started
from functions.migrator.preflight import preflight


@entrance("preflight")
def handler(call: Call) -> dict[str, Any]:
    """Tells the state machine which step comes next, and what was found.

    Args:
        call: the execution's input, and a database that is reached with the secret as it is now.

    Returns:
        `next` (apply, verify or done), the package's digest, how much is pending, and in words for a mail the same
        (`database_now`) and who or what started the execution (`started`); with `done`, the `result` too. About an
        execution that ended, nothing but `started`, without a look: null if its input isn't known.

    Raises:
        MigratorError: why nothing can be run; see `functions.migrator.errors`.
    """
    if (ended := call.ended) is not None:
        return {"started": None if ended.asked is None else started(ended.asked, ended.reason)}
    report = call.logged_in(preflight)
    call.story.count("MigrationsPending", len(report.pending))
    looked = call.step.ask.action == "plan"  # the only one that looks who has the run lock
    now = database_now(report.applied, [m.name for m in report.pending], report.running, looked)
    return {**report.to_dict(), "database_now": now, "started": started(call.asked)}
