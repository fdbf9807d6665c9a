"""`aurora-migrations doctor`: whether an environment is as it must be, and what to do where it isn't."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.engine import MigratorError, failure


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "doctor",
        "Looks at everything that an environment needs: login, stack, functions, e-mail, network, secret, the last "
        "run, and by an execution of its own, which changes nothing, at the database. Says of each what to do. "
        "Exits with 1 if something has FAILED.",
        "doctor --env dev",
        "doctor --env dev --send-test-mail",
    )
    made.add_argument("--send-test-mail", action="store_true", help="send a mail to all who are mailed failures")
    where.add_where(made, database=False)
    arguments = where.parse(made, argv)
    from aurora_migrations.cli.remote.environment import opened
    from aurora_migrations.cli.remote.health_checks import Finding, examine

    found: list[Finding] = []
    try:
        with opened(arguments) as place:
            for finding in examine(place, arguments):
                found.append(finding)
                if arguments.output == "text":
                    print(finding.told(sys.stdout), flush=True)
    except MigratorError as error:
        options.go_on_with(error, "doctor", arguments)
        return options.tell_error(error, arguments, failure(error, None, ""))
    well = all(finding.result != "FAILED" for finding in found)
    if arguments.output == "json":
        options.print_json({"ok": well, "checks": [finding.to_dict() for finding in found]})
    elif not well:
        print("\nSomething has failed; what to do stands beneath it.", file=sys.stderr)
    return 0 if well else 1
