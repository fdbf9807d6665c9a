"""`aurora-migrations doctor`: checks an environment and says how to fix it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_json
from aurora_migrations.cli.remote.environment import open_environment
from aurora_migrations.cli.remote.health_checks import Finding, examine
from aurora_migrations.engine import MigratorError


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "doctor",
        "Looks at everything that an environment needs: login, stack, functions, e-mail, network, secret, the last "
        "run, and by an execution of its own, which changes nothing, at the database. Says of each what to do. "
        "Exits with 1 if something has FAILED.",
        "doctor --env dev",
        "doctor --env dev --send-test-mail",
    )
    parser.add_argument("--send-test-mail", action="store_true", help="send a mail to all who are mailed failures")
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    found: list[Finding] = []
    try:
        with open_environment(arguments) as environment:
            for finding in examine(environment, arguments):
                found.append(finding)
                if arguments.output == "text":
                    print(finding.describe(sys.stdout), flush=True)
    except MigratorError as error:
        return options.fail(error, "doctor", arguments)
    well = all(finding.result != "FAILED" for finding in found)
    if arguments.output == "json":
        print_json({"ok": well, "checks": [asdict(finding) for finding in found]})
    elif not well:
        print("\nSomething has failed; what to do stands beneath it.", file=sys.stderr)
    return 0 if well else 1
