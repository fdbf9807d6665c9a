"""Files that meet values of rows. Each ends in an error in whose message, DETAIL, HINT, CONTEXT or query PostgreSQL has
one of them: in quotation marks, behind a colon, or bare, as a name."""

CANARY = "zqcanary"  # in no file: only in rows, and in the names of objects that rows hold
NUMBER = "19870231"
TEXT = f'{CANARY} is 7 of "rows" for {CANARY}'

EXTENSIONS = ("btree_gist", "citext", "cube", "dblink", "hstore", "intarray", "isn", "ltree", "seg", "tablefunc")

SETUP = f"""
    {" ".join(f"CREATE EXTENSION IF NOT EXISTS {name};" for name in EXTENSIONS)}
    CREATE TABLE people (ident text, code text, num int, neg int, bytes bytea);
    INSERT INTO people VALUES ('{CANARY}', '{TEXT}', {NUMBER}, -{NUMBER}, convert_to('{CANARY}', 'UTF8') || '\\x80');
    CREATE TABLE {CANARY} (id int PRIMARY KEY, {CANARY}_column int CHECK (id > 0), e text NOT NULL);
    CREATE VIEW {CANARY}_view AS SELECT * FROM {CANARY};
    CREATE SEQUENCE {CANARY}_seq;
    CREATE TYPE {CANARY}_enum AS ENUM ('a');
    CREATE TYPE {CANARY}_pair AS (a int, b xml);
    CREATE DOMAIN {CANARY}_domain AS int CHECK (value > 0);
    CREATE TABLE uses (e {CANARY}_enum DEFAULT 'a', p {CANARY}_pair);
    CREATE SCHEMA {CANARY}_schema CREATE TABLE inner_table (a int);
    CREATE FUNCTION {CANARY}_f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION {CANARY}_twice(a int, b bigint) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION {CANARY}_twice(a bigint, b int) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE PROCEDURE {CANARY}_p() LANGUAGE sql AS 'SELECT 1';
    CREATE FUNCTION refuse(note text) RETURNS void LANGUAGE plpgsql AS
      $$ BEGIN RAISE EXCEPTION 'no room for %', note USING HINT = 'ask ' || note, ERRCODE = '42P01'; END $$;
    CREATE FUNCTION drops(name text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'DROP TABLE ' || name; END $$;
    CREATE FUNCTION reads(value text) RETURNS SETOF int LANGUAGE sql AS 'SELECT value::int FROM generate_series(1, 2)';
    CREATE FUNCTION address(name text) RETURNS text LANGUAGE sql AS
      $$ SELECT pg_get_object_address('function', ARRAY[name], ARRAY['int'])::text $$;
    CREATE FUNCTION address_of(name text) RETURNS text LANGUAGE plpgsql AS
      $$ BEGIN RETURN pg_get_object_address('function', ARRAY[name], ARRAY['int'])::text; END $$;
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE TYPE pair AS (a int, b date);
    CREATE DOMAIN short AS text CHECK (length(value) < 3);
    CREATE TABLE target (
        id int PRIMARY KEY CHECK (id > 0), name text UNIQUE, email text NOT NULL DEFAULT '', kind varchar(3),
        n numeric(3, 1), made int GENERATED ALWAYS AS IDENTITY, twice text GENERATED ALWAYS AS (name || name) STORED,
        parent text REFERENCES target (name), EXCLUDE USING gist (int4range(id, id + 1) WITH &&)
    );
    INSERT INTO target (id, name) VALUES ({NUMBER}, '{CANARY}');
    INSERT INTO target (id, name, parent) VALUES (1, 'child', '{CANARY}');
    CREATE TABLE parts (key text, id int) PARTITION BY LIST (key);
    CREATE VIEW narrow AS SELECT * FROM target WHERE id < 5 WITH CHECK OPTION;
    CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'late %', NEW.name; END $$;
"""


def cast(type_: str, value: str = "code") -> str:
    return f"SELECT ({value})::{type_} FROM people;"


def call(expression: str) -> str:
    return f"SELECT {expression} FROM people;"


def block(body: str) -> str:
    return f"DO $$ DECLARE r record; n int; c refcursor; BEGIN SELECT * INTO r FROM people; {body} END $$;"


def dynamic(statement: str) -> str:
    """A statement in which {} stands for a value that is used as a name, or as a part of one."""
    parts = [f"'{part.replace(chr(39), chr(39) * 2)}'" for part in statement.split("{}")]
    return block(f"EXECUTE {' || r.ident || '.join(parts)};")


