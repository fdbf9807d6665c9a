"""A history is replayed on an empty server: what each file changes, what fails, what can't be replayed."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from aurora_migrations.compiler.check import check
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.engine import discover
from aurora_migrations.replay import cache
from aurora_migrations.replay.history import replay
from tests import servers
from tests.replay.conftest import Show, checked, outcomes
from tests.servers import Migrations


def test_change_of_each_migration_is_what_the_catalogue_shows(migrations: Migrations, shown: Show) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY, name text);")
    migrations.write("2_b.sql", "ALTER TABLE a ALTER COLUMN name SET NOT NULL;\nDROP INDEX IF EXISTS nothing;")
    migrations.write("3_c.sql", "DO $$ BEGIN EXECUTE 'ALTER TABLE a DROP COLUMN name'; END $$;")
    found = outcomes(shown())
    first, second, third = (each.change for each in found.values())
    assert first
    assert second
    assert third
    assert ("table", "public.a") in first.created
    assert first.created["column", "public.a.name"] == "text"
    assert second.changed == {("column", "public.a.name"): "text NOT NULL"}
    assert (second.created, second.dropped) == ({}, ())
    assert third.dropped == (("column", "public.a.name"),)


def test_only_what_is_new_or_changed_runs(migrations: Migrations, shown: Show) -> None:
    for n in range(1, 6):
        migrations.write(f"{n}_t.sql", f"CREATE TABLE only_new_{n} (id int);")
    assert shown().replayed == 5
    assert shown().replayed == 0
    migrations.write("6_t.sql", "CREATE TABLE only_new_6 (id int);")
    assert shown().replayed == 1
    migrations.write("6_t.sql", "CREATE TABLE only_new_7 (id int);")
    found = shown()
    assert found.replayed == 1
    assert ("table", "public.only_new_7") in found.outcomes[-1].change.created  # type: ignore[union-attr]
    migrations.write("3_t.down.sql", "DROP TABLE only_new_3;")
    assert shown().replayed == 1
    migrations.write("3_t.sql", "CREATE TABLE only_new_3 (id bigint);")
    assert shown().replayed == 4


def test_damaged_outcome_is_replayed_again(migrations: Migrations, shown: Show) -> None:
    migrations.write("1_t.sql", "CREATE TABLE damaged (id int);")
    before = shown()
    for text in ("", "[]", '{"change": 1}', '{"rows": [1]}', '{"surprise": "x"}'):
        (keys,) = cache.keys_of([before.steps[0].migration], "x")
        path = Path(cache._file(cache._outcomes(), keys.outcome, "json"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        assert cache.read([keys]) == [None], text


def test_file_that_fails_on_an_empty_database_is_an_error_with_its_place(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);")
    migrations.write("2_b.sql", "SELECT 1;\n\n  ALTER TABLE nowhere ADD COLUMN x int;")
    migrations.write("3_c.sql", "CREATE TABLE c (id int);")
    files = checked(migrations)
    (problem,) = files["2_b.sql"].problems
    assert str(problem) == ('2_b.sql:3:3: fails on an empty database: relation "nowhere" does not exist (42P01)')
    assert "ALTER TABLE nowhere" in problem.excerpt
    assert files["1_a.sql"].compiled.script.change  # type: ignore[union-attr]
    assert files["3_c.sql"].problems == ()


def test_failure_shows_no_value(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int PRIMARY KEY);\nINSERT INTO a VALUES (123454321), (123454321);")
    (problem,) = checked(migrations)["1_a.sql"].problems
    assert (problem.line, "23505" in problem.reason, "123454321" in str(problem.reason)) == (2, True, False)


def test_rows_of_earlier_files_are_there(migrations: Migrations, shown: Show) -> None:
    """And they are what they would be without the trials with made-up rows: sequences give out the same numbers."""
    migrations.write("1_a.sql", "CREATE TABLE seeds (id serial PRIMARY KEY, name text);\nCREATE TABLE uses (id int);")
    migrations.write("1_a.down.sql", "DROP TABLE seeds, uses;")
    migrations.write("2_b.sql", "ALTER TABLE seeds ADD COLUMN x int;\nINSERT INTO seeds (name) VALUES ('first');")
    migrations.write("2_b.down.sql", "ALTER TABLE seeds DROP COLUMN x;\nDELETE FROM seeds;")
    migrations.write("3_c.sql", "ALTER TABLE uses ADD FOREIGN KEY (id) REFERENCES seeds;\nINSERT INTO uses VALUES (1);")
    assert shown().problem is None


def test_missing_roles_and_databases_are_made(migrations: Migrations, shown: Show) -> None:
    migrations.write(
        "1_a.sql",
        "CREATE TABLE a (id int);\nGRANT SELECT ON a TO reporting;\nALTER TABLE a OWNER TO owning;\n"
        "ALTER DEFAULT PRIVILEGES FOR ROLE owning GRANT SELECT ON TABLES TO rds_superuser;\n"
        "CREATE POLICY mine ON a TO tenants USING (true);\nALTER DATABASE shop SET timezone = 'UTC';\n"
        "DO $$ BEGIN EXECUTE 'GRANT SELECT ON a TO dynamic'; END $$;",
    )
    found = shown()
    assert found.problem is None
    assert ("policy", "public.a.mine") in outcomes(found)["1_a.sql"].change.created  # type: ignore[union-attr]


def test_role_that_a_file_makes_is_made_again_for_another_history(migrations: Migrations, shown: Show) -> None:
    migrations.write(
        "1_a.sql", "CREATE ROLE made_by_file;\nCREATE TABLE a (id int);\nALTER TABLE a OWNER TO made_by_file;"
    )
    assert shown().problem is None
    migrations.write("1_a.sql", "-- changed\nCREATE ROLE made_by_file;\nCREATE TABLE a (id bigint);")
    assert shown().problem is None


def test_what_the_server_lacks_is_named_and_taken_out_with_what_depends_on_it(migrations: Migrations) -> None:
    migrations.write("1_a.sql", "CREATE TABLE a (id int);")
    migrations.write("2_gis.sql", "CREATE EXTENSION postgis;")
    migrations.write("3_places.sql", "CREATE TABLE places (id int, at geometry);")
    migrations.write("4_copy.sql", "COPY a FROM '/nowhere/data.csv';")
    migrations.write("5_b.sql", "ALTER TABLE a ADD COLUMN b int;")
    files = checked(migrations)
    reasons = {name: file.compiled.script.unreplayed for name, file in files.items() if file.compiled}
    assert "the extension postgis" in reasons["2_gis.sql"]
    assert "2_gis.sql" in reasons["3_places.sql"]
    assert "a file" in reasons["4_copy.sql"]
    assert reasons["1_a.sql"] == reasons["5_b.sql"] == ""
    assert files["5_b.sql"].compiled.script.change.created  # type: ignore[union-attr]
    assert files["2_gis.sql"].compiled.script.change is None  # type: ignore[union-attr]
    assert [len(file.warnings) for file in files.values()] == [0, 1, 1, 1, 0]
    assert not any(file.problems for file in files.values())


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE COLLATION c (provider = icu, locale = 'de');",
        'CREATE TABLE c (name text COLLATE "pt-BR-x-icu");',
        "CREATE COLLATION c (locale = 'xx_YY.utf8');",
        "CREATE TABLE c (name text COMPRESSION lz4);",
        "SELECT xmlparse(DOCUMENT '<a/>');",
        "CREATE EXTENSION pg_stat_statements;\nSELECT pg_stat_statements_reset();",
    ],
)
def test_what_this_postgresql_was_built_or_started_without_is_no_error_of_the_file(
    migrations: Migrations, statement: str
) -> None:
    migrations.write("1_a.sql", statement)
    migrations.write("2_b.sql", "CREATE TABLE b (id int);")
    files = checked(migrations)
    assert not any(file.problems for file in files.values())
    script = files["1_a.sql"].compiled.script  # type: ignore[union-attr]
    assert script.change or script.unreplayed.startswith("it needs what this PostgreSQL was built or started without: ")
    assert files["2_b.sql"].compiled.script.change.created  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "statement", ["COPY a TO '{0}';", "COPY a TO PROGRAM 'cat > {0}';", "COPY (SELECT 1) TO E'{0}';"]
)
def test_no_file_is_written_and_no_program_run(migrations: Migrations, tmp_path: Path, statement: str) -> None:
    tmp_path.chmod(0o777)
    migrations.write("1_a.sql", "CREATE TABLE a (id int);")
    migrations.write("2_b.sql", statement.format(tmp_path / "written"))
    migrations.write("3_c.sql", "COPY a TO STDOUT;\nCREATE TABLE c (id int);")
    files = checked(migrations)
    reasons = [file.compiled.script.unreplayed for file in files.values() if file.compiled]
    assert reasons == ["", "it reads or writes a file of the real server, or runs a program there", ""]
    assert not (tmp_path / "written").exists()


def test_role_is_dropped_though_templates_have_what_depends_on_it(migrations: Migrations, shown: Show) -> None:
    migrations.write("1_a.sql", "CREATE ROLE leaves;\nCREATE TABLE a (id int);\nCREATE POLICY p ON a TO leaves;")
    assert shown().problem is None
    migrations.write("2_b.sql", "DROP POLICY p ON a;\nDROP ROLE leaves;")
    assert shown().problem is None
    migrations.write("3_c.sql", "CREATE TABLE c (id int);")
    assert shown().problem is None
    migrations.write("2_b.sql", "DROP ROLE leaves;")
    assert "some objects depend on it" in str(shown().problem)


EXTENSIONS = """
CREATE SCHEMA tools;
CREATE EXTENSION pgcrypto SCHEMA tools;
CREATE EXTENSION "uuid-ossp";
CREATE EXTENSION aws_s3 CASCADE;
CREATE EXTENSION aws_lambda;
CREATE EXTENSION pg_cron;
CREATE EXTENSION pgaudit;
CREATE EXTENSION pg_hint_plan;
ALTER EXTENSION "uuid-ossp" SET SCHEMA tools;
CREATE TABLE t (id uuid DEFAULT tools.uuid_generate_v4() PRIMARY KEY, secret text, h bytea
    GENERATED ALWAYS AS (tools.hmac(secret, 'k', 'sha512')) STORED);
