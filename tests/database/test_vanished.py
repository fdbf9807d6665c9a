"""A runner, or its server, that vanishes from the network: nobody says so, nothing arrives any more."""

import os
import socket
import time
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from aurora_migrations.engine import Session
from aurora_migrations.engine.errors import ConnectionLost, DatabaseUnreachable, InDoubt
from aurora_migrations.engine.locks import locked_session
from aurora_migrations.engine.postgres import connect
from tests.database.helpers import (
    Task,
    applied,
    apply,
    backend,
    backends,
    holding,
    labels,
    locks,
    on_server,
    tables,
    until,
)
from tests.listeners import url_to
from tests.network import CLIENT, SERVER, Network, network

IMPATIENT = "keepalives_idle=1&keepalives_interval=1&keepalives_count=2&tcp_user_timeout=3500"
TCP_OPTIONS = "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT"
MADE_FOR = {"lock_timeout": "2s", "idle_in_transaction_session_timeout": "1min", "tcp_user_timeout": "3500"}


@pytest.fixture
def cable() -> Iterator[Network]:
    with network() as made:
        yield made


def test_session_of_a_runner_that_vanished_is_gone_within_four_seconds(own_server, migrations, cable) -> None:
    """Whatever it was at: with its answer under way keepalives are no use, and the user timeout, where there is one,
    goes before their count. It was 10 to 20 s. The runner notices as well, in the time that its URL gives. One that is
    there and takes no answer is given up like one that has vanished."""
    migrations.write("001_long.sql", "CREATE TABLE a (id integer);\nSELECT pg_sleep(60);")
    with cable.at(SERVER):
        database = on_server(server := own_server({"listen_addresses": "*"}))
        allowed = server.data / "pg_hba.conf"
        allowed.write_text(f"{allowed.read_text()}\nhost all all {CLIENT}/32 scram-sha-256\n")
        database.query("SELECT pg_reload_conf()")
        url = f"{database.url.replace('127.0.0.1', SERVER)}?{IMPATIENT}"
        with cable.at(CLIENT):
            run_ = Task(apply, database, migrations, url=url)
            between_statements, answered = (Session(url, name) for name in ("between", "answered"))
            between_statements.wire.execute_script(b"BEGIN; CREATE TABLE b (id integer)")
            answer = Task(answered.wire.execute_script, b"BEGIN; CREATE TABLE c (id integer); SELECT pg_sleep(1), 'c'")
        takes_none = Session(database.url, "takes none")
        takes_none.wire.connection.pgconn.send_query(
            b"BEGIN; CREATE TABLE d (id integer); SELECT repeat('x', 1000000) FROM generate_series(1, 1000)"
        )
        for doing in ("pg_sleep(60)", "'c'", "repeat"):
            backend(database, doing)
        cable.fall_silent()
        began = time.monotonic()
        assert backends(database) == 4
        until(lambda: not backends(database), "the server has ended the sessions", 6)
        assert time.monotonic() - began > 2  # a moment without a network is survived
        assert locks(database) == []
        assert tables(database) == applied(database) == []
        with pytest.raises(ConnectionLost, match=r"001_long\.sql"):
            run_.result(6)
        migrations.write("001_long.sql", "CREATE TABLE a (id integer);")
        assert labels(apply(database, migrations)) == ["001"]
    for session in (between_statements, answered, takes_none):
        session.close()
    answer.join()


def test_build_of_a_runner_that_vanished_is_finished_and_its_session_ends_within_five_seconds(
    own_server, migrations, cable, monkeypatch
) -> None:
    """While it builds, the server doesn't look after its client; it sees at the end that nobody takes the answer."""
    monkeypatch.setattr(locked_session, "SETTLE_TIME", 1.0)
    migrations.write("001_index.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);\nCREATE TABLE b ();")
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('a_id')"
    with cable.at(SERVER):
        database = on_server(server := own_server({"listen_addresses": "*"}))
        allowed = server.data / "pg_hba.conf"
        allowed.write_text(f"{allowed.read_text()}\nhost all all {CLIENT}/32 scram-sha-256\n")
        database.query("SELECT pg_reload_conf()")
        database.execute("CREATE TABLE a (id integer)")
        with holding(database.url, "LOCK TABLE a IN ROW EXCLUSIVE MODE") as holder:
            with cable.at(CLIENT):
                url = f"{database.url.replace('127.0.0.1', SERVER)}?{IMPATIENT}"
                run_ = Task(apply, database, migrations, url=url)
            until(lambda: database.query(valid), "the build")
            cable.fall_silent()
            with pytest.raises(InDoubt, match=r"while 001_index\.sql was running"):
                run_.result(20)
            holder.rollback()
            until(lambda: database.query(valid) == [(True,)], "the end of the build")
            began = time.monotonic()
            until(lambda: not backends(database), "the end of its session", 6)
            assert time.monotonic() - began < 5
        assert labels(apply(database, migrations)) == ["001"]
        assert tables(database) == ["a", "b"]
        until(lambda: not locks(database), "the end of the last run's session")


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has other names for it")
def test_runner_asks_the_network_whether_the_server_is_still_there(database) -> None:
    """Else a run whose server fell silent, or a failover that only drops packets, would wait for two hours. Linux goes
    by the user timeout where there is one, others by the count: both give the server the same time."""
    with Session(database.url, "asks") as session:
        duplicate = socket.socket(fileno=os.dup(session.wire.connection.fileno()))
        with duplicate:
            tcp = {name: duplicate.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in TCP_OPTIONS}
            assert duplicate.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    by_count = tcp["TCP_KEEPIDLE"] + tcp["TCP_KEEPINTVL"] * tcp["TCP_KEEPCNT"]
    assert 0 < by_count <= 30
    assert tcp["TCP_USER_TIMEOUT"] == by_count * 1_000


def test_url_does_not_change_what_our_sessions_rely_on(database) -> None:
    """Its own settings are kept, but for those that keep a run from waiting, or from being waited for, for ever."""
    options = " ".join(["-c work_mem=1MB", *(f"-c {name}=0" for name in MADE_FOR)])
    with Session(f"{database.url}?options={quote(options)}", "ours") as session:
        rows = session.query("SELECT name, pg_catalog.current_setting(name) FROM pg_catalog.pg_settings")
    found = {str(name): value for name, value in rows}
    assert found["work_mem"] == "1MB"
    expected = MADE_FOR if hasattr(socket, "TCP_USER_TIMEOUT") else {**MADE_FOR, "tcp_user_timeout": "0"}
    assert {name: found[name] for name in MADE_FOR} == expected


def test_name_that_nobody_resolves_is_given_up(monkeypatch) -> None:
    """libpq would wait for it without any limit of time."""
    monkeypatch.setattr(connect, "CONNECT_TIMEOUT", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3) or [])
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match=r"db\.example doesn't resolve: no answer within 0\.2 s") as caught:
        Session(url_to(5432, "db.example"), "waits")
    assert time.monotonic() - began < 2
    assert caught.value.facts["step"] == "DNS"
