"""The tables of a file: those that it changes, those that exist for certain once it is applied, those it may remove."""

from __future__ import annotations

import pytest

from aurora_migrations.compiler.locks.created_objects import changed_relations
from aurora_migrations.compiler.parser import parse

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