def prepared(name: str) -> str:
    """Prepares a statement about a table that is called by a value, and drops the table."""
    table = "r.ident || '_new"
    return block(
        f"EXECUTE 'CREATE TABLE ' || {table} ()'; EXECUTE 'PREPARE {name} AS TABLE ' || {table}'; "
        f"EXECUTE 'DROP TABLE ' || {table}';"
    )


def denied(expression: str) -> str:
    """A function that looks up a name in a schema that the role may not use."""
    return f"GRANT SELECT ON people TO pg_monitor;\nSET ROLE pg_monitor;\nSELECT {expression} FROM people;"


CASTS = (
    "int", "numeric", "float8", "bool", "date", "timetz", "interval", "uuid", "jsonb", "inet", "macaddr", "box",
    "money", "oid", "tid", "pg_lsn", "int[]", "daterange", "nummultirange", "mood", "pair", "aclitem", "regtype",
    "tsquery", "isbn",
)  # fmt: skip
NAMES = ("regclass", "regtype", "regrole", "regproc", "regoper", "regnamespace", "regconfig")

CALLS = {
    "date": "make_date(num, 2, 31)",
    "time": "make_time(num, 2, 3)",
    "to_date-range": "to_date(num::text, 'MMDDYYYY')",
    "chr": "chr(num)",
    "get_byte": "get_byte('\\x01', num)",
    "date_trunc": "date_trunc(code, now())",
    "encode": "encode('', code)",
    "convert_from-name": "convert_from(bytes, code)",
    "convert_to": "convert_to('\\x', code)",
    "regexp-number": "regexp_instr('a', 'a', neg)",
    "to_tsquery": "to_tsquery('simple', code || ' & &')",
    "tsvector": "(code || ' a:' || num)::tsvector::text::tsquery",
    "ts_headline": "ts_headline('a', 'a'::tsquery, code || ' = 1')",
    "ts_lexize": "ts_lexize(ident::regdictionary, 'a')",
    "ts_config": "to_tsvector(ident::regconfig, 'a')",
    "ts_stat": "ts_stat(code)",
    "ts_rewrite": "ts_rewrite('a'::tsquery, code)",
    "jsonb_set": "jsonb_set('[1]', ARRAY[code], '1')",
    "jsonb-path-key": "jsonb_path_query('{\"a\": 1}', ('strict $.' || ident)::jsonpath)",
    "jsonb-path-variable": "jsonb_path_query('{\"a\": 1}', ('$' || ident)::jsonpath)",
    "jsonb-path-time": "jsonb_path_query(to_jsonb(code), '$.datetime()')",
    "jsonb-record": "jsonb_populate_record(NULL::pair, jsonb_build_object('a', code))",
    "json-record": "json_populate_record(NULL::pair, json_build_object('b', code))",
    "set_config": "set_config(code, '', true)",
    "set_config-value": "set_config('work_mem', code, true)",
    "set_config-role": "set_config('role', ident, true)",
    "set_config-range": "set_config('extra_float_digits', num::text, true)",
    "set_config-style": "set_config('datestyle', code, true)",
    "set_config-path": "set_config('search_path', code || ',', true)",
    "set_config-snapshot": "set_config('transaction_isolation', code, true)",
    "current_setting": "current_setting(code)",
    "pg_size_bytes": "pg_size_bytes(code)",
    "pg_read_file": "pg_read_file(code)",
    "pg_ls_dir": "pg_ls_dir(code)",
    "pg_stat_file": "pg_stat_file('/' || ident)",
    "lo_get": "lo_get(num)",
    "lo_open": "lo_open(num, 131072)",
    "lo_import": "lo_import('/' || ident)",
    "loread": "loread(num, 1)",
    "tablespace": "pg_tablespace_size(ident)",
    "database": "pg_database_size(code)",
    "pg_has_role": "pg_has_role(code, 'usage')",
    "address": "pg_get_object_address('function', ARRAY[ident], ARRAY['int'])",
    "address-cast": "pg_get_object_address('cast', ARRAY[ident || '_enum'], ARRAY['int'])",
    "address-inlined": "address(ident)",
    "address-in-block": "address_of(ident)",
    "privilege-word": "has_table_privilege('people', code)",
    "privilege-column": "has_column_privilege('people', ident, 'select')",
    "privilege-schema": "has_schema_privilege(ident, 'usage')",
    "privilege-function": "has_function_privilege(ident || '(int, int, int)', 'execute')",
    "privilege-language": "has_language_privilege(ident, 'usage')",
    "privilege-server": "has_server_privilege(ident, 'usage')",
    "nextval": "nextval(ident || '_none')",
    "nextval-table": "nextval(ident)",
    "currval": "currval(ident || '_seq')",
    "setval": "setval('target_made_seq', num::bigint * -1)",
    "to_regclass-dots": "('a.b.c.' || ident)::regclass",
    "to_regclass-database": "('a.b.' || ident)::regclass",
    "regtype-dots": "('a.b.c.d.' || ident)::regtype",
    "regtype-typmod": "('numeric(' || num || ')')::regtype",
    "regproc-twice": "(ident || '_twice')::regproc",
    "regoperator-args": "('+(' || ident || ',int)')::regoperator",
    "serial": "pg_get_serial_sequence(ident, 'a')",
    "query_to_xml": "query_to_xml(code, true, true, '')",
    "query_to_xml-name": "query_to_xml('SELECT * FROM ' || ident || '_none', true, true, '')",
    "query_to_xml-cast": "query_to_xml('SELECT ''' || ident || '''::int', true, true, '')",
    "query_to_xml-bare": "query_to_xml('SELECT ' || ident || '_none(1)', true, true, '')",
    "table_to_xml": "table_to_xml(ident || '_none', true, true, '')",
    "schema_to_xml": "schema_to_xml(ident, true, true, '')",
    "slot": "pg_create_physical_replication_slot(code)",
    "slot-drop": "pg_drop_replication_slot(ident)",
    "origin": "pg_replication_origin_oid(ident), pg_replication_origin_drop(ident)",
    "snapshot": "pg_export_snapshot(), set_config('default_table_access_method', ident, true)",
    "txid_status": "txid_status(num::bigint * 1000)",
    "dblink": "dblink_connect(code)",
    "crosstab": "(SELECT 1 FROM crosstab(code) AS t(a text, b text))",
    "crosstab-name": "(SELECT 1 FROM crosstab('SELECT a FROM ' || ident || '_none') AS t(a text, b text))",
    "connectby": "(SELECT 1 FROM connectby(ident || '_none', 'a', 'b', '1', 0) AS t(a text, b text, c int))",
    "uuid": "(ident || num)::uuid",
    "function": "refuse(ident)",
    "function-drops": "drops(ident)",
    "function-drops-none": "drops(ident || '_none')",
    "function-reads": "reads(code)",
}  # fmt: skip

