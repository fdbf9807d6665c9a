"""`aurora-migrations deploy --local`: what `cdk deploy` is on AWS, on a laptop."""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from cli import common, where
from functions.migrator import MigratorError, failure

_PATIENCE_S = 120


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "deploy",
        "Puts the migrations as they are now into the local cloud that `up` keeps running (or one for the moment), and "
        "sends the event that ends a deployment, which starts a run. On AWS the CDK does that: "
        "npx aws-cdk@2 deploy.",
        "deploy --local",
    )
    where.add_where(made, database=False)
    arguments = where.parse(made, argv)
    if arguments.env:
        made.error(f"on AWS the CDK deploys: npx aws-cdk@2 deploy --context env={arguments.env}")
    try:
        data = _deploy(arguments)
    except MigratorError as error:
        common.go_on_with(error, "deploy", arguments)
        return common.tell_error(error, arguments, failure(error, None, ""))
    if arguments.output == "json":
        common.print_json(data)
    else:
        print(data["message"])
    return 0


def _deploy(arguments: argparse.Namespace) -> dict[str, Any]:
    from cli.remote import screen
    from cli.remote.execution import look
    from cli.remote.follow import Follower
    from cli.remote.outcome import answer_of
    from cli.remote.place import opened

    shown = screen.fitting(arguments.output)
    with opened(arguments) as place:
        shown.note(place.introduction)
        (execution,) = _started(str(place.endpoint))
        shown.note(f"Deployed; the event has started the execution {execution.rpartition(':')[2]}")
        return answer_of(Follower(place, look(place, execution), shown).to_the_end())


def _started(endpoint: str) -> Sequence[str]:
    """Has the local cloud deploy; returns the executions that this has started.

    Raises:
        LocalCloudFailed: the migrations can't be packed.
    """
    from cli.remote.errors import LocalCloudFailed
    from local.cloud.console import DEPLOY

    request = urllib.request.Request(f"{endpoint}{DEPLOY}", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as response:
            told: Mapping[str, Any] = json.load(response)
    except urllib.error.HTTPError as error:
        raise LocalCloudFailed(
            json.load(error)["message"],
            cause="The migrations can't be packed as they are; what was deployed before stays.",
            solution="Correct the files and deploy again; `check` tells more.",
        ) from error
    started: Sequence[str] = told["started"]
    return started
