"""Bad input: each kind has a named error that says what to do; nothing is applied, and no secret is told."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import MigratorError, Session, discover, read_overview
from aurora_migrations.engine.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DatabaseBusy,
    DatabaseNotFound,
    DatabaseUnreachable,
    HistoryUnreadable,
    InsufficientPrivilege,
    InvalidFile,
    InvalidInput,
    MigrationChanged,
    MigrationFailed,
    MigrationMissing,
    NotAWriter,
    OutOfOrder,
    VerificationFailed,
)
from aurora_migrations.engine.history import read_attempts
from tests.conftest import StartServer
from tests.database.helpers import Task, applied, apply, attempts, entries, on_server, roll_back, tables
from tests.listeners import PLAIN, another_pid, free_port, full, listening, refuse_startup, url_to
from tests.servers import Database, Migrations, Roles

SLOWEST = 8.0  # seconds for what may hang: 5 for the connection, 1 to see what answers there, and a busy machine


def refusal(kind: type[MigratorError], database: Database, migrations: Migrations, **parts: Any) -> MigratorError:
    """The error of a run that is refused; nothing else has happened, and it tells what it should and no more."""
    with psycopg.connect(database.url, autocommit=True) as looking:
        before = state_of(looking)
        with pytest.raises(kind) as caught:
            apply(database, migrations, **parts)
        assert state_of(looking) == before
    return told_well(caught.value, kind, database.server)


def state_of(looking: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Tables and what is applied."""
    found = looking.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|info)' ORDER BY 1, 2"
    )
    tables = found.fetchall()
    history = ("aurora_migrations", "applied") in tables
    return [*tables, *(looking.execute("SELECT * FROM aurora_migrations.applied").fetchall() if history else [])]


def told_well(error: MigratorError, kind: type[MigratorError], server: Server | None = None) -> MigratorError:
    """The error, after a look at whether it says why and what to do, without a password."""
    assert type(error) is kind
    told = json.dumps(error.to_dict(), ensure_ascii=False)
    for secret in ("it's a p@ssword/%", server.password if server else "?"):
        assert secret not in told
        assert quote(secret, safe="") not in told
    assert "None" not in error.message
    assert all(re.search(r"\w", words) for words in (error.message, error.cause, error.state, error.solution))
    return error


@pytest.fixture
def three(migrations: Migrations) -> Migrations:
    """Three migrations that are fine."""
    for number in (1, 2, 3):
        migrations.write(f"{number:03}_t{number}.sql", f"CREATE TABLE t{number} (id integer);\n")
    return migrations


# ---- files ----------------------------------------------------------------------------------------------------------

WRONG_FILES = {
    "misnamed": ("add_email.sql", "SELECT 1;", "add_email.sql: the name must begin with its version"),
    "duplicate": ("3_again.sql", "SELECT 1;", "3_again.sql: has the same version as 003_t3.sql"),
    "wrong option": ("004_x.sql", "-- migration: lock_timeout = 0s\n", "004_x.sql:1:1: lock_timeout = 0 would wait"),
    "stray option": (
        "004_x.sql",
        "SELECT 1;\n-- migration: lock_timeout = 1s",
        "004_x.sql:2:1: options belong at the top",
    ),
    "own transaction": ("004_x.sql", "SELECT 1;\nCOMMIT;", "004_x.sql:2:1: there is no BEGIN that this COMMIT ends"),
    "psql command": ("004_x.sql", "\\i other.sql\n", "004_x.sql:1:1: this is a psql command"),
    "copy": ("004_x.sql", "COPY t1 FROM stdin;\n1\n\\.\n", "004_x.sql:1:1: COPY FROM STDIN needs data"),
    "another tool's marker": (
        "004_x.sql",
        "CREATE TABLE t4 ();\n-- +goose Down\nDROP TABLE t4;",
        "004_x.sql:2:1: `-- +goose Down` divides no file here",
    ),
    "carriage return": ("004_x.sql", "-- a\rDROP TABLE t1;", "004_x.sql:1:5: holds a lone carriage return (CR)"),
    "verify without a query": ("003_t3.verify.sql", "-- later\n", "003_t3.verify.sql: has no query"),
    "verify that changes": ("003_t3.verify.sql", "DROP TABLE t1", "003_t3.verify.sql:1:1: a verify file holds queries"),
    "verify with a mistake": ("003_t3.verify.sql", "SELEC 1", '003_t3.verify.sql:1:1: syntax error at or near "SELEC"'),
    "deep verify": (
        "003_t3.verify.sql",
        f"SELECT 1;\nDO $$ $$; SELECT {'+'.join('1' * 99)} > 1",
        "a verify file holds",
    ),
}


