"""What a file's statements touch, told from their trees alone. The rules themselves are tried on servers."""

import pytest

from aurora_migrations.compiler.locks import rules
from aurora_migrations.compiler.locks.created_objects import CreatedObjects
from aurora_migrations.compiler.locks.effects import Answer, Effect, caveat, file_effects
from aurora_migrations.compiler.locks.match import touches
from aurora_migrations.compiler.parser import parse
from tests.bounds import NO_HANG


def of(text: str) -> list[tuple[Effect, ...]]:
    return file_effects(parse(text.encode())).effects


def last(text: str) -> tuple[Effect, ...]:
    return of(text)[-1]


def one(text: str) -> Effect:
    (effect,) = last(text)
    return effect


def tables(text: str) -> list[str]:
    return [effect.table for effect in last(text)]


def named(text: str) -> tuple[str, ...]:
    created = CreatedObjects()
    (statement,) = parse(text.encode())[-1:]
    names = (str(touch.name) for node in created.flatten(statement.node) for touch in touches(node, created.types))
    return tuple(dict.fromkeys(names))


# One effect


def test_an_effect_says_the_lock_whom_it_stops_why_and_where_that_is_documented():
    effect = one("ALTER TABLE app.orders ADD COLUMN token uuid DEFAULT gen_random_uuid()")
    assert (effect.table, effect.lock) == ("app.orders", "ACCESS EXCLUSIVE")
    assert (effect.rewrites, effect.scans) == (Answer.YES, Answer.YES)
    assert (effect.reads_blocked, effect.writes_blocked) == (True, True)
    assert effect.why == "adding a column with a volatile default rewrites the table"
    assert effect.source == "https://www.postgresql.org/docs/18/sql-altertable.html (Description, ADD COLUMN; Notes)"
    assert effect.rules == ("AlterTableStmt AT_AddColumn: volatile default",)


@pytest.mark.parametrize(
    ("statement", "reads", "writes"),
    [
        ("SELECT 1 FROM t", False, False),
        ("UPDATE t SET a = 1", False, False),
        ("CREATE INDEX CONCURRENTLY i ON t (a)", False, False),
        ("CREATE INDEX i ON t (a)", False, True),
        ("CREATE TRIGGER g AFTER INSERT ON t EXECUTE FUNCTION f()", False, True),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY t", False, True),
        ("REINDEX TABLE t", True, True),
        ("TRUNCATE t", True, True),
    ],
)
def test_whom_a_lock_stops(statement: str, reads: bool, writes: bool):
    effect = one(statement)
    assert (effect.reads_blocked, effect.writes_blocked) == (reads, writes)


def test_answers_order_and_print_as_words():
    assert Answer.NO < Answer.MAYBE < Answer.YES
    assert [str(answer) for answer in Answer] == ["no", "maybe", "yes"]
    assert not Answer.NO
    assert Answer.MAYBE


def test_a_rule_has_a_source_and_a_lock_that_postgresql_knows():
    assert rules.RULES
    for rule in rules.RULES:
        assert rule.source.startswith("https://www.postgresql.org/docs/18/"), rule.id
        assert rule.lock in rules.MODES, rule.id
        assert rule.why, rule.id
        assert not rule.why.endswith("."), rule.id


# Several in one


def test_of_many_subcommands_the_strongest_lock_is_listed_once_with_the_reasons_that_matter():
    effect = one(
        "ALTER TABLE t SET (fillfactor = 80), ALTER a SET DEFAULT 1, ADD COLUMN n serial, VALIDATE CONSTRAINT k"
    )
    assert effect.lock == "ACCESS EXCLUSIVE"
    assert (effect.rewrites, effect.scans) == (Answer.YES, Answer.YES)
    assert effect.why == "adding a column of a serial type rewrites the table"
    assert len(effect.rules) == 4


def test_a_scan_that_no_rewrite_explains_is_given_its_reason():
    effect = one("ALTER TABLE t DROP COLUMN a, VALIDATE CONSTRAINT k")
    assert (effect.lock, effect.rewrites, effect.scans) == ("ACCESS EXCLUSIVE", Answer.NO, Answer.YES)
    assert "dropping a column" in effect.why
    assert "validating reads the whole table" in effect.why


def test_weak_subcommands_together_keep_the_weak_lock():
    assert one("ALTER TABLE t SET (fillfactor = 80), VALIDATE CONSTRAINT k").lock == "SHARE UPDATE EXCLUSIVE"


