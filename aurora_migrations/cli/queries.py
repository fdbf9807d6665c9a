"""What verbs that only look have in common: a document, from here or from there, told as text or as JSON."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aurora_migrations.cli import options, where
from aurora_migrations.engine import MigratorError, Session, failure
from aurora_migrations.engine.layout import in_a_line
from aurora_migrations.engine.steps.execution import initiator

Data = Mapping[str, Any]


def answer(
    arguments: argparse.Namespace,
    asked: Mapping[str, str | None],
    here: Callable[[argparse.Namespace, str], Data],
    show: Callable[[Data, argparse.Namespace], None],
    command: str,
) -> int:
    """Looks, tells what was seen, and returns the exit code.

    Args:
        asked: the input for the state machine, if that is to look.
        here: looks at a database that one can reach; is given the arguments and a name for the session.
        show: tells it to people.
        command: what to type to look again.
    """
    execution = options.look_name()
    try:
        data = look(arguments, execution, asked, here)
        if arguments.output == "text":
            with understood(arguments, execution):
                show(data, arguments)
    except MigratorError as error:
        options.go_on_with(error, command, arguments)
        return options.tell_error(error, arguments, failure(error, None, execution))
    if arguments.output == "json":
        options.print_json(data)
    return 0


@contextlib.contextmanager
def understood(arguments: argparse.Namespace, execution: str) -> Iterator[None]:
    """Around what reads an environment's answer: a state machine of another version may answer in another way.

    Raises:
        ExecutionFailed: that is so.
    """
    try:
        yield
    except (LookupError, TypeError) as error:
        if not where.is_remote(arguments):
            raise
        from aurora_migrations.cli.remote.outcome import contract_broken

        what = f"its answer has no {error}" if isinstance(error, KeyError) else "its answer can't be read"
        raise contract_broken(execution, what) from error


def look(
    arguments: argparse.Namespace,
    execution: str,
    asked: Mapping[str, str | None],
    here: Callable[[argparse.Namespace, str], Data],
) -> Data:
    """The document, from the state machine or from the database itself."""
    if not where.is_remote(arguments):
        return here(arguments, execution)
    from aurora_migrations.cli.remote.client import ask

    return ask(arguments, execution, asked)


def asker(requested_by: str) -> str:
    """Who asked, as people name it: the history keeps of a deployment its stack's ARN, of 120 characters."""
    return initiator("deploy" if requested_by.startswith("arn:") and ":stack/" in requested_by else "", requested_by)


def described(asked: object) -> str:
    """An execution's input in a line: `action run-migration, target 017`. Anybody may have written anything there."""
    given = {str(key): str(value) for key, value in asked.items()} if isinstance(asked, Mapping) else {}
    told = given | ({"requested_by": asker(given["requested_by"])} if "requested_by" in given else {})
    return ", ".join(f"{in_a_line(key)} {in_a_line(value)}" for key, value in told.items())


def session(arguments: argparse.Namespace, execution: str) -> Session:
    """A session on the database that was named."""
    return Session(where.database_url(arguments), execution)
