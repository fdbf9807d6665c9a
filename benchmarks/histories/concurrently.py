"""A copy of a folder in which nothing is done CONCURRENTLY, so that all of it can stay in transactions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import postgast

from aurora_migrations.compiler.nontransactional import nontransactional
from aurora_migrations.compiler.parser import NotSql, Statement, parse
from aurora_migrations.engine.migrations import Package, read_text


def copy_without(package: Package, destination: Path) -> list[str]:
    """Copies a package's files, leaving the word out; returns the names of the files that had it."""
    changed = []
    for migration in package.migrations:
        for path in filter(None, (migration.path, migration.down, migration.verify)):
            text = read_text(path)
            without = text_without(text)
            if without != text:
                changed.append(path.name)
                (destination / path.name).write_bytes(without)
            else:
                shutil.copyfile(path, destination / path.name)
    return changed


def text_without(text: bytes) -> bytes:
    """The text, each CONCURRENTLY that keeps a statement out of transactions overwritten with blanks.

    Positions stay what they were. A text that isn't SQL stays as it is.
    """
    try:
        statements = parse(text)
    except NotSql:
        return text
    changed = bytearray(text)
    for start, end in _words(statements):
        changed[start:end] = b" " * (end - start)
    return bytes(changed)


def _words(statements: Sequence[Statement]) -> Iterator[tuple[int, int]]:
    names = postgast.pg_query_pb2.Token.Name
    for statement in statements:
        found = nontransactional(statement)
        if found and found.is_concurrent:
            for token in postgast.scan(statement.text.decode()).tokens:
                if names(token.token) == "CONCURRENTLY":
                    yield statement.start + token.start, statement.start + token.end
