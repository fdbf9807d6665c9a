"""Tools with both directions in one file, separated by comments: one function per tool."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

from aurora_migrations.adoption.files import OFF, Found, find, read
from aurora_migrations.engine.migrations import Problem, invalid_files


def read_goose(folder: Path) -> Iterator[Found]:
    """`-- +goose Up`, `-- +goose Down`, `-- +goose StatementBegin`, `-- +goose NO TRANSACTION`."""
    annotation = re.compile(r"\s*--\s*\+goose\s+(?P<word>\w+)(?P<rest>.*)", re.IGNORECASE)
    return _annotated(folder, r"([0-9]+)_(.*)\.sql", annotation, "transaction")


def read_sql_migrate(folder: Path) -> Iterator[Found]:
    """`-- +migrate Up notransaction`, `-- +migrate Down`, `-- +migrate StatementBegin`."""
    annotation = re.compile(r"-- \+migrate\s+(?P<word>\w+)(?P<rest>.*)")
    return _annotated(folder, r"([0-9]*)[_-]?(.*)\.sql", annotation, "notransaction")


def read_dbmate(folder: Path) -> Iterator[Found]:
    """`-- migrate:up transaction:false`, `-- migrate:down`."""
    annotation = re.compile(r"--\s*migrate:(?P<word>up|down)\b(?P<rest>.*)")
    return _annotated(folder, r"([0-9]+)[_-]?(.*)\.sql", annotation, "transaction:false")


def _annotated(folder: Path, name: str, annotation: re.Pattern[str], off: str) -> Iterator[Found]:
    for file in find(folder, "*.sql"):
        match = re.fullmatch(name, file.name)
        if match:
            sections = _sections(read(file), annotation, off)
            if sections is None:
                raise invalid_files([Problem(file.name, "has no line that begins the up part; its tool refuses it")])
            yield Found((file,), match[1], match[2], sections["up"], sections["down"])


def _sections(text: str, annotation: re.Pattern[str], off: str) -> dict[str, str] | None:
    """The texts of `up` and `down`; None if there is no `up`. `off` is the annotation for no
    transaction."""
    lines: dict[str, list[str]] = {"up": [], "down": [], "before": []}
    without: set[str] = set()
    now, begun = "before", set[str]()
    for line in StringIO(text):
        match = annotation.match(line)
        word = match["word"].lower() if match else ""
        if word in ("up", "down"):
            now = word
            begun.add(word)
        if match and off in match["rest"].lower():
            without |= {word} if word == now else {"up", "down"}  # in goose it applies to the whole file
        if word == "statementend":
            lines[now] += _ending(lines[now])
        elif word not in ("up", "down", "statementbegin", "no"):
            lines[now].append(line)
    if "up" not in begun:
        return None
    return {role: (OFF if role in without else "") + "".join(lines[role]) for role in ("up", "down")}


def _ending(lines: Sequence[str]) -> list[str]:
    """What ends a statement that its tool ends by an annotation: nothing, if it surely ends with a semicolon."""
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return [] if last.endswith(";") and "--" not in last else [";\n"]


def read_tern(folder: Path) -> Iterator[Found]:
    """`001_name.sql`: above `---- create above / drop below ----` what creates, below what drops."""
    for file in find(folder, "*.sql"):
        if match := re.fullmatch(r"([0-9]+)_(.+)\.sql", file.name):
            up, _, down = read(file).partition("---- create above / drop below ----")
            up, down = (f"{OFF if _TERN_OFF.search(part) else ''}{part}" for part in (up, down.lstrip("\n")))
            yield Found((file,), match[1], match[2], up, down)


_TERN_OFF = re.compile(r"^---- tern: disable-tx ----$", re.MULTILINE)
