"""`aurora-migrations new "description"`: writes the next migration's file, or those of a template.

Templates are migrations that are safe by construction, each a text in `cli/templates/`. A line `-- >>> ENDING` begins
a file; a word with a colon, such as `:table`, is replaced by the option of that name. One that isn't given stays as it
is: PostgreSQL doesn't take that as SQL, so `check` and `run` refuse the file until somebody has filled it in.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from aurora_migrations.adoption.files import write_files
from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, plural, print_json, show
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import InvalidInput

_TIMESTAMP_DIGITS = 14
_BATCHES, _MOST_BATCHES = 10, 1_000
_LONGEST = 63  # bytes that PostgreSQL keeps of a name
_FILE = re.compile(r"^-- >>> (\S+)\n", re.MULTILINE)
_BATCH = re.compile(r"^-- <batch>\n(.*?)^-- </batch>\n", re.MULTILINE | re.DOTALL)
_PARTITION = re.compile(r"^-- <partition>\n(.*?)^-- </partition>\n", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)|\{([a-z0-9]+)\}")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_UNFINISHED = "-- Fill in each name that begins with a colon; until then `check` and `run` refuse this file.\n\n"


@dataclass(frozen=True)
class Template:
    """A template's summary, and the options that it takes."""

    summary: str
    takes: tuple[str, ...]

    @property
    def options(self) -> str:
        return " ".join(f"--{each}" for each in self.takes)


_RENAME = ("table", "column", "to", "type", "key", "batches")
_BACKFILL = ("table", "column", "key", "value", "batches")
TEMPLATES_ARE = "Templates, each with its down files; what isn't given is left to be filled in:"
TEMPLATES: Mapping[str, Template] = {
    "index": Template(
        "an index, built CONCURRENTLY; with --partitioned on each --partition, and attached",
        ("table", "column", "partitioned", "partition"),
    ),
    "not-null": Template("NOT NULL on a column that is there: check, validate, set", ("table", "column")),
    "foreign-key": Template("a foreign key: add, validate", ("table", "column", "references")),
    "rename": Template("a new name for a column, in steps: expand, backfill, contract", _RENAME),
    "backfill": Template("values for a column's NULLs, in batches that commit separately", _BACKFILL),
}
_OPTIONS = {
    "table": "the table, such as users or app.users",
    "column": "the column",
    "references": "foreign-key: the table that it refers to",
    "to": "rename: the new name",
    "type": "rename: the column's type",
    "key": "rename, backfill: the primary key, by which batches are made",
    "value": "backfill: what to fill in, an SQL expression",
    "batches": f"rename, backfill: how many batches (default: {_BATCHES})",
    "partitioned": "index: the table is partitioned",
    "partition": "index: a partition of the table; once for each",
}
_SHAPES = ("batches", "partitioned", "partition")  # options for how often a block of the text is repeated
_TABLES = ("table", "references", "partition")
_AS_WRITTEN = ("type", "value")


@dataclass(frozen=True)
class Draft:
    """One file to write."""

    step: str  # the part of its name after the description, such as `_1_check`
    role: str  # the part of its name before `.sql`: `.down`, `.verify` or nothing
    text: str
    missing: tuple[str, ...]  # the placeholders in it, such as `:table`


