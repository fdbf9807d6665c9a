"""SQL that would mend a deviation, where its definitions say enough: verify recommends it, a person runs it."""

from __future__ import annotations

import re
from collections.abc import Callable

from aurora_migrations.engine.catalog.compare import Deviation
from aurora_migrations.engine.catalog.facts import QUALIFIED, comment_on, parts_of

_COLUMN = re.compile(
    r"(?P<type>.+?)(?: COLLATE (?P<collation>\S+))?(?P<not_null> NOT NULL)?"
    r"(?P<generated> GENERATED (?:ALWAYS|BY DEFAULT) AS .+?)?(?: DEFAULT (?P<default>.+?))?"
    r"(?: STORAGE \w+)?(?: COMPRESSION \w+)?(?: STATISTICS \d+)?(?: \([^()]*=[^()]*\))?",
    re.DOTALL,
)
_FLAGS = re.compile(r"( PARTITION OF \S+| CLUSTER| REPLICA IDENTITY| INVALID| NOT READY)+\Z")
_TRIGGER_STATE = re.compile(r" (DISABLED|ENABLE REPLICA|ENABLE ALWAYS)\Z")
_COMMENTED = {"table", "partitioned table", "column", "view", "materialized view", "index", "sequence", "schema"}


def mend(deviation: Deviation, constraint: bool = False) -> str:
    """The SQL; empty where none is known. `constraint`: it is an index, and a constraint of its name is expected."""
    kind = "partitioned index" if deviation.key[0] == "index" and constraint else deviation.key[0]
    write = _BY_KIND.get(kind)
    hashed = re.search(r"\b(?:query|body) [0-9a-f]{32}", deviation.expected or "")
    return "" if write is None or hashed or deviation.expected is None else write(deviation)


def _split(deviation: Deviation) -> tuple[str, str]:
    """A table, and the name of what is in it; both as SQL writes them."""
    identity = deviation.key[1]
    match = re.search(r'\.("(?:[^"]|"")*"|[^".]+)\Z', identity)
    return (identity[: match.start()], match[1]) if match else (identity, "")


def _index(deviation: Deviation) -> str:
    name, expected, found = deviation.key[1], _FLAGS.sub("", deviation.expected or ""), deviation.found
    if found and _FLAGS.sub("", found) == expected:
        return f"REINDEX INDEX CONCURRENTLY {name};" if re.search(r"INVALID|NOT READY", found) else ""
    create = re.sub(r"\A(CREATE (?:UNIQUE )?INDEX )", r"\1CONCURRENTLY ", expected)
    return f"DROP INDEX CONCURRENTLY {name}; {create};" if found else f"{create};"


def _constraint(deviation: Deviation) -> str:
    table, name = _split(deviation)
    expected, found = str(deviation.expected), deviation.found
    if found == f"{expected} NOT VALID":
        return f"ALTER TABLE {table} VALIDATE CONSTRAINT {name};"
    if found == f"{expected} DISABLED":  # of a foreign key, by a trigger of either table
        other = re.search(rf" REFERENCES ({QUALIFIED})", expected)
        tables = (table, *([other[1]] if other and other[1] != table else []))
        return " ".join(f"ALTER TABLE {each} ENABLE TRIGGER ALL;" for each in tables)
    drop = f"DROP CONSTRAINT {name}, " if found else ""
    return f"ALTER TABLE {table} {drop}ADD CONSTRAINT {name} {expected.removesuffix(' DISABLED')};"


def _column(deviation: Deviation) -> str:
    table, name = _split(deviation)
    expected = _COLUMN.fullmatch(str(deviation.expected))
    found = _COLUMN.fullmatch(deviation.found) if deviation.found else None
    if expected is None or (deviation.found and found is None):
        return ""
    collate = f" COLLATE {expected['collation']}" if expected["collation"] else ""
    default = f" DEFAULT {expected['default']}" if expected["default"] else ""
    if found is None:
        rest = f"{expected['not_null'] or ''}{expected['generated'] or ''}{default}"
        return f"ALTER TABLE {table} ADD COLUMN {name} {expected['type']}{collate}{rest};"
    changes = []
    if (expected["type"], expected["collation"]) != (found["type"], found["collation"]):
        changes.append(f"TYPE {expected['type']}{collate} USING {name}::{expected['type']}")
    if expected["default"] != found["default"]:
        changes.append(f"SET{default}" if default else "DROP DEFAULT")
    if expected["not_null"] != found["not_null"]:
        changes.append("SET NOT NULL" if expected["not_null"] else "DROP NOT NULL")
    return f"ALTER TABLE {table} {', '.join(f'ALTER COLUMN {name} {change}' for change in changes)};" if changes else ""


def _trigger(deviation: Deviation) -> str:
    table, name = _split(deviation)
    create, state = _trigger_state(str(deviation.expected))
    found, other_state = _trigger_state(deviation.found or "")
    sql = []
    if create != found:
        sql += [*([f"DROP TRIGGER {name} ON {table};"] if found else []), f"{create};"]
        other_state = "ENABLE"
    if state != other_state:
        sql.append(f"ALTER TABLE {table} {state} TRIGGER {name};")
    return " ".join(sql)


def _trigger_state(definition: str) -> tuple[str, str]:
    """What makes a trigger, and the verb that sets its state."""
    match = _TRIGGER_STATE.search(definition)
    return (definition[: match.start()], match[1].removesuffix("D")) if match else (definition, "ENABLE")


def _table(deviation: Deviation) -> str:
    if deviation.found is None:
        return ""
    missing = [
        setting
        for setting in ("ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY")
        if setting in str(deviation.expected) and setting not in deviation.found
    ]
    return f"ALTER TABLE {deviation.key[1]} {', '.join(missing)};" if missing else ""


def _enum(deviation: Deviation) -> str:
    labels = re.findall(r"'(?:[^']|'')*'", str(deviation.expected))
    if deviation.found is None:
        return f"CREATE TYPE {deviation.key[1]} AS ENUM ({', '.join(labels)});"
    found = re.findall(r"'(?:[^']|'')*'", deviation.found)
    if [label for label in labels if label in found] != found:
        return ""  # none can be removed, nor moved
    lines = []
    for before, label in zip(["", *labels], labels, strict=False):
        if label not in found:
            lines.append(f"ALTER TYPE {deviation.key[1]} ADD VALUE {label}{f' AFTER {before}' if before else ''};")
    return " ".join(lines)


def _sequence(deviation: Deviation) -> str:
    verb = "CREATE" if deviation.found is None else "ALTER"
    return f"{verb} SEQUENCE {deviation.key[1]} {deviation.expected};"


def _comment(deviation: Deviation) -> str:
    kind, identity = comment_on(deviation.key[1])
    words = "TABLE" if kind == "partitioned table" else kind.upper()
    return f"COMMENT ON {words} {identity} IS {deviation.expected};" if kind in _COMMENTED else ""


def _as_defined(deviation: Deviation) -> str:
    return f"{deviation.expected};" if deviation.found is None else ""


_BY_KIND: dict[str, Callable[[Deviation], str]] = {
    "column": _column,
    "comment": _comment,
    "constraint": _constraint,
    "domain": lambda each: f"CREATE DOMAIN {each.key[1]} AS {each.expected};" if each.found is None else "",
    "enum": _enum,
    "extension": lambda each: f"CREATE EXTENSION {parts_of(each.key[1])[0]};",
    "index": _index,
    "schema": lambda each: f"CREATE SCHEMA {each.key[1]};",
    "sequence": _sequence,
    "statistics": _as_defined,
    "table": _table,
    "trigger": _trigger,
}
