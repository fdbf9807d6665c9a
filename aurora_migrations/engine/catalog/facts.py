"""Facts of the catalogue: every object of a database by kind and identity, with its definition as text.

One query reads them all, or only those of some objects. It scans no table; to write a definition as text, PostgreSQL
locks its table for a moment as a SELECT does, so it waits where somebody has locked that exclusively. Facts are what
migrations make: no owners and privileges, which differ between environments, no versions of extensions and none of
their members, nothing that is temporary, nothing of PostgreSQL's own and nothing of our own schema.

A view's query, and any expression with a query in it, is deparsed differently by different major versions. Such a text
appears as its hash, after the word `query`, and is compared only between servers of one major version; see `same`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from functools import cache

from aurora_migrations.engine.catalog.parts import OUTSIDE, PARTS, without_marks
from aurora_migrations.engine.postgres.protocol import Command, Row
from aurora_migrations.engine.postgres.session import Session

# kind, such as `index`, and the identity within it, quoted as quote_ident does: `public.orders_total_idx`.
Key = tuple[str, str]
Facts = dict[Key, str]

_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^".(\s]+)'
QUALIFIED = rf"{_IDENTIFIER}\.{_IDENTIFIER}"  # a regular expression for a schema and a name in it
_QUALIFIED = re.compile(QUALIFIED)
_PART = re.compile(_IDENTIFIER)
_NAME = re.compile(rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*")
_QUERY = re.compile(r"query [0-9a-f]{32}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?\+00")
_MOST_APART = timedelta(hours=15)  # of two time zones, and an hour for summer
# The roles of a policy, where one of them is the role that has read it.
_OWN_ROLE = re.compile(
    r"\A((?:AS RESTRICTIVE )?FOR [A-Z]+) TO [^(]*?\bCURRENT_USER\b.*?(?= USING \(| WITH CHECK \(|\Z)"
)
_ROLES = re.compile(r"\A((?:AS RESTRICTIVE )?FOR [A-Z]+) TO .*?(?= USING \(| WITH CHECK \(|\Z)")
_EXPRESSION = re.compile("\x01(.*?)\x02", re.DOTALL)
_HAS_QUERY = re.compile(r"\bselect\b", re.IGNORECASE)


def container(key: Key) -> str:
    """The object that a fact belongs to, as SQL names it: of a column or a trigger, its table; of all else, itself."""
    kind, identity = key
    if kind == "comment":
        kind, identity = comment_on(identity)
    found = _QUALIFIED.match(identity)
    return found[0] if found else identity


def parts_of(identity: str) -> list[str]:
    """The names of which an identity consists, without quotes: schema, object, and what is in that."""
    found = _NAME.match(identity)
    return [_unquoted(part) for part in _PART.findall(found[0])] if found else []


def comment_on(identity: str) -> Key:
    """What a comment is on."""
    kind = next(kind for kind in _LONGEST_FIRST if identity.startswith(f"{kind} "))
    return kind, identity[len(kind) + 1 :]


def same(expected: str, found: str, same_major: bool) -> bool:
    """Whether two definitions are one. `same_major`: whether both servers are of the same major version."""
    if expected == found:
        return True
    if not same_major:
        expected, found = _QUERY.sub("query", expected), _QUERY.sub("query", found)
    if _OWN_ROLE.match(expected) or _OWN_ROLE.match(found):  # each environment's migrations run as another role
        expected, found = _ROLES.sub(r"\1", expected), _ROLES.sub(r"\1", found)
    # A constant with a time zone is what the file says in the time zone of its session: databases have different ones.
    times = zip(_TIME.findall(expected), _TIME.findall(found), strict=False)
    return _TIME.sub("", expected) == _TIME.sub("", found) and all(_are_near(*each) for each in times)


# The schemas that are read; of some objects, those of each, with its name. `$1` are JSON pairs of schema and name.
_SCHEMAS = f"""
    n AS MATERIALIZED (
        SELECT s.oid, pg_catalog.quote_ident(s.nspname) AS name
          FROM pg_catalog.pg_namespace s WHERE {OUTSIDE.format("s")})"""
_SCHEMAS_OF_SOME = """
    n AS MATERIALIZED (
        SELECT s.oid, pg_catalog.quote_ident(s.nspname) AS name, w.value->>1 AS object
          FROM pg_catalog.json_array_elements($1::pg_catalog.json) AS w (value)
          JOIN pg_catalog.pg_namespace s ON s.nspname = w.value->>0)"""
_RELATIONS = """,
    r AS MATERIALIZED (
        SELECT n.name || '.' || pg_catalog.quote_ident(c.relname) AS name, c.oid, c.relkind, c.relpersistence,
               c.reloftype, c.relispartition, c.relpartbound, c.relrowsecurity, c.relforcerowsecurity, c.relreplident,
               c.reloptions, i.indisvalid, i.indisready, i.indislive, i.indisclustered, i.indisreplident,
               CASE WHEN c.relam NOT IN (0, 2) AND i.indexrelid IS NULL
                    THEN (SELECT pg_catalog.quote_ident(a.amname) FROM pg_catalog.pg_am a WHERE a.oid = c.relam)
                END AS method,  -- 2 is heap
               CASE WHEN c.relispartition OR c.relkind IN ('r', 'f')
                    THEN (SELECT pg_catalog.string_agg(h.inhparent::pg_catalog.regclass::text, ', ' ORDER BY h.inhseqno)
                            FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
                END AS parents
          FROM n JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid{limit}
          LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
         WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'i', 'I') AND c.relpersistence <> 't'{no_member})"""
_NO_MEMBER = """
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                            WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                              AND e.objid = COALESCE(i.indrelid, c.oid) AND e.deptype = 'e')"""
_COMMENTS = """
    UNION ALL
    SELECT 'comment', f.kind || ' ' || f.identity, pg_catalog.quote_literal(d.description)
      FROM found f JOIN pg_catalog.pg_description d
        ON d.classoid = f.catalogue AND d.objoid = f.oid AND d.objsubid = f.number
     WHERE f.kind <> 'extension'"""  # whose comment comes with its version
_ASSERTION = """
    SELECT 1 / (COALESCE(pg_catalog.jsonb_object_agg(kind || ' ' || identity, COALESCE(definition, '')), '{{}}')
                @> $2::pg_catalog.jsonb
                AND pg_catalog.count(*) FILTER (WHERE $3::pg_catalog.jsonb ? (kind || ' ' || identity)) = 0)::int
      FROM ({query}) AS found
