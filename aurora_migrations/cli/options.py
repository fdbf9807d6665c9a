"""Options that verbs share, what was typed for this command, and the command to type next."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from aurora_migrations import project
from aurora_migrations.cli.output import print_error
from aurora_migrations.compiler.folder_source import Compiler, source_of
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import PROGRAM, InvalidInput, MigratorError, NextCommand
from aurora_migrations.engine.options import HAZARDS, Limits, parse_duration

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Source

LOCAL = "local"  # the environment that the local cloud is
DEPLOY = NextCommand("deploy", ("--local",))
FILE_VERBS = ("check", "replay", "build", "synth", "init", "new", "import")  # they work on files only
DESCRIBE = "\0"  # in place of all arguments, where nobody can type it: the parser is wanted, see `Described`
_ADDRESS_VARIABLES = ("PGHOST", "PGHOSTADDR", "PGSERVICE")  # of libpq's, those that say where a database is
READ_ONLY = "read"  # the beginning of a read-only execution's name, by which `logs` and `doctor` skip it
# What a verb that doesn't take an option has in its place.
_DEFAULTS = {"local": False, "watch": False} | dict.fromkeys(("env", "database_url", "region", "profile", "target"))
_ENVIRONMENT = re.compile(r"[a-z][a-z0-9-]{0,35}")  # with the project's name
_LONGEST_NAME = 100  # characters of a user's name: LOGNAME may be anything


# ---- options --------------------------------------------------------------------------------------------------------


class _Help(argparse.HelpFormatter):
    """Keeps the lines of examples, so that they can be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "example: " in text else super()._fill_text(text, width, indent)


class Described(Exception):
    """A verb's parser, for what describes all verbs: shell completion, the reference."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


class _Parser(argparse.ArgumentParser):
    """Accepts passwords only in arguments that have a type of their own, and shows none in its messages."""

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.register("type", None, plain)

    def error(self, message: str) -> NoReturn:
        super().error(without_password(message))

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses, and finds the usual migrations folder where none was given. An environment needs none."""
        if list(args or ()) == [DESCRIBE]:
            raise Described(self)
        arguments = super().parse_args(args, namespace)
        if arguments.migrations is None:
            try:
                arguments.migrations = project.migrations()
            except InvalidInput as error:
                if not arguments.env:
                    self.error(f"{error.message} {error.solution}")
                arguments.migrations = Path("migrations")
            self.set_defaults(migrations=arguments.migrations)  # as if it were a constant
        return arguments


def plain(text: str) -> str:
    """The type of all other arguments: text without a password in it."""
    if (shown := without_password(text)) != text:
        raise argparse.ArgumentTypeError(f"{shown!r} contains a password: give the database's URL with --database-url")
    return text


def make_parser(
    verb: str, description: str, *examples: str, outputs: Sequence[str] = ("text", "json")
) -> argparse.ArgumentParser:
    """A verb's parser, with the options that every verb has."""
    parser = _Parser(
        prog=f"aurora-migrations {verb}",
        description=description,
        epilog="\n".join(f"example: aurora-migrations {example}" for example in examples),
        formatter_class=_Help,
    )
    parser.set_defaults(verb=verb, **_DEFAULTS)
    how = "how to print (default: text)" if len(outputs) > 1 else argparse.SUPPRESS
    parser.add_argument("--output", choices=outputs, default="text", help=how)
    parser.add_argument("--migrations", metavar="DIR", type=_migrations, help="the folder (default: migrations/)")
    return parser


def add_target(parser: argparse.ArgumentParser, example: str) -> None:
    """Adds `TARGET`, which may be left out."""
    number = f"a migration's number, such as {example} (default: all)"
    parser.add_argument("target", nargs="?", metavar="TARGET", help=number)