STATEMENTS = {
    "unique": "INSERT INTO target (id, name) SELECT 2, ident FROM people;",
    "primary": "INSERT INTO target (id) SELECT num FROM people;",
    "foreign": "INSERT INTO target (id, parent) SELECT 2, code FROM people;",
    "foreign-delete": "DELETE FROM target USING people WHERE name = ident;",
    "foreign-later": "CREATE TABLE later (name text);\nINSERT INTO later SELECT code FROM people;\n"
    "ALTER TABLE later ADD FOREIGN KEY (name) REFERENCES target (name);",
    "not-null": "INSERT INTO target (id, name, email) SELECT 2, code, NULL FROM people;",
    "check": "INSERT INTO target (id, name) SELECT neg, code FROM people;",
    "exclusion": "ALTER TABLE target DROP CONSTRAINT target_pkey;\nINSERT INTO target (id) SELECT num FROM people;",
    "assignment": "UPDATE target SET id = code::numeric FROM people;",
    "no-partition": "INSERT INTO parts SELECT code, num FROM people;",
    "partition-moved": "CREATE TABLE part PARTITION OF parts FOR VALUES IN ('a');\nINSERT INTO parts VALUES ('a');\n"
    "UPDATE parts SET key = code FROM people;",
    "partition-row": "CREATE TABLE part PARTITION OF parts FOR VALUES IN ('a');\n"
    "INSERT INTO part SELECT code, num FROM people;",
    "check-option": "INSERT INTO narrow (id, name) SELECT num + 1, code FROM people;",
    "merge": "MERGE INTO target USING people ON name = ident WHEN MATCHED THEN UPDATE SET id = neg;",
    "unique-index": "INSERT INTO people SELECT * FROM people;\nCREATE UNIQUE INDEX ON people (ident);",
    "index-of-cast": "CREATE INDEX ON people ((code::int));",
    "check-of-cast": "ALTER TABLE people ADD CHECK (ident::int < 0);",
    "exclusion-later": "INSERT INTO people SELECT * FROM people;\n"
    "ALTER TABLE people ADD EXCLUDE USING gist (num WITH =);",
    "type": "ALTER TABLE people ALTER code TYPE int USING code::int;",
    "type-of-name": "ALTER TABLE people ALTER ident TYPE regclass USING (ident || '_none')::regclass;",
    "default": "CREATE FUNCTION first() RETURNS int LANGUAGE sql AS 'SELECT ident::int FROM people';\n"
    "ALTER TABLE target ADD f int DEFAULT first();",
    "view": "CREATE MATERIALIZED VIEW m AS SELECT ident::int FROM people;",
    "table": "CREATE TABLE made AS SELECT ident::date FROM people;",
    "statistics": "CREATE STATISTICS s ON (ident::int), (code::int) FROM people;\nANALYZE people;",
    "copy": "COPY (SELECT ident::int FROM people) TO '/dev/null';",
    "returning": "UPDATE people SET num = 1 RETURNING code::int;",
    "cursor": "DECLARE c CURSOR FOR SELECT ident::int FROM people;\nFETCH c;",
    "prepared": "PREPARE p AS SELECT ident::int FROM people;\nEXECUTE p;",
    "policy": "CREATE POLICY p ON target USING (name::int > 0);\nGRANT ALL ON target, people TO pg_monitor;\n"
    "ALTER TABLE target ENABLE ROW LEVEL SECURITY;\nSET ROLE pg_monitor;\nSELECT * FROM target;",
    "denied-sequence": "GRANT SELECT ON people TO pg_monitor;\nSET ROLE pg_monitor;\n"
    "SELECT nextval(ident || '_seq') FROM people;",
    "deferred": "CREATE CONSTRAINT TRIGGER t AFTER UPDATE ON target DEFERRABLE INITIALLY DEFERRED FOR EACH ROW "
    "EXECUTE FUNCTION shout();\nUPDATE target SET kind = 'a';",
    "deferred-set": "CREATE TABLE one (a text UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
    "INSERT INTO one SELECT code FROM people UNION ALL SELECT code FROM people;\nSET CONSTRAINTS ALL IMMEDIATE;",
    "prepared-of-a-name": prepared("q1") + " EXECUTE q1;",
    "prepared-behind-a-comment": prepared("q2") + "\n/* here */ -- and\nEXECUTE q2;",
    "prepared-for-a-table": prepared("q3") + " CREATE TEMP TABLE made AS EXECUTE q3;",
    "prepared-explained": prepared("q4") + " EXPLAIN (COSTS off) EXECUTE q4;",
    "deferred-key": "CREATE TABLE one (a text UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
    "INSERT INTO one SELECT code FROM people UNION ALL SELECT code FROM people;",
    "raise": block("RAISE EXCEPTION 'bad address %', r.code;"),
    "raise-state": block("RAISE EXCEPTION 'bad %', r.code USING ERRCODE = '23505';"),
    "raise-hint": block("RAISE EXCEPTION 'bad' USING HINT = 'see ' || r.code, DETAIL = r.code;"),
    "raise-names": block("RAISE 'bad' USING COLUMN = r.ident, TABLE = r.ident, ERRCODE = '23502';"),
    "raise-constraint": block("RAISE '%', r.ident USING CONSTRAINT = r.ident, ERRCODE = '23505';"),
    "assert": block("ASSERT false, r.code;"),
    "assignment-in-block": block("n := r.code;"),
    "if-in-block": block("IF r.code::int > 0 THEN NULL; END IF;"),
    "loop-in-block": block("FOR n IN 1 .. r.code::int LOOP NULL; END LOOP;"),
    "query-in-block": block("PERFORM * FROM target WHERE id = r.code::int;"),
    "row-in-block": block("INSERT INTO target (id, name) VALUES (2, r.ident);"),
    "refcursor": block("c := r.ident; FETCH c INTO r;"),
    "refcursor-open": block("c := r.ident; OPEN c FOR SELECT 1; OPEN c FOR SELECT 2;"),
    "format": block("EXECUTE format('SELECT %s', r.code);"),
    "literal": block("EXECUTE format('SELECT %L::int', r.code);"),
    "whole": block("EXECUTE r.code;"),
    "null": block("EXECUTE 'SELECT 1/0 -- ' || r.code;"),
    "line-end": block(
        "EXECUTE 'SELECT a.b -- \"' || chr(10) || 'PL/pgSQL function ' || r.ident || '() line 1 at RAISE';"
    ),
    "return-query": "CREATE FUNCTION f(x text) RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN\n"
    "RETURN QUERY EXECUTE 'SELECT a FROM ' || x; END $$;\nSELECT f(ident || '_none') FROM people;",
    "loop-dynamic": block("FOR n IN EXECUTE 'SELECT ' || r.ident || '_f(1, 2)' LOOP NULL; END LOOP;"),
    "open-dynamic": block("OPEN c FOR EXECUTE 'SELECT ' || r.ident || '_f(1, 2)'; FETCH c INTO n;"),
    "number": block("EXECUTE 'SELECT 1::numeric(' || r.num || ')';"),
    "number-type": block("EXECUTE 'SELECT 1::varchar(' || r.neg || ')';"),
    "number-parameter": block("EXECUTE 'SELECT $' || r.num;"),
    "number-order": block("EXECUTE 'SELECT 1 ORDER BY ' || r.num;"),
    "number-object": block("EXECUTE 'COMMENT ON LARGE OBJECT ' || r.num || ' IS NULL';"),
    "number-name": block("EXECUTE format('DROP TABLE %I', r.num);"),
    "name-with-blanks": block("EXECUTE format('CREATE TABLE %I (a int)', r.code); "
    "EXECUTE format('CREATE VIEW v AS SELECT * FROM %I', r.code); EXECUTE format('DROP TABLE %I', r.code);"),
}  # fmt: skip

