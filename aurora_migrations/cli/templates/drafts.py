"""Templates of migrations that are safe by construction: the names that each takes, and its files.

Each template is a text beside this module. A line `-- >>> ENDING` begins a file; a word with a colon, such as `:table`,
is replaced by the option of that name. One that isn't given stays as it is: PostgreSQL doesn't take that as SQL, so
`check` and `run` refuse the file until somebody has filled it in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files

from aurora_migrations.engine.diagnostics.redaction import without_password
from aurora_migrations.engine.errors import InvalidInput

BATCHES = 10
MOST_BATCHES = 1_000
LONGEST = 63  # bytes that PostgreSQL keeps of a name

_FILE = re.compile(r"^-- >>> (\S+)\n", re.MULTILINE)
_BATCH = re.compile(r"^-- <batch>\n(.*?)^-- </batch>\n", re.MULTILINE | re.DOTALL)
_PARTITION = re.compile(r"^-- <partition>\n(.*?)^-- </partition>\n", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)|\{([a-z0-9]+)\}")
_PLACEHOLDER = re.compile(r"(?<![:\w]):([a-z_]+)")
_PART = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_UNFINISHED = "-- Fill in each name that begins with a colon; until then `check` and `run` refuse this file.\n\n"


@dataclass(frozen=True)
class Template:
    """A template's summary, and the options that it takes; a `batched` one takes the number of batches, too."""

    summary: str
    takes: tuple[str, ...]
    batched: bool = False

    @property
    def options(self) -> list[str]:
        return [f"--{each}" for each in (*self.takes, *(["batches"] if self.batched else []))]


TEMPLATES: Mapping[str, Template] = {
    "index": Template(
        "an index, built CONCURRENTLY; with --partitioned on each --partition, and attached",
        ("table", "column"),
    ),
    "not-null": Template("NOT NULL on a column that is there: check, validate, set", ("table", "column")),
    "foreign-key": Template("a foreign key: add, validate", ("table", "column", "references")),
    "rename": Template(
        "another name for a column, in steps: expand, backfill, contract",
        ("table", "column", "to", "type", "key"),
        True,
    ),
    "backfill": Template(
        "values for a column's NULLs, in batches that commit by themselves", ("table", "column", "key", "value"), True
    ),
}
NAMES = {
    "table": "the table as it is called, such as users or app.users",
    "column": "the column",
    "references": "foreign-key: the table that it refers to",
    "to": "rename: the new name",
    "type": "rename: the column's type",
    "key": "rename, backfill: the primary key, which batches go by",
    "value": "backfill: what to fill in, an SQL expression",
}
_TABLES = ("table", "references", "partition")
AS_WRITTEN = ("type", "value")


@dataclass(frozen=True)
class Draft:
    """One file to write.

    Attributes:
        step: the part of its name after the description, such as `_1_check`.
        role: the part of its name before `.sql`: `.down`, `.verify` or nothing.
        missing: the placeholders in it, such as `:table`.
    """

    step: str
    role: str
    text: str
    missing: tuple[str, ...]


