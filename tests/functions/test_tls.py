"""The way to the database is secured, and the certificate checked, where the environment asks for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest

from aurora_migrations.embedded.server import Server
from aurora_migrations.engine.errors import DatabaseUnreachable
from aurora_migrations.engine.steps.step import RESERVE
from tests.database.helpers import holding, on_server, until
from tests.functions.helpers import Context, Machine


@pytest.fixture
def secured(own_server, aws, migrations, tmp_path: Path) -> Machine:
    """A machine whose server speaks TLS, with a certificate of its own for `localhost`."""
    server = own_server()
    roots = tmp_path / "roots.pem"
    _secure(server, roots)
    machine = Machine(aws, on_server(server), migrations)
    machine.variables |= {
        "DATABASE_HOST": "localhost",
        "DATABASE_SSLMODE": "verify-full",
        "DATABASE_SSLROOTCERT": str(roots),
    }
    migrations.write("001_a.sql", "CREATE TABLE a (id int);")
    machine.write_manifest()
    return machine


def _secure(server: Server, roots: Path) -> None:
    if not shutil.which("openssl"):
        pytest.skip("no openssl here to make a certificate with")
    certificate, key = server.data / "server.crt", server.data / "server.key"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *names], check=True, capture_output=True)
    shutil.copyfile(certificate, roots)
    owner = server.data.stat()
    for path in (certificate, key):
        os.chown(path, owner.st_uid, owner.st_gid)
        path.chmod(0o600)
    with psycopg.connect(server.url(), autocommit=True) as connection:
        try:
            connection.execute("ALTER SYSTEM SET ssl = on")
        except psycopg.Error:
            pytest.skip("this PostgreSQL was built without TLS")
        connection.execute("SELECT pg_reload_conf()")
    until(lambda: _speaks_tls(server), "the server speaks TLS")


def _speaks_tls(server: Server) -> bool:
    try:
        psycopg.connect(f"{server.url()}?sslmode=require").close()
    except psycopg.OperationalError:
        return False
    return True


def test_connection_is_secured_and_preflight_proves_it(secured) -> None:
    server = secured.call("preflight")["server"]
    assert server["tls"].startswith("TLSv1.")
    assert server["cipher"]
    assert secured.run({})["status"] == "success"


def test_certificate_of_another_host_is_refused(secured) -> None:
    secured.variables["DATABASE_HOST"] = "127.0.0.1"
    assert secured.refused("preflight", DatabaseUnreachable)["step"] == "TLS"


def test_certificate_of_nobody_that_we_trust_is_refused(secured, tmp_path) -> None:
    other = tmp_path / "other.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=other"]
    subprocess.run([*made, "-keyout", os.devnull, "-out", str(other)], check=True, capture_output=True)
    secured.variables["DATABASE_SSLROOTCERT"] = str(other)
    assert secured.refused("preflight", DatabaseUnreachable)["step"] == "TLS"


def test_a_build_outlives_its_call_over_tls(secured) -> None:
    database = secured.database
    database.execute("CREATE TABLE book (id int)")
    secured.migrations.write("002_index.sql", "CREATE INDEX CONCURRENTLY book_idx ON book (id);")
    secured.write_manifest()
    with holding(database.url, "LOCK TABLE book IN ROW EXCLUSIVE MODE") as holder:
        for _ in range(2):
            left = secured.call("apply", context=Context(RESERVE + 4_000))
            assert (left["outcome"], "CREATE INDEX" in left["running"] or "002_index" in left["running"]) == (
                "more",
                True,
            )
            assert database.query("SELECT FROM pg_stat_progress_create_index"), "the server goes on"
        holder.rollback()
    assert secured.run({})["status"] == "success"
    assert database.query("SELECT indisvalid FROM pg_index WHERE indexrelid = 'book_idx'::regclass") == [(True,)]
