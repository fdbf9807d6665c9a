"""docs/reference/cli.md: every command with its arguments and options, read from the parsers of the command line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from aurora_migrations.cli import main as command_line
from aurora_migrations.cli.verbs.new import TEMPLATES, TEMPLATES_ARE
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "cli.md"


def render() -> str:
    parsers = {verb: command_line.parser_of(verb) for verb in command_line.VERBS}
    verbs_of: dict[tuple[str, str], list[str]] = {}
    for verb, parser in parsers.items():
        for row in _rows(parser):
            verbs_of.setdefault(row, []).append(verb)
    shared = {row: verbs for row, verbs in verbs_of.items() if len(verbs) > 1}
    sections = (_verb(verb, parser, shared) for verb, parser in parsers.items())
    return fill(PATH, "\n".join(["## Options of several commands\n", _shared_options(shared), *sections]))


def _shared_options(shared: dict[tuple[str, str], list[str]]) -> str:
    """Each option once, below the commands that have it."""
    paragraphs = []
    for verbs in dict.fromkeys(map(tuple, shared.values())):
        missing = [verb for verb in command_line.VERBS if verb not in verbs]
        names = f"all but {', '.join(missing)}" if len(missing) < len(verbs) else ", ".join(verbs)
        rows = [row for row in shared if tuple(shared[row]) == verbs]
        paragraphs.append(f"**{names if missing else 'all'}**\n\n{_list(rows)}\n")
    return "\n".join(paragraphs)


def _verb(verb: str, parser: argparse.ArgumentParser, shared: dict[tuple[str, str], list[str]]) -> str:
    own = [row for row in _rows(parser) if row not in shared]
    parts = [f"## {verb}\n", f"{parser.description}\n", *([f"{_list(own)}\n"] if own else [])]
    if verb == "new":
        parts.append(f"{TEMPLATES_ARE}\n\n{_list([(f'`{name}`', each.summary) for name, each in TEMPLATES.items()])}\n")
    # The form of a command without options, and the options for a database, are at the top of the page.
    lines = re.findall(rf"{command_line.PROGRAM} {verb} [^-].* --.+", parser.epilog or "")
    if examples := [each for each in lines if re.search(" --(?!env)", each) and "--database-url" not in each]:
        parts.append(f"```text\n{examples[-1]}\n```\n")
    return "\n".join(parts)


def _rows(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """An argument or option as it is typed, and what it means."""
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else f" {_value(action)}"
        name = f"{action.option_strings[-1]}{value}" if action.option_strings else action.metavar
        yield f"`{name}`", _help(parser, action)


def _value(action: argparse.Action) -> str:
    """What is typed after an option."""
    return f"{{{','.join(map(str, action.choices))}}}" if action.choices else str(action.metavar or action.dest.upper())


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    if action.option_strings:  # the choices are beside it
        text = text.removesuffix(f": {', '.join(map(str, action.choices or ()))}")
    return text.replace(f"one of: {', '.join(TEMPLATES)} (see below)", "see below")


def _list(rows: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in rows)
