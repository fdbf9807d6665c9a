"""Runs an action in an environment: shows who is logged in, starts an execution and follows it to its end."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import Display, choose_display, note
from aurora_migrations.cli.remote.aws_errors import CloudError, ExecutionFailed
from aurora_migrations.cli.remote.environment import Environment, open_environment
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.engine.errors import NextCommand
from aurora_migrations.engine.steps.execution import is_change

_QUESTION = "s: stop it   l: leave it running   anything else: keep watching > "
_QUESTION_OWN_CLOUD = "s: stop it, and the local cloud with it   anything else: keep watching > "


class LeftRunning(KeyboardInterrupt):
    """Ctrl-C, and the execution goes on, or may, or ends with this program; its text is the command that shows it."""


def execute(
    arguments: argparse.Namespace, execution: str, asked: Mapping[str, str | None], *, progress: bool = False
) -> dict[str, Any]:
    """Runs an action (`asked`, with its parameters) in the environment that was named, and returns the state machine's
    output. `progress` is for actions that take long.

    Raises:
        MigratorError: the execution failed, can't be started or followed, or a parameter is wrong.
        LeftRunning: Ctrl-C.
    """
    display = choose_display(arguments.output, progress)
    with open_environment(arguments) as environment:
        display.note(environment.introduction)
        if asked["action"] == "status":
            return _status(environment, arguments, execution, display)
        return execute_in(environment, arguments, execution, asked, display)


def _status(
    environment: Environment, arguments: argparse.Namespace, execution: str, display: Display
) -> dict[str, Any]:
    """The status, with the running executions: between its calls, one holds no lock that the database could show."""
    data = execute_in(environment, arguments, execution, {"action": "status"}, display)
    return {**data, "executions": environment.running()}


def status_reader(arguments: argparse.Namespace, closing: contextlib.ExitStack) -> Callable[[str], dict[str, Any]]:
    """Reads the status by an execution of a name, for `status --watch`. Who is logged in is shown once, and when it
    changes; nothing else is shown meanwhile. If AWS couldn't be reached, the next call opens the environment again, as
    there may be a new login, or another local cloud."""
    environment: Environment | None = None
    introduced = ""

    def read(execution: str) -> dict[str, Any]:
        nonlocal environment, introduced
        try:
            if environment is None:
                environment = closing.enter_context(open_environment(arguments))
            if environment.introduction != introduced:
                introduced = environment.introduction
                note(introduced)
            return _status(environment, arguments, execution, Display())
        except CloudError as error:
            if not isinstance(error, ExecutionFailed):
                environment = None
                closing.close()
            raise

    return read


def execute_in(
    environment: Environment,
    arguments: argparse.Namespace,
    execution: str,
    asked: Mapping[str, Any],
    display: Display,
) -> dict[str, Any]:
    """`execute`, in an environment that is open and was shown."""
    given = {key: value for key, value in asked.items() if value is not None}
    given |= {"trigger": "cli", "requested_by": options.requester()}
    changes = is_change(given)
    _ = environment.machine  # raises before anything is started
    try:
        follower = Follower(environment, environment.start(execution, given), display)
        if changes:
            display.note(f"Execution {execution}\n{environment.console(follower.execution.arn) or ''}".rstrip())
        while True:
            try:
                return follower.to_the_end().result()
            except KeyboardInterrupt:
                if arguments.watch:  # `status --watch` has nothing to decide
                    raise
                _decide(follower, arguments)
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, LeftRunning) or not changes:
            raise
        # It came before the execution is followed: there is no prompt here.
        maybe = f"The execution {execution} may have been started. To follow it: {_logs_command(execution, arguments)}"
        raise LeftRunning(maybe if environment.lasting else _ends_with_us(execution, arguments)) from None


def _ends_with_us(execution: str, arguments: argparse.Namespace) -> str:
    history = options.with_current_flags(NextCommand("history"), arguments)
    return (
        f"The execution {execution} ends here, with the local cloud of this command. A file that was running is "
        f"rolled back, or applied with its record: {history}. The next run continues from there."
    )


def _logs_command(execution: str, arguments: argparse.Namespace) -> str:
    return str(options.with_current_flags(NextCommand("logs", (execution, "--follow")), arguments))


def _decide(follower: Follower, arguments: argparse.Namespace) -> None:
    """Asks whether to stop the execution. Without a terminal, and at a second Ctrl-C, it is left running; in a local
    cloud of our own it ends with that."""
    name, lasting = follower.execution.name, follower.environment.lasting
    logs = _logs_command(name, arguments)
    left = f"The execution {name} is still running. To follow it: {logs}" if lasting else _ends_with_us(name, arguments)
    if not sys.stdin.isatty():
        raise LeftRunning(left)
    note(f"\nThe execution {name} is running.\n{_QUESTION if lasting else _QUESTION_OWN_CLOUD}", end="")
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise LeftRunning(left) from None
    stops = answer.strip().lower() in ("s", "stop")
    if not answer or answer.strip().lower() in ("l", "leave") or (stops and not lasting):
        raise LeftRunning(left)
    if not stops:
        return
    try:
        follower.environment.stop(follower.execution.arn, f"Ctrl-C by {options.requester()}")
    except CloudError as error:
        raise follower.lost(error) from error
    except KeyboardInterrupt:
        raise LeftRunning(
            f"The execution {name} may have been stopped, or may still be running. To follow it: {logs}"
        ) from None
    note("It is being stopped.")