def test_a_foreign_key_to_the_table_itself_lists_it_once():
    effect = one("ALTER TABLE t ADD FOREIGN KEY (parent) REFERENCES t")
    assert (effect.table, effect.lock, effect.scans) == ("t", "SHARE ROW EXCLUSIVE", Answer.YES)


def test_a_foreign_key_lists_both_tables():
    assert [(e.table, e.lock) for e in last("ALTER TABLE a.t ADD FOREIGN KEY (x) REFERENCES b.r NOT VALID")] == [
        ("a.t", "SHARE ROW EXCLUSIVE"),
        ("b.r", "SHARE ROW EXCLUSIVE"),
    ]


def test_a_foreign_key_that_is_replaced_locks_the_other_table_as_dropping_it_does():
    drop_and_add = "ALTER TABLE t DROP CONSTRAINT k, ADD CONSTRAINT k FOREIGN KEY (x) REFERENCES r ON DELETE CASCADE"
    assert [(e.table, e.lock) for e in last(drop_and_add)] == [("t", "ACCESS EXCLUSIVE"), ("r", "ACCESS EXCLUSIVE")]


def test_a_statement_lists_each_of_its_tables():
    assert tables('DROP TABLE a, b.c, "D"') == ["a", "b.c", '"D"']
    assert tables("TRUNCATE a, ONLY b") == ["a", "b"]
    assert tables("LOCK TABLE a, b") == ["a", "b"]
    assert tables("GRANT SELECT ON a, b TO PUBLIC") == ["a", "b"]
    assert tables("VACUUM a, b (x)") == ["a", "b"]


# New columns


@pytest.mark.parametrize(
    ("column", "rewrites", "scans"),
    [
        ("n int", "no", "no"),
        ("n int DEFAULT NULL", "no", "no"),
        ("n text NOT NULL DEFAULT ''", "no", "no"),
        ("n timestamptz NOT NULL DEFAULT now()", "no", "no"),
        ("n timestamptz DEFAULT CURRENT_TIMESTAMP", "no", "no"),
        ("n timestamp DEFAULT (now() AT TIME ZONE 'utc')", "no", "no"),
        ("n jsonb DEFAULT '{}'::jsonb", "no", "no"),
        ("n text[] DEFAULT ARRAY[]::text[]", "no", "no"),
        ("n app.status[]", "no", "no"),
        ("n double precision", "no", "no"),
        ("n character varying(5)", "no", "no"),
        ("n citext", "no", "no"),
        ("n uuid DEFAULT uuid_generate_v4()", "yes", "yes"),
        ("n uuid DEFAULT public.uuid_generate_v4()", "yes", "yes"),
        ("n text DEFAULT md5(random()::text)", "yes", "yes"),
        ("n int DEFAULT nextval('s')", "yes", "yes"),
        ("n BIGSERIAL", "yes", "yes"),
        ("n int GENERATED BY DEFAULT AS IDENTITY", "yes", "yes"),
        ("n int GENERATED ALWAYS AS (a + b) STORED", "yes", "yes"),
        ("n int GENERATED ALWAYS AS (a + b)", "no", "no"),
        ("n text DEFAULT make_id()", "maybe", "maybe"),
        ("n text DEFAULT app.now()", "maybe", "maybe"),
        ("n app.status", "maybe", "maybe"),
        ("n int NOT NULL", "no", "yes"),
        ("n int UNIQUE", "no", "yes"),
        ("n int CHECK (n > 0)", "no", "yes"),
    ],
)
def test_a_new_column(column: str, rewrites: str, scans: str):
    effect = one(f"ALTER TABLE t ADD COLUMN {column}")
    assert (str(effect.rewrites), str(effect.scans)) == (rewrites, scans)


@pytest.mark.parametrize(
    ("definition", "rewrites"),
    [
        ("CREATE TYPE status AS ENUM ('a')", Answer.NO),
        ("CREATE TYPE app.status AS (a int)", Answer.NO),
        ("CREATE TYPE status AS RANGE (subtype = int)", Answer.NO),
        ("CREATE DOMAIN status AS text", Answer.NO),
        ("CREATE DOMAIN status AS text CHECK (value <> '')", Answer.YES),
        ("CREATE DOMAIN status AS text NOT NULL", Answer.YES),
        ("CREATE DOMAIN base AS text NOT NULL; CREATE DOMAIN status AS base", Answer.YES),
    ],
)
def test_a_new_column_of_a_type_that_the_file_creates(definition: str, rewrites: Answer):
    assert one(f"{definition}; ALTER TABLE t ADD COLUMN s status").rewrites is rewrites


