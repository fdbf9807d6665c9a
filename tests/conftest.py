"""Fixtures: real PostgreSQL servers, one empty database a test, folders of migrations. No mocks."""

import contextlib
import functools
import gc
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import botocore.session
import pytest

from aurora_migrations import project
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.server import Server
from tests import servers
from tests.servers import Database, Migrations, Roles

StartServer = Callable[..., Server]

# Where PYTHONDONTWRITEBYTECODE is set, each process would compile each module again: those that run the tests all of
# these, which takes as long as to collect them once more, and the hundreds that tests start the product.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Most tests' files need tables that nobody has made, or fail on purpose: those of the replay switch it on.
os.environ.setdefault(project.REPLAY_VARIABLE, "off")

# Every session of botocore reads megabytes of models anew; hundreds of tests make some.
botocore.session.create_loader = functools.cache(botocore.session.create_loader)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgres",
        default=os.environ.get("TEST_POSTGRES", "all"),
        help="the major version to test on, or `all` (default; also from the variable TEST_POSTGRES)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Have SIGTERM (a CI job that is cancelled) stop the servers, as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Of those that measure time, only their own files are read: to read all takes as long as half of these tests."""
    if config.option.markexpr != "alone" or not collection_path.match("test_*.py"):
        return None
    return "pytest.mark.alone" not in collection_path.read_text("utf-8") or None


TOGETHER = ("tests/workflow", "tests/cdk", "tests/wheel")  # folders whose files share what takes long to make
CLOUDS_OF_THEIR_OWN = ("test_terminal.py", "test_pages.py")  # of tests/workflow: they type commands


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of several processes, each runs whole files: what files share is made once. Those on one PostgreSQL go before
    those on the next, as a server is started anew with each change. The tests of the workflow share a cloud, and the
    last of them speak of all, so they stay together; those of the template share what was synthesised."""
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            if file.parent.as_posix() in TOGETHER and file.name not in CLOUDS_OF_THEIR_OWN:
                return file.parent.as_posix()
            server = re.search(r"\bpostgres(\d+)\b", nodeid)
            return f"{file} {server[1] if server else ''}"

    return Files(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is long and stays together goes first, so that no process is left with it at the end."""
    items.sort(key=lambda item: not item.nodeid.startswith(TOGETHER))


def pytest_collection_finish() -> None:
    """Thousands of tests with all that they import stay to the end: no search for garbage needs to read them."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    return servers.header(_chosen(config))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints what tests have measured (`record_property("measured", ...)`)."""
    for report in terminalreporter.stats.get("passed", ()):
        for name, value in report.user_properties:
            if name == "measured":
                terminalreporter.write_line(f"{report.nodeid.rpartition('[')[2].rstrip(']')}: {value}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "programs" in metafunc.fixturenames:
        chosen = _chosen(metafunc.config)
        if not _depends_on_the_server(metafunc.definition.path):
            chosen = chosen[:1]
        ids = [f"postgres{found.major}" for found in chosen]
        metafunc.parametrize("programs", chosen, indirect=True, ids=ids, scope="session")


# What of the engine looks the same to every server: what a folder and a history make of each other; how a server of
# one's own, many runners and others' locks are dealt with; and what a client does that is killed or loses its
# connection, of which every server since 14 learns in the same way. TEST_POSTGRES=15 has them all run on that one.
_ALIKE_ON_ALL = (
    "test_bad_input",
    "test_concurrency",
    "test_connection_lost",
    "test_deferred",
    "test_drift",
    "test_coming_from",
    "test_foreign_histories",
    "test_killed",
    "test_local_postgres",
    "test_manifest_runs",
    "test_retry",
    "test_resume",
    "test_rollback",
    "test_tampering",
    "test_templates",
    "test_unit_faults",
    "test_vanished",
    "test_waiting",
)


def _depends_on_the_server(path: Path) -> bool:
    """Whether a test says more on two versions than on one: most of the engine's do, and one that needs TLS, which the
    embedded server hasn't got. The rest is tested once, or the suite would take half as long again."""
    return (path.parent.name == "database" and path.stem not in _ALIKE_ON_ALL) or path.name == "test_tls.py"


def _chosen(config: pytest.Config) -> tuple[Installation, ...]:
    wanted = config.getoption("postgres")
    chosen = tuple(f for f in servers.available() if wanted in ("all", str(f.major)))
    if not chosen:
        raise pytest.UsageError(f"--postgres={wanted}: here is only {servers.header(servers.available())}")
    return chosen


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Installation:
    """The PostgreSQL under test; every test that uses it runs once on each."""
    found: Installation = request.param
    return found


@pytest.fixture(scope="session")
def server(programs: Installation) -> Iterator[Server]:
    """A running server that the tests share. Don't stop it: see `own_server`."""
    with servers.started(programs) as running:
        yield running


@pytest.fixture
def roles(server: Server) -> Iterator[Roles]:
    """Makes roles on the shared server."""
    made = Roles(server)
    yield made
    made.drop_all()


@pytest.fixture
def database(server: Server, roles: Roles) -> Iterator[Database]:
    """An empty database. Goes before the roles do, as they may own things in it."""
    made = Database(server)
    made.create()
    yield made
    made.drop()


@pytest.fixture
def own_server(programs: Installation) -> Iterator[StartServer]:
    """Starts servers that only this test uses: `own_server({"work_mem": "1MB"})`."""
    with contextlib.ExitStack() as stack:

        def start(settings: Mapping[str, str] | None = None) -> Server:
            return stack.enter_context(servers.started(programs, settings))

        yield start


@pytest.fixture
def standby() -> Iterator[StartServer]:
    """Starts a hot standby of a server: `standby(own_server())`."""
    with contextlib.ExitStack() as stack:

        def start(primary: Server, settings: Mapping[str, str] | None = None) -> Server:
            return stack.enter_context(servers.standby_of(primary, settings))

        yield start


@pytest.fixture(scope="session")
def replay_folder() -> Iterator[Path]:
    """The folder in which tests' replays keep their server; the server runs until the last of them."""
    from aurora_migrations.replay import cache
    from aurora_migrations.replay import server as servers_of_replays

    with servers.folder() as path, pytest.MonkeyPatch.context() as patch:
        patch.setenv(project.LOCAL_VARIABLE, str(path))
        cache.folder().mkdir()
        with servers_of_replays._started(cache.folder() / "postgres-18") as running:
            yield path
            running.stop("immediate")
            servers.remove(running.data)


@pytest.fixture
def replays(replay_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Histories are replayed in this test, on a server that other such tests share."""
    monkeypatch.setenv(project.LOCAL_VARIABLE, str(replay_folder))
    monkeypatch.setenv(project.REPLAY_VARIABLE, "on")


@pytest.fixture
def migrations(tmp_path: Path) -> Migrations:
    """An empty folder for migration files."""
    made = Migrations(tmp_path / "migrations")
    made.dir.mkdir()
    return made
