"""SQL that `check` offers instead of a risky statement: it parses, and has the hazard no more."""

from __future__ import annotations

import pytest

from aurora_migrations.compiler import squawk
from aurora_migrations.compiler.parser import parse
from aurora_migrations.compiler.remedies import remedy, rules_with_sql, table_of
from tests.unit.test_squawk import KEPT

REMEDIES = {
    'CREATE UNIQUE INDEX ON app.orders (lower(email), "Id" DESC) INCLUDE (a) WHERE a > 1': (
        "require-concurrent-index-creation",
        'CREATE UNIQUE INDEX CONCURRENTLY "orders_expr_Id_idx" ON app.orders (lower(email), "Id" DESC) INCLUDE (a) '
        "WHERE a > 1;",
    ),
    "DROP INDEX IF EXISTS a, app.b": (
        "require-concurrent-index-deletion",
        "DROP INDEX CONCURRENTLY IF EXISTS a;\nDROP INDEX CONCURRENTLY IF EXISTS app.b;",
    ),
    "REINDEX INDEX app.i": ("require-concurrent-reindex", "REINDEX INDEX CONCURRENTLY app.i;"),
    'ALTER TABLE "Sale" DETACH PARTITION s1': (
        "require-concurrent-partition-detach",
        'ALTER TABLE "Sale" DETACH PARTITION s1 CONCURRENTLY;',
    ),
    "ALTER TABLE a ADD FOREIGN KEY (b, c) REFERENCES d (e, f) ON DELETE CASCADE": (
        "adding-foreign-key-constraint",
        "ALTER TABLE a ADD CONSTRAINT a_b_c_fkey FOREIGN KEY (b, c) REFERENCES d (e, f) ON DELETE CASCADE NOT VALID;\n"
        "-- in a later migration:\nALTER TABLE a VALIDATE CONSTRAINT a_b_c_fkey;",
    ),
    'ALTER TABLE a ALTER "B" SET NOT NULL': (
        "adding-not-nullable-field",
        'ALTER TABLE a ADD CONSTRAINT "a_B_not_null" CHECK ("B" IS NOT NULL) NOT VALID;\n-- in a later migration:\n'
        'ALTER TABLE a VALIDATE CONSTRAINT "a_B_not_null";\nALTER TABLE a ALTER COLUMN "B" SET NOT NULL;\n'
        'ALTER TABLE a DROP CONSTRAINT "a_B_not_null";',
    ),
    "ALTER TABLE a ADD UNIQUE (x, y)": (
        "disallowed-unique-constraint",
        "CREATE UNIQUE INDEX CONCURRENTLY a_x_y_key ON a (x, y);\n"
        "ALTER TABLE a ADD CONSTRAINT a_x_y_key UNIQUE USING INDEX a_x_y_key;",
    ),
    "ALTER TABLE a ADD COLUMN b uuid DEFAULT gen_random_uuid()": (
        "adding-field-with-default",
        "ALTER TABLE a ADD COLUMN b uuid;\nALTER TABLE a ALTER COLUMN b SET DEFAULT gen_random_uuid();\n"
        "-- then fill the existing rows, in batches",
    ),
    "ALTER TABLE app.a RENAME TO b": (
        "renaming-table",
        "ALTER TABLE app.a RENAME TO b;\nCREATE VIEW app.a AS SELECT * FROM app.b;\n"
        "-- after the release that uses the new name:\nDROP VIEW app.a;",
    ),
}


@pytest.mark.parametrize("statement", REMEDIES)
def test_remedy_has_the_names_of_the_file(statement: str):
    rule, expected = REMEDIES[statement]
    assert remedy(rule, parse(statement.encode())[0]) == expected


@pytest.mark.parametrize("rule", rules_with_sql())
def test_remedy_is_sql_without_the_hazard(rule: str):
    (statement,) = parse(KEPT[rule].encode())
    better = remedy(rule, statement).partition("-- after the release")[0]
    assert parse(better.encode())
    # squawk can't know that a valid CHECK constraint makes SET NOT NULL cheap, nor that the view has the old name.
    harmless = {"adding-not-nullable-field", "ban-drop-constraint", "renaming-table"}
    assert {violation.rule for violation in squawk.lint([(better.encode(), False)])[0]} <= harmless


def test_rules_without_sql_have_none():
    (statement,) = parse(b"ALTER TABLE t DROP COLUMN a")
    assert remedy("ban-drop-column", statement) == ""
    assert table_of(statement) == "t"
    assert table_of(parse(b"DROP INDEX i")[0]) == "the table"
