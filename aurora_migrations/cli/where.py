"""Where a verb works: on a database that one can reach, or through the state machine of an environment."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.engine.errors import PROGRAM, InvalidInput, NextCommand

_ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,19}")
LOCAL = "local"  # the environment that the local cloud is
DEPLOY = NextCommand("deploy", ("--local",))
OWN = ("check", "build", "new")  # verbs that work on files only


def add_where(made: argparse.ArgumentParser, database: bool = True) -> None:
    """Adds `--env`, `--local` and, with `database`, `--database-url`, of which one may be given; `--region` and
    `--profile` for AWS."""
    group = made.add_argument_group("where it works")
    places = group.add_mutually_exclusive_group(required=not database)
    places.add_argument(
        "--env",
        metavar="NAME",
        type=_environment,
        help="an environment on AWS, through its state machine, such as dev; with the migrations that were deployed",
    )
    places.add_argument("--local", action="store_true", help="the local cloud, through its state machine")
    if database:
        places.add_argument(
            "--database-url",
            metavar="URL",
            type=str,
            default=os.environ.get("DATABASE_URL"),
            help="postgresql://user:password@host:port/database; by default the environment variable DATABASE_URL",
        )
    group.add_argument(
        "--hurry", action="store_true", help="with --local: no wait of the state machine is longer than a second"
    )
    group.add_argument("--region", metavar="NAME", help="with --env: the region (default: as for the AWS CLI)")
    group.add_argument("--profile", metavar="NAME", help="with --env: the profile of your AWS configuration")


def parse(made: argparse.ArgumentParser, argv: Sequence[str], direct: Sequence[str] = ()) -> argparse.Namespace:
    """Parses, and refuses what has no meaning where the verb is to work.

    Args:
        direct: the names of options that only a database that one can reach takes.
    """
    arguments = made.parse_args(argv)
    if arguments.env == LOCAL:  # as the mails of the local cloud write it
        arguments.env, arguments.local = None, True
    if is_remote(arguments):
        for name in (*direct, *(["migrations"] if arguments.env else [])):
            if getattr(arguments, name) != made.get_default(name):
                _refuse(made, name, arguments)
    if arguments.hurry and not arguments.local:
        made.error("--hurry belongs to --local: on AWS, the waits are those of the state machine that was deployed")
    if not arguments.env and (arguments.region or arguments.profile):
        made.error("--region and --profile belong to --env NAME, which says which environment on AWS is meant")
    return arguments


def is_remote(arguments: argparse.Namespace) -> bool:
    """Whether the state machine does it."""
    return bool(getattr(arguments, "env", None) or getattr(arguments, "local", False))


def database_url(arguments: argparse.Namespace) -> str:
    """The database to work on.

    Raises:
        InvalidInput: none was named.
    """
    if not arguments.database_url:
        target = getattr(arguments, "target", None)
        url = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        raise InvalidInput(
            "No database was named, and no environment.",
            next_command=NextCommand(arguments.verb, (*([target] if target else []), "--database-url", url)),
            cause="There is neither --env, --local nor --database-url, nor the environment variable DATABASE_URL.",
            solution="Add --env NAME for an environment on AWS, --local for the local cloud, or --database-url "
            "postgresql://USER:PASSWORD@HOST:5432/DATABASE for a database that you can reach.",
        )
    return str(arguments.database_url)


def as_asked(command: NextCommand, arguments: argparse.Namespace) -> NextCommand:
    """A command with what was typed for this one and it needs too. A URL holds a password and isn't repeated."""
    if command.program != PROGRAM:
        profile = getattr(arguments, "profile", None)
        takes = command.program == "aws" and "list-profiles" not in command.arguments
        return command.plus("--profile", quoted(profile)) if profile and takes else command
    if command == DEPLOY:
        command = _deploying(arguments)
    given = command.arguments
    if "--migrations" in given or "--help" in given:  # whole as it is
        return command
    if "--database-url" in given:
        return command.plus(*_folder(arguments))
    if "--env" in given:  # the functions know their environment's name, and no more
        at = given.index("--env")
        command = NextCommand(command.verb, (*given[:at], *given[at + 2 :]))
    if command.verb == "up":
        return command.plus(*_folder(arguments), *_url(arguments))
    if command.verb in OWN:
        return command.plus(*_folder(arguments))
    return command.plus(*(_environment_flags(arguments) or [*_folder(arguments), *_url(arguments)]))


def _deploying(arguments: argparse.Namespace) -> NextCommand:
    """What deploys to the local cloud. Where `up` keeps none running, each command packs the files anew: the same
    command does. But for a rollback: that is never undone and done again without a look."""
    from aurora_migrations.local.cloud.discovery import find

    verb = str(arguments.verb)
    if verb == "rollback" or find(project.local()) is not None:
        verb = "deploy"
    target = getattr(arguments, "target", None) if verb != "deploy" else None
    return NextCommand(verb, (target,) if target else ())


def _environment_flags(arguments: argparse.Namespace) -> list[str]:
    """`--env dev --region eu-west-1`, `--local`, or nothing."""
    if getattr(arguments, "local", False):
        return ["--local", *_folder(arguments)]
    if not getattr(arguments, "env", None):
        return []
    options = [("env", arguments.env), ("region", arguments.region), ("profile", arguments.profile)]
    return [word for name, value in options if value for word in (f"--{name}", quoted(value))]


def folder(migrations: Path) -> list[str]:
    """`--migrations DIR`, where it isn't the usual folder."""
    return ["--migrations", quoted(str(migrations))] if migrations != project.migrations() else []


def quoted(word: str) -> str:
    """A word as it is typed."""
    if sys.platform == "win32":
        return f'"{word}"' if " " in word else word
    return shlex.quote(word)


def _folder(arguments: argparse.Namespace) -> list[str]:
    return folder(arguments.migrations)


def _url(arguments: argparse.Namespace) -> list[str]:
    url = getattr(arguments, "database_url", None)
    return ["--database-url", "URL"] if url and url != os.environ.get("DATABASE_URL") else []


def _refuse(made: argparse.ArgumentParser, name: str, arguments: argparse.Namespace) -> None:
    option, place = f"--{name.replace('_', '-')}", "--env" if arguments.env else "--local"
    if name == "migrations":
        made.error(f"{option} has no meaning with --env: the environment has the migrations that were deployed to it")
    made.error(f"{option} has no meaning with {place}: it is a setting of the environment, in cdk.json")


def _environment(text: str) -> str:
    if not _ENVIRONMENT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no environment's name; those are such as dev or prod")
    return text
