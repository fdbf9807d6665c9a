"""Family connection: no way to the database, the way breaks, or the database doesn't let us do what we need."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

import psycopg

from aurora_migrations.engine import errors
from tests.cli.conftest import Answer
from tests.cli.scenes import adopted
from tests.cli.stage import Stage
from tests.listeners import full, listening, url_to

LOCKING = "ALTER TABLE users ADD COLUMN a integer;\nSELECT 1;\n"
TWO_PARTS = (
    "BEGIN;\nCREATE TABLE c (id integer);\nCOMMIT;\nBEGIN ISOLATION LEVEL SERIALIZABLE;\nSELECT 'second';\nCOMMIT;\n"
)
PROMISE = "-- verify: rows users = 0\nSELECT 1;\n"
AT_ONCE = ("run", "--lock-wait", "0s")


# ---- no connection --------------------------------------------------------------------------------------------------


def _hangs(stage: Stage) -> Answer:
    return stage.on("run", url=f"{url_to(stage.enter(full()))}?connect_timeout=2")


def _other_program(stage: Stage) -> Answer:
    port = stage.enter(listening(lambda client: (client.recv(1 << 16), client.sendall(b"HTTP/1.1 400\r\n\r\n"))))
    return stage.on("run", url=url_to(port))


def _startup(stage: Stage, parameter: str) -> Answer:
    return stage.on("run", url=f"{stage.database.url}?options={quote(parameter)}")


def _forbidden(stage: Stage) -> Answer:
    name = stage.database.name
    stage.sql(f'REVOKE CONNECT ON DATABASE "{name}" FROM public')
    return stage.on("run", url=stage.database.url_as(stage.roles.create()))


def _closed(stage: Stage) -> Answer:
    """Somebody has closed the database for a while."""
    url = stage.database.server.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{stage.database.name}" ALLOW_CONNECTIONS false'.encode())
    return stage.on(*AT_ONCE)


def _wrong_secret(stage: Stage) -> Answer:
    stage.patch.setattr("functions.database_secret.with_login.__defaults__", (0.0,))
    stage.machine.put({**stage.machine.secret, "password": "wrong"})
    return stage.refused(errors.AuthenticationFailed)


# ---- a connection that breaks ---------------------------------------------------------------------------------------


def _ended(stage: Stage) -> Answer:
    """An administrator ends the session inside a file."""
    stage.write(f003_c="CREATE TABLE c (id integer);\nSELECT pg_sleep(60);\n")
    return stage.beside(stage.end("pg_sleep"), *AT_ONCE)


def _cut(needle: str, *words: str, **files: str) -> Callable[[Stage], Answer]:
    """The network breaks when this is sent."""
    return lambda stage: stage.write(**files).cut(needle, *words)


def _cut_later(needle: str, *words: str, **files: str) -> Callable[[Stage], Answer]:
    """The same, after a run that went well."""
    return lambda stage: stage.ran().write(**files).cut(needle, *words)


def _cut_function(step: str, needle: str, asked: object = None) -> Callable[[Stage], Answer]:
    """The same, in a function."""

    def play(stage: Stage) -> Answer:
        stage.ran()
        machine = stage.machine
        machine.variables |= {"DATABASE_PORT": str(stage.proxy.port), "DATABASE_SSLMODE": "disable"}
        stage.proxy.cut_before(needle.encode())
        return stage.refused(errors.ConnectionLost, asked, step=step)

    return play


LOST = [
    ("an administrator ends the session inside a file", _ended),
    ("the network breaks at COMMIT", _cut("INSERT INTO aurora_migrations.applied")),
    ("it breaks while the session is set up", _cut("pg_backend_pid")),
    ("it breaks before the run writes", _cut("client_connection_check_interval")),
    ("it breaks while the run takes its lock", _cut("pg_try_advisory_lock")),
    ("it breaks while the history is created", _cut("CREATE SCHEMA")),
    ("it breaks while the history is updated", _cut("'interrupted', finished_at")),
    ("it breaks before a file begins", _cut("INSERT INTO aurora_migrations.attempts")),
    ("it breaks in a file's second unit", _cut("SELECT 'second'", f003_c=TWO_PARTS)),
    ("it breaks between two statements that lock", _cut("idle_in_transaction_session_timeout = ", f003_c=LOCKING)),
    (
        "it breaks before an expectation is checked",
        _cut("RESET SESSION AUTHORIZATION", f001_users="-- verify: rows users = 0\nCREATE TABLE users (id integer);\n"),
    ),
    ("it breaks while an expectation is checked", _cut("AS counted", f003_c=PROMISE)),
    ("a function loses it before it reads", _cut_function("preflight", "SESSION CHARACTERISTICS")),
    ("a function loses it while it counts rows", _cut_function("verify", "pg_partition_tree", {"action": "verify"})),
]


# ---- readers --------------------------------------------------------------------------------------------------------


def _reader(stage: Stage, *words: str, more: str = "") -> Answer:
    return stage.on("run", *words, url=f"{stage.standby().url}{more}")


def _function_on_a_reader(stage: Stage) -> Answer:
    reader = stage.standby()
    stage.machine.variables |= {"DATABASE_PORT": str(reader.server.port), "DATABASE_NAME": reader.name}
    return stage.refused(errors.NotAWriter)


def _read_only(stage: Stage) -> Answer:
    role = stage.roles.create("LOGIN SUPERUSER")
    stage.sql(f"ALTER ROLE {role.name} SET default_transaction_read_only = on")
    return stage.on("run", url=stage.database.url_as(role))


# ---- privileges -----------------------------------------------------------------------------------------------------


def _may_not_look(stage: Stage) -> Answer:
    role = stage.roles.create()
    return stage.ran().on("status", url=stage.database.url_as(role))


def _may_not_write(stage: Stage) -> Answer:
    role = stage.roles.create()
    stage.ran().write(f003_c="SELECT 1;\n")
    stage.sql(
        f"GRANT USAGE ON SCHEMA aurora_migrations TO {role.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO {role.name}"
    )
    return stage.on("run", url=stage.database.url_as(role))


def _may_not_see_indexes(stage: Stage) -> Answer:
    """A catalogue that somebody has hardened."""
    role = stage.roles.create()
    stage.ran().sql(
        "REVOKE SELECT ON pg_catalog.pg_index FROM public;"
        f"GRANT USAGE ON SCHEMA aurora_migrations TO {role.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO {role.name}"
    )
    stage.machine.put({"username": role.name, "password": role.password})
    return stage.refused(errors.InsufficientPrivilege, {"action": "verify"}, step="verify")


# ---- a server that is full ------------------------------------------------------------------------------------------


def _no_role_left(stage: Stage) -> Answer:
    role = stage.roles.create("LOGIN CONNECTION LIMIT 0")
    return stage.on(*AT_ONCE, url=stage.database.url_as(role))


def _no_room(stage: Stage) -> Answer:
    """A server that lets nobody write much to temporary files, and a history that doesn't fit into memory."""
    role = stage.roles.create("LOGIN SUPERUSER")
    stage.ran().sql(
        "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by) "
        "SELECT n, n || '_a.sql', repeat('0', 64), '', 1, 'any', 'any' FROM generate_series(10, 5000) AS n;"
        f"ALTER ROLE {role.name} SET enable_indexscan = off; ALTER ROLE {role.name} SET work_mem = '64kB';"
        f"ALTER ROLE {role.name} SET temp_file_limit = '64kB'"
    )
    return stage.on("status", url=stage.database.url_as(role))