# Names


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("Orders", "orders"),
        ('"Orders"', '"Orders"'),
        ('App."Order Lines"', 'app."Order Lines"'),
        ('"order"', '"order"'),
        ('"a""b"', '"a""b"'),
        ("ONLY orders", "orders"),
        ("IF EXISTS orders", "orders"),
    ],
)
def test_names_are_shown_as_postgresql_would_write_them(written: str, shown: str):
    assert one(f"ALTER TABLE {written} DROP COLUMN x").table == shown


def test_a_trigger_a_column_or_a_constraint_is_its_tables_matter():
    for statement in (
        "DROP TRIGGER g ON a.t",
        "DROP POLICY p ON a.t",
        "DROP RULE r ON a.t",
        "COMMENT ON COLUMN a.t.c IS 'x'",
        "COMMENT ON CONSTRAINT k ON a.t IS 'x'",
        "ALTER TRIGGER g ON a.t RENAME TO h",
        "ALTER SEQUENCE s OWNED BY a.t.c",
    ):
        assert "a.t" in tables(statement), statement


def test_objects_names_what_is_created_too_in_the_order_of_the_text():
    assert named("CREATE TABLE a (b_id int REFERENCES b, LIKE c)") == ("a", "c", "b")
    assert named("CREATE VIEW v AS SELECT * FROM x.y JOIN z USING (id)") == ("v", "x.y", "z")
    assert named("CREATE SCHEMA s CREATE TABLE t (id int)") == ("t",)
    assert named("CREATE TYPE t AS ENUM ('a')") == ()


# Queries


def test_a_query_reads_its_tables_and_writes_its_target():
    locks = {e.table: e.lock for e in last("INSERT INTO a SELECT * FROM b JOIN c.d USING (id) WHERE x IN (TABLE e)")}
    assert locks == {"a": "ROW EXCLUSIVE", "b": "ACCESS SHARE", "c.d": "ACCESS SHARE", "e": "ACCESS SHARE"}


def test_the_names_of_with_queries_are_no_tables():
    assert set(tables("WITH x AS (TABLE a), y AS (TABLE x) UPDATE b SET n = 1 FROM y")) == {"a", "b"}
    assert tables("WITH x AS (SELECT * FROM x) SELECT * FROM x") == ["x"]
    assert tables("WITH RECURSIVE x AS (SELECT 1 UNION SELECT * FROM x) SELECT * FROM x") == []
    assert tables("WITH x AS (SELECT 1) SELECT * FROM app.x") == ["app.x"]


def test_with_queries_that_write_take_the_writers_lock():
    assert one("WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone").lock == "ROW EXCLUSIVE"


def test_for_update_locks_the_rows_of_the_tables_it_lists_by_their_alias():
    text = "SELECT * FROM a x JOIN b ON true FOR UPDATE OF x"
    assert {e.table: e.lock for e in last(text)} == {"a": "ROW SHARE", "b": "ACCESS SHARE"}
    assert one("SELECT * FROM (SELECT * FROM a) s FOR UPDATE").lock == "ROW SHARE"


def test_what_is_only_analysed_reads_no_rows():
    for statement in ("EXPLAIN SELECT * FROM t", "PREPARE p AS SELECT * FROM t", "CREATE VIEW v AS SELECT * FROM t"):
        assert one(statement).scans is Answer.NO, statement
    assert one("EXPLAIN ANALYZE SELECT * FROM t").scans is Answer.MAYBE


def test_a_sequence_in_a_call_is_found_by_its_text():
    assert tables("""SELECT setval('app."Orders_id_seq"', 5)""") == ['app."Orders_id_seq"']
    assert tables("SELECT setval(pg_get_serial_sequence('t', 'id'), 5)") == []


# What the same file did before


def test_nobody_waits_for_what_the_file_created():
    text = """
        CREATE TABLE t (id serial PRIMARY KEY, old_id int REFERENCES old);
        CREATE INDEX ON t (old_id);
        ALTER TABLE public.t ADD COLUMN n int DEFAULT random();
        ALTER SEQUENCE t_id_seq RESTART;
        INSERT INTO t SELECT * FROM old;
        DROP TABLE t;
        ALTER TABLE t ADD COLUMN n int;
    """
    assert [[e.table for e in found] for found in of(text)] == [["old"], [], [], [], ["old"], [], ["t"]]


