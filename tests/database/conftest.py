"""Fixtures for tests of faults: an action, a proxy that loses connections, and pauses that aren't waited for."""

import time
from collections.abc import Callable, Iterator

import pytest

from aurora_migrations.engine import Request, Session, interrupts
from aurora_migrations.engine.locks import locked_session
from tests.database.work import Work
from tests.proxy import Proxy
from tests.servers import Database


@pytest.fixture(params=["apply", "rollback"])
def work(request, database, migrations) -> Work:
    """Applying, and then the same test once more rolling back."""
    return Work(request.param, database, migrations)


@pytest.fixture
def busy(database: Database) -> Database:
    """A database with a table that others use."""
    database.execute("CREATE TABLE busy (id integer); INSERT INTO busy SELECT generate_series(1, 100)")
    return database


@pytest.fixture
def proxy(server) -> Iterator[Proxy]:
    with Proxy(server.port) as made:
        yield made


@pytest.fixture
def between(monkeypatch) -> Callable[[Callable[[], object]], None]:
    """`between(do)`: does it once a run has lost its connection and before it opens the next."""

    def set_up(do: Callable[[], object]) -> None:
        connect, left = locked_session.connect, [do]

        def first(request: Request, again: bool = False) -> Session:
            while again and left:
                left.pop()()
            return connect(request, again)

        monkeypatch.setattr(locked_session, "connect", first)

    return set_up


@pytest.fixture
def brisk(monkeypatch) -> None:
    """A run's pauses before it connects or tries again are cut short: how long they are, is tested elsewhere."""
    monkeypatch.setattr(interrupts, "pause", lambda seconds, meanwhile: time.sleep(min(max(0, seconds), 0.01)))