def draft(
    name: str, given: Mapping[str, str], batches: int | None = None, partitions: Sequence[str] | None = None
) -> list[Draft]:
    """The files of a template, in the order of their steps. The options that are missing in `given` (see NAMES) stay
    placeholders. `partitions` are those of a partitioned table; None if it isn't one.

    Raises:
        InvalidInput: there is no such template, it doesn't take one of these, or one of these isn't a name.
    """
    template = TEMPLATES.get(name)
    if template is None:
        near = get_close_matches(name.lower().replace("_", "-"), TEMPLATES, n=2, cutoff=0.5)
        raise InvalidInput(
            f"There is no template {name[:60]!r}.",
            cause=f"Did you mean {' or '.join(near)}?" if near else "That is the name of none.",
            solution=f"There are: {', '.join(TEMPLATES)}.",
        )
    wrong = [each for each in given if each not in template.takes]
    wrong += ["batches"] if batches is not None and not template.batched else []
    wrong += ["partitioned"] if partitions is not None and name != "index" else []
    if wrong:
        raise InvalidInput(
            f"The template {name} doesn't take {', '.join(f'--{each}' for each in wrong)}.",
            cause="It has no use for it.",
            solution=f"It takes {', '.join(template.options)}; each may be left out.",
        )
    count = BATCHES if batches is None else batches
    if not 1 <= count <= MOST_BATCHES:
        raise InvalidInput(
            f"--batches {count} is none or too many.",
            cause="Each batch is a statement in the file.",
            solution=f"Take 1 to {MOST_BATCHES}; each should be done in some seconds.",
        )
    fields = _fields(given) | {"count": str(count)} | _partition_fields(given, partitions or ())
    file = f"{name.replace('-', '_')}{'' if partitions is None else '_partitioned'}.sql"
    text = (files(__package__) / file).read_text(encoding="utf-8")

    def repeat(batch: re.Match[str]) -> str:
        numbers = range(2, count + 1)
        return "".join(batch[1].replace("{before}", str(n - 1)).replace("{batch}", str(n)) for n in numbers)

    def repeat_partition(block: re.Match[str]) -> str:
        numbers = range(1, len(partitions or ()) + 1)
        return "".join(re.sub(r"([:{])partition", rf"\1partition{n}", block[1]) for n in numbers) or block[1]

    _, *parts = _FILE.split(_PARTITION.sub(repeat_partition, _BATCH.sub(repeat, text)))
    return [_draft(ending, body, fields) for ending, body in zip(parts[::2], parts[1::2], strict=True)]


def _draft(ending: str, text: str, fields: Mapping[str, str]) -> Draft:
    step, _, role = ending.removesuffix(".sql").partition(".")
    missing = sorted({f":{name}" for name, _ in _FIELD.findall(text) if name and name not in fields})
    # All fields at once, so that what is filled in is never taken for a field.
    filled = _FIELD.sub(lambda match: fields.get(match[1] or match[2], match[0]), text)
    return Draft(step, f".{role}" if role else "", f"{_UNFINISHED if missing else ''}{filled}", tuple(missing))


# ---- names ----------------------------------------------------------------------------------------------------------


def _fields(given: Mapping[str, str]) -> dict[str, str]:
    """The text of each field: names as PostgreSQL quotes them, and names generated from those."""
    from aurora_migrations.compiler.locks.syntax_tree import quoted  # only a template needs the grammar

    fields = {name: _as_written(name, value) for name, value in given.items() if name in AS_WRITTEN}
    parts = {name: _split_name(name, value) for name, value in given.items() if name not in AS_WRITTEN}
    fields |= {name: ".".join(map(quoted, each)) for name, each in parts.items()}
    if "table" in parts and "column" in parts:
        table, column = parts["table"][-1], parts["column"][-1]
        fields |= {name: quoted(_generated_name(table, column, ending)) for name, ending in _GENERATED.items()}
    fields["schema"] = "".join(f"{quoted(each)}." for each in parts.get("table", [])[:-1])
    text = "\n".join(fields.values())  # a dollar quote for a function's body must not occur in it
    marks = ("$$", *(f"$body{number}$" for number in range(1_000)))
    return fields | {"quote": next(mark for mark in marks if mark not in text)}


def _partition_fields(given: Mapping[str, str], partitions: Sequence[str]) -> dict[str, str]:
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
    too_long = any(len(part.encode(errors="surrogatepass")) > LONGEST for part in parts)
    if end != len(value) + 1 or len(parts) > most or not value.isprintable() or too_long:
        raise InvalidInput(
            f"--{option} {value[:100]!r} is not a name.",
            cause=f"A name is letters, digits and _, at most {LONGEST} bytes"
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
    while len(f"{table}_{column}_{ending}".encode()) > LONGEST:
        if len(table.encode()) > len(column.encode()):
            table = table[:-1]
        else:
            column = column[:-1]
    return f"{table}_{column}_{ending}"
