"""What our role lacks to run pending files, as far as they and their replays show it. Reads only, and locks nothing.

Of dynamic SQL, and of functions that a file calls, nothing is known; a superuser lacks nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aurora_migrations.engine.catalog.change import Change
from aurora_migrations.engine.catalog.facts import container, parts_of
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.protocol import Command
from aurora_migrations.engine.postgres.session import BEGIN, COMMIT, Session
from aurora_migrations.engine.script import Script, Statement, TableLock

# What a statement needs of the table that it changes. Of all others in the same statement, SELECT.
_OF_TARGET = {
    **dict.fromkeys(("AlterTableStmt", "ClusterStmt", "CommentStmt", "CreatePolicyStmt", "CreateStatsStmt"), "owner"),
    **dict.fromkeys(("AlterPolicyStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt", "DropStmt", "IndexStmt"), "owner"),
    **dict.fromkeys(("RefreshMatViewStmt", "RenameStmt", "RuleStmt", "CreateStmt"), "owner"),
    "CreateTrigStmt": "TRIGGER",
    "DeleteStmt": "DELETE",
    "InsertStmt": "INSERT",
    "TruncateStmt": "TRUNCATE",
    "UpdateStmt": "UPDATE",
}
_READS = ("ACCESS SHARE", "ROW SHARE")
_OF_DATABASE = {"CreateSchemaStmt", "CreatePublicationStmt"}
_IDENTIFIER = r'(?:"(?:[^"]|"")+"|[\w$]+)'
_REFERENCES = re.compile(rf"\breferences\s+(?:only\s+)?((?:{_IDENTIFIER}\.)?{_IDENTIFIER})", re.IGNORECASE)
# By kind of statement, the roles that it names: they must be there, or our role must be a member of them.
_ROLES = rf"({_IDENTIFIER}(?:\s*,\s*{_IDENTIFIER})*)"
_GRANTEES = re.compile(rf"\bto\s+(?:group\s+)?{_ROLES}(?=\s*(?:;|\Z|using|with|granted))", re.IGNORECASE)
_OWNERS = re.compile(rf"\b(?:owner\s+to|authorization|(?<=set)\s+role)\s+{_ROLES}", re.IGNORECASE)
_NAMING = {
    **dict.fromkeys(
        ("GrantStmt", "GrantRoleStmt", "AlterDefaultPrivilegesStmt", "CreatePolicyStmt"), ("role", _GRANTEES)
    ),
    **dict.fromkeys(("AlterOwnerStmt", "AlterTableStmt", "CreateSchemaStmt", "VariableSetStmt"), ("member", _OWNERS)),
}
_NOBODY = frozenset({"public", "current_user", "current_role", "session_user", "default", "none"})
_MADE_ROLE = re.compile(rf"\bcreate\s+(?:role|user|group)\s+({_IDENTIFIER})", re.IGNORECASE)
_SETS_ROLE = re.compile(r"\bset\s+(?:local\s+|session\s+)?(?:role|session\s+authorization)\b", re.IGNORECASE)
_CREATES_ROLE = "CreateRoleStmt"
_TABLES = ("table", "partitioned table", "foreign table", "view", "materialized view", "sequence")
_VIEWS = ("view", "materialized view", "sequence")
_TYPES = ("enum", "domain", "composite type", "range type")
_FUNCTIONS = ("function", "procedure", "aggregate", "window function")
# `$1` are JSON arrays of a need: what, schema (null: by search_path), name, and all as text. What is missing of them.
_QUERY = """
    WITH need AS (
        SELECT w.ord, w.value->>0 AS what, w.value->>1 AS schema, w.value->>2 AS name
          FROM pg_catalog.json_array_elements($1::pg_catalog.json) WITH ORDINALITY AS w (value, ord)),
    relation AS (
        SELECT DISTINCT ON (d.ord) d.ord, d.what, c.oid, c.relowner AS owner
          FROM need d JOIN pg_catalog.pg_class c ON c.relname = d.name AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           AND CASE WHEN d.schema IS NULL THEN n.nspname = ANY (pg_catalog.current_schemas(false))
                    ELSE n.nspname = d.schema END
         WHERE d.what NOT IN ('create', 'database', 'role', 'member', 'createrole', 'function', 'type')
         ORDER BY d.ord, pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname))
    SELECT ord, pg_catalog.pg_get_userbyid(owner) FROM relation WHERE CASE WHEN what = 'owner'
           THEN NOT pg_catalog.pg_has_role(owner, 'USAGE')
           WHEN what IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
           THEN NOT pg_catalog.has_any_column_privilege(oid, what)
           ELSE NOT pg_catalog.has_table_privilege(oid, what) END
    UNION ALL
    SELECT d.ord, pg_catalog.pg_get_userbyid(p.proowner)
      FROM need d JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema
      JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid
       AND p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')' = d.name
     WHERE d.what = 'function' AND NOT pg_catalog.pg_has_role(p.proowner, 'USAGE')
    UNION ALL
    SELECT d.ord, pg_catalog.pg_get_userbyid(t.typowner)
      FROM need d JOIN pg_catalog.pg_namespace n ON n.nspname = d.schema
      JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid AND t.typname = d.name
     WHERE d.what = 'type' AND NOT pg_catalog.pg_has_role(t.typowner, 'USAGE')
    UNION ALL
    SELECT d.ord, NULL FROM need d JOIN pg_catalog.pg_namespace n ON n.nspname = d.name
     WHERE d.what = 'create' AND NOT pg_catalog.has_schema_privilege(n.oid, 'CREATE')
    UNION ALL
    SELECT d.ord, NULL FROM need d WHERE CASE d.what
           WHEN 'database' THEN NOT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')
           WHEN 'role' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = d.name)
           WHEN 'member' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_roles r WHERE r.rolname = d.name
                                             AND pg_catalog.pg_has_role(r.oid, 'MEMBER'))
           WHEN 'createrole' THEN NOT EXISTS (SELECT FROM pg_catalog.pg_roles r
                                               WHERE r.rolname = CURRENT_USER AND (r.rolcreaterole OR r.rolsuper))
           ELSE false END