CREATE INDEX ON t (tools.digest(secret, 'sha256'));
INSERT INTO t (secret) VALUES (tools.crypt('x', tools.gen_salt('bf', 8)));
DO $$ BEGIN
    ASSERT length(tools.digest('x', 'sha1')) = 20 AND length(tools.gen_random_bytes(7)) = 7;
    ASSERT tools.pgp_sym_decrypt(tools.pgp_sym_encrypt('a secret', 'k'), 'k') = 'a secret';
    ASSERT tools.dearmor(tools.armor('x')) = 'x';
    ASSERT cron.unschedule(cron.schedule('nightly', '0 3 * * *', 'VACUUM'));
    PERFORM aws_s3.table_import_from_s3('t', '', '(format csv)', aws_commons.create_s3_uri('b', 'k', 'eu-west-1'));
    PERFORM aws_lambda.invoke(aws_commons.create_lambda_function_arn('f'), '{}'::json);
END $$;
"""


def test_stand_ins_have_the_functions_of_the_extensions(migrations: Migrations, shown: Show) -> None:
    migrations.write("1_a.sql", EXTENSIONS)
    found = shown()
    assert found.problem is None
    assert found.outcomes[0].unreplayed == ""
    kinds = {kind for kind, _ in found.outcomes[0].change.created}  # type: ignore[union-attr]
    assert "function" not in kinds, "members of an extension are none of the file's objects"


@pytest.mark.parametrize("on", servers.available(), ids=lambda found: f"postgres{found.major}")
def test_server_of_ones_own_is_left_as_it_was(migrations: Migrations, on: Installation) -> None:
    everything = "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles ORDER BY 1"
    with servers.started(on) as own, psycopg.connect(own.url(), autocommit=True) as connection:
        before = connection.execute(everything).fetchall()
        migrations.write(
            "1_a.sql", "CREATE TABLE a (id int);\nGRANT SELECT ON a TO nobody_yet;\nCREATE ROLE made_here;"
        )
        found = replay(check(discover(migrations.dir)), own.url(), wants_schema=True)
        assert (found.problem, found.major, found.replayed) == (None, on.major, 1)
        assert "CREATE TABLE public.a" in str(found.schema)
        assert connection.execute(everything).fetchall() == before
        migrations.write("2_b.sql", "CREATE DATABASE somebody_elses;")
        found = replay(check(discover(migrations.dir)), own.url())
        assert "whole server" in outcomes(found)["2_b.sql"].unreplayed
        assert connection.execute(everything).fetchall() == before