"""
# Each kind with its part; the longest first, as `operator class` begins with another kind.
_KINDS = {kind: part for part in PARTS for kind in part.kinds}
_LONGEST_FIRST = sorted(_KINDS, key=len, reverse=True)


def query(keys: Collection[Key] | None = None, schema: str = "public") -> Command:
    """The query for all facts, or for those with these keys; it also returns others of the same objects. It needs
    `OURS` before it: names in definitions are qualified only where `search_path` doesn't find them. `schema`: where
    what is wanted of the schema `public` may be, too."""
    if keys is None:
        return Command(_query(None, comments=True))
    kinds = {key: comment_on(key[1])[0] if key[0] == "comment" else key[0] for key in keys}
    comments = any(kind == "comment" for kind, _ in keys)
    names = sorted({container(key) for key, kind in kinds.items() if _KINDS[kind].limited_by})
    pairs = [parts_of(name) for name in names]
    if schema != "public":
        pairs += [[*parts_of(schema), name] for where, name in pairs if where == "public"]
    # There are few different texts, as they depend on the kinds of keys only.
    sql = _query(frozenset(kinds.values()), comments)
    return Command(sql, [json.dumps(pairs, ensure_ascii=False)], keep=True)


def assertion(expected: Facts, gone: Collection[Key]) -> Command:
    """Fails (22012, division by zero) unless these facts are there, letter for letter, and those aren't; or otherwise
    with a DataError, such as where the database's encoding lacks a character of theirs. It may fail where `same` is
    content: what it costs is less than to read the facts. It needs `OURS` before it."""
    reading = query([*expected, *gone])
    # An expression that has a query in it is never as expected here, which is as its hash.
    sql = _ASSERTION.format(query=without_marks(reading.sql))
    there = {f"{kind} {identity}": definition for (kind, identity), definition in expected.items()}
    params = json.dumps(there, ensure_ascii=False), json.dumps([" ".join(key) for key in gone], ensure_ascii=False)
    return Command(sql, [*reading.params, *params], keep=True)


def facts_of(rows: Iterable[Row]) -> Facts:
    """The facts in the answer of the query."""
    return {
        (str(kind), str(identity)): _EXPRESSION.sub(_hashed, definition or "") for kind, identity, definition in rows
    }


def read_facts(session: Session, keys: Collection[Key] | None = None) -> Facts:
    """All facts of a database, or those with these keys that are there. In a transaction of its own."""
    if keys is not None and not keys:
        return {}
    command = query(keys)
    found = facts_of(session.query(command.sql, *command.params))
    return found if keys is None else {key: found[key] for key in keys if key in found}


@cache
def _query(kinds: frozenset[str] | None, comments: bool) -> str:
    """The query for all facts, or for those of these kinds of some objects."""
    limited = kinds is not None

    def limit(name: str) -> str:
        return f" AND {name} = n.object" if limited else ""

    parts = PARTS if kinds is None else [part for part in PARTS if not kinds.isdisjoint(part.kinds)]
    # What is wanted of some objects is no member of an extension; if one of that name is, it is what is wanted.
    no_member = "" if limited else _NO_MEMBER
    found = " UNION ALL ".join(part.sql.format(limit=limit(part.limited_by)) for part in parts)
    return (
        f"WITH {_SCHEMAS_OF_SOME if limited else _SCHEMAS}"
        + (_RELATIONS.format(limit=limit("c.relname"), no_member=no_member))
        + f",\n    found (catalogue, oid, number, kind, identity, definition) AS ({found})"
        + "\n    SELECT kind, identity, definition FROM found"
        + (_COMMENTS if comments else "")
    )


def _unquoted(identifier: str) -> str:
    return identifier[1:-1].replace('""', '"') if identifier[0] == '"' else identifier


def _hashed(match: re.Match[str]) -> str:
    text = match[1]
    if not _HAS_QUERY.search(text):
        return text
    times = "".join(f" '{each}'" for each in _TIME.findall(text))
    return f"query {hashlib.md5(_TIME.sub('', text).encode()).hexdigest()}{times}"


def _are_near(one: str, other: str) -> bool:
    """Whether two times may be the same text, read in two time zones."""
    try:
        return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) <= _MOST_APART
    except ValueError:  # a text that only looks like a time
        return one == other
