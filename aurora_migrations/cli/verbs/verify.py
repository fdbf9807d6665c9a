"""`aurora-migrations verify [TARGET]`: checks tables, rows, indexes and lasting expectations."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import UTC, datetime

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_verified, print_warnings
from aurora_migrations.cli.queries import Data, answer
from aurora_migrations.compiler.folder_source import source_of

_HOUR_MS = 3_600_000


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "verify",
        "Looks at every table that the applied migrations touch, or that TARGET touches: is it there, how many rows, "
        "are its indexes fit for use; and whether every lasting promise is kept. Changes nothing. Exits with 1 if "
        "something isn't as it should be.",
        "verify 017 --env dev",
        "verify --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_target(parser, "017")
    options.add_where(parser)
    return answer(options.parse(parser, argv), "verify", _read, _show)


def _read(arguments: argparse.Namespace, execution: str) -> Data:
    """By the step that the state machine would call, for the folder and a database that can be reached from here."""
    from aurora_migrations.engine.options import Limits
    from aurora_migrations.engine.steps.execution import ACTIONS, read_input
    from aurora_migrations.engine.steps.settings import Settings
    from aurora_migrations.engine.steps.step import Deadline, Step
    from aurora_migrations.engine.steps.verify import verify

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
    step = Step(
        settings=settings,
        input=read_input({"action": "verify", "target": arguments.target}, execution, ACTIONS),
        execution=execution,
        started_at=datetime.now(UTC).isoformat(),
        package="",
        so_far={},
        deadline=Deadline(lambda: _HOUR_MS),
        url=options.database_url(arguments),
        folder=source_of(arguments.migrations),
    )
    return verify(step).to_dict()


def _show(data: Data, arguments: argparse.Namespace) -> None:
    print_warnings(data["warnings"])
    print(data["message"])
    print_verified(data["verified"])