@pytest.mark.parametrize(("name", "text", "told"), WRONG_FILES.values(), ids=WRONG_FILES.keys())
def test_wrong_file(database: Database, three: Migrations, name: str, text: str, told: str) -> None:
    three.write(name, text)
    assert told in refusal(InvalidFile, database, three).message


def test_invalid_utf8_in_the_second_of_three_files(database: Database, three: Migrations) -> None:
    (three.dir / "002_t2.sql").write_bytes("-- ação\nSELECT 'ação".encode("latin-1"))
    error = refusal(InvalidFile, database, three)
    assert error.message == "002_t2.sql:1:5: isn't UTF-8 (byte 0xe7); save it as UTF-8"


def test_all_wrong_files_are_told_at_once(database: Database, three: Migrations) -> None:
    (three.dir / "001_t1.sql").write_bytes(b"\xff")
    three.write("002_t2.sql", "COMMIT;")
    three.write("003_t3.verify.sql", "")
    error = refusal(InvalidFile, database, three)
    assert [fact["file"] for fact in error.facts["files"]] == ["001_t1.sql", "002_t2.sql", "003_t3.verify.sql"]


def test_file_that_is_not_to_run_may_be_wrong(database: Database, three: Migrations) -> None:
    three.write("003_t3.sql", "COMMIT;")
    apply(database, three, "2")
    assert applied(database) == ["001", "002"]
    refusal(InvalidFile, database, three)


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows only an administrator may make symbolic links")
@pytest.mark.parametrize("target", [None, "1"], ids=["to run", "not to run"])
def test_file_that_cannot_be_read(database: Database, three: Migrations, target: str | None) -> None:
    (three.dir / "004_gone.sql").symlink_to(three.dir / "nowhere")
    error = refusal(InvalidFile, database, three, target=target)
    assert error.message == "004_gone.sql: can't be read: No such file or directory"


@pytest.mark.skipif(sys.platform == "win32", reason="on Windows only an administrator may make symbolic links")
def test_applied_file_that_cannot_be_read_is_a_named_error_in_every_verb(database: Database, three: Migrations) -> None:
    apply(database, three)
    (three.dir / "002_t2.sql").unlink()
    (three.dir / "002_t2.sql").symlink_to(three.dir / "nowhere")
    refusal(InvalidFile, database, three)
    with pytest.raises(InvalidFile, match=r"002_t2\.sql: can't be read"):
        entries(database, three)


def test_wrong_down_file_stops_a_rollback_before_it_begins(database: Database, three: Migrations) -> None:
    apply(database, three)
    for number in (1, 2, 3):
        three.write(f"{number:03}_t{number}.down.sql", f"DROP TABLE t{number};")
    three.write("001_t1.down.sql", "DROP TABLE t1; COMMIT;")
    with pytest.raises(InvalidFile, match=r"001_t1\.down\.sql:1:16: there is no BEGIN that this COMMIT ends"):
        roll_back(database, three, "1", "3")
    assert applied(database) == ["001", "002", "003"]
    assert tables(database) == ["t1", "t2", "t3"]


def test_folder_without_a_migration(database: Database, migrations: Migrations) -> None:
    assert "contains no migration" in refusal(InvalidInput, database, migrations).message


def test_folder_that_is_missing(database: Database, migrations: Migrations) -> None:
    migrations.dir.rmdir()
    assert str(migrations.dir) in refusal(InvalidInput, database, migrations).message


# ---- targets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["4", "017"])
def test_unknown_target(database: Database, three: Migrations, target: str) -> None:
    error = refusal(InvalidInput, database, three, target=target)
    assert f"There is no migration {target} in " in error.message
    assert "001 to 003" in error.message


@pytest.mark.parametrize("target", ["", "002_t2.sql", "1; DROP TABLE t1"])
def test_target_that_is_no_number(database: Database, three: Migrations, target: str) -> None:
    assert "isn't a migration's number" in refusal(InvalidInput, database, three, target=target).message


def test_target_out_of_order(database: Database, three: Migrations) -> None:
    late = three.dir / "002_t2.sql"
    text = late.read_bytes()
    late.unlink()
    apply(database, three)
    late.write_bytes(text)
    for target in ("2", None):
        error = refusal(OutOfOrder, database, three, target=target)
        assert "002_t2.sql" in error.message
        assert "003_t3.sql" in error.message
    assert apply(database, three, "3").already_applied
    assert [entry.state for entry in entries(database, three)] == ["applied", "out of order", "applied"]


