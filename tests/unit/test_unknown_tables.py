"""Which tables `check` takes for misspelled, and which it takes for somebody else's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from aurora_migrations.compiler.check import check
from aurora_migrations.engine.migrations import discover

BEFORE = (
    "CREATE TABLE users (id int PRIMARY KEY, email text);",
    "CREATE TABLE orders (id int, user_id int);",
    *("INSERT INTO users VALUES (1);", "UPDATE orders SET id = 1;", "DELETE FROM users;"),
)  # a whole history: three files use only tables that earlier ones create


def unknown_in(folder: Path, *files: str) -> list[str]:
    """The place and message of each unknown table, in these files after a whole history."""
    for number, text in enumerate((*BEFORE, *files), 1):
        (folder / f"{number:03}_x.sql").write_text(text, encoding="utf-8")
    found = [hazard for file in check(discover(folder)) for hazard in file.hazards]
    return [f"{each.line}:{each.column} {each.message}" for each in found if each.rule == "unknown-table"]


@pytest.mark.parametrize(
    "files",
    [
        # made where no name can be read
        ("CREATE EXTENSION postgis;", "INSERT INTO spatial_ref_sys VALUES (1);"),
        ("DO $$ BEGIN EXECUTE format('CREATE TABLE part_%s (id int)', 2); END $$;", "INSERT INTO part_2 VALUES (1);"),
        (
            "CREATE FUNCTION f(n text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'CREATE TABLE '||n; END $$;",
            "SELECT f('a_' || 'b');",
            "INSERT INTO a_b VALUES (1);",
        ),
        ("SELECT partman.create_parent('public.orders', 'id', '1 day');", "TRUNCATE orders_p20240101;"),
        ("IMPORT FOREIGN SCHEMA public FROM SERVER s INTO public;", "INSERT INTO remote VALUES (1);"),
        # somebody else's schema
        ("INSERT INTO cron.job VALUES (1);",),
        ("SELECT 1 FROM information_schema.tables; SELECT 1 FROM aurora_migrations.history;",),
        # names as PostgreSQL reads them
        ("CREATE TABLE Größe (id int);", "INSERT INTO GRößE VALUES (1);"),
        ('CREATE TABLE U&"d\\0061t" (id int);', "INSERT INTO dat VALUES (1);"),
        (f"CREATE TABLE {'x' * 70} (id int);", f"INSERT INTO {'x' * 66} VALUES (1);"),
        ('CREATE TABLE "a""b.c" (id int);', 'INSERT INTO "a""b.c" VALUES (1);'),
        # generated names, and those of what isn't a table
        ("CREATE INDEX ON users (email); ALTER TABLE users ADD UNIQUE (email);", "DROP INDEX users_email_idx;"),
        ("CREATE INDEX ix ON users (email);", "REINDEX INDEX ix; ALTER INDEX ix SET (fillfactor = 70);"),
        ("CREATE TABLE s (id serial);", "SELECT setval('s_id_seq', 1); ALTER SEQUENCE s_id_seq OWNED BY NONE;"),
        ("CREATE SEQUENCE counter;", "CREATE TABLE c (id int DEFAULT nextval('counter'));"),
        # moved and renamed
        ("CREATE SCHEMA app CREATE TABLE things (id int);", "INSERT INTO app.things VALUES (1);"),
        ("CREATE SCHEMA app; ALTER TABLE orders SET SCHEMA app;", "INSERT INTO app.orders VALUES (1);"),
        ("CREATE SCHEMA a; CREATE TABLE a.t (id int); ALTER SCHEMA a RENAME TO b;", "INSERT INTO b.t VALUES (1);"),
        ("ALTER TABLE orders RENAME TO purchases;", "INSERT INTO purchases VALUES (1);"),
        # may be missing
        ("DROP TABLE IF EXISTS legacy; ALTER TABLE IF EXISTS older ADD x int;",),
        # names within a query
        ("CREATE VIEW v AS WITH q AS (SELECT 1 AS id) SELECT q.id FROM q JOIN users USING (id);", "DROP VIEW v;"),
        ("CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;", "REFRESH MATERIALIZED VIEW m;"),
        ("SELECT * INTO copied FROM users; CREATE TABLE more AS TABLE users;", "INSERT INTO copied TABLE more;"),
    ],
)
def test_a_table_that_may_have_been_made_elsewhere_is_no_hazard(tmp_path: Path, files: Sequence[str]) -> None:
    assert unknown_in(tmp_path, *files) == []


@pytest.mark.parametrize(
    ("text", "place", "name"),
    [
        ("INSERT INTO userz VALUES (1);", "1:13", "userz"),
        ("UPDATE orders SET id = 1;\n\nUPDATE\n  public.userz\n  SET id = 1;", "4:10", "public.userz"),
        ("INSERT INTO users (email) VALUES ('ä'); INSERT INTO userz VALUES (1);", "1:53", "userz"),
        ('INSERT INTO "Users" VALUES (1);', "1:13", '"Users"'),
        ("CREATE VIEW v AS SELECT * FROM userz;", "1:32", "userz"),
        ("ALTER TABLE userz RENAME TO people;", "1:13", "userz"),
        ("ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES userz (id);", "1:57", "userz"),
        ("CREATE INDEX i ON userz (id);", "1:19", "userz"),
        ("DROP TABLE IF EXISTS userz;", "1:22", "userz"),
        ("CREATE EXTENSION postgis; DELETE FROM userz;", "1:39", "userz"),
    ],
)
def test_a_misspelled_table_is_found_where_it_is_named(tmp_path: Path, text: str, place: str, name: str) -> None:
    assert unknown_in(tmp_path, text) == [f"{place} No earlier file creates {name}; did you mean users?"]


def test_another_number_or_an_added_word_is_not_misspelled(tmp_path: Path) -> None:
    files = "INSERT INTO unknown VALUES (1);", "INSERT INTO orders_2 VALUES (1); CREATE TABLE log_1 (id int);"
    found = unknown_in(tmp_path, *files, "INSERT INTO log_2 VALUES (1);")  # no longer a whole history
    assert found == ["1:13 No earlier file creates unknown."]
