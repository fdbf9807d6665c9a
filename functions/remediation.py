"""Remedy and next command of an error in an environment: files and settings get there by a deployment, which starts a
run, and a run applies what is pending, including what a rollback has just undone."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aurora_migrations.engine.errors import (
    TRY_AGAIN,
    ActionNotAllowed,
    AnotherRunInProgress,
    InDoubt,
    InvalidInput,
    MigratorError,
    NextCommand,
    StatementTimeout,
)
from aurora_migrations.engine.steps.layout import listed
from functions import mail

# The verb that does the same again. A rollback that failed may be half done: check the status first.
_AGAIN = {"run-migration": "run", "list-migrations": "list", "rollback": "status"}
_AGAIN |= {name: name for name in ("status", "history", "plan", "verify")}
DEPLOYED = "After the fix, deploy; the deployment starts a new run:"
_DEPLOY_FIRST = "After changing a file or a setting, deploy; the deployment starts a new run."
_WITHOUT_ENVIRONMENT = ("check", "build", "import", "new")
_AFTER = ("run", "check", "status")  # verbs that are of no use before what was corrected is deployed
_TOO_LONG = (
    "Split the work into several files. A first line `-- migration: statement_timeout = TIME` raises the limit for "
    "this file, up to one Lambda call (15min at most); with `-- migration: detach = on`, it may outlive the call, and "
    "keeps its locks until its end."
)
_REQUESTS = (InvalidInput, ActionNotAllowed)  # about the request itself: their solution is a correct request
_RUN_AGAIN = re.compile(r"\b([Rr])un (?:it )?again\b")
_COMMAND = re.compile(r"`aurora-migrations (\w+)[^`]*`")
_NAMED = 12  # migrations
_LOCAL = "local"  # the environment of the local cloud, which the CDK doesn't deploy to


def in_environment(error: MigratorError, execution_input: object, run: mail.Run) -> MigratorError:
    """The error with the remedy and the next command for an environment, which gets its files and settings by a
    deployment, and in which Lambda limits how long a statement may take."""
    command = next_command(error.next_command, execution_input, run.environment)
    general = isinstance(error, StatementTimeout) and error.solution == StatementTimeout.solution
    solution = _with_environment(_TOO_LONG if general else error.solution, run.environment)
    known = error.but(next_command=command, solution=solution)
    if mail.undoes(run) and not isinstance(error, _REQUESTS):
        return _in_rollback(known, run)
    if not mail.is_deployed(error, run):
        return known
    # A deployment of what was corrected starts a run; one with nothing changed starts nothing.
    if command.verb not in _AFTER:
        return known.but(solution=f"{known.solution}\n{_DEPLOY_FIRST}")
    solution = known.solution
    if known.otherwise:
        run_again = next_command(TRY_AGAIN, execution_input, run.environment)
        solution += f"\nIf {known.otherwise} instead, run `{run_again}`."
    return known.but(solution=f"{solution}\n{DEPLOYED}", next_command=deploy_command(run.environment, run.deploy))


def _with_environment(solution: str, environment: str) -> str:
    """The commands in a solution as they are for an environment."""

    def complete(found: re.Match[str]) -> str:
        return found[0] if found[1] in _WITHOUT_ENVIRONMENT else f"{found[0][:-1]} --env {environment}`"

    return _COMMAND.sub(complete, solution)


def next_command(command: NextCommand, execution_input: object, environment: str) -> NextCommand:
    """The command with the environment and the target that this execution was for."""
    given = execution_input if isinstance(execution_input, Mapping) else {}
    if command == TRY_AGAIN:
        command = NextCommand(_AGAIN.get(str(given.get("action") or "run-migration"), "status"))
    target = str(given.get("target", ""))
    if command == NextCommand("run") and _is_number(target):
        command = command.plus(target)
    return command if command.verb in _WITHOUT_ENVIRONMENT else command.plus("--env", environment)


def deploy_command(environment: str, known: str = "") -> NextCommand:
    """What puts changed files and settings into an environment: the `known` command, if it isn't the usual one."""
    if known:
        return NextCommand.parse(known)
    if environment == _LOCAL:
        return NextCommand("deploy", ("--local",))
    stack = f"AuroraMigrationsRunnerStack-{environment}"
    return NextCommand("aws-cdk@2", ("deploy", stack, "--context", f"env={environment}"), program="npx")


def _in_rollback(error: MigratorError, run: mail.Run) -> MigratorError:
    """Neither a deployment nor a run continues a rollback: both apply again what it has undone."""
    following = NextCommand("status", ("--env", run.environment)) if error.next_command.verb in _AFTER else None
    again = _RUN_AGAIN.sub(lambda match: f"{'R' if match[1] == 'R' else 'r'}oll back again", error.solution)
    first = "A corrected file or setting must be deployed first. " if mail.is_deployed(error, run) else ""
    undone = listed(_labels(error, "rolled_back"), _NAMED) or "what was rolled back"
    caution = f"Careful: a deployment starts a run, and any run applies {undone} again."
    solution = "\n".join(filter(None, [again, f"{first}{caution}", _continue_rollback(error, run)]))
    return error.but(solution=solution, next_command=following)


def _continue_rollback(error: MigratorError, run: mail.Run) -> str:
    """The command that rolls back the rest. In `verify` nothing is left to roll back."""
    if run.step == "verify":
        return ""
    # The newest that is applied after what this run has rolled back, where that is known for certain.
    left = [] if isinstance(error, InDoubt | AnotherRunInProgress) else _labels(error, "not_done")
    newest = left[0] if left else None
    target = run.key("target") if _is_number(run.key("target")) else "TARGET"
    command = f"`aurora-migrations rollback {target} --confirm {newest or 'NEWEST'} --env {run.environment}`"
    if newest:
        return f"To continue the rollback: {command}. {newest} is the newest applied number now; a run changes it."
    return f"To continue the rollback: {command}, where NEWEST is the newest applied number."


def _labels(error: MigratorError, fact: str) -> list[str]:
    """The numbers of migrations that a fact names, by their numbers or by their files."""
    names = error.facts.get(fact)
    return [str(name).partition("_")[0] for name in names] if isinstance(names, list) else []


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()