def add_direct(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a direct connection: waits, timeouts and `--end-idle`."""
    wait = "how long to wait for another run, such as 10s or 5min (default: 60s)"
    lock_timeout = "how long the application may wait because of a migration (default: 2s)"
    statement_timeout = "how long a statement may take (default: no limit)"
    lock_wait = "how long to retry while others hold locks or the connection is lost (default: 10min)"
    end_idle = "end blockers that have been idle in a transaction for longer (default: never)"

    def add(option: str, metavar: str, text: str, default: float | None, kind: Callable[[str], float]) -> None:
        parser.add_argument(option, metavar=metavar, type=kind, default=default, help=text)

    add("--wait", "TIME", wait, 60.0, seconds)
    add("--lock-timeout", "TIME", lock_timeout, Limits.lock_timeout, _positive)
    add("--statement-timeout", "TIME", statement_timeout, 0, _milliseconds)
    add("--lock-wait", "TIME", lock_wait, Limits.lock_wait, _milliseconds)
    add("--end-idle", "AGE", end_idle, None, _milliseconds)


def add_hazards(parser: argparse.ArgumentParser) -> None:
    what = "what to do about risky statements that no file allows (default: warn)"
    parser.add_argument("--hazards", choices=HAZARDS, default="warn", help=what)


def add_replay(parser: argparse.ArgumentParser, optional: bool = True) -> None:
    """Adds what says where the history is replayed and, where it is `optional`, whether."""
    if optional:
        without = "don't replay the history (as with AURORA_MIGRATIONS_REPLAY=off)"
        parser.add_argument("--no-replay", action="store_true", help=without)
    where = "replay on this server, in a database of its own: for extensions such as PostGIS"
    parser.add_argument("--replay-url", metavar="URL", type=str, help=where)


def add_verbose(parser: argparse.ArgumentParser) -> None:
    what = "print every step: files, checks, locks, the functions' log"
    parser.add_argument("--verbose", action="store_true", help=what)


def _migrations(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the folder's name is empty; for migrations/, omit --migrations")
    return Path(plain(text))


def seconds(text: str) -> float:
    """The type of a time, such as `10s`, that is wanted in seconds."""
    return _milliseconds(text) / 1_000


def _milliseconds(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    milliseconds = _milliseconds(text)
    if milliseconds == 0:
        raise argparse.ArgumentTypeError("0 would wait for ever and block the application meanwhile; set a limit")
    return milliseconds


# ---- where a verb works ---------------------------------------------------------------------------------------------


def add_where(parser: argparse.ArgumentParser, database: bool = True) -> None:
    """Adds the options for where a verb works: `--env`, `--local` or, with `database`, `--database-url`, and more."""
    group = parser.add_argument_group("where to run")
    places = group.add_mutually_exclusive_group(required=not database)
    places.add_argument(
        "--env",
        metavar="NAME",
        type=environment,
        help="run in an environment on AWS, such as dev, with the migrations that were deployed to it",
    )
    places.add_argument("--local", action="store_true", help="run in the local cloud, through the same state machine")
    if database:
        places.add_argument(
            "--database-url",
            metavar="URL",
            type=str,
            default=os.environ.get("DATABASE_URL"),
            help="postgresql://user:password@host:port/database (default: DATABASE_URL, or libpq's PGHOST, PGSERVICE "
            "...)",
        )
    hurry = "with --local: shorten the state machine's waits to a second"
    group.add_argument("--hurry", action="store_true", help=hurry)
    group.add_argument("--region", metavar="NAME", help="with --env: the region (default: as for the AWS CLI)")
    group.add_argument("--profile", metavar="NAME", help="with --env: the profile of your AWS configuration")


def parse(parser: argparse.ArgumentParser, argv: Sequence[str], direct: Sequence[str] = ()) -> argparse.Namespace:
    """Parses the arguments, and refuses options that have no meaning where the verb works: with a state machine, the
    `direct` ones."""
    arguments = parser.parse_args(argv)
    if arguments.env == LOCAL:  # as the mails of the local cloud write it
        arguments.env, arguments.local = None, True
    if is_remote(arguments):
        for name in (*direct, *(["migrations"] if arguments.env else [])):
            if getattr(arguments, name) != parser.get_default(name):
                place = "--env" if arguments.env else "--local"
                why = "it is a setting of the environment, in cdk.json"
                if name == "migrations":
                    why = "the environment has the migrations that were deployed to it"
                parser.error(f"--{name.replace('_', '-')} has no meaning with {place}: {why}")
    if arguments.hurry and not arguments.local:
        parser.error("--hurry belongs to --local: on AWS, the waits are those of the state machine that was deployed")
    if not arguments.env and (arguments.region or arguments.profile):
        parser.error("--region and --profile need --env NAME: the environment on AWS")
    return arguments


def is_remote(arguments: argparse.Namespace) -> bool:
    """Whether the verb works through a state machine."""
    return bool(arguments.env or arguments.local)


def check_numbers(arguments: argparse.Namespace, *keys: str) -> None:
    """Refuses a `target` or `confirm` that isn't a number before anything is connected to or started: an execution
    that fails sends mails to everybody."""
    from aurora_migrations.engine.plan import check_number  # with psycopg

    for key in keys:
        given = getattr(arguments, key, None)
        if given is not None:
            check_number(key, given)


def database_url(arguments: argparse.Namespace) -> str:
    """The URL of the database to work on: empty but for its scheme where libpq's own variables say where it is."""
    if not arguments.database_url and any(os.environ.get(variable) for variable in _ADDRESS_VARIABLES):
        return "postgresql://"
    if not arguments.database_url:
        target, url = arguments.target, "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
        raise InvalidInput(
            "No database and no environment was given.",
            next_command=NextCommand(arguments.verb, (*([target] if target else []), "--database-url", url)),
            cause="None of --env, --local, --database-url, DATABASE_URL and libpq's PGHOST and PGSERVICE is set.",
            solution=f"Add --env NAME for an environment on AWS, --local for the local cloud, or --database-url {url} "
            "for a database that you can reach.",
        )
    return str(arguments.database_url)


def source(arguments: argparse.Namespace) -> Source:
    """The migrations of the folder, for a verb that works straight on a database: with what earlier replays on this
    machine have shown of them, unless a manifest says it.

    Raises:
        InvalidInput, InvalidFile, InvalidManifest: see `source_of`.
    """
    found = source_of(arguments.migrations)
    if not isinstance(found, Compiler) or not project.replays():
        return found
    from aurora_migrations.replay.known import KnownSource

    return KnownSource(found)


def environment(text: str) -> str:
    """The type of an environment's name."""
    if not _ENVIRONMENT.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} isn't the name of an environment, such as dev or prod")
    return text