# Names in statements that are put together from rows.
DYNAMIC = {
    "drop": "DROP TABLE {}",
    "drop-none": "DROP TABLE {}_none",
    "drop-wrong-kind": "DROP VIEW {}",
    "drop-column": "ALTER TABLE {} DROP COLUMN id",
    "drop-columns": "ALTER TABLE {} DROP COLUMN {}_none",
    "drop-type": "DROP TYPE {}_enum",
    "drop-schema": "DROP SCHEMA {}_schema",
    "drop-function-name": "DROP FUNCTION {}_twice",
    "drop-procedure": "DROP PROCEDURE {}_f(int)",
    "drop-aggregate": "DROP AGGREGATE {}_none(int)",
    "drop-aggregate-kind": "DROP AGGREGATE {}_f(int)",
    "drop-operator-class": "DROP OPERATOR CLASS {} USING btree",
    "drop-operator-family": "DROP OPERATOR FAMILY {} USING btree",
    "drop-cast": "DROP CAST ({}_enum AS int)",
    "drop-transform": "DROP TRANSFORM FOR {}_enum LANGUAGE sql",
    "drop-trigger": "DROP TRIGGER {} ON {}",
    "drop-rule": "DROP RULE {} ON {}",
    "drop-policy": "DROP POLICY {} ON {}",
    "drop-extension": "DROP EXTENSION {}",
    "drop-collation": "DROP COLLATION {}",
    "drop-conversion": "DROP CONVERSION {}",
    "drop-publication": "DROP PUBLICATION {}",
    "drop-statistics": "DROP STATISTICS {}",
    "drop-access-method": "DROP ACCESS METHOD {}",
    "drop-constraint": "ALTER TABLE {} DROP CONSTRAINT {}_none",
    "select": "SELECT {} FROM people p",
    "select-qualified": "SELECT p.{} FROM people p",
    "select-from": "SELECT {}.a FROM people p",
    "select-schema": "SELECT * FROM {}.people",
    "select-database": "SELECT * FROM {}.public.people",
    "select-dots": "SELECT * FROM a.b.c.{}",
    "select-function": "SELECT {}_none(1)",
    "select-function-types": "SELECT {}_f('a'::text, 1)",
    "select-function-twice": "SELECT {}_twice(1, 2)",
    "select-function-qualified": "SELECT {}.f(1)",
    "select-named-argument": "SELECT {}_f({} => 1)",
    "select-procedure": "SELECT {}_p()",
    "select-window": "SELECT {}_f(1) OVER ()",
    "select-distinct": "SELECT {}_f(DISTINCT 1)",
    "select-star": "SELECT {}_f(*)",
    "call": "CALL {}_none()",
    "call-function": "CALL {}_f(1)",
    "cast": "SELECT 1::{}_none",
    "cast-none": "SELECT true::{}_enum",
    "cast-row": "SELECT 1::{}_pair",
    "cast-value": "SELECT 'b'::{}_enum",
    "cast-domain": "SELECT 0::{}_domain",
    "cast-of-row": "SELECT (SELECT p FROM {} p LIMIT 1)::int",
    "cast-record": "SELECT ROW(1, 2, 3)::{}_pair",
    "field": "SELECT (NULL::{}_pair).{}",
    "field-of-none": "SELECT ('a'::{}_enum).b",
    "operator": "SELECT 'a'::{}_enum = 1",
    "operator-alone": "SELECT - 'a'::{}_enum",
    "compare": "SELECT DISTINCT NULL::{}_pair",
    "order": "SELECT NULL::{}_pair AS a ORDER BY a",
    "union": "SELECT 'a'::{}_enum UNION SELECT 1",
    "coalesce": "SELECT COALESCE('a'::{}_enum, 1)",
    "case": "SELECT CASE WHEN true THEN 'a'::{}_enum ELSE 1 END",
    "greatest": "SELECT greatest(NULL::{}_pair, NULL::{}_pair)",
    "where": "SELECT 1 WHERE 'a'::{}_enum",
    "limit": "SELECT 1 LIMIT 'a'::{}_enum",
    "array": "SELECT ARRAY['a'::{}_enum, 1]",
    "subscript": "SELECT ('a'::{}_enum)[1]",
    "group": "SELECT {}.id, {}.e FROM {} GROUP BY {}.id + 1",
    "ambiguous": "SELECT id FROM {} a, {} b",
    "alias-twice": "SELECT 1 FROM {}, {}",
    "using": "SELECT 1 FROM people JOIN {} USING ({})",
    "column-list": "SELECT 1 FROM {} AS a (a, b, c, d, e, f, g)",
    "window": "SELECT 1 OVER {}",
    "over-window": "SELECT count(*) OVER {}",
    "syntax": "SELECT FROM FROM {}",
    "syntax-at": "{} TABLE",
    "insert": "INSERT INTO {} ({}) VALUES (1)",
    "insert-null": "INSERT INTO {} VALUES (1, 1, NULL)",
    "insert-check": "INSERT INTO {} VALUES (-1, 1, '')",
    "insert-view": "INSERT INTO {}_view SELECT 1; UPDATE {}_view SET id = NULL",
    "insert-twice": "INSERT INTO {} (id, id) VALUES (1, 2)",
    "insert-conflict": "INSERT INTO {} VALUES (1, 1, '') ON CONFLICT ({}_column) DO NOTHING",
    "insert-many": "INSERT INTO {} (id) VALUES (1, 2)",
    "truncate": "TRUNCATE {}_view",
    "lock": "LOCK TABLE {}_seq",
    "create": "CREATE TABLE {} (a int)",
    "create-twice": "CREATE TABLE a ({} int, {} int)",
    "create-type": "CREATE TABLE a (b {}_none)",
    "create-inherit": "CREATE TABLE a () INHERITS ({}_view)",
    "create-partition": "CREATE TABLE a PARTITION OF {} FOR VALUES IN (1)",
    "create-reference": "CREATE TABLE a (b int REFERENCES {} ({}_column))",
    "create-reference-type": "CREATE TABLE a (b text REFERENCES {})",
    "create-default": "CREATE TABLE a (b int DEFAULT {})",
    "create-option": "CREATE TABLE a () WITH ({} = 1)",
    "create-view-columns": "CREATE OR REPLACE VIEW {}_view AS SELECT 1 AS {}_other",
    "create-trigger": "CREATE TRIGGER a AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}_f()",
    "create-trigger-type": "CREATE TRIGGER a AFTER INSERT ON {}_view FOR EACH ROW EXECUTE FUNCTION shout()",
    "create-function": "CREATE FUNCTION {}_f(b int) RETURNS int LANGUAGE sql AS ''",
    "create-function-return": "CREATE OR REPLACE FUNCTION {}_f(a int) RETURNS text LANGUAGE sql AS ''",
    "create-function-argument": "CREATE OR REPLACE FUNCTION {}_f({} int) RETURNS int LANGUAGE sql AS ''",
    "create-function-kind": "CREATE OR REPLACE PROCEDURE {}_f(a int) LANGUAGE sql AS ''",
    "create-function-type": "CREATE FUNCTION a({}_none) RETURNS int LANGUAGE sql AS ''",
    "create-function-body": "CREATE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT {}'",
    "create-function-plpgsql": "CREATE FUNCTION a() RETURNS int LANGUAGE plpgsql AS 'BEGIN {} END'",
    "create-function-c": "CREATE FUNCTION a() RETURNS int LANGUAGE c AS '/{}', '{}'",
    "create-function-support": "CREATE FUNCTION a() RETURNS int LANGUAGE sql SUPPORT {} AS 'SELECT 1'",
    "create-operator-missing": "CREATE OPERATOR CLASS a FOR TYPE int USING btree AS FUNCTION 1 {}_f(int)",
    "create-cast": "CREATE CAST (int AS {}_enum) WITH FUNCTION {}_f(int)",
    "create-conversion": "CREATE CONVERSION a FOR 'UTF8' TO 'LATIN1' FROM {}_none",
    "create-conversion-name": "CREATE CONVERSION a FOR '{}' TO 'LATIN1' FROM a",
    "create-enum": "CREATE TYPE {}_enum AS ENUM ('a')",
    "create-rule": "CREATE RULE {} AS ON SELECT TO {} DO INSTEAD NOTHING",
    "create-extension": "CREATE EXTENSION {}",
    "create-extension-version": "CREATE EXTENSION pgrowlocks VERSION '{}'",
    "create-role": "CREATE ROLE pg_{}",
    "create-schema": "CREATE SCHEMA {}_schema",
    "create-schema-prefix": "CREATE SCHEMA pg_{}",
    "create-server": "CREATE SERVER a FOREIGN DATA WRAPPER {}",
    "create-configuration": "CREATE TEXT SEARCH CONFIGURATION a (PARSER = {})",
    "create-publication": "CREATE PUBLICATION a FOR TABLE {}_view",
    "create-event-trigger": "CREATE EVENT TRIGGER a ON {} EXECUTE FUNCTION {}_f()",
    "create-collation": "CREATE COLLATION a (locale = '{}')",
    "alter-type": "ALTER TABLE {} ALTER id TYPE {}_enum",
    "alter-type-using": "ALTER TABLE {} ALTER id TYPE int USING {}",
    "alter-type-used": "ALTER TABLE {} ALTER e TYPE varchar(9)",
    "alter-default": "ALTER TABLE people ALTER num SET DEFAULT 'a'::{}_enum",
    "alter-add": "ALTER TABLE {} ADD id int",
    "alter-add-key": "ALTER TABLE {} ADD PRIMARY KEY (id)",
    "alter-add-constraint": "ALTER TABLE {} ADD CONSTRAINT {}_pkey CHECK (true)",
    "alter-rename": "ALTER TABLE {} RENAME id TO e",
    "alter-rename-value": "ALTER TYPE {}_enum RENAME VALUE '{}' TO 'b'",
    "alter-add-value": "ALTER TYPE {}_enum ADD VALUE 'a'",
    "alter-add-attribute": "ALTER TYPE {}_pair ADD ATTRIBUTE a int",
    "alter-type-in-use": "ALTER TYPE {}_pair ALTER ATTRIBUTE a TYPE text",
    "alter-system-column": "ALTER TABLE {} DROP COLUMN xmin",
    "alter-cluster": "ALTER TABLE {} CLUSTER ON {}",
    "alter-inherit": "ALTER TABLE people INHERIT {}",
    "alter-detach": "ALTER TABLE parts DETACH PARTITION {}",
    "alter-attach": "ALTER TABLE parts ATTACH PARTITION {} FOR VALUES IN (1)",
    "alter-partition-type": "ALTER TABLE {} ATTACH PARTITION people DEFAULT",
    "alter-of": "ALTER TABLE {} OF {}_pair",
    "alter-sequence-values": "ALTER SEQUENCE {}_seq MAXVALUE 0",
    "alter-extension-to": "ALTER EXTENSION plpgsql UPDATE TO '{}'",
    "alter-extension-add": "ALTER EXTENSION plpgsql DROP TABLE {}",
    "alter-domain": "ALTER DOMAIN {}_enum DROP NOT NULL",
    "alter-domain-constraint": "ALTER DOMAIN {}_domain DROP CONSTRAINT {}",
    "alter-database": "ALTER DATABASE {} SET work_mem = 1",
    "grant": "GRANT SELECT ON {} TO {}",
    "grant-column": "GRANT SELECT ({}) ON people TO PUBLIC",
    "grant-kind": "GRANT USAGE ON {} TO PUBLIC",
    "comment": "COMMENT ON COLUMN {}.{} IS ''",
    "comment-constraint": "COMMENT ON CONSTRAINT {} ON {} IS ''",
    "comment-cast": "COMMENT ON CAST (int AS {}_enum) IS ''",
    "security-label": "SECURITY LABEL FOR {} ON TABLE people IS ''",
    "cluster": "CLUSTER people USING {}",
    "refresh": "REFRESH MATERIALIZED VIEW {}",
    "set": "SET {} = 1",
    "set-value": "SET work_mem = '{}'",
    "set-role": "SET ROLE {}",
    "constraints": "SET CONSTRAINTS {} DEFERRED",
    "fetch": "FETCH {}",
    "deallocate": "DEALLOCATE {}",
    "prepare": "PREPARE {} AS SELECT 1; PREPARE {} AS SELECT 1",
    "copy": "COPY people FROM '/{}'",
    "copy-option": "COPY people TO '/tmp' ({})",
    "load": "LOAD '{}'",
    "do": "DO LANGUAGE {} ''",
    "do-raise": "DO $x$ BEGIN RAISE EXCEPTION '{}'; END $x$",
    "do-cast": "DO $x$ BEGIN PERFORM '{}'::int; END $x$",
    "do-execute": "DO $x$ BEGIN EXECUTE 'DROP TABLE {}'; END $x$",
    "do-static": "DO $x$ BEGIN DROP TABLE {}; END $x$",
    "denied-table": "GRANT USAGE ON SCHEMA public TO pg_monitor; SET ROLE pg_monitor; SELECT * FROM {}",
    "denied-view": "SET ROLE pg_monitor; SELECT * FROM {}_view",
    "denied-schema": "SET ROLE pg_monitor; SELECT * FROM {}_schema.inner_table",
    "denied-sequence": "SET ROLE pg_monitor; SELECT nextval('{}_seq')",
    "denied-function": "REVOKE EXECUTE ON FUNCTION {}_f FROM PUBLIC; SET ROLE pg_monitor; SELECT {}_f(1)",
    "denied-procedure": "REVOKE EXECUTE ON PROCEDURE {}_p FROM PUBLIC; SET ROLE pg_monitor; CALL {}_p()",
    "denied-type": "REVOKE USAGE ON TYPE {}_enum FROM PUBLIC; SET ROLE pg_monitor; CREATE TEMP TABLE a (b {}_enum)",
    "denied-owner": "SET ROLE pg_monitor; DROP TABLE {}",
    "denied-owner-function": "SET ROLE pg_monitor; DROP FUNCTION {}_f(int)",
    "denied-owner-type": "SET ROLE pg_monitor; DROP TYPE {}_enum",
    "denied-owner-schema": "SET ROLE pg_monitor; DROP SCHEMA {}_schema",
    "denied-owner-view": "SET ROLE pg_monitor; CREATE OR REPLACE VIEW {}_view AS SELECT 1",
    "denied-owner-sequence": "SET ROLE pg_monitor; DROP SEQUENCE {}_seq",
    "denied-owner-index": "SET ROLE pg_monitor; DROP INDEX {}_pkey",
    "denied-column": "GRANT SELECT (id) ON {} TO pg_monitor; SET ROLE pg_monitor; SELECT e FROM {}",
    "denied-role": "SET ROLE pg_monitor; CREATE ROLE {}",
    "denied-database": "SET ROLE pg_monitor; CREATE SCHEMA {}",
    "denied-parameter": "SET ROLE pg_monitor; ALTER SYSTEM SET work_mem = '{}'",
}  # fmt: skip

