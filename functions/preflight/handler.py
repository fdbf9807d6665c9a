"""Preflight: the secret, the connection, the package, and what there is to do. Changes nothing."""

from __future__ import annotations

from typing import Any

from aurora_migrations.engine.errors import TRY_AGAIN
from functions.entrypoint import Call, entrance
from functions.mail import database_now, started
from functions.preflight.report import preflight
from functions.remediation import next_command

_LONGEST = 400  # characters of a command to type


@entrance("preflight")
def handler(call: Call) -> dict[str, Any]:
    """Tells the state machine which step comes next, and what was found.

    Args:
        call: the execution's input, and a database that is reached with the secret as it is now.

    Returns:
        `next` (apply, verify or done), the package's digest, how much is pending, and in words for a mail the same
        (`database_now`), who or what started the execution (`started`) and what to type to ask for the same again
        (`again`); with `done`, the `result` too. About an execution that ended, nothing but `started` and `again`,
        without a look: null if its input isn't known.

    Raises:
        MigratorError: why nothing can be run; see `aurora_migrations.engine.errors`.
    """
    if (ended := call.ended) is not None:
        return {
            "started": None if ended.asked is None else started(ended.asked, ended.reason),
            "again": _again(ended.asked, call),
        }
    report = call.logged_in(preflight)
    call.story.count("MigrationsPending", len(report.pending))
    looked = call.step.ask.action == "plan"  # the only one that looks who has the run lock
    now = database_now(report.applied, [m.name for m in report.pending], report.running, looked)
    return {**report.to_dict(), "database_now": now, "started": started(call.asked), "again": _again(call.asked, call)}


def _again(asked: object, call: Call) -> str | None:
    """What to type after an execution that wasn't to fail: the same, up to the same migration; of a rollback, a look.
    None where nobody knows what was asked, or where it is longer than any that could be run."""
    command = str(next_command(TRY_AGAIN, asked, call.step.settings.environment))
    return None if asked is None or len(command) > _LONGEST else command
