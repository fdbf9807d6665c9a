"""`status --watch`: looks again and again. A terminal shows the newest look, a pipe gets one after the other."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from aurora_migrations.cli import options, where
from aurora_migrations.cli.printable import printable, stream_of
from aurora_migrations.cli.queries import Data, understood
from aurora_migrations.cli.verbs import status
from aurora_migrations.engine import MigratorError

_HERE, _THERE = 2.0, 15.0  # seconds; each look at an environment is an execution of its own
Look = Callable[[str], Data]
Show = Callable[[str], None]


def watch(arguments: argparse.Namespace) -> int:
    """Until Ctrl-C, which asks nothing: a look changes nothing. A look that fails is told and isn't the end: what one
    watches for may be a failover."""
    every = arguments.every or (_THERE if where.is_remote(arguments) else _HERE)
    sound = True
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as closing:
        look, show = _looker(arguments, closing), closing.enter_context(_screen())
        while True:
            sound, text = _told(look, arguments)
            show(f"{text}\n{'Seen':10} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}, again in {every:g} s")
            time.sleep(every)
    return 0 if sound else 1


def _looker(arguments: argparse.Namespace, closing: contextlib.ExitStack) -> Look:
    """What looks once, given a name for it. An environment stays open from look to look."""
    if not where.is_remote(arguments):
        return lambda execution: status.look(arguments, execution)
    from aurora_migrations.cli.remote.client import Watch

    return Watch(arguments, closing.enter_context(contextlib.ExitStack())).ask


def _told(look: Look, arguments: argparse.Namespace) -> tuple[bool, str]:
    execution = options.look_name()
    try:
        data = look(execution)
        with understood(arguments, execution):
            return bool(data["sound"]), "\n".join(status.lines(data))
    except MigratorError as error:
        return False, f"{error.name}: {error.message}"


@contextlib.contextmanager
def _screen() -> Iterator[Show]:
    """What shows a look in the place of the last one. What is written to the terminal meanwhile stays, above it."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        yield lambda text: print(text, end="\n\n", flush=True)
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream_of(sys.stdout), highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
        yield lambda text: live.update(Text(printable(text)), refresh=True)
