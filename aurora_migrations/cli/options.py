"""What verbs share: their arguments, the session they open, and how an error is told."""

from __future__ import annotations

import argparse
import getpass
import json
import secrets
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from aurora_migrations import project
from aurora_migrations.cli import where
from aurora_migrations.cli.paragraphs import paragraph
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import PROGRAM, InvalidInput, NextCommand
from aurora_migrations.engine.options import Limits, parse_duration
from aurora_migrations.engine.steps.settings import HAZARDS

LOOK = "look"
_LONGEST_NAME = 100  # characters of a user's name: LOGNAME may be anything


class _Help(argparse.HelpFormatter):
    """Leaves each example in one line, so that it can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("example: ") else super()._fill_text(text, width, indent)


class _Parser(argparse.ArgumentParser):
    """Takes no password but where one belongs (there an argument has a type), and shows none again."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.register("type", None, plain)

    def error(self, message: str) -> NoReturn:
        super().error(without_password(message))


def plain(text: str) -> str:
    """The type of what has no other."""
    if (shown := without_password(text)) != text:
        raise argparse.ArgumentTypeError(
            f"{shown!r} has a password in it: the address of a database goes after --database-url"
        )
    return text


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the folder's name is empty; leave --migrations out for migrations/")
    return Path(plain(text))


def parser(
    verb: str, description: str, *examples: str, outputs: Sequence[str] = ("text", "json")
) -> argparse.ArgumentParser:
    """A verb's parser with what every verb takes."""
    made = _Parser(
        prog=f"aurora-migrations {verb}",
        description=description,
        epilog="\n".join(f"example: aurora-migrations {example}" for example in examples),
        formatter_class=_Help,
    )
    made.set_defaults(verb=verb)
    made.add_argument("--output", choices=outputs, default="text", help="how to print (default: text)")
    made.add_argument(
        "--migrations",
        metavar="DIR",
        type=_folder,
        default=_usual_folder(made),
        help="the folder (default: migrations/)",
    )
    return made


def _usual_folder(made: argparse.ArgumentParser) -> Path:
    try:
        return project.migrations()
    except InvalidInput as error:
        made.error(f"{error.message} {error.solution}")


def add_wait(made: argparse.ArgumentParser) -> None:
    """Adds `--wait`."""
    made.add_argument(
        "--wait",
        metavar="TIME",
        type=_seconds,
        default=60.0,
        help="how long to wait for another run to end, such as 10s or 5min (default: 60s)",
    )


def add_limits(made: argparse.ArgumentParser) -> None:
    """Adds `--lock-timeout`, `--statement-timeout`, `--lock-wait` and `--end-idle`."""
    made.add_argument(
        "--lock-timeout",
        metavar="TIME",
        type=_positive,
        default=Limits.lock_timeout,
        help="the longest that a query of the application may wait because of a migration (default: 2s)",
    )
    made.add_argument(
        "--statement-timeout", metavar="TIME", type=_milliseconds, default=0, help="the longest that a statement takes"
    )
    made.add_argument(
        "--lock-wait",
        metavar="TIME",
        type=_milliseconds,
        default=Limits.lock_wait,
        help="how long to try again, in all, where others hold locks or the connection is lost (default: 10min)",
    )
    made.add_argument(
        "--end-idle",
        metavar="AGE",
        type=_milliseconds,
        help="end sessions that are in the way and sit idle in a transaction for longer than AGE (default: never)",
    )


def limits(arguments: argparse.Namespace) -> Limits:
    """What `add_limits` was given."""
    return Limits(arguments.lock_timeout, arguments.statement_timeout, arguments.lock_wait, arguments.end_idle)


def add_hazards(made: argparse.ArgumentParser) -> None:
    """Adds `--hazards`."""
    made.add_argument(
        "--hazards",
        choices=HAZARDS,
        default="warn",
        help="what happens where a file may hurt and doesn't say why it accepts that (default: warn)",
    )


def execution_name(kind: str = "cli") -> str:
    """A name for this run: when, and something that no other run has."""
    return f"{kind}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(3)}"


def look_name() -> str:
    """The same for what only looks: `logs` and `doctor` tell of the last run, not of the last look at it."""
    return execution_name(LOOK)


def requester() -> str:
    """Who says to be asking: `user@host`, of at most 256 printable characters."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return "".join(c if c.isprintable() else "?" for c in f"{user[:_LONGEST_NAME]}@{socket.gethostname()}"[:256])


def print_json(data: Mapping[str, object]) -> None:
    """Prints JSON for programs, on stdout."""
    print(json.dumps(data, indent=2))


def tell_error(error: MigratorError, arguments: argparse.Namespace, data: Mapping[str, object]) -> int:
    """Tells an error in the chosen form; returns the exit code."""
    if arguments.output == "json":
        print_json(data)
    else:
        print(describe(error, sys.stderr), file=sys.stderr)
    return 2 if isinstance(error, InvalidInput) else 1


def go_on_with(error: MigratorError, command: str, arguments: argparse.Namespace) -> None:
    """Names the command to type next, where the error's class only knows that a run is to be tried again or, of a verb
    that works on files, how to look at a database; with what was typed for this one. So does the solution, where it
    names what shows an execution that goes on."""
    if look := going_on(error):
        error.solution = error.solution.replace(str(look), str(where.as_asked(look, arguments)))
    unknown = (MigratorError.next_command, *([InvalidInput.next_command] if arguments.verb in where.OWN else []))
    if error.next_command in unknown:
        error.next_command = NextCommand.parse(f"{PROGRAM} {command}")
    error.next_command = where.as_asked(error.next_command, arguments)


def going_on(error: MigratorError) -> NextCommand | None:
    """What shows the execution that goes on, or may, after an error of following it (see
    `cli/remote/aws_errors.py`)."""
    return getattr(error, "look", None)


def describe(error: MigratorError, stream: TextIO) -> str:
    """An error for people, as it is to be written to a stream: what happened and where, why, in what state the database
    is, what to do."""
    lines = ["", paragraph("", f"{error.name}: {error.message}", stream)]
    excerpt = str(error.facts.get("excerpt") or error.facts.get("difference") or "")
    if excerpt:
        lines += ["", *(f"    {line}" for line in excerpt.splitlines())]
    told = {"Why": error.cause, "State": error.whole_state, "Do": error.solution}
    lines += ["", *(paragraph(f"  {name:7}", text, stream) for name, text in told.items())]
    lines += [f"  Next   {error.next_command}"]
    return "\n".join(lines)


def _seconds(text: str) -> float:
    return _milliseconds(text) / 1_000


def _milliseconds(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def pause(text: str) -> float:
    """A time between two looks, in seconds."""
    return max(0.1, _seconds(text))


def _positive(text: str) -> int:
    milliseconds = _milliseconds(text)
    if milliseconds == 0:
        raise argparse.ArgumentTypeError("0 would wait for ever and stop the application meanwhile; give it a limit")
    return milliseconds
