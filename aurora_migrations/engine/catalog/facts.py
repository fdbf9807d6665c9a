"""Facts of the catalogue: every object of a database by kind and identity, with its definition as text.

One query reads them all, or only those of some objects. It scans no table; to write a definition as text, PostgreSQL
locks its table for a moment as a SELECT does, so it waits where somebody has locked that exclusively. Facts are what
migrations make: no owners and privileges, which differ between environments, no versions of extensions and none of
their members, nothing that is temporary, nothing of PostgreSQL's own and nothing of our own schema.

A view's query, and any expression with a query in it, is deparsed differently by different major versions. Such a text
appears as its hash, after the word `query`, and is compared only between servers of one major version; see `same`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence

from aurora_migrations.engine.catalog.parts import PARTS, Part
from aurora_migrations.engine.postgres.protocol import Command, Row
from aurora_migrations.engine.postgres.session import Session

# kind, such as `index`, and the identity within it, quoted as quote_ident does: `public.orders_total_idx`.
Key = tuple[str, str]
Facts = dict[Key, str]

_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^".(\s]+)'
_QUALIFIED = re.compile(rf"{_IDENTIFIER}\.{_IDENTIFIER}")
_QUERY = re.compile(r"query [0-9a-f]{32}")


def container(key: Key) -> str:
    """The object that a fact belongs to, as SQL names it: of a column or a trigger, its table; of all else, itself."""
    kind, identity = key
    if kind == "comment":
        kind, identity = comment_on(identity)
    found = _QUALIFIED.match(identity)
    return found[0] if found else identity


def comment_on(identity: str) -> Key:
    """What a comment is on."""
    kind = next(kind for kind in _LONGEST_FIRST if identity.startswith(f"{kind} "))
    return kind, identity[len(kind) + 1 :]


def same(expected: str, found: str, same_major: bool) -> bool:
    """Whether two definitions are one. `same_major`: whether both servers are of the same major version."""
    if expected == found or same_major:
        return expected == found
    return _QUERY.sub("query", expected) == _QUERY.sub("query", found)


# `$1` are the objects wanted, as a JSON array of their names; without it, everything is read.
_WANTED = """
    wanted AS MATERIALIZED (
        SELECT p.name[1] AS schema, p.name[2] AS name
          FROM pg_catalog.json_array_elements_text($1::pg_catalog.json) AS w (value),
               LATERAL (SELECT pg_catalog.parse_ident(w.value, false)) AS p (name)),"""
_SCHEMAS = """
    n AS MATERIALIZED (
        SELECT n.oid, n.nspname, pg_catalog.quote_ident(n.nspname) AS name FROM pg_catalog.pg_namespace n
         WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'aurora_migrations'))"""
_RELATIONS = """,
    r AS MATERIALIZED (
        SELECT c.oid, c.relkind, n.name || '.' || pg_catalog.quote_ident(c.relname) AS name,
               i.indrelid, i.indisvalid, i.indisready, i.indislive, i.indisclustered, i.indisreplident
          FROM n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
          LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
         WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'i', 'I') AND c.relpersistence <> 't'{limit}
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                            WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                              AND e.objid = COALESCE(i.indrelid, c.oid) AND e.deptype = 'e'))"""
_LIMIT = " AND (n.nspname, {name}) IN (SELECT w.schema, w.name FROM wanted w)"
_COMMENTS = """
    UNION ALL
    SELECT 'comment', f.kind || ' ' || f.identity, pg_catalog.quote_literal(d.description)
      FROM found f JOIN pg_catalog.pg_description d
        ON d.classoid = f.catalogue AND d.objoid = f.oid AND d.objsubid = f.number
     WHERE f.kind <> 'extension'"""  # whose comment comes with its version
# Each kind with its part; the longest first, as `operator class` begins with another kind.
_KINDS = {kind: part for part in PARTS for kind in part.kinds}
_LONGEST_FIRST = sorted(_KINDS, key=len, reverse=True)


def query(keys: Collection[Key] | None = None) -> Command:
    """The query for all facts, or for those with these keys; it also returns others of the same objects. It needs
    `OURS` before it: names in definitions are qualified only where `search_path` doesn't find them."""
    if keys is None:
        return Command(_query(PARTS, limited=False, comments=True))
    objects = [(key, comment_on(key[1])[0] if key[0] == "comment" else key[0]) for key in keys]
    parts = [part for part in PARTS if any(_KINDS[kind] is part for _, kind in objects)]
    comments = any(kind == "comment" for kind, _ in keys)
    names = sorted({container(key) for key, kind in objects if _KINDS[kind].limited_by})
    if not names:
        return Command(_query(parts, limited=False, comments=comments))
    return Command(_query(parts, limited=True, comments=comments), [json.dumps(names, ensure_ascii=False)])


def facts_of(rows: Iterable[Row]) -> Facts:
    """The facts in the answer of the query."""
    return {(str(kind), str(identity)): str(definition or "") for kind, identity, definition in rows}


def read_facts(session: Session, keys: Collection[Key] | None = None) -> Facts:
    """All facts of a database, or those with these keys that are there. In a transaction of its own."""
    if keys is not None and not keys:
        return {}
    command = query(keys)
    found = facts_of(session.query(command.sql, *command.params))
    return found if keys is None else {key: found[key] for key in keys if key in found}


def _query(parts: Sequence[Part], limited: bool, comments: bool) -> str:
    texts = [
        part.sql + (_LIMIT.format(name=part.limited_by) if limited and part.limited_by not in ("", "relation") else "")
        for part in parts
    ]
    relations = any(part.limited_by == "relation" for part in parts)
    return (
        f"WITH {_WANTED if limited else ''}{_SCHEMAS}"
        + (_RELATIONS.format(limit=_LIMIT.format(name="c.relname") if limited else "") if relations else "")
        + f",\n    found (catalogue, oid, number, kind, identity, definition) AS ({' UNION ALL '.join(texts)})"
        + "\n    SELECT kind, identity, definition FROM found"
        + (_COMMENTS if comments else "")
    )
