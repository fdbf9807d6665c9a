"""The parts of the query that reads the facts, one for each catalogue; see `facts`.

Each part selects: the catalogue and the oid of an object, and the number of a column, by which comments are found; its
kind, identity and definition. `n` are the schemas and `r` the relations that are read; `facts` defines both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the query: the kinds of facts that it reads, and how."""

    kinds: tuple[str, ...]
    sql: str
    # What limits it to some objects: `relation`, as `r` is limited to them; or the column with the name of its objects,
    # which `{limit}` in its text compares. Empty where all are read, as there are few.
    limited_by: str = ""


# Schemas that are neither PostgreSQL's nor ours.
OUTSIDE = "{0}.nspname !~ '^pg_' AND {0}.nspname NOT IN ('information_schema', 'aurora_migrations')"
_NO_MEMBER = """NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
        WHERE e.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND e.objid = {oid} AND e.deptype = 'e')"""
# An expression as the server writes it, marked: `facts` replaces one that has a query in it by its hash.
_BEGINS, _ENDS = "E'\\x01' || ", " || E'\\x02'"
_EXPRESSION = f"{_BEGINS}{{0}}{_ENDS}"
# A query as the server writes it: as its hash. Constants with a time zone follow it; `facts.same` compares them.
_TIME = "[0-9]+-[0-9][0-9]-[0-9][0-9] [0-9][0-9]:[0-9][0-9]:[0-9][0-9][0-9.]*[+]00"
_QUERY = f"""(SELECT pg_catalog.concat_ws(' ',
        'query ' || pg_catalog.md5(pg_catalog.regexp_replace(q.text, '{_TIME}', '', 'g')),
        (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(t.found[1]), ' ')
           FROM pg_catalog.regexp_matches(q.text, '{_TIME}', 'g') AS t (found)))
        FROM (SELECT {{0}} AS text OFFSET 0) AS q)"""
# Not a join: for that, a plan that is kept may read the defaults of all tables.
_DEFAULT = """CASE WHEN a.atthasdef THEN (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)
                       FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END"""
_WITH = "'WITH (' || pg_catalog.array_to_string(r.reloptions, ', ') || ')'"

_RELATION_KINDS = {
    "r": "table",
    "p": "partitioned table",
    "f": "foreign table",
    "v": "view",
    "m": "materialized view",
    "S": "sequence",
    "i": "index",
    "I": "partitioned index",
}
_COMMANDS = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "ALL"}
_FUNCTION_KINDS = {"f": "function", "p": "procedure", "a": "aggregate", "w": "window function"}

# Objects of which only the existence is a fact. 16384 is the first oid that isn't PostgreSQL's own.
_OTHER_CATALOGS = (
    *("pg_cast", "pg_collation", "pg_conversion", "pg_foreign_data_wrapper", "pg_foreign_server", "pg_language"),
    *("pg_opclass", "pg_operator", "pg_opfamily", "pg_publication", "pg_transform"),
    *("pg_ts_config", "pg_ts_dict", "pg_ts_parser", "pg_ts_template"),
)
OTHERS = (
    *("cast", "collation", "conversion", "foreign-data wrapper", "server", "language"),
    *("operator class", "operator", "operator family", "publication", "transform"),
    *("text search configuration", "text search dictionary", "text search parser", "text search template"),
)


def _case(value: str, names: Mapping[str, str]) -> str:
    return f"CASE {value} " + " ".join(f"WHEN '{key}' THEN '{name}'" for key, name in names.items()) + " END"


def without_marks(sql: str) -> str:
    """The query without the marks of expressions: the same characters may be in an expression, too."""
    return sql.replace(_BEGINS, "").replace(_ENDS, "")


