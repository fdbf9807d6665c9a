"""The tables of a file: those that it changes, those that exist for certain once it is applied, those it may remove."""

from __future__ import annotations

import pytest

from aurora_migrations.compiler.locks.changed_tables import changed_relations
from aurora_migrations.compiler.locks.effects import file_effects
from aurora_migrations.compiler.parser import parse
from aurora_migrations.engine.script import ANYTHING
from aurora_migrations.engine.steps.verify import TableEffects, find_expected_tables

CHANGED = [
    ("CREATE TABLE a (id int)", ["a"]),
    ("CREATE TABLE IF NOT EXISTS app.a (id int); CREATE INDEX i ON app.a (id)", ["app.a"]),
    ('CREATE TABLE "Order" (id int)', ['"Order"']),
    ("CREATE TABLE a (id int REFERENCES b)", ["a", "b"]),
    ("CREATE TABLE a AS SELECT * FROM b", ["a"]),
    ("SELECT * INTO a FROM b", ["a"]),
    ("ALTER TABLE a ADD COLUMN x int; ALTER TABLE b DROP COLUMN y", ["a", "b"]),
    ("INSERT INTO a SELECT * FROM b; UPDATE c SET x = 1; DELETE FROM d", ["a", "c", "d"]),
    ("WITH gone AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM gone", ["b", "a"]),
    ("TRUNCATE a, b", ["a", "b"]),
    ("SELECT * FROM a", []),
    ("SELECT * FROM a FOR UPDATE", []),
    ("PREPARE p AS INSERT INTO a VALUES (1)", []),
    ("CREATE TEMPORARY TABLE a (id int); INSERT INTO b SELECT 1", ["b"]),
    ("DROP TABLE a", []),
    ("CREATE TABLE a (id int); DROP TABLE a", []),
    ("ALTER TABLE a ADD x int; DROP TRIGGER t ON a", ["a"]),
    ("ALTER TABLE a ADD x int; ALTER TABLE a RENAME TO b", ["b"]),
    ("ALTER TABLE a RENAME COLUMN x TO y", ["a"]),
    ("ALTER TABLE a RENAME CONSTRAINT x TO y", ["a"]),
    ("CREATE TABLE a (id int); ALTER TABLE a SET SCHEMA app", ["app.a"]),
    ("SET search_path = app; CREATE TABLE a (id int); ALTER TABLE other.b ADD x int", ["app.a", "other.b"]),
    ("CREATE SCHEMA app CREATE TABLE a (id int)", ["app.a"]),
    ("DO $$ BEGIN CREATE TABLE a (id int); END $$", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "found"), CHANGED, ids=[text for text, _ in CHANGED])
def test_relations_that_a_file_makes_or_changes(text: str, found: list[str]) -> None:
    assert sorted(changed_relations(parse(text.encode()))) == sorted(found)


