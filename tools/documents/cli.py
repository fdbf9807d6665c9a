"""docs/reference/cli.md: every command with its arguments and options, read from the parsers of the command line."""

from __future__ import annotations

import argparse
import inspect
import re
from collections import Counter
from collections.abc import Iterator

from aurora_migrations.cli import main as command_line
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "cli.md"


def render() -> str:
    parsers = {verb: command_line.parser_of(verb) for verb in command_line.VERBS}
    count = Counter(row for parser in parsers.values() for row in set(_options(parser)))
    shared = [row for row in count if count[row] > 1]
    order = [row for parser in parsers.values() for row in _options(parser)]
    common = [row for row in dict.fromkeys(order) if row in shared]
    verbs = (_verb(verb, parser, shared) for verb, parser in parsers.items())
    return fill(PATH, "\n".join(["## Options of several commands\n", _table("option", common), "", *verbs]))


def _verb(verb: str, parser: argparse.ArgumentParser, shared: list[tuple[str, str]]) -> str:
    options = list(_options(parser))
    targets = [action for action in parser._actions if not action.option_strings]
    words = [f"[{each.metavar}]" if each.nargs == "?" else str(each.metavar) for each in targets]
    own = [(f"`{each.metavar}`", _help(parser, each)) for each in targets]
    own += [row for row in options if row not in shared]
    others = [f"`{row[0].strip('`').split()[0]}`" for row in options if row in shared]
    usage = " ".join([command_line.PROGRAM, verb, *words, "[OPTIONS]"])
    parts = [
        f"## {verb}\n",
        f"```text\n{usage}\n\n{inspect.cleandoc(parser.epilog or '')}\n```\n",
        f"{parser.description}\n",
        *([_table("argument or option", own), ""] if own else []),
        *([f"Also: {', '.join(others)}.\n"] if others else []),
    ]
    return "\n".join(parts)


def _options(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """An option as it is typed, and what it means."""
    for action in parser._actions:
        if action.option_strings and action.dest != "help" and action.help != argparse.SUPPRESS:
            value = "" if action.nargs == 0 else f" {_value(action)}"
            yield f"`{action.option_strings[-1]}{value}`", _help(parser, action)


def _value(action: argparse.Action) -> str:
    """What is typed after an option."""
    return f"{{{','.join(map(str, action.choices))}}}" if action.choices else str(action.metavar or action.dest.upper())


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    return parser._get_formatter()._expand_help(action) if action.help else ""


def _table(heading: str, rows: list[tuple[str, str]]) -> str:
    cells = [
        tuple(re.sub(r"\|", r"\\|", cell) for cell in row) for row in [(heading, "meaning"), ("---", "---"), *rows]
    ]
    return "\n".join(f"| {left} | {right} |" for left, right in cells)