@pytest.mark.parametrize(
    "create",
    [
        "CREATE TEMP TABLE t (id int)",
        "CREATE TEMP TABLE IF NOT EXISTS t (id int)",
        "CREATE UNLOGGED TABLE public.t (id int)",
        "CREATE TABLE t AS SELECT 1 AS id",
        "SELECT 1 AS id INTO t",
        "CREATE TABLE x (id int); ALTER TABLE x RENAME TO t",
        "CREATE TABLE a.t (id int); ALTER TABLE a.t SET SCHEMA public",
        "SET search_path = app, public; CREATE TABLE app.t (id int)",
        "SET search_path TO app; CREATE TABLE t (id int)",
    ],
)
def test_the_ways_to_create_a_table(create: str):
    assert last(f"{create}; CREATE INDEX ON t (id)") == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("CREATE TABLE IF NOT EXISTS t (id int); CREATE INDEX ON t (id)", "t"),
        ("CREATE TABLE IF NOT EXISTS t (id serial); ALTER SEQUENCE t_id_seq RESTART", "t_id_seq"),
        ("CREATE TABLE IF NOT EXISTS t AS SELECT 1 AS id; ALTER TABLE t ADD n int", "t"),
        ("CREATE FOREIGN TABLE IF NOT EXISTS t (id int) SERVER s; ALTER FOREIGN TABLE t ADD n int", "t"),
        ("CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT 1; REFRESH MATERIALIZED VIEW v", "v"),
        ("CREATE SEQUENCE IF NOT EXISTS s; ALTER SEQUENCE s RESTART", "s"),
        ("CREATE TABLE t (id int); CREATE INDEX IF NOT EXISTS i ON t (id); DROP INDEX i", "i"),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS n serial; ALTER SEQUENCE t_n_seq RESTART", "t_n_seq"),
        ("SAVEPOINT a; CREATE TABLE t (id int); ROLLBACK TO a; ALTER TABLE t ADD n int", "t"),
        ("SAVEPOINT a; SAVEPOINT b; CREATE TABLE t (id int); ROLLBACK TO a; DROP TABLE t", "t"),
        ("SAVEPOINT a; RELEASE a; SAVEPOINT a; CREATE TABLE t (id int); ROLLBACK TO a; DROP TABLE t", "t"),
        ("SAVEPOINT a; CREATE INDEX i ON t (id); ROLLBACK TO a; DROP INDEX i", "i"),
        ("SAVEPOINT a; SET search_path = x; ROLLBACK TO a; CREATE TABLE x.t (id int); DROP TABLE t", "t"),
    ],
)
def test_what_may_have_been_there_before_isnt_new(text: str, told: str):
    assert tables(text) == [told]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (id int); CREATE TABLE IF NOT EXISTS t (id int); DROP TABLE t",
        "CREATE TABLE t (id int); SAVEPOINT a; CREATE TABLE u (id int); ROLLBACK TO a; DROP TABLE t",
        "SAVEPOINT a; CREATE TABLE t (id int); SAVEPOINT b; ROLLBACK TO b; RELEASE a; DROP TABLE t",
        "SAVEPOINT a; CREATE TABLE t (id int); RELEASE a; ROLLBACK TO a; DROP TABLE t",
    ],
)
def test_what_a_savepoint_leaves_in_place_stays_new(text: str):
    assert tables(text) == []


def test_a_domain_that_was_taken_back_is_unknown_again():
    text = "SAVEPOINT a; CREATE DOMAIN d AS int; ROLLBACK TO a; ALTER TABLE t ADD COLUMN n d"
    assert one(text).rewrites is Answer.MAYBE


@NO_HANG
def test_savepoints_by_the_thousand_take_no_time_with_their_square():
    statements = parse(b"SAVEPOINT a; CREATE TABLE t (id int); ROLLBACK TO b; ROLLBACK TO a;" * 10_000)
    assert len(file_effects(statements).effects) == 40_000


def test_a_table_of_another_schema_is_another_table():
    assert tables("CREATE TABLE app.t (id int); CREATE INDEX ON t (id)") == ["t"]
    assert tables("CREATE TABLE t (id int); CREATE INDEX ON app.t (id)") == ["app.t"]
    assert tables("CREATE TABLE t (id int); SET search_path TO app; CREATE INDEX ON t (id)") == ["t"]