NAMED = "ident || '_schema.inner_table'"
DENIED = {
    "table": f"has_table_privilege({NAMED}, 'select')",
    "column": f"has_column_privilege({NAMED}, 'a', 'select')",
    "sequence": f"has_sequence_privilege({NAMED}, 'usage')",
    "function": f"has_function_privilege({NAMED} || '()', 'execute')",
    "type": f"has_type_privilege({NAMED}, 'usage')",
    "rows": f"row_security_active({NAMED})",
    "to_regclass": f"to_regclass({NAMED})",
    "to_regtype": f"to_regtype({NAMED})",
    "regconfig": f"to_tsvector(({NAMED})::regconfig, 'a')",
    "regdictionary": f"ts_lexize(({NAMED})::regdictionary, 'a')",
    "regcollation": f"({NAMED})::regcollation",
    "parser": f"ts_parse({NAMED}, 'a')",
    "currtid": "currtid2(ident, '(0,1)')",
}

FILES = {
    **{f"cast-{type_}": cast(type_) for type_ in CASTS},
    **{f"name-{type_}": cast(type_, "ident || '_none'") for type_ in NAMES},
    **{f"call-{name}": call(expression) for name, expression in CALLS.items()},
    **STATEMENTS,
    **{f"denied-by-{name}": denied(expression) for name, expression in DENIED.items()},
    **{f"dynamic-{name}": dynamic(statement) for name, statement in DYNAMIC.items()},
}
