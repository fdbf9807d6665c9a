"""`aurora-migrations new "description"`: writes the next migration's file, or those of a template."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from aurora_migrations.cli import options
from aurora_migrations.cli.output import print_json
from aurora_migrations.cli.templates import drafts as templates
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.errors import InvalidInput

_UP = """\
-- {title}
--
-- Options, if this file needs them, stand here at the top, such as:
--   -- migration: lock_timeout = 2s
--   -- migration: statement_timeout = 10min
--   -- verify: rows some_table = 0

"""
_DOWN = """\
-- Undoes {name}. Until that is written, rolling back is refused:
DO $$ BEGIN RAISE EXCEPTION 'write what undoes {name}'; END $$;
"""
_VERIFY = """\
-- Each statement is a query whose one boolean must be true before {name} commits. Until one is written, it is refused:
SELECT false;
"""
_TIMESTAMP_DIGITS = 14


def main(argv: Sequence[str]) -> int:
    arguments = _parse(argv)
    try:
        drafts = _drafts(arguments)
        texts = _from_template(arguments, drafts) if drafts else _empty(arguments)
        paths = _write({arguments.migrations / name: text for name, text in texts.items()})
    except MigratorError as error:
        command = "new --help" if isinstance(error, InvalidInput) else "check"
        return options.fail(error, command, arguments, options.execution_name())
    _print_result(paths, drafts, arguments)
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.make_parser(
        "new",
        "Writes the next migration's file, with the next number; where the folder numbers by time (14 digits), "
        "with the time. With --template, the files of a change that would hurt if it were done at once.",
        'new "add email to users" --down',
    )
    parser.add_argument("description", metavar="DESCRIPTION", help="a few words; they become the file's name")
    parser.add_argument("--down", action="store_true", help="write a .down.sql too, which undoes it")
    parser.add_argument("--verify", action="store_true", help="write a .verify.sql too, which says what must be true")
    group = parser.add_argument_group("templates")
    group.add_argument("--template", metavar="NAME", help=f"one of: {', '.join(templates.TEMPLATES)} (see below)")
    for name, text in templates.NAMES.items():
        kind = str if name in templates.AS_WRITTEN else options.plain
        group.add_argument(f"--{name}", metavar=name.upper(), type=kind, help=text)
    group.add_argument(
        "--batches", metavar="N", type=int, help=f"rename, backfill: in how many parts (default: {templates.BATCHES})"
    )
    group.add_argument("--partitioned", action="store_true", help="index: the table is partitioned")
    group.add_argument(
        "--partition", metavar="PARTITION", action="append", help="index: a partition of the table; once for each"
    )
    lines = ["templates, each with its down files; what isn't named stays to be filled in:"]
    for name, template in templates.TEMPLATES.items():
        lines += [f"  {name:12} {template.summary}", f"  {'':12} {' '.join(template.options)}"]
    second = '         aurora-migrations new "index users by email" --template index --table users --column email'
    parser.epilog = "\n".join([*lines, "", str(parser.epilog), second])
    return parser.parse_args(argv)


def _print_result(paths: Sequence[Path], drafts: list[templates.Draft], arguments: argparse.Namespace) -> None:
    missing = sorted({name for draft in drafts for name in draft.missing})
    if arguments.output == "json":
        files: dict[str, object] = {"files": [str(path) for path in paths]}
        print_json(files | {"fill_in": missing} if drafts else files)
        return
    print(*(f"Wrote {path}" for path in paths), sep="\n")
    if missing:
        print(f"Fill in {', '.join(missing)}; until then `check` and `run` refuse these files.")


# ---- texts ----------------------------------------------------------------------------------------------------------


def _drafts(arguments: argparse.Namespace) -> list[templates.Draft]:
    """The files of the template; none without `--template`."""
    given = {name: value for name in templates.NAMES if (value := getattr(arguments, name)) is not None}
    partitions = arguments.partition or ([] if arguments.partitioned else None)
    if arguments.template is not None:
        drafts = templates.draft(arguments.template, given, arguments.batches, partitions)
        if both := " and ".join(f"--{role}" for role in ("down", "verify") if getattr(arguments, role)):
            raise InvalidInput(
                f"{both} can't be asked for together with --template.",
                cause="A template brings the .down.sql and .verify.sql files that it needs.",
                solution=f"Leave {both} out.",
            )
        return drafts
    if given or arguments.batches is not None or partitions is not None:
        names = [f"--{name}" for name in given]
        names += ["--batches"] if arguments.batches is not None else []
        names += ["--partitioned"] if partitions is not None else []
        raise InvalidInput(
            f"{', '.join(names)}: only a template has a use for this.",
            cause="No --template was named.",
            solution=f"Add --template NAME, one of: {', '.join(templates.TEMPLATES)}.",
        )
    return []


def _from_template(arguments: argparse.Namespace, drafts: Sequence[templates.Draft]) -> dict[str, str]:
    """The texts by their files' names; each step is a migration of its own, with the next number."""
    named = slug(arguments.description)
    steps = list(dict.fromkeys(draft.step for draft in drafts))
    first = next_label(arguments.migrations)
    labels = {step: str(int(first) + number).zfill(len(first)) for number, step in enumerate(steps)}
    title = f"-- {_title(arguments.description)}\n"
    return {
        f"{labels[draft.step]}_{named}{draft.step}{draft.role}.sql": draft.text if draft.role else title + draft.text
        for draft in drafts
    }


