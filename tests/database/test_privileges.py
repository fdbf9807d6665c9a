"""What `plan` says that a role lacks is what the file then fails for; and nothing more."""

from __future__ import annotations

import pytest

from aurora_migrations.engine import MigratorError, Session
from aurora_migrations.engine.migrations import read_text
from aurora_migrations.engine.preview.privileges import find_missing
from tests.database.helpers import apply
from tests.database.replayed import Replayed
from tests.servers import Database, Migrations

THERE = """
    CREATE TABLE others (id int PRIMARY KEY, b text); CREATE TABLE "Odd one" (id int); CREATE VIEW v AS SELECT 1 AS a;
    CREATE TYPE mood AS ENUM ('a'); CREATE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'select 1';
    CREATE SCHEMA closed; CREATE TABLE closed.t (id int); CREATE SEQUENCE s;
"""
OWN = "to be the owner of {0}, which belongs to postgres"
# The file's text, and what its role lacks; {role} is its name, {other} another role's.
CASES = {
    "a column": ("ALTER TABLE others ADD x int;", [OWN.format("others")]),
    "an index": ("CREATE INDEX ON public.others (b);", [OWN.format("public.others")]),
    "an odd name": ('ALTER TABLE "Odd one" RENAME TO even;', [OWN.format('"Odd one"')]),
    "a table": ("DROP TABLE others;", [OWN.format("others")]),
    "a comment": ("COMMENT ON TABLE others IS 'x';", [OWN.format("others")]),
    "a policy": ("CREATE POLICY p ON others USING (true);", [OWN.format("others")]),
    "a trigger": (
        "CREATE TRIGGER t BEFORE UPDATE ON others FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();",
        ["TRIGGER on others"],
    ),
    "a function": (
        "CREATE OR REPLACE FUNCTION f(a int, b text) RETURNS int LANGUAGE sql AS 'select 2';",
        [OWN.format("function public.f(integer, text)")],
    ),
    "an enum": ("ALTER TYPE mood ADD VALUE 'b';", [OWN.format("enum public.mood")]),
    "a view": ("CREATE OR REPLACE VIEW v AS SELECT 1 AS a, 2 AS b;", [OWN.format("view public.v")]),
    "a view that goes": ("DROP VIEW v;", [OWN.format("v")]),
    "a schema's table": ("CREATE TABLE closed.n (id int);", ["CREATE on schema closed"]),
    "a schema": ("CREATE SCHEMA mine; CREATE TABLE mine.t (id int);", ["CREATE on the database"]),
    "a foreign key": ("CREATE TABLE n (id int REFERENCES others);", ["REFERENCES on others"]),
    "a foreign key by ALTER": (
        "CREATE TABLE n (id int); ALTER TABLE n ADD FOREIGN KEY (id) REFERENCES others;",
        ["REFERENCES on others"],
    ),
    "rows": (
        'INSERT INTO others SELECT id FROM "Odd one";',
        ["INSERT on others", 'SELECT on "Odd one"'],
    ),
    "an update": ("UPDATE others SET b = 'x';", ["UPDATE on others"]),
    "a delete": ("DELETE FROM others;", ["DELETE on others"]),
    "a truncate": ("TRUNCATE others;", ["TRUNCATE on others"]),
    "a grant": (
        "CREATE TABLE n (id int); GRANT SELECT ON n TO {gone}, {other};",
        ["the role {gone}, which doesn't exist"],
    ),
    "another owner": ("CREATE TABLE n (id int); ALTER TABLE n OWNER TO {other};", ["to be a member of {other}"]),
    "another role": ("SET ROLE {other}; SELECT 1;", ["to be a member of {other}"]),
    "a new role": ("CREATE ROLE made_by_a_file;", ["CREATEROLE"]),
    # What it may do.
    "its own table": ("CREATE TABLE n (id serial, m int); CREATE INDEX ON n (m); DROP TABLE n;", []),
    "a new table": (
        "CREATE TABLE n (id int); GRANT SELECT ON n TO {other}, PUBLIC, CURRENT_USER;"
        " ALTER TABLE n OWNER TO CURRENT_USER;",
        [],
    ),
    "what an earlier file made": ("ALTER TABLE before ADD y int; DROP FUNCTION before();", []),
    "what isn't there": ("DROP TABLE IF EXISTS nowhere; ALTER TABLE IF EXISTS nowhere ADD x int;", []),
}


@pytest.mark.parametrize("case", CASES)
def test_what_a_role_lacks_is_known_before_the_file_fails(
    database: Database, migrations: Migrations, roles, case: str
) -> None:
    text, expected = CASES[case]
    role, other = roles.create(), roles.create()
    migrations.write("001_there.sql", THERE)
    migrations.write("002_before.sql", "CREATE TABLE before (id int); CREATE FUNCTION before() RETURNS int RETURN 1;")
    gone = f"gone_{other.name}"
    migrations.write("003_case.sql", text.replace("{other}", other.name).replace("{gone}", gone))
    database.execute(f"CREATE ROLE {gone}")
    source = Replayed(migrations, database)
    database.execute(f"DROP ROLE {gone}")
    apply(database, migrations, "001", source=source)
    database.execute(f"GRANT ALL ON SCHEMA public, aurora_migrations TO {role.name}")
    for kind in ("TABLES", "SEQUENCES"):
        database.execute(f"GRANT ALL ON ALL {kind} IN SCHEMA aurora_migrations TO {role.name}")
    pending = source.package.migrations[1:]
    with Session(database.url_as(role), "plan") as session:
        scripts = {each: source.script("apply", each) for each in pending}
        found = find_missing(session, scripts, {each: read_text(each.path) for each in pending})
    lacking = [each.replace("{other}", other.name).replace("{gone}", gone) for each in expected]
    assert sorted(found.get(pending[1], [])) == sorted(lacking)
    assert pending[0] not in found
    apply(database, migrations, "002", source=source, url=database.url_as(role))
    if lacking:
        with pytest.raises(MigratorError, match=r"42501|42704"):
            apply(database, migrations, source=source, url=database.url_as(role))
    else:
        apply(database, migrations, source=source, url=database.url_as(role))


def test_a_superuser_lacks_nothing_and_no_lock_is_taken(database: Database, migrations: Migrations) -> None:
    migrations.write("001_there.sql", THERE)
    for number, (text, _) in enumerate(CASES.values(), 2):
        if "{" not in text:
            migrations.write(f"{number:03}_case.sql", text)
    source = Replayed(migrations, database, {})
    apply(database, migrations, "001", source=source)
    pending = source.package.migrations[1:]
    scripts = {each: source.script("apply", each) for each in pending}
    texts = {each: read_text(each.path) for each in pending}
    with database.connect() as holder, Session(database.url, "plan") as session:
        holder.execute('BEGIN; LOCK TABLE others, "Odd one", v, closed.t IN ACCESS EXCLUSIVE MODE')
        assert find_missing(session, scripts, texts) == {}