SCENES = {
    "DatabaseUnreachable": [
        ("nothing listens there", lambda s: s.on("run", url="postgresql://app@127.0.0.1:1/shop")),
        ("the host's name doesn't resolve", lambda s: s.on("run", url="postgresql://app@no-such-host.invalid/shop")),
        ("packets are dropped", _hangs),
        ("there is no route to the address", lambda s: s.on("run", url="postgresql://app@255.255.255.255/shop")),
        ("another program listens there", _other_program),
        ("the server has no TLS", lambda s: s.on("run", url=f"{s.database.url}?sslmode=require")),
        ("the server refuses what the URL sets", lambda s: _startup(s, "-c nonsense=1")),
    ],
    "DatabaseBusy": [
        ("all connections are taken", _no_role_left),
        ("the database is closed", _closed),
        ("the server has no room for what is asked", _no_room),
    ],
    "AuthenticationFailed": [
        ("the password is wrong", lambda s: s.on("run", url=s.database.url.replace("postgres:", "postgres:wrong", 1))),
        ("the secret's password is wrong", _wrong_secret),
    ],
    "DatabaseNotFound": [
        ("the name is wrong", lambda s: s.on("run", url=s.database.url.replace(s.database.name, "no_such_database")))
    ],
    "InsufficientPrivilege": [
        ("the role may not create the history", lambda s: s.on("run", url=s.database.url_as(s.roles.create()))),
        ("the role may not connect", _forbidden),
        ("the role may not read the history", _may_not_look),
        ("the role may read the history but not write it", _may_not_write),
        ("the role may not see the catalogue", _may_not_see_indexes),
        *adopted.PRIVILEGE,
    ],
    "ConnectionLost": LOST,
    "NotAWriter": [
        ("the address is a reader's", _reader),
        (
            "the address is a reader's, and asks for a writer",
            lambda s: _reader(s, more="?target_session_attrs=read-write"),
        ),
        ("an environment's address is a reader's", _function_on_a_reader),
        ("the role only reads", _read_only),
    ],
}