# ---- the history and the folder -------------------------------------------------------------------------------------


def test_applied_file_that_was_changed(database: Database, three: Migrations) -> None:
    apply(database, three, "2")
    three.write("001_t1.sql", "CREATE TABLE t1 (id bigint);\n")
    error = refusal(MigrationChanged, database, three)
    assert "001_t1.sql" in error.message
    assert "aurora_migrations.applied, column sql" in error.solution
    assert [entry.state for entry in entries(database, three)] == ["changed", "applied", "pending"]


def test_file_that_differs_in_nothing_but_line_ends_is_not_changed(database: Database, three: Migrations) -> None:
    apply(database, three)
    for path in three.dir.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert apply(database, three).applied == ()


def test_applied_file_that_is_gone_in_the_middle(database: Database, three: Migrations) -> None:
    apply(database, three, "2")
    (three.dir / "001_t1.sql").unlink()
    error = refusal(MigrationMissing, database, three)
    assert "001_t1.sql" in error.message
    assert [entry.state for entry in entries(database, three)] == ["missing", "applied", "pending"]


def test_history_ahead_of_the_folder_is_a_warning_and_nothing_to_do(database: Database, three: Migrations) -> None:
    apply(database, three)
    (three.dir / "003_t3.sql").unlink()
    result = apply(database, three)
    assert result.applied == ()
    (warning,) = result.warnings
    assert "003_t3.sql" in warning
    assert [entry.state for entry in entries(database, three)] == ["applied", "applied", "ahead"]


def test_history_of_a_newer_version_of_the_product(database: Database, three: Migrations) -> None:
    apply(database, three, "1")
    database.execute("COMMENT ON TABLE aurora_migrations.applied IS 'aurora-migrations history, format 99'")
    assert "format 99" in refusal(HistoryUnreadable, database, three).message
    with pytest.raises(HistoryUnreadable):
        entries(database, three)
    with Session(database.url, "test") as session, pytest.raises(HistoryUnreadable):
        read_attempts(session, 1)


@pytest.mark.parametrize("comment", ["NULL", "'notes of mine'", "'aurora-migrations history, format x'"])
def test_schema_that_is_somebody_elses(database: Database, three: Migrations, comment: str) -> None:
    database.execute("CREATE SCHEMA aurora_migrations; CREATE TABLE aurora_migrations.applied (id integer);")
    database.execute(f"COMMENT ON TABLE aurora_migrations.applied IS {comment}")
    assert "isn't a history of this product" in refusal(HistoryUnreadable, database, three).message


# ---- what a file says wrong -----------------------------------------------------------------------------------------


def failed(database: Database, migrations: Migrations, text: str) -> MigratorError:
    migrations.write("001_a.sql", text)
    with pytest.raises(MigrationFailed) as caught:
        apply(database, migrations)
    assert (applied(database), tables(database)) == ([], [])
    assert attempts(database) == [("001", "failed")]
    return told_well(caught.value, MigrationFailed, database.server)


MISTAKES = [
    ("-- ação\nSELECT 'ção', emial FROM pg_class;", "2:15", 1, "42703"),
    ("CREATE TABLE t (id integer);\n\n  INSERT INTO nowhere VALUES (1);", "3:15", 2, "42P01"),
    ("CREATE TABLE t (id integer); SELECT 1;\n SELECT 1/0;", "2:2", 3, "22012"),
]


@pytest.mark.parametrize(("text", "place", "statement", "state"), MISTAKES, ids=[state for *_, state in MISTAKES])
def test_mistake_is_told_with_its_place(
    database: Database, migrations: Migrations, text: str, place: str, statement: int, state: str
) -> None:
    error = failed(database, migrations, text)
    line, column = map(int, place.split(":"))
    assert error.message.startswith(f"001_a.sql:{place}: ")
    assert (error.facts["line"], error.facts["column"], error.facts["sqlstate"]) == (line, column, state)
    if not state.startswith("22"):  # the line may hold a value
        assert error.facts["excerpt"] == f"{text.splitlines()[line - 1]}\n{' ' * (column - 1)}^"
    assert error.facts["statement"] == statement


def test_hint_of_the_server_is_told(database: Database, migrations: Migrations) -> None:
    error = failed(database, migrations, "SELECT relnam FROM pg_class;")
    assert "relname" in error.cause