"""


@dataclass(frozen=True)
class _Need:
    """Something that a file needs: a privilege, to be the owner of an object, or a role."""

    what: str  # a privilege of a table, or `owner`, `function`, `type`, `create`, `database`, `role`, `member`, ...
    schema: str | None
    name: str
    shown: str

    def missing(self, owner: str | None) -> str:
        """In words, what is missing."""
        if self.what in ("owner", "function", "type"):
            return f"to be the owner of {self.shown}, which belongs to {owner}"
        words = {
            "create": f"CREATE on schema {self.shown}",
            "database": "CREATE on the database",
            "role": f"the role {self.shown}, which doesn't exist",
            "member": f"to be a member of {self.shown}",
            "createrole": "CREATEROLE",
        }
        return words.get(self.what, f"{self.what} on {self.shown}")


@dataclass
class _Made:
    """What the files before have made, and so belongs to our role."""

    objects: set[str] = field(default_factory=set)  # identities, such as `public.orders`
    roles: set[str] = field(default_factory=set)


def find_missing(
    session: Session, scripts: Mapping[Migration, Script], texts: Mapping[Migration, bytes]
) -> dict[Migration, list[str]]:
    """What our role lacks for each file, in words; files that lack nothing are left out."""
    made, needs = _Made(), list[tuple[Migration, _Need]]()
    for migration, script in scripts.items():
        file = texts[migration]
        needs += [(migration, each) for each in dict.fromkeys(_needs(script, file, made, session.server.schema))]
        made.objects |= {container(key) for key in (script.change.created if script.change else ())}
        made.objects |= {name for table in script.tables for name in (table, f"public.{table}")}
        made.roles |= {_name(name) for name in _MADE_ROLE.findall(file.decode(errors="replace"))}
    if not needs:
        return {}
    wanted = json.dumps([[each.what, each.schema, each.name] for _, each in needs], ensure_ascii=False)
    found = session.execute(BEGIN, Command(_QUERY, [wanted]), COMMIT)[1]
    missing: dict[Migration, list[str]] = {}
    for number, owner in sorted((int(str(number)), owner) for number, owner in found):
        migration, need = needs[number - 1]
        missing.setdefault(migration, []).append(need.missing(owner))
    return missing


def _needs(script: Script, file: bytes, made: _Made, schema: str) -> Iterator[_Need]:
    parts = [(each, file[each.start : each.end].decode(errors="replace")) for each in script.statements]
    for statement, text in parts:
        yield from _of_roles(statement, text, made)
    if any(each.kind == "VariableSetStmt" and _SETS_ROLE.search(text) for each, text in parts):
        return  # what it does then, it does as another role
    owned = set[str]()
    for statement, text in parts:
        for need in _of_tables(statement, text, made):
            owned |= {need.name} if need.what == "owner" else set()
            yield need
        if statement.kind in _OF_DATABASE:
            yield _Need("database", None, "", "")
        if statement.kind == _CREATES_ROLE:
            yield _Need("createrole", None, "", "")
    if script.change:
        yield from (each for each in _of_change(script.change, made, schema) if each.name not in owned)


def _of_roles(statement: Statement, text: str, made: _Made) -> Iterator[_Need]:
    what, pattern = _NAMING.get(statement.kind, ("", None))
    for names in pattern.findall(text) if pattern else ():
        for name in re.findall(_IDENTIFIER, names):
            if name.lower() not in _NOBODY and _name(name) not in made.roles:
                yield _Need(what, None, _name(name), name)


def _of_tables(statement: Statement, text: str, made: _Made) -> Iterator[_Need]:
    referred = {each.lower() for each in _REFERENCES.findall(text)}
    for lock in statement.locks:
        if not {lock.table, f"public.{lock.table}"} & made.objects:
            what = _privilege(statement, lock, referred)
            *schema, name = parts_of(lock.table)[:2] or [""]
            if what:
                yield _Need(what, schema[0] if schema else None, name, lock.table)


def _privilege(statement: Statement, lock: TableLock, referred: set[str]) -> str:
    if lock.table.lower() in referred and statement.kind in ("AlterTableStmt", "CreateStmt"):
        return "REFERENCES"
    if lock.mode in _READS:
        return "SELECT"
    return _OF_TARGET.get(statement.kind, "")


def _of_change(change: Change, made: _Made, schema: str) -> Iterator[_Need]:
    """The schemas in which it creates something, and what it changes that statements don't lock."""

    def of(identity: str) -> str:
        found = parts_of(identity)[0]
        return parts_of(schema)[0] if found == "public" else found

    new = {key[1] for key in change.created if key[0] == "schema"} | made.objects
    for kind, identity in change.created:
        if kind in (*_TABLES, *_TYPES, *_FUNCTIONS) and identity.partition(".")[0] not in new:
            yield _Need("create", None, of(identity), of(identity))
    for kind, identity in (*change.changed, *change.dropped):
        name = identity.partition(".")[2]
        if kind in (*_VIEWS, *_TYPES, *_FUNCTIONS) and container((kind, identity)) not in made.objects:
            what = "owner" if kind in _VIEWS else "type" if kind in _TYPES else "function"
            unquoted = parts_of(identity)[1] + (name[name.index("(") :] if what == "function" else "")
            yield _Need(what, of(identity), unquoted, f"{kind} {identity}")


def _name(identifier: str) -> str:
    """An identifier as the server keeps it."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier.lower()
