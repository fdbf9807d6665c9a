"""Hazards of a deploy: where they stand, which are none after all, and how a file accepts one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from aurora_migrations.compiler import squawk
from aurora_migrations.compiler.check import of_hazards
from aurora_migrations.compiler.hazards import (
    PASSWORD,
    RULES,
    UNREAD,
    Allow,
    Hazard,
    LintedFile,
    apply_allows,
    find_hazards,
    parse_allow,
)
from aurora_migrations.compiler.locks.effects import file_effects
from aurora_migrations.compiler.parser import parse
from aurora_migrations.compiler.secret_literals import hide_passwords
from tests.bounds import NO_HANG

CANARY = "kanarien-7vogel"


def source(text, path="017_x.sql", in_transaction=True):
    encoded = text.encode()
    statements = parse(encoded)
    return LintedFile(path, encoded, statements, in_transaction, on_new=file_effects(statements).on_new)


def find(text, in_transaction=True):
    (hazards,) = find_hazards([source(text, in_transaction=in_transaction)]).values()
    return hazards


def rules(text, in_transaction=True):
    return [hazard.rule for hazard in find(text, in_transaction)]


# ---- where ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "line", "column"),
    [
        ("", 1, 1),
        ("-- one\n\n", 3, 1),
        ("/* é😀 */\t", 1, 10),
        ("SELECT 'naïve'; /* ✓ */ ", 1, 25),
        ("SELECT $$\n🐘\n$$;\n\t\t", 4, 3),
        ("SELECT 1;\n/* a /* b */ ; */  ", 2, 20),
    ],
)
def test_lines_and_columns_count_characters_from_one(before, line, column):
    (hazard,) = find(before + "DROP TABLE t;")
    assert (hazard.line, hazard.column) == (line, column)
    assert str(hazard).startswith(f"017_x.sql:{line}:{column}: ")


def test_hazards_come_by_file_in_the_order_of_the_text():
    files = [source("DROP VIEW v;\nDROP TABLE t;", "2.sql"), source("SELECT 1;", "1.sql"), source("", "3.sql", False)]
    found = find_hazards(files)
    assert {path: [h.rule for h in hazards] for path, hazards in found.items()} == {
        "2.sql": ["ban-drop-view", "ban-drop-table"],
        "1.sql": [],
        "3.sql": [],
    }
    assert {hazard.file for hazard in found["2.sql"]} == {"2.sql"}


def test_no_files_have_no_hazards():
    assert find_hazards([]) == {}


# ---- what is no hazard after all ------------------------------------------------------------------------------------

ON_T = [
    "ALTER TABLE t ADD COLUMN b int NOT NULL",
    "ALTER TABLE t ADD COLUMN b uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE t ALTER COLUMN a SET NOT NULL",
    "ALTER TABLE t ALTER COLUMN a DROP NOT NULL",
    "ALTER TABLE t ALTER COLUMN a TYPE bigint",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
    "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (id)",
    "ALTER TABLE t ADD PRIMARY KEY (a)",
    "ALTER TABLE t DROP CONSTRAINT c",
    "ALTER TABLE t DROP COLUMN a",
    "ALTER TABLE t RENAME COLUMN a TO b",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE t SET SCHEMA s",
    "CREATE INDEX i ON t (a)",
    "REINDEX TABLE t",
    "TRUNCATE t CASCADE",
    "DROP TABLE t",
]
TABLES = [
    "CREATE TABLE t (a int)",
    "CREATE TABLE public.t (a int)",
    'CREATE TABLE "t" (a int)',
    "CREATE TEMP TABLE t (a int)",
    "CREATE UNLOGGED TABLE t AS SELECT 1 AS a",
    "SELECT 1 AS a INTO t",
    "CREATE TABLE t PARTITION OF p DEFAULT",
]


@pytest.mark.parametrize("in_transaction", [True, False])
@pytest.mark.parametrize("statement", [s for s in ON_T if "CASCADE" not in s])
def test_a_table_made_earlier_in_the_file_is_nobody_elses(statement, in_transaction):
    assert rules(f"{statement};", in_transaction) != []
    assert [rules(f"{table};\n{statement};", in_transaction) for table in TABLES] == [[]] * len(TABLES)


def test_what_a_truncate_cascades_to_is_not_known():
    assert rules("CREATE TABLE t (a int); TRUNCATE t CASCADE;") == ["ban-truncate-cascade"]


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (a int); DROP TABLE t, users;",
        "CREATE TABLE IF NOT EXISTS users (a int); ALTER TABLE users DROP COLUMN a;",
        "SAVEPOINT a; CREATE TABLE users (a int); ROLLBACK TO a; ALTER TABLE users DROP COLUMN a;",
        "CREATE TABLE u (a int); SAVEPOINT a; ALTER TABLE u RENAME TO users; ROLLBACK TO a; DROP TABLE users;",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS users AS SELECT 1; DROP MATERIALIZED VIEW users;",
        "CREATE SEQUENCE IF NOT EXISTS users; DROP SEQUENCE users;",
        "CREATE TABLE archive.users (a int); ALTER TABLE users DROP COLUMN a;",
        "CREATE TABLE users (a int); ALTER TABLE archive.users DROP COLUMN a;",
        'CREATE TABLE "Users" (a int); ALTER TABLE users DROP COLUMN a;',
        "SET search_path = x; CREATE TABLE users (a int); ALTER TABLE public.users DROP COLUMN a;",
        "SELECT set_config('search_path', 'x', false); CREATE TABLE t (a int); ALTER TABLE public.t DROP COLUMN a;",
        "DO $$ BEGIN SET search_path = x; END $$; CREATE TABLE t (a int); ALTER TABLE public.t DROP COLUMN a;",
        "CREATE TABLE t (a int); SET search_path = x; ALTER TABLE t DROP COLUMN a;",
        "BEGIN; SET LOCAL search_path = x; COMMIT; CREATE TABLE t (a int); ALTER TABLE x.t DROP COLUMN a;",
        "ALTER TABLE users DROP COLUMN a; CREATE TABLE users (a int);",
        "CREATE TEMP TABLE users (a int); DROP TABLE users; ALTER TABLE users DROP COLUMN a;",
        "CREATE TABLE users_new (a int); ALTER TABLE users RENAME TO users_old;",
        "CREATE OR REPLACE VIEW v AS SELECT 1; DROP VIEW v;",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; DROP FUNCTION f();",
        "CREATE TABLE f (a int); DROP FUNCTION f();",
        "CREATE TABLE t (a int); ALTER TABLE t RENAME TO u; DROP TABLE t;",
    ],
)
def test_what_others_may_use_stays_a_hazard(text):
    assert len(rules(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE t (a int); ALTER TABLE t RENAME TO u; ALTER TABLE u DROP COLUMN a;",
        "CREATE TEMP TABLE IF NOT EXISTS t (a int); ALTER TABLE t DROP COLUMN a;",
        "CREATE TABLE t (a int); SAVEPOINT a; SELECT 1; ROLLBACK TO a; ALTER TABLE t DROP COLUMN a;",
        "CREATE TABLE t (a int); ALTER TABLE t SET SCHEMA s; ALTER TABLE s.t DROP COLUMN a;",
        "CREATE TABLE t (a int); ALTER TABLE t RENAME COLUMN a TO b; ALTER TABLE t DROP COLUMN b;",
        "SET search_path = x; CREATE TABLE t (a int); ALTER TABLE t DROP COLUMN a;",
        "SET search_path = x, public; CREATE TABLE x.t (a int); ALTER TABLE t DROP COLUMN a;",
        "CREATE SCHEMA x CREATE TABLE t (a int); ALTER TABLE x.t DROP COLUMN a;",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION f() RENAME TO g; DROP FUNCTION g()",
        "CREATE TEMP TABLE t (a int); DROP TABLE pg_temp.t;",
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a); DROP INDEX i; ALTER INDEX i RENAME TO j;",
        "CREATE INDEX CONCURRENTLY i ON s.users (a); DROP INDEX s.i;",
        "CREATE MATERIALIZED VIEW v AS SELECT 1 AS a; CREATE UNIQUE INDEX i ON v (a); DROP MATERIALIZED VIEW v;",
        "CREATE VIEW v AS SELECT 1; ALTER VIEW v RENAME TO w; DROP VIEW w;",
        "CREATE TYPE e AS ENUM ('a'); ALTER TYPE e RENAME VALUE 'a' TO 'b'; ALTER TYPE e RENAME TO f; DROP TYPE f;",
        "CREATE TYPE c AS (a int); ALTER TYPE c DROP ATTRIBUTE a; DROP TYPE c;",
        "CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CHECK (value > 0); ALTER DOMAIN d DROP NOT NULL; DROP DOMAIN d;",
        "CREATE SEQUENCE s; DROP SEQUENCE s;",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS ''; ALTER FUNCTION f() RENAME TO g; DROP FUNCTION g();",
        "CREATE FOREIGN TABLE t (a int) SERVER s; DROP FOREIGN TABLE t;",
    ],
)
def test_objects_are_followed_through_the_file(text):
    assert rules(text, in_transaction=False) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ALTER INDEX i RENAME TO j;", []),
        ("ALTER TRIGGER i ON t RENAME TO j;", []),
        ("ALTER POLICY i ON t RENAME TO j;", []),
        ("ALTER TABLE t RENAME CONSTRAINT a TO b;", ["renaming-object"]),
        ("ALTER TYPE e RENAME VALUE 'a' TO 'b';", ["renaming-object"]),
        ("ALTER DOMAIN d ADD CONSTRAINT c CHECK (value > 0) NOT VALID;", []),
        ("ALTER TABLE t ADD CONSTRAINT c UNIQUE (a);", ["disallowed-unique-constraint"]),
        ("ALTER TABLE t ADD PRIMARY KEY (a);", ["adding-serial-primary-key-field"]),
        ("ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES u (id);", ["adding-foreign-key-constraint"]),
        ("ALTER TABLE t ADD EXCLUDE USING gist (a WITH &&);", ["constraint-missing-not-valid"]),
        (
            "ALTER TABLE t ADD UNIQUE (a), ADD CHECK (a > 0), ADD FOREIGN KEY (a) REFERENCES u, ADD CHECK (a < 9);",
            [
                "disallowed-unique-constraint",
                "constraint-missing-not-valid",
                "adding-foreign-key-constraint",
                "constraint-missing-not-valid",
            ],
        ),
    ],
)
def test_what_squawk_exaggerates_or_says_twice_is_said_once(text, told):
    assert rules(text) == told


def test_the_first_migration_may_be_run_again_and_needs_no_allow():
    path = Path(__file__).resolve().parents[2] / "migrations" / "017_create_dry_run_log_micro_agente.sql"
    assert find(path.read_text("utf-8")) == []


# ---- statements that squawk can't read ------------------------------------------------------------------------------

UNREADABLE = "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'not SQL'"  # squawk reads bodies, the grammar doesn't


def test_a_statement_squawk_cannot_read_is_a_hazard_and_hides_no_other():
    hazards = find(f"DROP TABLE a;\n{UNREADABLE};\n  {UNREADABLE};\nDROP TABLE b;\n")
    assert [(h.rule, h.line, h.column) for h in hazards] == [
        ("ban-drop-table", 1, 1),
        (UNREAD, 2, 1),
        (UNREAD, 3, 3),
        ("ban-drop-table", 4, 1),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for a program")
def test_a_file_that_squawk_reads_by_the_statement_but_not_as_a_whole_is_unread(tmp_path, monkeypatch):
    together = 'grep -l "TABLE a" *.sql | xargs -r grep -l "TABLE b" | grep -q . && kill -ABRT $$'
    program = tmp_path / "squawk"
    program.write_text(f'#!/bin/sh\n{together}\nexec {squawk.find_program()} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    found = find_hazards([source("DROP TABLE a;\n DROP TABLE b;", "1.sql"), source("DROP TABLE a;", "2.sql")])
    assert [(h.rule, h.line, h.column) for h in found["1.sql"]] == [(UNREAD, 1, 1), (UNREAD, 2, 2)]
    assert [h.rule for h in found["2.sql"]] == ["ban-drop-table"]


def test_such_a_statement_can_be_allowed():
    told, rest = apply_allows(find(f"{UNREADABLE};"), [parse_allow(f"{UNREAD} because I looked at it myself", 1)])
    assert [h.allowed_because for h in told] == ["I looked at it myself"]
    assert rest == []


DEEP = 5_000
TOO_MUCH = {
    "brackets": "ALTER TABLE t ADD CHECK (" + "(" * DEEP + "true" + ")" * DEEP + ")",
    "brackets with commas": "ALTER TABLE t ADD CHECK (" + "f(1, " * 1_500 + "1" + ")" * 1_500 + ")",
    "casts": "ALTER TABLE t ADD CHECK (1" + "::int" * 20_000 + " > 0)",
    "a path": "ALTER TABLE t ADD CHECK (" + "a." * 30_000 + "b > 0)",
}
HARMLESS = {
    "brackets": "SELECT " + "(" * DEEP + "1" + ")" * DEEP,
    "casts": "SELECT 1" + "::int" * 20_000,
    "a path": "SELECT " + "a." * 30_000 + "b",
    "a large value": "INSERT INTO t VALUES ('" + "x" * 10_000_000 + "')",
    "a large body": "DO $$ BEGIN " + "PERFORM 1;\n" * 300_000 + "END $$",
}


def found_around(statement):
    """What is told of a statement between two with hazards, beside two files."""
    files = [source("DROP TABLE a;", "1.sql"), source(f"DROP TABLE a;\n{statement};\nDROP TABLE b;", "2.sql")]
    found = find_hazards([*files, source("DROP TABLE c;", "3.sql")])
    assert [h.rule for h in found["1.sql"]] == [h.rule for h in found["3.sql"]] == ["ban-drop-table"]
    return [hazard.rule for hazard in found["2.sql"]]


@pytest.mark.parametrize("statement", TOO_MUCH.values(), ids=TOO_MUCH)
@NO_HANG
def test_a_statement_that_is_too_much_for_squawk_is_unread_and_the_rest_is_told(statement):
    told = found_around(statement)
    assert told == ["ban-drop-table", UNREAD, "ban-drop-table"]


@pytest.mark.parametrize("statement", HARMLESS.values(), ids=HARMLESS)
@NO_HANG
def test_large_data_and_code_hold_nothing_that_squawk_speaks_of(statement):
    told = found_around(statement)
    assert told == ["ban-drop-table", "ban-drop-table"]


# ---- passwords ------------------------------------------------------------------------------------------------------

SECRETS = [
    "CREATE ROLE app LOGIN PASSWORD '{}'",
    "CREATE USER app WITH ENCRYPTED PASSWORD /* here */ E'{}' VALID UNTIL 'infinity'",
    "ALTER ROLE app PASSWORD\n  $x${}$x$",
    "ALTER USER é\tPASSWORD U&'{}'",
    "CREATE GROUP app PASSWORD '{}'",
    "INSERT INTO users (login, secret) VALUES ('root', crypt('{}', gen_salt('bf')))",
    "UPDATE users SET secret = public.CRYPT ( $x${}$x$, gen_salt('bf'))",
    "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'app', password '{}')",
    "ALTER USER MAPPING FOR app SERVER s OPTIONS (SET \"password\" '{}')",
    "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (passwd '{}')",
    "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (connstr 'user=a password={}')",
    "ALTER SERVER s OPTIONS (ADD url 'https://a:{}@h/db')",
    "ALTER SYSTEM SET primary_conninfo = 'host=h user=u password={}'",
    "SET primary_conninfo = 'host=h user=u password=''{}'''",
    "SET SESSION app.pwd TO '{}'",
    "ALTER ROLE app SET app.upstream = 'user=a password={}'",
    "ALTER ROLE app IN DATABASE d SET app.password = '{}'",
    "ALTER DATABASE d SET app.upstream = 'postgres://a:{}@h/db'",
    "UPDATE users SET password = '{}'",
    "UPDATE app.users AS u SET a = 1, \"passwd\" = E'{}' WHERE id = 1",
    "UPDATE users SET PWD = $x${}$x$::text WHERE id = 1",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u password={}' PUBLICATION p WITH (create_slot = false)",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password = ''{}''' PUBLICATION p WITH (create_slot = false)",
    "ALTER SUBSCRIPTION s CONNECTION 'postgresql://u:{}@h/db'",
    "SELECT dblink_connect('c', 'host=h password={}')",
    "SELECT * FROM dblink('postgres://u:{}@h/db', 'SELECT 1') AS t (a int)",
    "SELECT dblink_exec('c', 'ALTER ROLE app PASSWORD ''{}''')",
    "DO $$ BEGIN CREATE ROLE app PASSWORD '{}'; END $$",
    "DO $$ BEGIN EXECUTE 'CREATE ROLE app PASSWORD ''{}'''; END $$",
    "DO $$ BEGIN EXECUTE $q$CREATE ROLE app PASSWORD '{}'$q$; END $$",
    "DO 'BEGIN EXECUTE ''CREATE ROLE app PASSWORD ''''{}''''''; END'",
    "DO $$ BEGIN EXECUTE 'CREATE ROLE app PASSWORD ' || quote_literal('{}'); END $$",
    "DO $$ BEGIN EXECUTE format('CREATE ROLE %I PASSWORD %L', 'app', '{}'); END $$",
    "DO $$ BEGIN EXECUTE format('CREATE ROLE %2$I PASSWORD %1$L', '{}', 'app'); END $$",
    "DO $$ BEGIN PERFORM dblink_connect('host=h password={}'); END $$",
    "DO LANGUAGE plpython3u $$plpy.execute(\"CREATE ROLE app PASSWORD '{}'\") # it's python$$",
    "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE app PASSWORD '{}'; END $$",
    "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'host=h user=u password={}' $$",
]


@pytest.mark.parametrize("template", SECRETS)
def test_a_password_is_told_and_shown_to_nobody_nor_to_squawk(template, monkeypatch):
    """What is shown of the text, such as an excerpt, has everything else."""
    seen, lint = [], squawk.lint
    monkeypatch.setattr(squawk, "lint", lambda texts: seen.extend(text for text, _ in texts) or lint(texts))
    file = source(f"-- é\nSELECT 1;\n{template.format(CANARY)};\nDROP TABLE t;\n")
    (hazards,) = find_hazards([file]).values()
    assert [hazard.rule for hazard in hazards].count(PASSWORD) == 1
    assert (hazards[-1].rule, hazards[-1].line) == ("ban-drop-table", file.text.count(b"\n"))
    shown = [json.dumps([asdict(h) for h in hazards]), *map(str, hazards), *map(repr, hazards), *of_hazards(hazards)]
    hidden = hide_passwords(file.text, file.statements)
    assert not any(CANARY in line for line in [*shown, *(text.decode() for text in (hidden, *seen))])
    assert seen
    assert (len(hidden), hidden.count(b"\n")) == (len(file.text), file.text.count(b"\n"))
    assert [s.kind for s in parse(hidden)] == [s.kind for s in file.statements]


def test_it_points_at_the_password():
    (hazard,) = find("SELECT 1;\nALTER ROLE é PASSWORD 'x';")
    assert (hazard.line, hazard.column) == (2, 23)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE ROLE app LOGIN PASSWORD NULL;",
        "SELECT crypt(given, kept) = kept FROM users;",
        "SELECT decrypt('a', 'b', 'aes');",
        "CREATE TABLE t (password text DEFAULT 'x');",
        "INSERT INTO users (password) VALUES ('x');",
        "UPDATE users SET password = NULL, pwd = DEFAULT;",
        "UPDATE users SET password = '';",
        "UPDATE users SET password = '!', passwd = '***';",
        "UPDATE users SET password = $1, pwd = '%s';",
        "UPDATE users SET password = '${PASSWORD}', pwd = '{{ password }}';",
        "UPDATE users SET password = ':password', pwd = '<password>';",
        "UPDATE users SET password = other;",
        "UPDATE users SET password_hint = 'the dog', a = 'password';",
        "UPDATE users SET a = 1 WHERE password = 'x';",
        "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (host 'h', connstr 'user=a');",
        "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (connstr 'user=a password=''''');",
        "CREATE SERVER s FOREIGN DATA WRAPPER f OPTIONS (connstr 'user=a password=${PASSWORD}');",
        "ALTER SYSTEM SET primary_conninfo = 'host=h user=u passfile=/x';",
        "ALTER SYSTEM SET primary_conninfo = '';",
        "SET password_encryption = 'scram-sha-256';",
        "SET app.password = '';",
        "ALTER ROLE app SET search_path = 'password';",
        "ALTER ROLE app SET app.upstream = 'user=a password=%s';",
        "COMMENT ON COLUMN users.password IS 'a password = salted, see https://a.b/c';",
        "CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'password');",
        "CREATE SUBSCRIPTION s CONNECTION 'host=h user=u passfile=/x' PUBLICATION p WITH (create_slot = false);",
        "SELECT dblink_connect('host=h user=u');",
        "SELECT dblink_connect('host=h password=' || current_setting('x.y'));",
        "SELECT dblink_connect(format('host=h password=%L', current_setting('x.y')));",
        "DO $$ BEGIN EXECUTE format('CREATE ROLE %I PASSWORD %L', 'app', current_setting('x.y')); END $$;",
        "DO $$ BEGIN EXECUTE 'CREATE ROLE app PASSWORD ' || quote_literal(x) || ' VALID UNTIL ''infinity'''; END $$;",
        "DO $$ BEGIN EXECUTE 'UPDATE users SET password = $1' USING x; END $$;",
        "DO $$ BEGIN RAISE NOTICE 'set the password ''%''', 1; END $$; -- PASSWORD 'x'",
        "DO $$ BEGIN /* PASSWORD 'x' */ NULL; END $$;",
        """DO $$ BEGIN PERFORM '{"password": 1}'; END $$;""",
    ],
)
def test_no_password_no_hazard(text):
    assert rules(text) == []


@pytest.mark.parametrize(
    "code",
    [
        "".join(f"$a{n}$" for n in range(400)) + " PASSWORD 'x' " + "".join(f"$a{n}$" for n in reversed(range(400))),
        "$$" + "format('PASSWORD %999999999$L', '' || 'password=' ||" * 4000 + "$$",
        "$$" + "'password" + " " * 100_000 + "' || " + "'://a:' || " * 10_000 + "$$",
        "$$" + f"'PASSWORD %{'9' * 5_000}$L'" + "$$",
        "$$ PASSWORD " + "'" * 50_000 + "%$$",
        "$$'host=h " + "password={{" * 50_000 + "'$$",
        "$$ NULL $$; UPDATE t SET password = '" + " " * 200_000 + "x'",
    ],
)
def test_no_code_makes_it_crash_or_hang(code):
    file = source(f"DO {code};")
    assert len(hide_passwords(file.text, file.statements)) == len(file.text)


# ---- allows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "rule", "reason"),
    [
        (
            "ban-drop-column because the column has been unread since 2.4",
            "ban-drop-column",
            "the column has been unread since 2.4",
        ),
        ("  password-literal  BECAUSE   it is\ta test database ", "password-literal", "it is a test database"),
        ("renaming-table because because is a word", "renaming-table", "because is a word"),
        ("ban-drop-table because nul", "ban-drop-table", "nul"),
        ("ban-drop-table because 🐘 é", "ban-drop-table", "🐘 é"),
    ],
)
def test_an_allow_has_a_rule_and_a_reason(value, rule, reason):
    assert parse_allow(value, 3) == Allow(rule, reason, 3)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "allow = RULE because REASON"),
        ("ban-drop-column", "needs a reason; write `-- migration: allow = ban-drop-column because"),
        ("ban-drop-column because", "needs a reason"),
        ("ban-drop-column because   ", "needs a reason"),
        ("ban-drop-column because ...", "needs a reason"),
        ("ban-drop-column since it is unread", "allow = RULE because REASON"),
        ("ban-drop-column becausewhy", "allow = RULE because REASON"),
        ("ban-drop-colum because x", "did you mean ban-drop-column"),
        ("BAN-DROP-TABLE because x", "did you mean ban-drop-table"),
        ("drop-column because x", "did you mean ban-drop-column"),
        ("zzz because x", "there are: adding-field-with-default, "),
        ("prefer-text-field because x", "never reported here"),
        ("ban-drop-column, ban-drop-table because x", "allow = RULE because REASON"),
    ],
)
def test_what_is_no_allow_says_what_to_write(value, said):
    with pytest.raises(ValueError, match=r"allow|rule") as caught:
        parse_allow(value, 1)
    assert said in str(caught.value)


def test_every_rule_can_be_allowed():
    assert {parse_allow(f"{rule} because it is known", 1).rule for rule in RULES} == RULES != set()


def test_an_allow_covers_every_hazard_of_its_rule():
    allows = [
        parse_allow("ban-drop-table because nobody reads it", 1),
        parse_allow("ban-drop-table because this is the second reason", 2),
    ]
    told, rest = apply_allows(find("DROP TABLE a;\nDROP TABLE b;\nDROP VIEW v;"), allows)
    assert [(h.rule, h.allowed_because) for h in told] == [
        ("ban-drop-table", "nobody reads it"),
        ("ban-drop-table", "nobody reads it"),
        ("ban-drop-view", None),
    ]
    assert rest == []


def test_an_allow_that_no_longer_applies_is_told():
    allow = parse_allow("ban-drop-table because nobody reads it", 3)
    told, rest = apply_allows(find("DROP VIEW v;"), [allow])
    assert rest == [allow]
    assert [h.allowed_because for h in told] == [None]


def test_a_hazard_can_be_built_without_the_rest():
    assert Hazard("r", "f", 1, 1, "m", "h") == Hazard("r", "f", 1, 1, "m", "h", allowed_because=None)