def _empty(arguments: argparse.Namespace) -> dict[str, str]:
    stem = f"{next_label(arguments.migrations)}_{slug(arguments.description)}"
    texts = {f"{stem}.sql": _UP.format(title=_title(arguments.description))}
    if arguments.down:
        texts[f"{stem}.down.sql"] = _DOWN.format(name=f"{stem}.sql")
    if arguments.verify:
        texts[f"{stem}.verify.sql"] = _VERIFY.format(name=f"{stem}.sql")
    return texts


def next_label(folder: Path) -> str:
    """The number after the folder's highest, as wide as that one; `001` in a folder without migrations.

    Raises:
        InvalidInput: the folder is missing or can't be read.
        InvalidFile: a file in it is misnamed, so that the next number isn't sure.
    """
    if os.path.isdir(folder) and not any(folder.glob("*.[sS][qQ][lL]")):  # noqa: PTH112 - pathlib's raises
        return "001"
    last = discover(folder).migrations[-1]
    if len(last.label) == _TIMESTAMP_DIGITS:
        now = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        return max(now, str(last.version + 1))
    return str(last.version + 1).zfill(len(last.label))


def slug(description: str) -> str:
    """`Add e-mail to "users"!` -> `add_e_mail_to_users`.

    Raises:
        InvalidInput: nothing is left that a file could be named by, or more than a name can hold.
    """
    made = re.sub(r"[^\w]+", "_", description.lower()).strip("_")
    if not made or len(made.encode()) > 200:
        raise InvalidInput(
            f"The description {description[:60]!r} can't name a file.",
            cause="It has no letter or digit, or is longer than a file's name can be.",
            solution='Describe the change in a few words: aurora-migrations new "add email to users"',
        )
    return made


def _title(description: str) -> str:
    """The description on one line, in quotes where it would be read as an option (`verify: rows a = 0`)."""
    words = " ".join(description.split())
    return f'"{words}"' if re.match(r"(?:migration|verify)\s*:", words, re.IGNORECASE) else words


# ---- files ----------------------------------------------------------------------------------------------------------


def _write(texts: dict[Path, str]) -> list[Path]:
    """Writes all files or none, over nothing that is there."""
    written: list[Path] = []
    for path, text in texts.items():
        try:
            with path.open("x", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
                written.append(path)
                file.write(text)
        except OSError as error:
            for each in written:
                each.unlink(missing_ok=True)
            raise InvalidInput(
                f"{path} can't be written: {error.strerror}.",
                cause="The file is there already, or the folder may not be written to.",
                solution="Look at what is there; nothing was overwritten.",
            ) from error
    return written