def test_names_are_told_and_values_are_not(database: Database, migrations: Migrations) -> None:
    text = "CREATE TABLE users (email text CONSTRAINT one_each UNIQUE);\nINSERT INTO users VALUES ('ana@x'), ('ana@x');"
    error = failed(database, migrations, text)
    assert '"one_each"' in error.message
    assert "ana@x" not in json.dumps(error.to_dict())


UNFIT = [
    "SELECT 'ana@x'::integer;",
    "SELECT 'it''s ana@x'::integer;",
    "SELECT E'it\\'s ana@x'::integer;",
    "SELECT U&'ana@x'::date;",
    "SELECT $$ana@x$$::integer;",
    "SELECT $v$ana@x$v$::date;",
    "SELECT 'a\nana@x'::integer;",
    "SELECT 'a\nana@x', 'b'::integer;",
    'SELECT \'"" ana@x "\'::integer;',
    "DO $do$ BEGIN PERFORM $$ana@x$$::integer; END $do$;",
]


@pytest.mark.parametrize("text", UNFIT)
def test_value_that_does_not_fit_is_not_told(database: Database, migrations: Migrations, text: str) -> None:
    assert "ana@x" not in json.dumps(failed(database, migrations, text).to_dict())
    ((kept,),) = database.query("SELECT error::text FROM aurora_migrations.attempts")
    assert "ana@x" not in kept


def test_number_that_does_not_fit_is_not_told(database: Database, migrations: Migrations) -> None:
    error = failed(database, migrations, "CREATE TABLE t (phone integer);\nINSERT INTO t VALUES (5511987654321);")
    assert "5511987654321" not in json.dumps(error.to_dict())


def test_promise_that_is_not_true_names_its_migration(database: Database, three: Migrations) -> None:
    three.write("001_t1.verify.sql", "-- The table holds a row.\nSELECT count(*) = 1 FROM t1;")
    with pytest.raises(VerificationFailed) as caught:
        apply(database, three)
    assert (applied(database), tables(database)) == ([], [])
    error = told_well(caught.value, VerificationFailed, database.server)
    assert "The table holds a row" in error.message
    assert (error.facts["migration"], error.facts["file"]) == ("001", "001_t1.sql")


# ---- URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:{port}/postgres",
        "mysql://postgres:{password}@127.0.0.1:{port}/postgres",
        "postgresql://postgres:a@{password}@127.0.0.1:{port}/postgres",
        "postgresql://postgres:a%zz{password}@127.0.0.1:{port}/postgres",
        "postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmode=requird",
        "postgresql://postgres:{password}@127.0.0.1:{port}/postgres?sslmod=require",
        "postgresql://postgres:{password}@127.0.0.1:port/postgres",
        "postgresql://postgres:{password}@127.0.0.1:70000/postgres",
        "",
    ],
)
def test_wrong_url(server: Server, url: str) -> None:
    with pytest.raises(InvalidInput, match="URL can't be understood") as caught:
        Session(url.format(port=server.port, password=server.password), "test")
    told_well(caught.value, InvalidInput, server)


def test_url_with_a_line_end_behind_it_as_secrets_in_files_have(database: Database, three: Migrations) -> None:
    assert len(apply(database, three, url=f"{database.url}\n").applied) == 3


def test_setting_in_the_url_that_the_server_refuses(database: Database, three: Migrations) -> None:
    with pytest.raises(MigratorError, match="nonsense"):
        apply(database, three, url=f"{database.url}?options=-c%20nonsense%3D1")


# ---- addresses ------------------------------------------------------------------------------------------------------


def unreachable(url: str, step: str, slowest: float = SLOWEST) -> MigratorError:
    started = time.monotonic()
    with pytest.raises(DatabaseUnreachable) as caught:
        Session(url, "test")
    assert time.monotonic() - started < slowest
    assert caught.value.facts["step"] == step
    return told_well(caught.value, DatabaseUnreachable)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 70 + ".invalid", "bad..name", "-", "ho st"])
