"""`aurora-migrations deploy --local`: deploys to the local cloud, as `cdk deploy` does on AWS."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_json
from aurora_migrations.cli.remote.aws_errors import LocalCloudFailed
from aurora_migrations.cli.remote.display import choose_display
from aurora_migrations.cli.remote.environment import open_environment
from aurora_migrations.cli.remote.executions import output_of, read
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import NextCommand

_PATIENCE_S = 120  # a package is put together within that, or never


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "deploy",
        "Puts the migrations as they are now into the local cloud that `up` keeps running (or one for the moment), and "
        "sends the event that ends a deployment, which starts a run. On AWS the CDK does that: "
        "npx aws-cdk@2 deploy.",
        "deploy --local",
    )
    options.add_where(parser, database=False)
    arguments = options.parse(parser, argv)
    if arguments.env:
        parser.error(f"on AWS the CDK deploys: npx aws-cdk@2 deploy --context env={arguments.env}")
    try:
        data = _deploy(arguments)
    except MigratorError as error:
        return options.fail(error, "deploy", arguments)
    if arguments.output == "json":
        print_json(data)
    else:
        print(data["message"])
    return 0


def _deploy(arguments: argparse.Namespace) -> dict[str, Any]:
    display = choose_display(arguments.output)
    with open_environment(arguments) as environment:
        display.note(environment.introduction)
        executions = started(str(environment.endpoint), environment.session.get_credentials().secret_key)
        execution, *others = ours_first(environment.machine, executions)
        display.note(f"Deployed; the event has started the execution {execution.rpartition(':')[2]}")
        for other in others:
            display.note(f"It has started {other.rpartition(':')[2]} too, which isn't followed here")
        return output_of(Follower(environment, read(environment, execution), display).to_the_end())


def started(endpoint: str, secret: str, patience_s: float = _PATIENCE_S) -> Sequence[str]:
    """Makes the local cloud with this secret key deploy; returns the ARNs of the executions that this has started.

    Raises:
        LocalCloudFailed: the migrations can't be packed, or the cloud doesn't do it.
    """
    from aurora_migrations.local.cloud.services.iam import DEPLOY, signed

    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with directly.open(signed("POST", f"{endpoint}{DEPLOY}", secret), timeout=patience_s) as response:
            executions: Sequence[str] = json.load(response)["started"]
    except urllib.error.HTTPError as error:
        raise _refused(error) from error
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        raise _silent(endpoint, error) from error
    return executions


def ours_first(machine: str, executions: Sequence[str]) -> Sequence[str]:
    """Those of the state machine that people start, the first of them first, and then all others.

    Raises:
        LocalCloudFailed: there is none.
    """
    name = machine.rpartition(":")[2]
    ours = [each for each in executions if each.split(":")[-2] == name]
    if ours:
        return [*ours, *(each for each in executions if each not in ours)]
    raise LocalCloudFailed(
        "The migrations are deployed, but the event of the deployment has started no execution.",
        cause="The rule that starts one is disabled or has another pattern or target, or the start was refused: then "
        "the event is in the queue of dead letters, and a mail says so.",
        solution="Start an execution by hand; a cloud that is started anew has the rule as the template says.",
        state="The functions have the new migrations; none of them was run.",
        next_command=NextCommand("run", ("--env", options.LOCAL)),
    )


def _refused(error: urllib.error.HTTPError) -> LocalCloudFailed:
    name = message = ""
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        told = json.load(error)
        name, message = str(told["error"]), str(told["message"])
    if error.code == http.HTTPStatus.CONFLICT and message:
        return LocalCloudFailed(
            message,
            cause="The migrations can't be packed as they are; what was deployed before stays.",
            solution="Correct the files and deploy again; `check` tells more.",
        )
    said = f"{name}: {message}" if name else f"HTTP {error.code} {error.reason}"
    return LocalCloudFailed(
        f"The local cloud could not deploy: {said}.",
        cause="Something in the local cloud itself failed, or another program answers at its address.",
        solution="End `up` (q or Ctrl-C where it runs), start it again, and deploy again.",
        next_command=NextCommand("deploy"),
    )


def _silent(endpoint: str, error: Exception) -> LocalCloudFailed:
    reason = getattr(error, "reason", None) or str(error) or type(error).__name__
    return LocalCloudFailed(
        f"The local cloud at {endpoint} didn't answer as it should: {reason}.",
        cause="It has ended or was ended meanwhile, it is stopped (Ctrl-Z), or another program is at its address.",
        solution="Look where `up` runs; start it again if it is gone, and deploy again.",
        state="Whether the migrations were deployed isn't known; to deploy them again does no harm.",
        next_command=NextCommand("deploy"),
    )
