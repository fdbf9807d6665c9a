"""Tables on the terminal: as wide as it is, and never cut or coloured in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows under headers on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=None, pad_edge=False, header_style="bold", highlight=False)
    for row in rows:
        table.add_row(*row)
    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(table)
        return
    console = Console(width=10_000, highlight=False, markup=False)
    with console.capture() as text:
        console.print(table)
    print(*(line.rstrip() for line in text.get().splitlines()), sep="\n")