def test_host_that_does_not_resolve(host: str) -> None:
    error = unreachable(f"postgresql://app:secret@{quote(host)}/shop", "DNS")
    assert f"The host name {host} doesn't resolve" in error.message


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_host_that_refuses(host: str) -> None:
    port = free_port()
    error = unreachable(url_to(port, host), "TCP")
    assert error.message == f"{host}:{port} can't be reached: the connection was refused."


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse these in other ways")
@pytest.mark.parametrize("url", ["postgresql://app@255.255.255.255/shop", "postgresql:///shop?host=/no/such/folder"])
def test_address_that_fails_at_once_is_not_told_as_one_that_hangs(url: str) -> None:
    started = time.monotonic()
    with pytest.raises(MigratorError) as caught:
        Session(url, "test")
    assert time.monotonic() - started < 1
    assert "within 5 s" not in caught.value.message
    assert "firewall" not in caught.value.cause


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux a full queue of a listener lets clients hang")
def test_host_that_hangs_is_given_up_in_time() -> None:
    silent = listening(lambda client: client.recv(1 << 16) and time.sleep(20))
    with silent as answers_never, full() as accepts_never:
        silence = Task(unreachable, url_to(answers_never), "startup")
        queue = Task(unreachable, url_to(accepts_never), "TCP")
        impatient = Task(unreachable, f"{url_to(answers_never)}?connect_timeout=2", "startup", 4.0)
        assert "doesn't answer as PostgreSQL does" in silence.result().message
        assert "no connection within 5 s (connection timeout)" in queue.result().message
        assert "doesn't answer as PostgreSQL does" in impatient.result().message


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_something_else_that_listens_there(said: bytes) -> None:
    with listening(lambda client: (client.recv(1 << 16), client.sendall(said))) as port:
        error = unreachable(url_to(port), "startup")
        assert f"127.0.0.1:{port} takes connections but doesn't answer as PostgreSQL does" in error.message


def test_tls_demanded_of_a_server_without_it(database: Database, three: Migrations) -> None:
    error = refusal(DatabaseUnreachable, database, three, url=f"{database.url}?sslmode=require")
    assert error.facts["step"] == "TLS"
    assert "server does not support SSL" in error.message


# ---- poolers --------------------------------------------------------------------------------------------------------


def test_pooler_that_refuses_our_settings() -> None:
    with listening(refuse_startup) as port, pytest.raises(InvalidInput, match="is a connection pooler"):
        Session(f"{url_to(port)}?{PLAIN}", "test")


def test_pooler_that_hands_out_sessions(database: Database, three: Migrations) -> None:
    with listening(another_pid(database.server.port)) as port:
        url = database.url.replace(f":{database.server.port}/", f":{port}/") + f"?{PLAIN}"
        error = refusal(InvalidInput, database, three, url=url)
    assert "is a connection pooler" in error.message
    assert "writer endpoint" in error.solution


# ---- who may come in ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["user", "password", "nobody", "expired", "no login"])
def test_login_that_is_refused(database: Database, three: Migrations, roles: Roles, who: str) -> None:
    role = roles.create(
        "NOLOGIN" if who == "no login" else "LOGIN VALID UNTIL '2001-01-01'" if who == "expired" else "LOGIN"
    )
    name = f"{role.name}_" if who == "user" else role.name
    password = "wr0ng" if who == "password" else "" if who == "nobody" else role.password
    url = database.server.url(database.name, name, password)
    error = refusal(AuthenticationFailed, database, three, url=url)
    assert error.message.startswith(f"127.0.0.1:{database.server.port} refused the login: ")
    assert error.facts["user"] == name
    assert "wr0ng" not in json.dumps(error.to_dict())


def test_database_that_does_not_exist(database: Database, three: Migrations) -> None:
    url = database.server.url("no_such_shop")
    error = refusal(DatabaseNotFound, database, three, url=url)
    assert 'database "no_such_shop" does not exist' in error.message
    assert error.facts["database"] == "no_such_shop"


def test_database_that_takes_no_connections(database: Database, three: Migrations) -> None:
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(database.name)))
    with pytest.raises(MigratorError) as caught:
        apply(database, three)
    assert "is not currently accepting connections" in caught.value.message


def test_role_that_may_not_connect(database: Database, three: Migrations, roles: Roles) -> None:
    role = roles.create()
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database.name)))
    error = refusal(InsufficientPrivilege, database, three, url=database.url_as(role))
    run_what_it_says(database, error)
    with Session(database.url_as(role), "test"):
        pass


@pytest.mark.parametrize("way", [0, 1], ids=["grant", "schema"])
def test_role_that_may_not_make_the_history(database: Database, three: Migrations, roles: Roles, way: int) -> None:
    role = roles.create()
    database.execute(f'GRANT CREATE ON SCHEMA public TO "{role.name}"')
    error = refusal(InsufficientPrivilege, database, three, url=database.url_as(role))
    assert role.name in error.message
    run_what_it_says(database, error, way)
    assert len(apply(database, three, url=database.url_as(role)).applied) == 3