def main(argv: Sequence[str]) -> int:
    arguments = _parse(argv)
    try:
        drafts = _drafts(arguments)
        paths = _write(arguments, drafts)
    except MigratorError as error:
        command = "new --help" if isinstance(error, InvalidInput) else "check"
        return options.fail(error, command, arguments, options.execution_name())
    missing = sorted({name for draft in drafts for name in draft.missing})
    if arguments.output == "json":
        written: dict[str, object] = {"files": [str(path) for path in paths]}
        print_json(written | {"fill_in": missing} if arguments.template else written)
        return 0
    show(*(f"Wrote {path}" for path in paths))
    if missing:
        show(f"Fill in {', '.join(missing)}; until then `check` and `run` refuse these files.")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = options.make_parser(
        "new",
        "Creates the next migration's file, with the next number, or the time where the folder numbers by time (14 "
        "digits). With --template, creates the files of a change that is risky in one step.",
        'new "add email to users" --down',
    )
    parser.add_argument("description", metavar="DESCRIPTION", help="a few words for the file's name")
    parser.add_argument("--down", action="store_true", help="also write a .down.sql, which undoes it")
    parser.add_argument("--verify", action="store_true", help="also write a .verify.sql, which checks it")
    dump = "write pg_dump's output in FILE as a migration, without settings, owners and privileges"
    parser.add_argument("--from-dump", metavar="FILE", type=_file, help=dump)
    group = parser.add_argument_group("templates")
    group.add_argument("--template", metavar="NAME", help=f"one of: {', '.join(TEMPLATES)} (see below)")
    special: dict[str, dict[str, Any]] = {
        **{name: {"type": str} for name in _AS_WRITTEN},
        "batches": {"type": int, "metavar": "N"},
        "partition": {"action": "append"},
    }
    for name, text in _OPTIONS.items():
        if name == "partitioned":
            group.add_argument("--partitioned", action="store_const", const=True, help=text)
        else:
            how: dict[str, Any] = {"type": options.plain, "metavar": name.upper()} | special.get(name, {})
            group.add_argument(f"--{name}", help=text, **how)
    lines = [TEMPLATES_ARE]
    for name, template in TEMPLATES.items():
        lines += [f"  {name:12} {template.summary}", f"  {'':12} {template.options}"]
    second = '         aurora-migrations new "index users by email" --template index --table users --column email'
    parser.epilog = "\n".join([*lines, "", str(parser.epilog), second])
    return parser.parse_args(argv)


# ---- files ----------------------------------------------------------------------------------------------------------


def _drafts(arguments: argparse.Namespace) -> list[Draft]:
    given = {name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None}
    roles = [role for role in ("down", "verify") if getattr(arguments, role)]
    if arguments.from_dump:
        return _draft_of_dump(arguments, given, roles)
    if arguments.template is None:
        if given:
            raise InvalidInput(
                f"{', '.join(f'--{name}' for name in given)}: only used with a template.",
                cause="No --template was named.",
                solution=f"Add --template NAME, one of: {', '.join(TEMPLATES)}.",
            )
        return [each for each in _fill("empty", {}, 0) if each.role in ("", *(f".{role}" for role in roles))]
    drafts = draft(arguments.template, given)
    if roles:
        both = " and ".join(f"--{role}" for role in roles)
        raise InvalidInput(
            f"{both} can't be combined with --template.",
            cause="A template brings the .down.sql and .verify.sql files that it needs.",
            solution=f"Leave {both} out.",
        )
    return drafts


def _draft_of_dump(arguments: argparse.Namespace, given: Mapping[str, Any], roles: Sequence[str]) -> list[Draft]:
    others = [*(["--template"] if arguments.template else []), *(f"--{name}" for name in (*given, *roles))]
    if others:
        raise InvalidInput(
            f"{', '.join(others)} can't be combined with --from-dump.",
            cause="The dump becomes the whole migration.",
            solution=f"Leave {', '.join(others)} out.",
        )
    from aurora_migrations.adoption.dump import read_dump  # only this needs the grammar

    dump = read_dump(arguments.from_dump)
    for what, count in dump.left_out.items():
        note(f"Left out: {plural(count, 'statement')} {what}")
    return [Draft("", "", dump.text, ())]


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the file's name is empty")
    return Path(options.plain(text))


def _write(arguments: argparse.Namespace, drafts: Sequence[Draft]) -> list[Path]:
    """Writes all files or none, over nothing that is there; returns their paths. Each step is a migration of its own,
    with the next number."""
    named = slug(arguments.description)
    steps = list(dict.fromkeys(draft.step for draft in drafts))
    with contextlib.suppress(OSError, ValueError):  # the reason is reported when the folder is read
        arguments.migrations.mkdir(parents=True, exist_ok=True)
    first = next_label(arguments.migrations)
    stems = {step: f"{int(first) + number:0{len(first)}}_{named}{step}" for number, step in enumerate(steps)}
    title = " ".join(arguments.description.split())
    if re.match(r"(?:migration|verify)\s*:", title, re.IGNORECASE):  # without quotes it would be read as an option
        title = f'"{title}"'
    texts: dict[str, str] = {}
    for draft in drafts:
        head = "" if draft.role else f"-- {title}\n"
        text = (
            draft.text
            if arguments.template or arguments.from_dump
            else draft.text.replace("{name}", f"{stems['']}.sql")
        )
        texts[f"{stems[draft.step]}{draft.role}.sql"] = head + text
    return write_files(arguments.migrations, texts)


