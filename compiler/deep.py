"""Trees too deep for protobuf, which stops at 100 levels: a sum of 50 terms is one.

PostgreSQL's grammar reads such a statement well; only its way to us, through protobuf, doesn't. libpg_query also gives
trees as JSON, which is cut here below a depth that no rule of ours looks at, and then read as any other tree.
"""

from __future__ import annotations

import json
import re
from typing import Any

import postgast
from google.protobuf import json_format
from postgast import native

_KEPT = 60  # levels of JSON
_LEAF: dict[str, Any] = {"A_Const": {"isnull": True}}
_KIND = re.compile(r'"stmt":\{"(\w+)":')


def parse_deep(text: bytes) -> Any:
    """The tree of one statement that the grammar is known to accept, cut below `_KEPT` levels."""
    result = native.lib.pg_query_parse(text)
    try:
        tree = (result.parse_tree or b"").decode()
    finally:
        native.lib.pg_query_free_parse_result(result)
    try:
        kept = _cut(json.loads(tree), _KEPT)
    except RecursionError:
        kind = _KIND.search(tree)
        kept = {"stmts": [{"stmt": {kind[1] if kind else "SelectStmt": {}}}]}
    return json_format.ParseDict(kept, postgast.pg_query_pb2.ParseResult(), ignore_unknown_fields=True)


def _cut(value: Any, depth: int) -> Any:
    if isinstance(value, list):
        return [_cut(item, depth) for item in value]
    if not isinstance(value, dict):
        return value
    if depth == 0:
        is_node = len(value) == 1 and next(iter(value))[:1].isupper()
        return _LEAF if is_node else {}
    return {key: _cut(item, depth - 1) for key, item in value.items()}
