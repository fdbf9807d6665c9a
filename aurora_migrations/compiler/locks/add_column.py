"""The cases of ADD COLUMN: what the definition of a new column requires."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import postgast

from aurora_migrations.compiler.locks import syntax_tree
from aurora_migrations.compiler.locks.rules import SERIAL, STEADY, TYPES, VOLATILE

_C = postgast.pg_query_pb2.ConstrType
_INDEXED = (_C.CONSTR_UNIQUE, _C.CONSTR_PRIMARY)


def cases(column: Any, types: Mapping[str, bool]) -> Iterator[str]:
    """The cases that apply to a column, named as in the table of rules."""
    constraints = {each.constraint.contype: each.constraint for each in column.constraints}
    value = _value(column, constraints)
    yield value
    yield from _of_the_type(column.type_name, types)
    if _C.CONSTR_NOTNULL in constraints and value == "virtual":
        yield "virtual NOT NULL"
    if _C.CONSTR_NOTNULL in constraints and value == "no default":
        yield "NOT NULL"
    if _C.CONSTR_CHECK in constraints:
        yield "CHECK"
    if any(each in constraints for each in _INDEXED):
        yield "UNIQUE"
    if _C.CONSTR_FOREIGN in constraints:
        yield "REFERENCES" if value == "no default" else "REFERENCES with a default"


def _value(column: Any, constraints: Mapping[int, Any]) -> str:
    """Where existing rows get the new column's value from."""
    if is_serial(column):
        return "serial"
    if _C.CONSTR_IDENTITY in constraints:
        return "identity"
    if _C.CONSTR_GENERATED in constraints:
        return "virtual" if constraints[_C.CONSTR_GENERATED].generated_kind == "v" else "stored"
    if _C.CONSTR_DEFAULT not in constraints:
        return "no default"
    expression = syntax_tree.inner(constraints[_C.CONSTR_DEFAULT].raw_expr)
    if expression.DESCRIPTOR.name == "A_Const" and expression.isnull:
        return "no default"
    # One with a schema of its own keeps it, so it is no known one; no parts if the tree was too deep to be kept.
    called = set[str]()
    for call in syntax_tree.walk(expression):
        if call.DESCRIPTOR.name == "FuncCall":
            parts = syntax_tree.strings(call.funcname)
            is_known = len(parts) == 1 or parts[:1] in (["pg_catalog"], ["public"], ["extensions"])
            called.add(parts[-1] if is_known else ".".join(parts))
    if called & VOLATILE:
        return "volatile default"
    return "default of unknown volatility" if called - STEADY else "constant default"


def _of_the_type(type_name: Any, types: Mapping[str, bool]) -> Iterator[str]:
    """Only a domain matters; an array never is one."""
    parts = syntax_tree.strings(type_name.names)
    name = parts[-1] if parts else ""
    if parts[:1] == ["pg_catalog"] or type_name.array_bounds or type_name.setof:
        return
    if name in types:
        if types[name]:
            yield "constrained domain"
    elif name not in TYPES and name not in SERIAL:
        yield "unknown type"


def is_serial(column: Any) -> bool:
    """Whether a column has a sequence of its own by its type."""
    parts = syntax_tree.strings(column.type_name.names)
    return len(parts) == 1 and parts[0] in SERIAL


def is_identity(column: Any) -> bool:
    """Whether a column has a sequence of its own as an identity."""
    return any(each.constraint.contype == _C.CONSTR_IDENTITY for each in column.constraints)


def foreign_keys(column: Any) -> Iterator[Any]:
    for each in column.constraints:
        if each.constraint.contype == _C.CONSTR_FOREIGN:
            yield each.constraint


def all_foreign_keys(elements: Iterable[Any]) -> Iterator[Any]:
    """Those of a new table: of its columns and of its own."""
    for element in elements:
        if element.HasField("column_def"):
            yield from foreign_keys(element.column_def)
        elif element.HasField("constraint") and element.constraint.contype == _C.CONSTR_FOREIGN:
            yield element.constraint
