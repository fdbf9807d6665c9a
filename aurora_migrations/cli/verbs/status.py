"""`aurora-migrations status`: the database's state, once or, with `--watch`, again and again."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.printable import printable, stream_of
from aurora_migrations.cli.queries import Data, answer, read_directly, readable
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import MigratorError, read_overview
from aurora_migrations.engine.postgres.session import Holder
from aurora_migrations.engine.status import status_answer

_NOT_IN = ("pending", "partly in", "out of order")
_DIRECT_PAUSE, _REMOTE_PAUSE = 2.0, 15.0  # seconds; each status of an environment is an execution


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "status",
        "Where the database stands: how much is applied and pending, what a run would refuse, who is at work on it, "
        "what happened last. Exits with 1 if a run would be refused. With --watch it looks again and again, until "
        "Ctrl-C.",
        "status --watch --env dev",
        "status --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_where(parser)
    parser.add_argument("--watch", action="store_true", help="look again and again, until Ctrl-C")
    parser.add_argument(
        "--every",
        metavar="TIME",
        type=options.pause,
        help="how often: by default every 2s, of an environment every 15s",
    )
    arguments = options.parse(parser, argv)
    if not arguments.watch:
        return answer(arguments, "status", _read, _show, _is_sound)
    if arguments.output == "json":
        parser.error("--watch is for people; call status again and again for --output json")
    return _watch(arguments)


def _read(arguments: argparse.Namespace, execution: str) -> Data:
    source = source_of(arguments.migrations)
    return read_directly(
        arguments,
        execution,
        "status",
        lambda session: status_answer(read_overview(session, source), session.server),
    )


def _is_sound(data: Data) -> bool:
    return bool(data["sound"])


def _show(data: Data, arguments: argparse.Namespace) -> None:
    print(_text(data))


def _text(data: Data) -> str:
    return "\n".join(f"{name:10} {value}" for name, value in _facts(data))


def _facts(data: Data) -> Iterator[tuple[str, str]]:
    standby = ", a standby (reader)" if data["standby"] else ""
    yield "Database", f"{data['database']} as {data['user']} (PostgreSQL {data['server_version']}{standby})"
    counts, newest, pending = data["counts"], data["newest"], data["pending"]
    applied = sum(count for state, count in counts.items() if state not in _NOT_IN)
    yield "Applied", f"{applied}, the newest {newest['name']} at {newest['applied_at']}" if newest else "0"
    yield "Pending", f"{counts['pending']}, the next {pending[0]}" if pending else "0"
    if data["ahead"]:
        yield "Ahead", f"{', '.join(data['ahead'])} applied, but not in this folder: is it an older one?"
    for entry in data["refused"]:
        yield "Refused", f"{entry['name']} is {entry['state']}; a run would be refused"
    if data["last_attempt"]:
        attempt = data["last_attempt"]
        word = attempt["result"] or ("under way" if data["running"] else "interrupted")
        at = attempt["finished_at"] or attempt["started_at"]
        asked = f"{attempt['action']}, {options.initiator(attempt['requested_by'])}"
        yield "Last", f"{attempt['name']} {word} at {at} ({asked})"
    yield "Running", str(Holder(**data["running"])) if data["running"] else "nobody"
    for execution in data.get("executions", []):
        yield "Execution", f"{execution['execution']} is under way since {execution['started_at']}"


# ---- --watch --------------------------------------------------------------------------------------------------------


def _watch(arguments: argparse.Namespace) -> int:
    """Prints the status until Ctrl-C, which needs no question here. A status that can't be read is shown and isn't the
    end: perhaps a failover is being watched."""
    pause = arguments.every or (_REMOTE_PAUSE if options.is_remote(arguments) else _DIRECT_PAUSE)
    sound = True
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as closing:
        read, show = _reader(arguments, closing), closing.enter_context(_screen())
        while True:
            sound, text = _status(read, arguments)
            show(f"{text}\n{'Seen':10} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}, again in {pause:g} s")
            time.sleep(pause)
    return 0 if sound else 1


def _reader(arguments: argparse.Namespace, closing: contextlib.ExitStack) -> Callable[[str], Data]:
    """Reads the status once, given a name for that. An environment stays open in between."""
    if not options.is_remote(arguments):
        return lambda execution: _read(arguments, execution)
    from aurora_migrations.cli.remote.client import status_reader

    return status_reader(arguments, closing.enter_context(contextlib.ExitStack()))


def _status(read: Callable[[str], Data], arguments: argparse.Namespace) -> tuple[bool, str]:
    execution = options.execution_name(options.READ_ONLY)
    try:
        data = read(execution)
        with readable(arguments, execution):
            return _is_sound(data), _text(data)
    except MigratorError as error:
        return False, f"{error.name}: {error.message}"


@contextlib.contextmanager
def _screen() -> Iterator[Callable[[str], None]]:
    """Shows a text in the place of the last one. What else is written to the terminal stays above it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        yield lambda text: print(text, end="\n\n", flush=True)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream_of(sys.stdout), highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
        yield lambda text: live.update(Text(printable(text)), refresh=True)
