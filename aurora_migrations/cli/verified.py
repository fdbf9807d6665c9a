"""What verify found, as a table for people: tables, their rows and size, their indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aurora_migrations.cli.output import print_table

_UNITS = ("bytes", "kB", "MB", "GB", "TB")
_THOUSAND = 1024
_FIT = "valid and ready"


def print_verified(verified: Mapping[str, Any]) -> None:
    """Prints it, and nothing where nothing was looked at."""
    tables = verified["tables"]
    if tables:
        rows = [_row(table) for table in tables]
        print_table(("Table", "Rows", "Size", "Indexes"), rows, long=("Table", "Indexes"))
    more = verified["tables_count"] - len(tables)
    if more:
        print(f"... and {more} more tables")
    for check in verified["always"]:
        print(f"Kept: {check['promise']} (found {check['found']})")


def _row(table: Mapping[str, Any]) -> tuple[str, str, str, str]:
    if not table["exists"]:
        return table["table"], "not there", "", ""
    indexes = [_index(index) for index in table["indexes"]]
    return table["table"], _rows(table), _size(table["bytes"]), "\n".join(indexes) or "none"


def _rows(table: Mapping[str, Any]) -> str:
    if table["rows"] is None:
        return "unknown"
    return str(table["rows"]) if table["counted"] else f"about {table['rows']}"


def _index(index: Mapping[str, Any]) -> str:
    return index["index"] if index["state"] == _FIT else f"{index['index']} ({index['state']})"


def _size(size: int | None) -> str:
    if size is None:
        return ""
    number, unit = float(size), 0
    while number >= _THOUSAND and unit < len(_UNITS) - 1:
        number, unit = number / _THOUSAND, unit + 1
    return f"{number:.0f} {_UNITS[unit]}"
