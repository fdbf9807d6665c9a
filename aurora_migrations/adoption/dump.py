"""What `pg_dump --schema-only` writes, as a migration: its statements, without those about the dump, owners and rights.

Owners and privileges differ between environments. The settings are those of the session that restores a dump; one is
kept: functions are written before what their bodies name.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_migrations.compiler.foreign_markers import without_restrict
from aurora_migrations.compiler.parser import NotSql, Statement, parse
from aurora_migrations.engine.diagnostics.redaction import position
from aurora_migrations.engine.errors import InvalidInput
from aurora_migrations.engine.migrations import read_text

_DATA = re.compile(rb"^COPY [^\n]* FROM stdin;$", re.MULTILINE)
_BODIES = "SET check_function_bodies = false;"
# Kinds of statements that are left out, and what they are called in the message.
_LEFT_OUT: Mapping[str, str] = {
    "AlterOwnerStmt": "ALTER ... OWNER TO",
    "GrantStmt": "GRANT, REVOKE",
    "GrantRoleStmt": "GRANT, REVOKE",
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "VariableSetStmt": "SET",
}


@dataclass(frozen=True)
class Dump:
    """A dump as the text of a migration."""

    text: str
    left_out: Mapping[str, int]  # how many statements of which kind were left out


def read_dump(path: Path) -> Dump:
    """Reads a file that pg_dump has written.

    Raises:
        InvalidInput: it has rows, isn't a dump in plain text, or has nothing in it.
        InvalidFile: it can't be read, or isn't UTF-8.
    """
    if not path.is_file():
        raise _unusable(path, "isn't a file", "There is none, or it is a folder.")
    with path.open("rb") as file:
        if file.read(5) == b"PGDMP":
            raise _unusable(path, "isn't text", "It was written in pg_dump's own format (-Fc or -Ft).")
    text, *_ = without_restrict(read_text(path))
    if rows := _DATA.search(text):
        line = position(text, rows.start())[0]
        what = f"contains rows, the first at line {line}"
        raise _unusable(path, what, "A migration can't carry the data of COPY FROM stdin.")
    try:
        statements = parse(text)
    except NotSql as error:
        line = position(text, error.offset)[0]
        raise _unusable(path, f"can't be read at line {line}: {error}", "It isn't what pg_dump writes.") from error
    kept, left_out = [], Counter[str]()
    for statement in statements:
        if why := _why_left_out(statement):
            left_out[why] += 1
        else:
            kept.append(statement.text.strip().decode())
    if not kept:
        raise _unusable(path, "creates nothing", "It has only settings, owners and privileges.")
    return Dump("".join(f"{each}\n\n" for each in (_BODIES, *(f"{each};" for each in kept))), left_out)


def _why_left_out(statement: Statement) -> str | None:
    kind, node = statement.kind, statement.node
    if kind == "AlterTableStmt" and all(_subtype(each) == "AT_ChangeOwner" for each in node.cmds):
        return _LEFT_OUT["AlterOwnerStmt"]
    if kind == "SelectStmt" and b"set_config" in statement.text:
        return _LEFT_OUT["VariableSetStmt"]
    if kind == "CreateSchemaStmt" and node.schemaname == "public":
        return "CREATE SCHEMA public"
    if kind == "CommentStmt" and statement.text.upper().startswith(
        (b"COMMENT ON EXTENSION", b"COMMENT ON SCHEMA PUBLIC")
    ):
        return "COMMENT ON EXTENSION, SCHEMA public"
    return _LEFT_OUT.get(kind)


def _subtype(command: Any) -> str:
    node = command.alter_table_cmd
    return str(node.DESCRIPTOR.fields_by_name["subtype"].enum_type.values_by_number[node.subtype].name)


def _unusable(path: Path, what: str, cause: str) -> InvalidInput:
    return InvalidInput(
        f"{path} {what}.",
        cause=cause,
        solution="Write the dump again: pg_dump --schema-only --no-owner --no-privileges --file FILE URL. Leave out "
        "what isn't yours with --exclude-table and --exclude-schema.",
    )