def next_label(folder: Path) -> str:
    """The number after the folder's highest, as wide as that one; `001` in a folder without migrations."""
    if os.path.isdir(folder) and not any(folder.glob("*.[sS][qQ][lL]")):  # noqa: PTH112 - pathlib's raises
        return "001"
    last = discover(folder).migrations[-1]
    if len(last.label) == _TIMESTAMP_DIGITS:
        now = time.strftime("%Y%m%d%H%M%S", time.gmtime())
        return max(now, str(last.version + 1))
    return str(last.version + 1).zfill(len(last.label))


def slug(description: str) -> str:
    """`Add e-mail to "users"!` -> `add_e_mail_to_users`."""
    made = re.sub(r"[^\w]+", "_", description.lower()).strip("_")
    if not made or len(made.encode()) > 200:
        raise InvalidInput(
            f"The description {description[:60]!r} can't name a file.",
            cause="It has no letter or digit, or is longer than a file's name can be.",
            solution='Describe the change in a few words: aurora-migrations new "add email to users"',
        )
    return made


# ---- templates -------------------------------------------------------------------------------------------------------


def draft(name: str, given: Mapping[str, Any]) -> list[Draft]:
    """The files of a template, in the order of their steps. Options that are missing in `given` stay placeholders; of
    `batches` there are ten."""
    template = TEMPLATES.get(name)
    if template is None:
        near = get_close_matches(name.lower().replace("_", "-"), TEMPLATES, n=2, cutoff=0.5)
        raise InvalidInput(
            f"There is no template {name[:60]!r}.",
            cause=f"Did you mean {' or '.join(near)}?" if near else "That is the name of none.",
            solution=f"There are: {', '.join(TEMPLATES)}.",
        )
    if wrong := [f"--{each}" for each in given if each not in template.takes]:
        raise InvalidInput(
            f"The template {name} doesn't take {', '.join(wrong)}.",
            cause="This template doesn't use it.",
            solution=f"It takes {template.options.replace(' ', ', ')}; each may be left out.",
        )
    count = given.get("batches", _BATCHES)
    if not 1 <= count <= _MOST_BATCHES:
        raise InvalidInput(
            f"--batches must be from 1 to {_MOST_BATCHES}, not {count}.",
            cause="Each batch is a statement in the file.",
            solution="Choose enough for a batch to take only a few seconds.",
        )
    partitions = given.get("partition", [] if given.get("partitioned") else None)
    fields = _fields({option: value for option, value in given.items() if option not in _SHAPES})
    fields |= {"count": str(count)} | _partition_fields(given, partitions or ())
    return _fill(name if partitions is None else f"{name}-partitioned", fields, count, len(partitions or ()))


def _fill(name: str, fields: Mapping[str, str], batches: int, partitions: int = 0) -> list[Draft]:
    text = (files("aurora_migrations.cli") / "templates" / f"{name.replace('-', '_')}.sql").read_text(encoding="utf-8")

    def repeat_partition(block: re.Match[str]) -> str:
        numbers = range(1, partitions + 1)
        return "".join(re.sub(r"([:{])partition", rf"\1partition{n}", block[1]) for n in numbers) or block[1]

    def repeat(batch: re.Match[str]) -> str:
        numbers = range(2, batches + 1)
        return "".join(batch[1].replace("{before}", str(n - 1)).replace("{batch}", str(n)) for n in numbers)

    _, *parts = _FILE.split(_PARTITION.sub(repeat_partition, _BATCH.sub(repeat, text)))
    drafts = []
    for ending, body in zip(parts[::2], parts[1::2], strict=True):
        step, _, role = ending.removesuffix(".sql").partition(".")
        missing = sorted({f":{field}" for field, _ in _FIELD.findall(body) if field and field not in fields})
        # All fields at once, so that what is filled in is never taken for a field.
        filled = _FIELD.sub(lambda match: fields.get(match[1] or match[2], match[0]), body)
        text = f"{_UNFINISHED if missing else ''}{filled}"
        drafts.append(Draft(step, f".{role}" if role else "", text, tuple(missing)))
    return drafts


