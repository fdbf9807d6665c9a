"""Tables on the terminal: as wide as it is, and never cut or coloured in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from cli.printable import printable, stream_of


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], long: Sequence[str]) -> None:
    """Prints rows under headers on stdout.

    Args:
        long: headers of columns whose cells go on beneath where a terminal is too narrow.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", highlight=False)
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header not in long)
    for row in rows:
        table.add_row(*map(printable, row))
    if sys.stdout.isatty():
        plain = bool(os.environ.get("NO_COLOR"))
        screen = Console(
            file=stream_of(sys.stdout),
            highlight=False,
            markup=False,
            emoji=False,
            color_system=None if plain else "auto",
        )
        screen.print(table)
        return
    console = Console(width=10_000, highlight=False, markup=False, emoji=False)
    with console.capture() as text:
        console.print(table)
    print(*(line.rstrip() for line in text.get().splitlines()), sep="\n")
