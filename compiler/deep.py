"""Trees too deep for protobuf, which stops at 100 levels: a sum of 50 terms is one.

PostgreSQL's grammar reads such a statement well; only its way to us, through protobuf, doesn't. libpg_query also gives
trees as JSON, which is cut here below a depth that no rule of ours looks at, and then read as any other tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import postgast
from google.protobuf import json_format
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
    return json_format.Parse("".join(_cut(tree)), postgast.pg_query_pb2.ParseResult(), ignore_unknown_fields=True)


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
