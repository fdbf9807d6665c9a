"""The entrance of the command line: finds the verb, runs it, turns errors into text and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C outside of a statement.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol, TextIO, cast

from cli.printable import Printable

PROGRAM = "aurora-migrations"
VERBS = {
    "run": "apply what is pending, or everything up to a number",
    "list": "every migration and its state",
    "status": "where the database stands, who is at work on it",
    "plan": "what a run would do, file by file",
    "verify": "what is there: tables, rows, indexes, lasting promises",
    "history": "every attempt, newest first",
    "rollback": "undo migrations by their down files, newest first",
    "logs": "what an execution did, as one story",
    "doctor": "whether an environment is as it must be, and what to do",
    "check": "what is wrong with the files, what may hurt, what they will do",
    "build": "make the package that runs in Lambda, and check it",
    "up": "keep the local cloud running: state machine, functions, database, inbox",
    "deploy": "put the migrations into the local cloud, as `cdk deploy` does on AWS",
    "new": "write the next migration's file",
}
_HELP = """\
usage: {program} VERB [arguments]

Changes the schema of a PostgreSQL database by plain SQL files, each in a transaction of its own.

{verbs}

Each verb tells more:  {program} run --help
Examples:              {program} run 017 --env dev
                       {program} run 017 --database-url postgresql://app:secret@localhost/shop
"""


class Verb(Protocol):
    """What each module in this folder that is named like a verb offers."""

    def main(self, argv: Sequence[str]) -> int:
        """Does it; returns the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `aurora-migrations` with these arguments (by default the process's) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not fit a terminal's encoding
    try:
        with _printable():
            code = _call(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:  # `aurora-migrations list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python would flush at its end goes nowhere
        return 1
    return code


@contextlib.contextmanager
def _printable() -> Iterator[None]:
    """Meanwhile nothing that is printed can control the terminal."""
    with contextlib.ExitStack() as stack:
        if sys.stdout is not None:
            stack.enter_context(contextlib.redirect_stdout(cast(TextIO, Printable(sys.stdout))))
        if sys.stderr is not None:
            stack.enter_context(contextlib.redirect_stderr(cast(TextIO, Printable(sys.stderr))))
        yield


def _call(arguments: Sequence[str]) -> int:
    if len(arguments) > 1 and arguments[0] == "help":  # `help run` is `run --help`
        return _verb(arguments[1], ["--help"])
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help(), end="")
        return 0 if arguments else 2
    if arguments[0] == "--version":
        return _version()
    return _verb(arguments[0], arguments[1:])


def _verb(name: str, arguments: Sequence[str]) -> int:
    if name not in VERBS:
        print(f"{PROGRAM}: there is no verb {name!r}; there are: {', '.join(VERBS)}", file=sys.stderr)
        return 2
    gc.disable()  # what is imported stays: looking through it again and again costs a third of a short run
    module: Verb = importlib.import_module(f"cli.{name}")  # only the one: `run` must start fast
    gc.freeze()
    gc.enable()
    try:
        return module.main(arguments)
    except SystemExit as stop:  # argparse: 2 for wrong usage, 0 after --help
        return int(stop.code or 0)
    except KeyboardInterrupt as interrupt:
        print(f"\n{str(interrupt) or f'{PROGRAM}: stopped by Ctrl-C.'}", file=sys.stderr)
        return 130


def _help() -> str:
    verbs = "\n".join(f"  {name:9} {text}" for name, text in VERBS.items())
    return _HELP.format(program=PROGRAM, verbs=verbs)


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"{PROGRAM} {version(PROGRAM)}")
    except PackageNotFoundError:
        print(f"{PROGRAM} (not installed; running from its source)")
    return 0
