"""`aurora-migrations deploy --local`: deploys to the local cloud, as `cdk deploy` does on AWS."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import choose_display, print_json, print_warnings
from aurora_migrations.cli.remote.aws_errors import LocalCloudFailed
from aurora_migrations.cli.remote.environment import open_environment
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.cli.verbs.run import print_done, print_summary
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import InvalidFile, NextCommand

_PATIENCE_S = 120  # a package is put together within that, or never
_NO_ANSWER = (OSError, http.client.HTTPException, ValueError, LookupError, TypeError)


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "deploy",
        "Deploys the migrations to the local cloud that `up` keeps running, or to a temporary one, and starts a "
        "run. On AWS, use npx aws-cdk@2 deploy.",
        "deploy --local",
    )
    options.add_verbose(parser)
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    if arguments.env:
        parser.error("on AWS the CDK deploys: npx aws-cdk@2 deploy STACK (npx aws-cdk@2 ls names them)")
    display = choose_display(arguments.output, arguments.verbose)
    try:
        with open_environment(arguments) as environment:
            display.note(environment.introduction)
            executions = started(str(environment.endpoint), environment.session.get_credentials().secret_key)
            execution, *others = ours_first(environment.machine, executions)
            display.note(f"Deployed; started execution {execution.rpartition(':')[2]}")
            for other in others:
                display.note(f"It has also started {other.rpartition(':')[2]}, which isn't followed here")
            data = Follower(environment, environment.read(execution), display).to_the_end().result()
    except MigratorError as error:
        return options.fail(error, "deploy", arguments)
    if arguments.output == "json":
        print_json(data)
    else:
        print_done(data)
        print_warnings(data.get("warnings", ()))
        print_summary(data, arguments.verbose)
    return 0


def started(endpoint: str, secret: str, patience_s: float = _PATIENCE_S) -> Sequence[str]:
    """Makes the local cloud with this secret key deploy; returns the ARNs of the executions that this has started."""
    from aurora_migrations.local.cloud.services.iam import DEPLOY, signed

    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with directly.open(signed("POST", f"{endpoint}{DEPLOY}", secret), timeout=patience_s) as response:
            executions: Sequence[str] = json.load(response)["started"]
    except urllib.error.HTTPError as error:
        name = message = ""
        with contextlib.suppress(*_NO_ANSWER):
            answer = json.load(error)
            name, message = str(answer["error"]), str(answer["message"])
        if error.code == http.HTTPStatus.CONFLICT and name == InvalidFile.__name__:  # as `run` and `check` name it
            raise InvalidFile(message, state="What was deployed before stays.") from error
        if error.code == http.HTTPStatus.CONFLICT and message:
            raise LocalCloudFailed(
                message,
                cause="The package of the functions can't be built; what was deployed before stays.",
                solution="Correct that and deploy again.",
            ) from error
        reason = f"{name}: {message}" if name else f"HTTP {error.code} {error.reason}"
        raise LocalCloudFailed(
            f"The local cloud could not deploy: {reason}.",
            cause="The local cloud itself failed, or another program uses its address.",
            solution="End `up` (q or Ctrl-C where it runs), start it again, and deploy again.",
            next_command=NextCommand("deploy"),
        ) from error
    except _NO_ANSWER as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise LocalCloudFailed(
            f"The local cloud at {endpoint} didn't answer as it should: {reason}.",
            cause="The local cloud has ended, is suspended (Ctrl-Z), or another program uses its address.",
            solution="Check the terminal where `up` runs, start it again if it has ended, and deploy again.",
            state="Whether the migrations were deployed isn't known; deploying them again does no harm.",
            next_command=NextCommand("deploy"),
        ) from error
    return executions


def ours_first(machine: str, executions: Sequence[str]) -> Sequence[str]:
    """Those of the state machine that people start, the first of them first, and then all others."""
    name = machine.rpartition(":")[2]
    ours = [each for each in executions if each.split(":")[-2] == name]
    if ours:
        return [*ours, *(each for each in executions if each not in ours)]
    raise LocalCloudFailed(
        "The migrations are deployed, but the deployment event started no execution.",
        cause="The EventBridge rule that starts one is disabled or was changed, or the start was refused; then the "
        "event is in the dead-letter queue, and a mail reports it.",
        solution="Start a run by hand, or restart `up`, which restores the rule.",
        state="The functions have the new migrations; none of them was run.",
        next_command=NextCommand("run", ("--env", options.LOCAL)),
    )