CREATED = [
    ("CREATE TABLE a (id int)", ["a"], []),
    ("CREATE TABLE IF NOT EXISTS app.a (id int)", ["app.a"], []),
    ('CREATE TABLE "Order" (id int)', ['"Order"'], []),
    ("CREATE UNLOGGED TABLE a (id int)", ["a"], []),
    ("CREATE TABLE a AS SELECT count(*), sum(x) FROM b", ["a"], []),
    ("SELECT lower(x) INTO a FROM b", ["a"], []),
    ("CREATE SCHEMA app CREATE TABLE a (id int)", ["app.a"], []),
    ("SET search_path = app; CREATE TABLE a (id int)", ["app.a"], []),
    ("CREATE MATERIALIZED VIEW a AS SELECT 1", [], []),
    ("CREATE VIEW a AS SELECT 1", [], []),
    ("CREATE TEMPORARY TABLE a (id int)", [], []),
    ("CREATE TABLE pg_temp.a (id int)", [], []),
    ("CREATE TEMP TABLE a AS SELECT 1", [], []),
    ("CREATE TABLE a PARTITION OF p DEFAULT", [], []),
    ("CREATE TABLE a () INHERITS (b)", [], []),
    ("CREATE TABLE a OF kind", [], []),
    ("CREATE TABLE a (LIKE b)", ["a"], []),
    ("ALTER TABLE a ADD x int; UPDATE a SET x = 1", [], []),
    ("CREATE TABLE a (id int); DROP TABLE a", [], ["a"]),
    ("CREATE TABLE app.a (id int); DROP TABLE a", [], ["a"]),
    ("DROP TABLE a; CREATE TABLE a (id int)", ["a"], ["a"]),
    ("DROP VIEW IF EXISTS app.a", [], ["a"]),
    ("DROP INDEX a", [], ["a"]),
    ("DROP TRIGGER t ON a; DROP TYPE b; DROP FUNCTION f()", [], []),
    ("CREATE TABLE a (id int); ALTER TABLE a RENAME TO b", ["b"], ["a"]),
    ("CREATE TABLE n (id int); ALTER TABLE a RENAME TO o; ALTER TABLE n RENAME TO a", ["a"], ["a", "n"]),
    ("CREATE TABLE a (id int); ALTER TABLE a RENAME x TO y; ALTER TABLE a RENAME CONSTRAINT x TO y", ["a"], []),
    ("CREATE TABLE a (id int); ALTER TABLE a SET SCHEMA app", [], ["a"]),
    ("CREATE TABLE a (id int); ALTER TABLE p ATTACH PARTITION a DEFAULT", [], ["a"]),
    ("ALTER TABLE p DETACH PARTITION a", [], ["a"]),
    ("ALTER TABLE p DETACH PARTITION a CONCURRENTLY", [], ["a"]),
    ("ALTER TABLE a INHERIT p", [], ["a"]),
    ("ALTER TABLE a OF kind", [], ["a"]),
    ("CREATE TABLE a (id int); DO $$ BEGIN END $$; CREATE TABLE b (id int)", ["b"], [ANYTHING]),
    ("CALL p()", [], [ANYTHING]),
    ("EXECUTE p", [], [ANYTHING]),
    ("DROP SCHEMA app CASCADE", [], [ANYTHING]),
    ("DROP OWNED BY app", [], [ANYTHING]),
    ("DROP EXTENSION e", [], [ANYTHING]),
    ("ALTER EXTENSION e UPDATE", [], [ANYTHING]),
    ("SELECT f()", [], [ANYTHING]),
    ("SELECT x.setval(1)", [], [ANYTHING]),
    ("SELECT pg_catalog.any_of_these()", [], []),
    ("SELECT setval('s', max(id)) FROM a", [], []),
    ("WITH x AS (SELECT f()) SELECT 1 FROM x", [], [ANYTHING]),
    ("INSERT INTO a SELECT 1 WHERE EXISTS (SELECT 1 FROM f())", [], [ANYTHING]),
    ("INSERT INTO a VALUES (now(), gen_random_uuid(), lower('A'))", [], []),
    ("UPDATE a SET x = f(x)", [], [ANYTHING]),
    ("EXPLAIN ANALYZE SELECT f()", [], [ANYTHING]),
    ("SELECT to_archive('a')", [], [ANYTHING]),
    ("SELECT pg_drop_old(), has_left(), txid_of()", [], [ANYTHING]),
    ("SELECT to_regclass('a'), pg_sleep(1), has_table_privilege('a', 'SELECT'), txid_current()", [], []),
    ("ALTER TABLE a ADD COLUMN x int DEFAULT f()", [], [ANYTHING]),
    ("ALTER TABLE a ADD COLUMN x uuid DEFAULT gen_random_uuid()", [], []),
    ("CREATE TABLE kept AS EXECUTE p", ["kept"], [ANYTHING]),
    ("EXPLAIN ANALYZE EXECUTE p", [], [ANYTHING]),
    ("SELECT set_config('search_path', 'pg_temp', true); CREATE TABLE a (id int)", [], []),
    ("SELECT pg_catalog.set_config('Search_Path', '', false); CREATE TABLE app.a (id int)", ["app.a"], []),
    ("SELECT set_config(x, y, true) FROM z; CREATE TABLE a (id int)", [], []),
    ("SELECT set_config('lock_timeout', '1s', true); CREATE TABLE a (id int)", ["a"], []),
    ("CREATE TABLE a (id int); SELECT set_config('search_path', 'pg_temp', true)", ["a"], []),
    ("CREATE TABLE b AS SELECT f()", ["b"], [ANYTHING]),
    ("SAVEPOINT s; CREATE TABLE a (id int); ROLLBACK TO s", [], [ANYTHING]),
    ("SAVEPOINT s; CREATE TABLE a (id int); RELEASE s", ["a"], []),
    ("", [], []),
]


@pytest.mark.parametrize(("text", "created", "removed"), CREATED, ids=[text for text, *_ in CREATED])
def test_tables_that_a_file_creates_for_certain_and_may_remove(
    text: str, created: list[str], removed: list[str]
) -> None:
    done = file_effects(parse(text.encode()))
    found = done.made, done.taken
    assert (sorted(found[0]), sorted(found[1])) == (created, removed)


def standing(text: str, file: str = "f") -> TableEffects:
    done = file_effects(parse(text.encode()))
    return TableEffects(file, done.made, done.taken)


HISTORIES = [
    (["CREATE TABLE a (id int)", "CREATE TABLE b (id int)"], ["a", "b"]),
    (["CREATE TABLE app.a (id int)", "DROP TABLE a"], []),
    (["CREATE TABLE a (id int)", "DROP TABLE public.a"], []),
    (['CREATE TABLE app."a.B" (id int)', 'DROP TABLE "a.B"'], []),
    (['CREATE TABLE app."a.B" (id int)', 'DROP TABLE "B"'], ['app."a.B"']),
    (["CREATE TABLE a (id int)", "ALTER TABLE a RENAME TO b"], []),
    (["CREATE TABLE a (id int)", "DROP TABLE a; CREATE TABLE a (id int)"], ["a"]),
    (["CREATE TABLE a (id int)", "DO $$ BEGIN END $$", "CREATE TABLE b (id int)"], ["b"]),
    (["CREATE TABLE a (id int)", "SELECT f(); CREATE TABLE b (id int)"], ["b"]),
]


@pytest.mark.parametrize(("files", "there"), HISTORIES)
def test_what_must_be_there_after_several_files(files: list[str], there: list[str]) -> None:
    assert sorted(find_expected_tables(map(standing, files))) == there


def test_file_of_which_nothing_is_known_may_have_taken_everything() -> None:
    known = standing("CREATE TABLE a (id int)", "001_a.sql"), standing("CREATE TABLE b (id int)", "003_b.sql")
    assert find_expected_tables([known[0], None, known[1]]) == {"b": "003_b.sql"}
    assert find_expected_tables(known) == {"a": "001_a.sql", "b": "003_b.sql"}