PARTS = (
    Part(
        ("schema",),
        f"""
        SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, s.oid, 0, 'schema', pg_catalog.quote_ident(s.nspname), ''
          FROM pg_catalog.pg_namespace s
         WHERE {OUTSIDE.format("s")} AND {_NO_MEMBER.format(catalog="pg_namespace", oid="s.oid")}
        """,
    ),
    Part(
        ("extension",),
        """
        SELECT 'pg_catalog.pg_extension'::pg_catalog.regclass, x.oid, 0, 'extension', pg_catalog.quote_ident(x.extname),
               '' FROM pg_catalog.pg_extension x WHERE x.extname <> 'plpgsql'
        """,
    ),
    Part(
        ("table", "partitioned table", "foreign table"),
        f"""
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, 0, {_case("r.relkind", _RELATION_KINDS)}, r.name,
               pg_catalog.concat_ws(' ',
                   CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED' END,
                   CASE WHEN r.reloftype <> 0 THEN 'OF ' || pg_catalog.format_type(r.reloftype, NULL) END,
                   CASE WHEN r.relispartition THEN 'PARTITION OF ' ELSE 'INHERITS ' END || r.parents,
                   pg_catalog.pg_get_expr(r.relpartbound, r.oid),
                   CASE r.relkind WHEN 'p' THEN 'PARTITION BY ' || pg_catalog.pg_get_partkeydef(r.oid) END,
                   'USING ' || r.method,
                   CASE WHEN r.relrowsecurity THEN 'ENABLE ROW LEVEL SECURITY' END,
                   CASE WHEN r.relforcerowsecurity THEN 'FORCE ROW LEVEL SECURITY' END,
                   CASE r.relreplident WHEN 'n' THEN 'REPLICA IDENTITY NOTHING' WHEN 'f' THEN 'REPLICA IDENTITY FULL'
                        WHEN 'i' THEN 'REPLICA IDENTITY USING INDEX' END,
                   {_WITH})
          FROM r
         WHERE r.relkind IN ('r', 'p', 'f')
        """,
        "relation",
    ),
    Part(
        ("view", "materialized view"),
        f"""
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, 0, {_case("r.relkind", _RELATION_KINDS)}, r.name,
               pg_catalog.concat_ws(' ', {_WITH}, {_QUERY.format("pg_catalog.pg_get_viewdef(r.oid)")})
          FROM r WHERE r.relkind IN ('v', 'm')
        """,
        "relation",
    ),
    Part(
        ("sequence",),
        """
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, 0, 'sequence', r.name,
               pg_catalog.concat_ws(' ',
                   'AS ' || pg_catalog.format_type(s.seqtypid, NULL), 'START ' || s.seqstart,
                   'INCREMENT ' || s.seqincrement, 'MINVALUE ' || s.seqmin, 'MAXVALUE ' || s.seqmax,
                   CASE WHEN s.seqcache <> 1 THEN 'CACHE ' || s.seqcache END, CASE WHEN s.seqcycle THEN 'CYCLE' END,
                   (SELECT pg_catalog.max('OWNED BY ' || d.refobjid::pg_catalog.regclass || '.'
                                          || pg_catalog.quote_ident(a.attname))
                      FROM pg_catalog.pg_depend d
                      JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                     WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = r.oid
                       AND d.refclassid = d.classid AND d.deptype IN ('a', 'i')))
          FROM r JOIN pg_catalog.pg_sequence s ON s.seqrelid = r.oid
        """,
        "relation",
    ),
    Part(
        ("index", "partitioned index"),
        f"""
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, 0, {_case("r.relkind", _RELATION_KINDS)}, r.name,
               pg_catalog.concat_ws(' ',
                   pg_catalog.pg_get_indexdef(r.oid), 'PARTITION OF ' || r.parents,
                   CASE WHEN r.indisclustered THEN 'CLUSTER' END,
                   CASE WHEN r.indisreplident THEN 'REPLICA IDENTITY' END,
                   CASE WHEN NOT r.indisvalid THEN 'INVALID' END,
                   CASE WHEN NOT (r.indisready AND r.indislive) THEN 'NOT READY' END)
          FROM r WHERE r.relkind IN ('i', 'I')
        """,
        "relation",
    ),
    Part(
        ("column",),
        f"""
        SELECT 'pg_catalog.pg_class'::pg_catalog.regclass, r.oid, a.attnum, 'column',
               r.name || '.' || pg_catalog.quote_ident(a.attname),
               pg_catalog.concat_ws(' ',
                   pg_catalog.format_type(a.atttypid, a.atttypmod),
                   CASE WHEN a.attcollation NOT IN (0, t.typcollation)
                        THEN 'COLLATE ' || a.attcollation::pg_catalog.regcollation END,
                   CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                   -- Since PostgreSQL 17 a partition's column has the identity of its parent's.
                   CASE WHEN NOT r.relispartition
                        THEN CASE a.attidentity WHEN 'a' THEN 'GENERATED ALWAYS AS IDENTITY'
                                                WHEN 'd' THEN 'GENERATED BY DEFAULT AS IDENTITY' END END,
                   CASE a.attgenerated WHEN '' THEN 'DEFAULT ' ELSE 'GENERATED ALWAYS AS (' END
                   || {_EXPRESSION.format(_DEFAULT)}
                   || CASE a.attgenerated WHEN '' THEN '' WHEN 's' THEN ') STORED' ELSE ') VIRTUAL' END,
                   CASE WHEN a.attstorage <> t.typstorage AND r.relkind NOT IN ('v', 'f') THEN 'STORAGE '
                        || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN'
                                             ELSE 'EXTENDED' END END,
                   CASE a.attcompression WHEN 'p' THEN 'COMPRESSION pglz' WHEN 'l' THEN 'COMPRESSION lz4' END,
                   CASE WHEN a.attstattarget >= 0 THEN 'STATISTICS ' || a.attstattarget END,
                   '(' || pg_catalog.array_to_string(a.attoptions, ', ') || ')')
          FROM r
          JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
          JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
         WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')
        """,
        "relation",
    ),
    # Of NOT NULL, which only newer servers list, what isn't valid: a column's fact says the rest. Not the copies of
    # a foreign key for the partitions on either side: they go with it, and PostgreSQL makes up their names.
    Part(
        ("constraint",),
        f"""
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0, 'constraint',
               r.name || '.' || pg_catalog.quote_ident(c.conname),
               pg_catalog.concat_ws(' ', {_EXPRESSION.format("pg_catalog.pg_get_constraintdef(c.oid)")},
                   (SELECT 'DISABLED' FROM pg_catalog.pg_trigger g
                     WHERE g.tgconstraint = c.oid AND g.tgenabled IN ('D', 'R') LIMIT 1))
          FROM r
          JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
         WHERE (c.contype IN ('c', 'p', 'u', 'x') OR (c.contype = 'f' AND c.conparentid = 0)
                OR (c.contype = 'n' AND NOT c.convalidated))
        """,
        "relation",
    ),
    Part(
        ("trigger",),
        f"""
        SELECT 'pg_catalog.pg_trigger'::pg_catalog.regclass, t.oid, 0, 'trigger',
               r.name || '.' || pg_catalog.quote_ident(t.tgname),
               pg_catalog.concat_ws(' ', pg_catalog.pg_get_triggerdef(t.oid),
                   {_case("t.tgenabled", {"D": "DISABLED", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"})})
          FROM r JOIN pg_catalog.pg_trigger t ON t.tgrelid = r.oid AND NOT t.tgisinternal
        """,
        "relation",
    ),
    Part(
        ("policy",),
        f"""
        SELECT 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid, 0, 'policy',
               r.name || '.' || pg_catalog.quote_ident(p.polname),
               pg_catalog.concat_ws(' ', CASE WHEN NOT p.polpermissive THEN 'AS RESTRICTIVE' END,
                   'FOR ' || {_case("p.polcmd", _COMMANDS)},
                   'TO ' || (SELECT pg_catalog.string_agg(CASE WHEN o.role = 0 THEN 'public'
                                        WHEN pg_catalog.pg_get_userbyid(o.role) = SESSION_USER THEN 'CURRENT_USER'
                                        ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(o.role)) END, ', '
                                        ORDER BY o.role::pg_catalog.regrole::text)
                               FROM pg_catalog.unnest(p.polroles) AS o (role)),
                   'USING (' || {_EXPRESSION.format("pg_catalog.pg_get_expr(p.polqual, p.polrelid)")} || ')',
                   'WITH CHECK (' || {_EXPRESSION.format("pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)")} || ')')
          FROM r JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
        """,
        "relation",
    ),
    Part(
        ("rule",),
        f"""
        SELECT 'pg_catalog.pg_rewrite'::pg_catalog.regclass, w.oid, 0, 'rule',
               r.name || '.' || pg_catalog.quote_ident(w.rulename),
               pg_catalog.concat_ws(' ', {_QUERY.format("pg_catalog.pg_get_ruledef(w.oid)")},
                   {_case("w.ev_type", {"1": "ON SELECT", "2": "ON UPDATE", "3": "ON INSERT", "4": "ON DELETE"})},
                   CASE WHEN w.is_instead THEN 'INSTEAD' END,
                   {_case("w.ev_enabled", {"D": "DISABLED", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"})})
          FROM r JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
        """,
        "relation",
    ),
    Part(
        ("statistics",),
        f"""
        SELECT 'pg_catalog.pg_statistic_ext'::pg_catalog.regclass, s.oid, 0, 'statistics',
               n.name || '.' || pg_catalog.quote_ident(s.stxname), pg_catalog.pg_get_statisticsobjdef(s.oid)
          FROM n JOIN pg_catalog.pg_statistic_ext s ON s.stxnamespace = n.oid{{limit}}
         WHERE {_NO_MEMBER.format(catalog="pg_class", oid="s.stxrelid")}
        """,
        "s.stxname",
    ),
    Part(
        tuple(_FUNCTION_KINDS.values()),
        f"""
        SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0, {_case("p.prokind", _FUNCTION_KINDS)},
               n.name || '.' || pg_catalog.quote_ident(p.proname) || '('
               || pg_catalog.oidvectortypes(p.proargtypes) || ')',
               pg_catalog.concat_ws(' ',
                   '(' || {_EXPRESSION.format("pg_catalog.pg_get_function_arguments(p.oid)")} || ')',
                   'RETURNS ' || pg_catalog.pg_get_function_result(p.oid), 'LANGUAGE ' || l.lanname,
                   {_case("p.provolatile", {"i": "IMMUTABLE", "s": "STABLE"})},
                   CASE WHEN p.proisstrict THEN 'STRICT' END, CASE WHEN p.prosecdef THEN 'SECURITY DEFINER' END,
                   CASE WHEN p.proleakproof THEN 'LEAKPROOF' END,
                   {_case("p.proparallel", {"s": "PARALLEL SAFE", "r": "PARALLEL RESTRICTED"})},
                   CASE WHEN p.procost NOT IN (1, 100) THEN 'COST ' || p.procost END,
                   CASE WHEN p.prorows NOT IN (0, 1000) THEN 'ROWS ' || p.prorows END,
                   'SET ' || pg_catalog.array_to_string(p.proconfig, ' SET '),
                   CASE WHEN g.aggfnoid IS NOT NULL THEN pg_catalog.concat_ws(' ', 'SFUNC ' || g.aggtransfn,
                        'STYPE ' || pg_catalog.format_type(g.aggtranstype, NULL),
                        'FINALFUNC ' || NULLIF(g.aggfinalfn::pg_catalog.oid, 0)::pg_catalog.regproc,
                        'INITCOND ' || pg_catalog.quote_literal(g.agginitval))
                        WHEN p.prosqlbody IS NOT NULL
                        THEN {_QUERY.format("pg_catalog.pg_get_function_sqlbody(p.oid)")}
                        ELSE 'body ' || pg_catalog.md5(p.prosrc || COALESCE(p.probin, '')) END)
          FROM n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid{{limit}}
          JOIN pg_catalog.pg_language l ON l.oid = p.prolang
          LEFT JOIN pg_catalog.pg_aggregate g ON g.aggfnoid = p.oid
         WHERE {_NO_MEMBER.format(catalog="pg_proc", oid="p.oid")}
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend i
             WHERE i.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND i.objid = p.oid AND i.deptype = 'i')
        """,
        "p.proname",
    ),
    Part(
        ("enum", "domain", "composite type", "range type"),
        f"""
        SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, t.oid, 0,
               {_case("t.typtype", {"e": "enum", "d": "domain", "c": "composite type", "r": "range type"})},
               n.name || '.' || pg_catalog.quote_ident(t.typname),
               CASE t.typtype
                   WHEN 'e' THEN (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(l.enumlabel), ', '
                                                               ORDER BY l.enumsortorder)
                                    FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid)
                   WHEN 'd' THEN pg_catalog.concat_ws(' ', pg_catalog.format_type(t.typbasetype, t.typtypmod),
                        CASE WHEN t.typcollation NOT IN (0, b.typcollation)
                             THEN 'COLLATE ' || t.typcollation::pg_catalog.regcollation END,
                        CASE WHEN t.typnotnull THEN 'NOT NULL' END,
                        'DEFAULT ' || pg_catalog.pg_get_expr(t.typdefaultbin, 0))
                   WHEN 'c' THEN (SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                                             pg_catalog.quote_ident(a.attname),
                                             pg_catalog.format_type(a.atttypid, a.atttypmod),
                                             CASE WHEN a.attcollation NOT IN (0, y.typcollation)
                                                  THEN 'COLLATE ' || a.attcollation::pg_catalog.regcollation END), ', '
                                             ORDER BY a.attnum)
                                    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
                                   WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
                   ELSE (SELECT pg_catalog.concat_ws(' ', 'SUBTYPE ' || pg_catalog.format_type(g.rngsubtype, NULL),
                                    'SUBTYPE_DIFF ' || NULLIF(g.rngsubdiff::pg_catalog.oid, 0)::pg_catalog.regproc,
                                    'CANONICAL ' || NULLIF(g.rngcanonical::pg_catalog.oid, 0)::pg_catalog.regproc)
                           FROM pg_catalog.pg_range g WHERE g.rngtypid = t.oid) END
          FROM n JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid{{limit}}
          LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
         WHERE t.typtype IN ('e', 'd', 'c', 'r')
           AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class k
                                           WHERE k.oid = t.typrelid AND k.relkind = 'c'))
           AND {_NO_MEMBER.format(catalog="pg_type", oid="t.oid")}
        """,
        "t.typname",
    ),
    Part(
        ("domain constraint",),
        f"""
        SELECT 'pg_catalog.pg_constraint'::pg_catalog.regclass, c.oid, 0, 'domain constraint',
               n.name || '.' || pg_catalog.quote_ident(t.typname) || '.' || pg_catalog.quote_ident(c.conname),
               pg_catalog.pg_get_constraintdef(c.oid)
          FROM n JOIN pg_catalog.pg_type t ON t.typnamespace = n.oid{{limit}}
          JOIN pg_catalog.pg_constraint c ON c.contypid = t.oid AND c.contype = 'c'
         WHERE t.typtype = 'd' AND {_NO_MEMBER.format(catalog="pg_type", oid="t.oid")}
        """,
        "t.typname",
    ),
    Part(
        ("event trigger",),
        f"""
        SELECT 'pg_catalog.pg_event_trigger'::pg_catalog.regclass, v.oid, 0, 'event trigger',
               pg_catalog.quote_ident(v.evtname), pg_catalog.concat_ws(' ', 'ON ' || v.evtevent,
                   'WHEN TAG IN (' || pg_catalog.array_to_string(v.evttags, ', ') || ')',
                   'EXECUTE FUNCTION ' || v.evtfoid::pg_catalog.regprocedure,
                   {_case("v.evtenabled", {"D": "DISABLED", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"})})
          FROM pg_catalog.pg_event_trigger v
         WHERE {_NO_MEMBER.format(catalog="pg_event_trigger", oid="v.oid")}
        """,
    ),
    Part(
        OTHERS,
        " UNION ALL ".join(
            f"""
        SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass, o.oid, 0, i.type, i.identity, ''
          FROM pg_catalog.{catalog} o,
               LATERAL pg_catalog.pg_identify_object('pg_catalog.{catalog}'::pg_catalog.regclass, o.oid, 0) i
         WHERE o.oid >= 16384 AND {_NO_MEMBER.format(catalog=catalog, oid="o.oid")}
            """
            for catalog in _OTHER_CATALOGS
        ),
    ),
)
KINDS = frozenset(kind for part in PARTS for kind in part.kinds)
# What belongs to a table, by whose name its identity begins.
OF_TABLES = frozenset(
    ("column", "constraint", "policy", "rule", "trigger", "table", "partitioned table", "foreign table")
)
