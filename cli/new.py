"""`aurora-migrations new "description"`: writes the next migration's file."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

from cli import common
from functions.migrator import MigratorError, discover, failure
from functions.migrator.errors import InvalidInput

_UP = """\
-- {title}
--
-- Options, if this file needs them, stand here at the top:
--   migration: lock_timeout = 2s
--   migration: statement_timeout = 10min
--   verify: rows some_table = 0

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
    """Runs the verb; returns the exit code."""
    made = common.parser(
        "new",
        "Writes the next migration's file, with the next number; where the folder numbers by time (14 digits), "
        "with the time.",
        'new "add email to users" --down',
    )
    made.add_argument("description", metavar="DESCRIPTION", help="a few words; they become the file's name")
    made.add_argument("--down", action="store_true", help="write a .down.sql too, which undoes it")
    made.add_argument("--verify", action="store_true", help="write a .verify.sql too, which says what must be true")
    arguments = made.parse_args(argv)
    try:
        stem = f"{next_label(arguments.migrations)}_{slug(arguments.description)}"
        texts = {f"{stem}.sql": _UP.format(title=" ".join(arguments.description.split()))}
        if arguments.down:
            texts[f"{stem}.down.sql"] = _DOWN.format(name=f"{stem}.sql")
        if arguments.verify:
            texts[f"{stem}.verify.sql"] = _VERIFY.format(name=f"{stem}.sql")
        paths = [_write(arguments.migrations / name, text) for name, text in texts.items()]
    except MigratorError as error:
        return common.tell_error(error, arguments, failure(error, None, common.execution_name()))
    if arguments.output == "json":
        common.print_json({"files": [str(path) for path in paths]})
    else:
        print(*(f"Wrote {path}" for path in paths), sep="\n")
    return 0


def next_label(folder: Path) -> str:
    """The number after the folder's highest, as wide as that one; `001` in a folder without migrations.

    Raises:
        InvalidInput: the folder is missing or can't be read.
        InvalidFile: a file in it is misnamed, so that the next number isn't sure.
    """
    if folder.is_dir() and not any(folder.glob("*.sql")):
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


def _write(path: Path, text: str) -> Path:
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise InvalidInput(
            f"{path} can't be written: {error.strerror}.",
            cause="The file is there already, or the folder may not be written to.",
            solution="Look at what is there; nothing was overwritten.",
        ) from error
    return path
