"""Read-only verbs: a document, read from a database directly or by a state machine, printed as text or as JSON."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_json
from aurora_migrations.engine import MigratorError, Session
from aurora_migrations.engine.status import complete_answer

Data = Mapping[str, Any]


def answer(
    arguments: argparse.Namespace,
    action: str,
    read: Callable[[argparse.Namespace, str], Data],
    show: Callable[[Data, argparse.Namespace], None],
    ok: Callable[[Data], bool] = lambda data: True,
) -> int:
    """Runs a read-only action, prints its document and returns the exit code.

    Args:
        read: gets the document without a state machine, given the arguments and a name for the session.
        ok: whether the exit code is 0.
    """
    execution, target = options.execution_name(options.READ_ONLY), getattr(arguments, "target", None)
    try:
        if options.is_remote(arguments):
            from aurora_migrations.cli.remote.client import execute

            data: Data = execute(arguments, execution, {"action": action, "target": target})
        else:
            data = read(arguments, execution)
        with readable(arguments, execution):
            code = 0 if ok(data) else 1
            if arguments.output == "text":
                show(data, arguments)
    except MigratorError as error:
        return options.fail(error, f"{arguments.verb} {target or ''}".rstrip(), arguments, execution)
    if arguments.output == "json":
        print_json(data)
    return code


def read_directly(
    arguments: argparse.Namespace, execution: str, action: str, read: Callable[[Session], Mapping[str, object]]
) -> Data:
    """What a state machine would answer, read from a database that can be reached from here."""
    with Session(options.database_url(arguments), execution) as session:
        return complete_answer(action, execution, session.server, read(session))


@contextlib.contextmanager
def readable(arguments: argparse.Namespace, execution: str) -> Iterator[None]:
    """For reading an environment's document: a state machine of another version may answer differently.

    Raises:
        ExecutionFailed: it did.
    """
    try:
        yield
    except (LookupError, TypeError) as error:
        if not options.is_remote(arguments):
            raise
        from aurora_migrations.cli.remote.executions import contract_broken

        what = f"its answer has no {error}" if isinstance(error, KeyError) else "its answer can't be read"
        raise contract_broken(execution, what) from error
