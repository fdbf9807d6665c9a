"""The command line's entry point: loads and runs a verb.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C outside of a statement.
"""

from __future__ import annotations

import atexit
import contextlib
import gc  # few and small: a Ctrl-C while these are loaded is the interpreter's
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

PROGRAM = "aurora-migrations"
VERBS = {
    "run": "apply pending migrations, all of them or up to a number",
    "list": "list every migration and its state",
    "status": "show what is applied and pending, and what is running",
    "plan": "show what a run would do, file by file",
    "verify": "compare the database with what its migrations make; check expectations",
    "diff": "compare the schemas of two databases",
    "history": "list every attempt, newest first",
    "rollback": "undo migrations with their down files, newest first",
    "resolve": "record how an interrupted statement ended",
    "cancel": "stop the running statement, and drop what it leaves invalid",
    "adopt": "take over a database that another tool has migrated",
    "baseline": "take over a database that was made without a tool",
    "logs": "print the log of an execution",
    "doctor": "check an environment and show how to fix it",
    "check": "check the files for errors and risky statements",
    "replay": "run the whole history on an empty PostgreSQL, and show what each file changes",
    "build": "build the package that runs in Lambda, and test it",
    "synth": "write the CloudFormation template, for a deployment without the CDK",
    "up": "keep the local cloud running: state machine, functions, database, inbox",
    "deploy": "deploy the migrations to the local cloud, as `cdk deploy` does on AWS",
    "init": "write what a repository needs to have migrations of its own",
    "new": "create the next migration's file",
    "import": "lay out another tool's migrations as ours",
    "completion": "print a script that completes verbs and options in a shell",
}
# Modules of several verbs, whose `main` takes the verb; and those that aren't `verbs.VERB`.
_SHARED = dict.fromkeys(("list", "status", "plan", "verify", "history"), "read_only")
_SHARED |= dict.fromkeys(("resolve", "cancel"), "resolve") | dict.fromkeys(("adopt", "baseline"), "adoption.adopt")
_MODULES = _SHARED | {"import": "adoption.import", "build": "packaging.build", "synth": "packaging.synth"}
_CHANGING = ("run", "rollback", "resolve", "cancel", "adopt", "baseline", "deploy")
_HELP = """\
usage: {program} VERB [arguments]

Changes the schema of a PostgreSQL database with plain SQL files, each in its own transaction.

{verbs}

Help about a verb:  {program} run --help
Examples:           {program} run 017 --env dev
                    {program} run 017 --database-url postgresql://app:secret@localhost/shop
"""
_ALLOCATIONS = 20_000  # between two collections; 700 by default, which a thousand files cause a thousand times
_STOPPED = f"{PROGRAM}: stopped by Ctrl-C."


def program() -> int:
    """`main` for a process that is ours alone. At its end the system takes its memory back: Python would free each
    object before, which takes longer than reading a thousand files."""
    codes: list[int] = []

    def end() -> None:
        if not codes:  # an exception ends it
            return
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # closed, or `main` has reported it
                stream.flush()
        os._exit(codes[0])

    atexit.register(end)  # first, so that it is called last
    codes.append(main())
    return codes[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs `aurora-migrations` with these arguments (by default the process's) and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # the process was started without (`>&-`): what is printed there goes nowhere
            nothing = os.fdopen(os.open(os.devnull, os.O_RDWR), "r" if name == "stdin" else "w", encoding="utf-8")
            setattr(sys, name, nothing)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a file's name may not fit a terminal's encoding
    try:
        code = _call(arguments)
        sys.stdout.flush()
    except OSError as error:
        if not _is_of_output(error):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what Python would flush at its end goes nowhere
        if not isinstance(error, BrokenPipeError):  # `aurora-migrations list | head` is no failure
            changes = bool(arguments) and arguments[0] in _CHANGING
            stays = f" What was committed before stays; `{PROGRAM} status` shows it." if changes else ""
            print(f"{PROGRAM}: the output can't be written: {error.strerror}.{stays}", file=sys.stderr)
        return 1
    return code


def _is_of_output(error: OSError) -> bool:
    """Whether writing to stdout failed: then it does so again."""
    if isinstance(error, BrokenPipeError):
        return True
    try:
        print(flush=True)
    except OSError:
        return True
    return False


def _call(arguments: Sequence[str]) -> int:
    verb, rest = arguments[0] if arguments else None, arguments[1:]
    if verb == "help" and rest:  # `help run` is `run --help`
        verb, rest = rest[0], ["--help"]
    if verb in (None, "-h", "--help", "help"):
        verbs = "\n".join(f"  {name:11} {text}" for name, text in VERBS.items())
        print(_HELP.format(program=PROGRAM, verbs=verbs), end="")
        return 0 if verb else 2
    if verb == "--version":
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"{PROGRAM} {version(PROGRAM)}")
        except PackageNotFoundError:
            print(f"{PROGRAM} (not installed; running from its source)")
        return 0
    if verb not in VERBS:
        import difflib

        from aurora_migrations.engine.diagnostics.redaction import without_password

        shown = without_password(str(verb))[:60]
        near = difflib.get_close_matches(shown.lower(), VERBS, 1)
        more = f"Did you mean {near[0]!r}?" if near else f"The verbs: {', '.join(VERBS)}"
        print(f"{PROGRAM}: there is no verb {shown!r}. {more}", file=sys.stderr)
        return 2
    gc.disable()  # what is imported stays: scanning it again and again costs a third of a short run
    module = _load(f"verbs.{_MODULES.get(verb, verb)}")
    output = _load("output")
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)
    gc.enable()
    with output.printable_streams():
        try:
            code: int = module.main(verb, rest) if verb in _SHARED else module.main(rest)
            return code
        except SystemExit as stop:  # argparse: 2 for wrong usage, 0 after --help
            return int(stop.code or 0)
        except KeyboardInterrupt as interrupt:
            output.note(f"\n{str(interrupt) or _STOPPED}")
            return 130


def parser_of(verb: str) -> argparse.ArgumentParser:
    """The parser of a verb's arguments."""
    from aurora_migrations.cli import options

    module = importlib.import_module(f"aurora_migrations.cli.verbs.{_MODULES.get(verb, verb)}")
    try:
        module.main(*([verb] if verb in _SHARED else []), [options.DESCRIBE])
    except options.Described as described:
        return described.parser
    raise AssertionError(f"{verb} parses nothing")


def _load(name: str) -> ModuleType:
    """Imports a module, and only what it needs: `run` must start fast.

    Ctrl-C during the import ends the process at once, as nothing has begun; a KeyboardInterrupt could be raised inside
    any module. Where SIGINT is ignored or has another handler (`nohup`, a test), that stays.
    """

    def end(number: int, frame: FrameType | None) -> None:
        try:
            os.write(2, f"\n{_STOPPED}\n".encode())
        finally:
            os._exit(130)

    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)
    try:
        return importlib.import_module(f"aurora_migrations.cli.{name}")
    finally:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