def test_a_renamed_table_that_was_there_before_isnt_new_and_its_old_name_may_be():
    found = of("ALTER TABLE t RENAME TO old; CREATE TABLE t (id int); CREATE INDEX ON t (id); CREATE INDEX ON old (id)")
    assert [[e.table for e in each] for each in found] == [["t"], [], [], ["old"]]


def test_a_new_view_may_be_replaced_and_one_that_may_be_there_stops_its_readers():
    assert tables("CREATE VIEW v AS SELECT 1; CREATE OR REPLACE VIEW v AS SELECT 2") == []
    assert one("CREATE OR REPLACE VIEW v AS SELECT 2").lock == "ACCESS EXCLUSIVE"


def test_the_statements_within_create_schema_belong_to_it():
    text = "CREATE SCHEMA app CREATE TABLE t (o int REFERENCES public.o); CREATE INDEX ON app.t (o); DROP TABLE t"
    assert [[e.table for e in found] for found in of(text)] == [["public.o"], [], ["t"]]


def test_dropping_a_schema_forgets_what_was_new_in_it():
    assert tables("CREATE TABLE app.t (id int); DROP SCHEMA app CASCADE; CREATE INDEX ON app.t (id)") == ["app.t"]


def test_an_index_by_name_is_its_table_if_the_file_tells_which_and_else_itself():
    assert tables("DROP INDEX app.i") == ["app.i"]
    assert "its table" in one("DROP INDEX app.i").why
    assert tables("CREATE INDEX i ON app.t (a); DROP INDEX app.i") == ["app.t"]
    assert tables("CREATE TABLE t (a int); CREATE INDEX i ON t (a); DROP INDEX i") == []
    reindex = one("CREATE INDEX i ON t (a); REINDEX INDEX i")
    assert (reindex.table, reindex.lock, reindex.reads_blocked) == ("t", "SHARE", True)


# What can't be known


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("DO $$ BEGIN ALTER TABLE t ADD x int; END $$", "DO block isn't analysed"),
        ("CALL clean()", "procedure's body"),
        ("CREATE EXTENSION citext", "script isn't analysed"),
        ("SELECT app.migrate_orders()", "body of app.migrate_orders()"),
        ("DROP TABLE t CASCADE", "CASCADE"),
        ("ALTER TABLE t DROP COLUMN a CASCADE", "CASCADE"),
        ("TRUNCATE t CASCADE", "empties every table that references"),
        ("DROP STATISTICS s", "SHARE UPDATE EXCLUSIVE"),
        ("VACUUM", "every table"),
        ("CLUSTER", "every table"),
        ("REINDEX SCHEMA app", "every index"),
        ("GRANT SELECT ON ALL TABLES IN SCHEMA app TO x", "no lock"),
        ("ALTER DOMAIN d ADD CHECK (value > 0)", "SHARE"),
        ("ALTER TYPE pair ADD ATTRIBUTE c int CASCADE", "tables of this type"),
    ],
)
def test_a_note_says_what_no_rule_can_see(statement: str, part: str):
    assert part in caveat(parse(statement.encode())[0].node)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE t AS ENUM ('a')",
        "ALTER TYPE t ADD VALUE 'b'",
        "ALTER TYPE t RENAME VALUE 'a' TO 'c'",
        "ALTER TYPE t RENAME ATTRIBUTE a TO b",
        "SELECT to_regclass('t')",
        "ALTER DOMAIN d ADD CHECK (value > 0) NOT VALID",
        "CREATE ROLE r",
        "SET lock_timeout = '2s'",
        "BEGIN",
        "SELECT pg_catalog.set_config('search_path', '', false)",
        "CREATE SEQUENCE s",
        "CREATE PUBLICATION p FOR ALL TABLES",
        "COMMENT ON SCHEMA s IS 'x'",
        "DROP FUNCTION f()",
        "NOTIFY x",
    ],
)
def test_statements_that_touch_no_table_have_no_effect_and_no_note(statement: str):
    parsed = parse(statement.encode())
    assert file_effects(parsed).effects == ((),)
    assert named(statement) == (("s",) if statement == "CREATE SEQUENCE s" else ())
    assert caveat(parsed[0].node) == ""


def test_every_statement_gets_its_tuple_in_order():
    found = of("BEGIN; CREATE INDEX ON t (a); COMMIT")
    assert [len(each) for each in found] == [0, 1, 0]
