"""Trees too deep for protobuf, which stops at 100 levels: a sum of 50 terms is one.

PostgreSQL's grammar reads such a statement well; only its way to us, through protobuf, doesn't. libpg_query also gives
trees as JSON, which is cut here below a depth that no rule of ours looks at, and then read as any other tree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import postgast
from postgast import native

_KEPT = 60  # levels of JSON objects
_LEAF = '{"A_Const":{"isnull":true}}'
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]')
_NODE = re.compile(r'\{"[A-Z]')  # an object that says of which kind its one member is


def parse_deep(text: bytes) -> Any:
    """The tree of one statement that the grammar is known to accept, cut below `_KEPT` levels."""
    result = native.lib.pg_query_parse(text)
    try:
        tree = (result.parse_tree or b"").decode()
    finally:
        native.lib.pg_query_free_parse_result(result)
    message = postgast.pg_query_pb2.ParseResult()
    _fill(message, json.loads("".join(_cut(tree))))
    return message


def _fill(message: Any, values: Mapping[str, Any]) -> None:
    """Puts JSON into a message. protobuf's own json_format does the same, in ten times the time."""
    fields = _fields(message.DESCRIPTOR)
    for key, value in values.items():
        if key not in fields:
            continue
        name, is_list, enum, is_message = fields[key]
        if is_message and is_list:
            for each in value:
                _fill(getattr(message, name).add(), each)
        elif is_message:
            child = getattr(message, name)
            child.SetInParent()
            _fill(child, value)
        elif is_list:
            getattr(message, name).extend(enum[each] if enum else each for each in value)
        else:
            setattr(message, name, enum[value] if enum else value)


@lru_cache(maxsize=1024)
def _fields(descriptor: Any) -> dict[str, tuple[str, bool, dict[str, int], bool]]:
    """Its fields by their names in JSON: the name here, whether it is a list, numbers of an enumeration, whether it
    holds messages."""
    return {
        key: (field.name, is_list(field), _numbers(field.enum_type), field.message_type is not None)
        for field in descriptor.fields
        for key in (field.name, field.json_name)
    }


def _numbers(enum: Any) -> dict[str, int]:
    return {value.name: value.number for value in enum.values} if enum else {}


def is_list(field: Any) -> bool:
    """Whether a field holds several; older versions of protobuf say it otherwise."""
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED)


def _cut(tree: str) -> Iterator[str]:
    """The JSON without the objects that lie too deep, in the order of the text: no recursion, however deep it is."""
    depth = kept_to = 0
    for mark in _MARKS.finditer(tree):
        if mark[0] == "{":
            depth += 1
            if depth == _KEPT + 1:
                yield tree[kept_to : mark.start()]
                yield _LEAF if _NODE.match(tree, mark.start()) else "{}"
        elif mark[0] == "}":
            depth -= 1
            if depth == _KEPT:
                kept_to = mark.end()
    yield tree[kept_to:]
