"""`aurora-migrations verify [TARGET]`: what is there: tables, rows and indexes, and promises that hold for ever."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aurora_migrations.cli import options, where
from aurora_migrations.cli.queries import Data, answer
from aurora_migrations.cli.verified import print_verified
from aurora_migrations.compiler.folder_source import source_of

if TYPE_CHECKING:
    from aurora_migrations.engine.steps.step import Step

_HOUR_MS = 3_600_000


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "verify",
        "Looks at every table that the applied migrations touch, or that TARGET touches: is it there, how many rows, "
        "are its indexes fit for use; and whether every lasting promise is kept. Changes nothing. Exits with 1 if "
        "something isn't as it should be.",
        "verify 017 --env dev",
        "verify --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", nargs="?", metavar="TARGET", help="a migration's number, such as 017 (default: all)")
    where.add_where(made)
    arguments = where.parse(made, argv)
    command = f"verify {arguments.target}" if arguments.target else "verify"
    return answer(arguments, {"action": "verify", "target": arguments.target}, _here, _show, command)


def _here(arguments: argparse.Namespace, execution: str) -> Data:
    from aurora_migrations.engine.verification.checks import verify

    return verify(_step(arguments, execution)).to_dict()


def _step(arguments: argparse.Namespace, execution: str) -> Step:
    """What the state machine would call, for the folder and a database that one can reach."""
    from aurora_migrations.engine.options import Limits
    from aurora_migrations.engine.steps.deadline import Deadline
    from aurora_migrations.engine.steps.execution_input import ACTIONS, read_ask
    from aurora_migrations.engine.steps.settings import Settings
    from aurora_migrations.engine.steps.step import Step

    settings = Settings(
        environment="",
        secret="",
        host=None,
        port=None,
        database=None,
        sslmode="prefer",
        certificates=None,
        actions=ACTIONS,
        limits=Limits(),
        hazards="warn",
        migrations=arguments.migrations,
    )
    return Step(
        settings=settings,
        ask=read_ask({"action": "verify", "target": arguments.target}, execution, ACTIONS),
        execution=execution,
        started_at=datetime.now(UTC).isoformat(),
        package="",
        so_far={},
        deadline=Deadline(lambda: _HOUR_MS),
        url=where.database_url(arguments),
        folder=source_of(arguments.migrations),
    )


def _show(data: Data, arguments: argparse.Namespace) -> None:
    for warning in data["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(data["message"])
    print_verified(data["verified"])
