"""What verbs share: their arguments, the session they open, and how an error is told."""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from functions.migrator import MigratorError
from functions.migrator.durations import parse_duration
from functions.migrator.errors import InvalidInput


class _Help(argparse.HelpFormatter):
    """Leaves the example in one line, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)


def parser(
    verb: str, description: str, example: str, outputs: Sequence[str] = ("text", "json")
) -> argparse.ArgumentParser:
    """A verb's parser with what every verb takes."""
    made = argparse.ArgumentParser(
        prog=f"aurora-migrations {verb}",
        description=description,
        epilog=f"example: aurora-migrations {example}",
        formatter_class=_Help,
    )
    made.set_defaults(verb=verb)
    made.add_argument("--output", choices=outputs, default="text", help="how to print (default: text)")
    made.add_argument(
        "--migrations", metavar="DIR", type=Path, default=Path("migrations"), help="the folder (default: migrations/)"
    )
    return made


def add_database(made: argparse.ArgumentParser) -> None:
    """Adds `--database-url`."""
    made.add_argument(
        "--database-url",
        metavar="URL",
        default=os.environ.get("DATABASE_URL"),
        help="postgresql://user:password@host:port/database; by default the environment variable DATABASE_URL",
    )


def add_wait(made: argparse.ArgumentParser) -> None:
    """Adds `--wait`."""
    made.add_argument(
        "--wait",
        metavar="TIME",
        type=_seconds,
        default=60.0,
        help="how long to wait for another run to end, such as 10s or 5min (default: 60s)",
    )


def add_hazards(made: argparse.ArgumentParser) -> None:
    """Adds `--hazards`."""
    made.add_argument(
        "--hazards",
        choices=("refuse", "warn"),
        default="warn",
        help="what happens where a file may hurt and doesn't say why it accepts that (default: warn)",
    )


def database_url(arguments: argparse.Namespace) -> str:
    """The database to work on.

    Raises:
        InvalidInput: none was named.
    """
    if not arguments.database_url:
        raise InvalidInput(
            "No database was named.",
            next_command=f"aurora-migrations {arguments.verb} --database-url postgresql://USER:PASSWORD@HOST:5432/DATABASE",
            cause="There is neither --database-url nor the environment variable DATABASE_URL.",
            solution="Add --database-url postgresql://USER:PASSWORD@HOST:5432/DATABASE, or set DATABASE_URL.",
        )
    return str(arguments.database_url)


def execution_name() -> str:
    """A name for this run: when, and something that no other run has."""
    return time.strftime("cli-%Y%m%dT%H%M%SZ-", time.gmtime()) + secrets.token_hex(3)


def requester() -> str:
    """Who says to be asking: `user@host`."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"unknown@{socket.gethostname()}"


def print_json(data: Mapping[str, object]) -> None:
    """Prints JSON for programs, on stdout."""
    print(json.dumps(data, indent=2))


def tell_error(error: MigratorError, arguments: argparse.Namespace, data: Mapping[str, object]) -> int:
    """Tells an error in the chosen form; returns the exit code."""
    if arguments.output == "json":
        print_json(data)
    else:
        print(describe(error), file=sys.stderr)
    return 2 if isinstance(error, InvalidInput) else 1


def _as_asked(arguments: argparse.Namespace) -> str:
    """What the next command needs too, as it was typed for this one; a URL holds a password and isn't repeated."""
    folder, url = arguments.migrations, getattr(arguments, "database_url", None)
    parts = [f" --migrations {folder}"] if folder != Path("migrations") else []
    if url and url != os.environ.get("DATABASE_URL"):
        parts.append(" --database-url URL")
    return "".join(parts)


def go_on_with(error: MigratorError, command: str, arguments: argparse.Namespace) -> None:
    """Names the command to type next, where the error's class only knows that a run is to be tried again; with what
    was typed for this one."""
    if error.next_command == MigratorError.next_command:
        error.next_command = f"aurora-migrations {command}"
    if "--database-url" not in error.next_command:
        error.next_command += _as_asked(arguments)


def describe(error: MigratorError) -> str:
    """An error for people: what happened and where, why, in what state the database is, what to do."""
    lines = ["", f"{error.name}: {error.message}"]
    excerpt = str(error.facts.get("excerpt") or error.facts.get("difference") or "")
    if excerpt:
        lines += ["", *(f"    {line}" for line in excerpt.splitlines())]
    lines += ["", f"  Why    {error.cause}", f"  State  {_state(error)}", f"  Do     {error.solution}"]
    lines += [f"  Next   {error.next_command}"]
    return "\n".join(lines)


def _state(error: MigratorError) -> str:
    for fact, words in (("applied", "Applied by this run and staying"), ("rolled_back", "Rolled back by this run")):
        done = error.facts.get(fact)
        if isinstance(done, list) and done:
            return f"{error.state} {words}: {', '.join(done)}."
    return error.state


def _seconds(text: str) -> float:
    try:
        return parse_duration(text) / 1_000
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