def _fields(given: Mapping[str, str]) -> dict[str, str]:
    """The text of each field: names as PostgreSQL quotes them, and names generated from those."""
    from aurora_migrations.compiler.locks.syntax_tree import quoted  # only a template needs the grammar

    fields = {name: _as_written(name, value) for name, value in given.items() if name in _AS_WRITTEN}
    parts = {name: _split_name(name, value) for name, value in given.items() if name not in _AS_WRITTEN}
    fields |= {name: ".".join(map(quoted, each)) for name, each in parts.items()}
    if "table" in parts and "column" in parts:
        table, column = parts["table"][-1], parts["column"][-1]
        fields |= {name: quoted(_generated_name(table, column, ending)) for name, ending in _GENERATED.items()}
    fields["schema"] = "".join(f"{quoted(each)}." for each in parts.get("table", [])[:-1])
    text = "\n".join(fields.values())  # a dollar quote for a function's body must not occur in it
    marks = ("$$", *(f"$body{number}$" for number in range(1_000)))
    return fields | {"quote": next(mark for mark in marks if mark not in text)}


def _partition_fields(given: Mapping[str, Any], partitions: Sequence[str]) -> dict[str, str]:
    """Of each partition its name, its index's name, and its schema before that; of none, no schema."""
    from aurora_migrations.compiler.locks.syntax_tree import quoted

    fields = {"partitionschema": ""}
    for number, value in enumerate(partitions, 1):
        *schema, name = _split_name("partition", value)
        fields[f"partition{number}"] = ".".join(map(quoted, [*schema, name]))
        fields[f"partition{number}schema"] = "".join(f"{quoted(each)}." for each in schema)
        if "column" in given:
            (column,) = _split_name("column", given["column"])
            fields[f"partition{number}_index"] = quoted(_generated_name(name, column, "idx"))
    return fields


_GENERATED = {
    "index": "idx",
    "not_null": "not_null",
    "foreign_key": "fkey",
    "batches": "batches",
    "sync": "sync",
    "on_insert": "sync_insert",
    "on_update": "sync_update",
}


def _split_name(option: str, value: str) -> list[str]:
    """`app."User"` -> `app`, `User`. Without quotes letters keep their case: it is the name as it is, not SQL."""
    parts, end = [], 0
    for match in _PART.finditer(value):
        if match.start() != end:
            break
        parts.append(match[2] or match[1].replace('""', '"'))
        end = match.end() + 1
        if value[match.end() : end] != ".":
            break
    most = 2 if option in _TABLES else 1
    too_long = any(len(part.encode(errors="surrogatepass")) > _LONGEST for part in parts)
    if end != len(value) + 1 or len(parts) > most or not value.isprintable() or too_long:
        raise InvalidInput(
            f"--{option} {value[:100]!r} is not a name.",
            cause=f"A name is letters, digits and _, at most {_LONGEST} bytes"
            + (", with its schema before a dot where it needs one." if most == 2 else "."),
            solution=f"Write it as it is called in the database; with anything else in it, in double quotes: "
            f"--{option} '\"odd name\"'.",
        )
    return parts


def _as_written(option: str, value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise InvalidInput(
            f"--{option} {without_password(value)[:100]!r} can't be written into a file.",
            cause="It is empty, or has line ends or other signs that don't print.",
            solution="Write it as SQL, on one line; or leave it out, and fill it in in the file.",
        )
    return value.strip()


def _generated_name(table: str, column: str, ending: str) -> str:
    """`users_email_idx`; if that is too long, the longer of table and column is cut, as PostgreSQL does."""
    while len(f"{table}_{column}_{ending}".encode()) > _LONGEST:
        if len(table.encode()) > len(column.encode()):
            table = table[:-1]
        else:
            column = column[:-1]
    return f"{table}_{column}_{ending}"