def test_role_that_may_not_read_the_history_of_another(database: Database, three: Migrations, roles: Roles) -> None:
    apply(database, three, "1")
    role = roles.create()
    error = refusal(InsufficientPrivilege, database, three, url=database.url_as(role))
    assert "aurora_migrations" in error.message
    assert "GRANT USAGE ON SCHEMA aurora_migrations" in error.solution
    with pytest.raises(InsufficientPrivilege):
        entries(database, three, database.url_as(role))


def test_role_that_may_only_read_the_history_can_look_and_not_run(
    database: Database, three: Migrations, roles: Roles
) -> None:
    apply(database, three, "1")
    role = roles.create()
    database.execute(f'GRANT USAGE ON SCHEMA aurora_migrations TO "{role.name}"')
    database.execute(f'GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO "{role.name}"')
    assert [entry.state for entry in entries(database, three, database.url_as(role))] == [
        "applied",
        "pending",
        "pending",
    ]
    with Session(database.url_as(role), "test") as session:
        assert not read_overview(session, Compiler(discover(three.dir))).refused
    error = refusal(InsufficientPrivilege, database, three, url=database.url_as(role))
    assert "permission denied for table attempts" in error.message


def run_what_it_says(database: Database, error: MigratorError, which: int = 0) -> None:
    """Run, as the superuser, a statement of a solution as it was told."""
    statements = re.findall(r"(?:GRANT|CREATE SCHEMA) [^;]+;", error.solution)
    database.execute(statements[which])


# ---- servers that can't be used as they are -------------------------------------------------------------------------


def test_standby_is_looked_at_and_not_run_on(own_server: StartServer, standby: StartServer, three: Migrations) -> None:
    primary = on_server(own_server())
    apply(primary, three, "1")
    reader = Database(standby(primary.server), primary.name)
    error = refusal(NotAWriter, reader, three)
    assert "standby" in error.message
    assert "writer endpoint" in error.solution
    assert [entry.state for entry in entries(reader, three)] == ["applied", "pending", "pending"]
    with Session(reader.url, "test") as session:
        assert session.server.in_recovery
        assert [attempt.result for attempt in read_attempts(session, 9)] == ["applied"]
        assert not read_overview(session, Compiler(discover(three.dir))).refused
    refusal(NotAWriter, reader, three, url=f"{reader.url}?target_session_attrs=read-write")
    assert apply(reader, three, "1").already_applied


@pytest.mark.parametrize("what", ["role", "database"])
def test_connections_that_are_all_taken(database: Database, three: Migrations, roles: Roles, what: str) -> None:
    role = roles.create("LOGIN CONNECTION LIMIT 0" if what == "role" else "LOGIN")
    if what == "database":
        with psycopg.connect(database.server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 0").format(sql.Identifier(database.name)))
    error = refusal(DatabaseBusy, database, three, url=database.url_as(role))
    assert f"too many connections for {what}" in error.message


def test_server_that_is_full_or_lets_nobody_in(own_server: StartServer, three: Migrations) -> None:
    database = on_server(own_server({"max_connections": "3", "superuser_reserved_connections": "0"}))
    taken = [database.connect() for _ in range(2)]  # the third is the administrator's
    with pytest.raises(DatabaseBusy, match="too many clients already") as caught:
        apply(database, three)
    told_well(caught.value, DatabaseBusy, database.server)
    for connection in taken:
        connection.close()
    rules = database.server.data / "pg_hba.conf"
    text = rules.read_text("utf-8")
    rules.write_text(f"host {database.name} all 127.0.0.1/32 reject\n{text}", encoding="utf-8")
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_reload_conf()")
    with pytest.raises(AuthenticationFailed, match=r"pg_hba\.conf rejects connection"):
        until_it_is_read(database, three)


def until_it_is_read(database: Database, migrations: Migrations) -> None:
    """Run until the server has read its new rules."""
    for _ in range(100):
        apply(database, migrations)
        time.sleep(0.05)


def test_server_that_is_shut_down(own_server: StartServer, three: Migrations) -> None:
    database = on_server(own_server())
    with Session(database.url, "test") as session:
        database.server.stop("immediate")
        with pytest.raises(ConnectionLost):
            session.query("SELECT 1")
    unreachable(database.url, "TCP")