# ---- who runs this command ------------------------------------------------------------------------------------------


def execution_name(kind: str = "cli") -> str:
    """A unique name for an execution, with the time; its `kind` is READ_ONLY or the usual one."""
    return f"{kind}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.urandom(3).hex()}"


def requester() -> str:
    """The initiator, as far as this machine knows: `user@host`, of at most 256 printable characters."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "unknown"
    return "".join(c if c.isprintable() else "?" for c in f"{user[:_LONGEST_NAME]}@{socket.gethostname()}"[:256])


def initiator(requested_by: str) -> str:
    """Who or what started an execution, for people. Of a deployment the history has its stack's ARN, which is long."""
    from aurora_migrations.engine.steps import execution as executions

    is_stack = requested_by.startswith("arn:") and ":stack/" in requested_by
    return executions.initiator("deploy" if is_stack else "", requested_by)


# ---- the next command -----------------------------------------------------------------------------------------------


def fail(error: MigratorError, command: str, arguments: argparse.Namespace, execution: str = "") -> int:
    """Prints an error with the command to type next; returns the exit code."""
    from aurora_migrations.engine.interface import failure  # with psycopg, which a verb that reads files doesn't need

    error = with_next_command(error, command, arguments)
    return print_error(error, arguments, failure(error, None, execution))


def with_next_command(error: MigratorError, command: str, arguments: argparse.Namespace) -> MigratorError:
    """The error with the command to type next, with the flags of this one. Most errors' classes only know that a run is
    to be tried again or, of a verb that works on files, how to list migrations; there it is `command`. In a solution,
    the command that shows a running execution gets the flags, too."""
    solution = None
    if shows := getattr(error, "progress_command", None):  # of an execution that is running, or may be
        solution = error.solution.replace(str(shows), str(with_current_flags(shows, arguments)))
    unknown = (MigratorError.next_command, *([InvalidInput.next_command] if arguments.verb in FILE_VERBS else []))
    following = NextCommand.parse(f"{PROGRAM} {command}") if error.next_command in unknown else error.next_command
    return error.but(solution=solution, next_command=with_current_flags(following, arguments))


def with_current_flags(command: NextCommand, arguments: argparse.Namespace) -> NextCommand:
    """A command with those flags of this one that it needs too. A URL holds a password and isn't repeated."""
    if command.program != PROGRAM:
        takes = command.program == "aws" and "list-profiles" not in command.arguments
        return command.plus("--profile", quoted(arguments.profile)) if arguments.profile and takes else command
    if command == DEPLOY:
        command = _deploy_command(arguments)
    given = command.arguments
    if "--migrations" in given or "--help" in given:  # complete
        return command
    migrations = folder(arguments.migrations)
    if "--database-url" in given:
        return command.plus(*migrations)
    if "--env" in given:  # the functions know their environment's name, and no more
        at = given.index("--env")
        command = NextCommand(command.verb, (*given[:at], *given[at + 2 :]))
    named = arguments.database_url not in (None, "", os.environ.get("DATABASE_URL"))
    direct = [*migrations, *(["--database-url", "URL"] if named else [])]
    if command.verb == "up":
        return command.plus(*direct)
    if command.verb in FILE_VERBS:
        return command.plus(*migrations)
    if arguments.local:
        return command.plus("--local", *migrations)
    if not arguments.env:
        return command.plus(*direct)
    flags = [("env", arguments.env), ("region", arguments.region), ("profile", arguments.profile)]
    return command.plus(*(word for name, value in flags if value for word in (f"--{name}", quoted(value))))


def _deploy_command(arguments: argparse.Namespace) -> NextCommand:
    """The command that deploys to the local cloud. Where `up` keeps none running, every command packs the files again,
    so this one does it. Except a rollback: nobody repeats that without checking first."""
    from aurora_migrations.local.cloud.discovery import find

    verb = str(arguments.verb)
    if verb == "rollback" or find(project.local()) is not None:
        verb = "deploy"
    return NextCommand(verb, (arguments.target,) if arguments.target and verb != "deploy" else ())


def folder(migrations: Path) -> list[str]:
    """`--migrations DIR`, where it isn't the usual folder."""
    try:
        usual = migrations == project.migrations()
    except InvalidInput:  # a pyproject.toml that can't be read: the folder was named
        usual = False
    return [] if usual else ["--migrations", quoted(str(migrations))]


def quoted(word: str) -> str:
    """A word as it is typed."""
    if sys.platform == "win32":
        return f'"{word}"' if " " in word else word
    import shlex

    return shlex.quote(word)
