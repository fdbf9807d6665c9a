"""Real PostgreSQL servers for the tests: which there are, and what is made on them for one test."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from aurora_migrations.embedded import binaries
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.data_directory import Folder, place_for
from aurora_migrations.embedded.server import Server, ServerError

# To compile the catalogue's queries takes a server with LLVM seconds.
SETTINGS = {"jit": "off", "max_connections": "200"}
ROOM = 4 * 1024**3  # bytes; a server takes 40 MB, its WAL and the tests' tables the rest
NEEDED = ("initdb", "pg_ctl", "postgres", "pg_basebackup")

_numbers = count(1)
_administrators: dict[str, psycopg.Connection[Any]] = {}  # by the URL of their server


# Which servers there are


@cache
def available() -> tuple[Installation, ...]:
    """The embedded PostgreSQL, and the newest of the system's that is another version."""
    embedded = _embedded()
    majors = {found.major for found in embedded}
    others = [found for found in _of_the_system() if found.major not in majors]
    return (*embedded, *sorted(others, key=lambda found: found.major)[-1:])


def _embedded() -> list[Installation]:
    with contextlib.suppress(ServerError):
        return [binaries.find()]
    return []


def _of_the_system() -> Iterator[Installation]:
    for bindir in _bindirs():
        if all(shutil.which(name, path=str(bindir)) for name in NEEDED):
            with contextlib.suppress(ServerError):
                yield binaries.find(bindir)


def _bindirs() -> Iterator[Path]:
    yield from Path("/usr/lib/postgresql").glob("*/bin")  # Debian
    yield from Path("/usr").glob("pgsql-*/bin")  # Red Hat
    yield from Path("/opt/homebrew/opt").glob("postgresql@*/bin")
    yield from Path("/usr/local/opt").glob("postgresql@*/bin")
    yield from Path("C:/Program Files/PostgreSQL").glob("*/bin")
    if pg_config := shutil.which("pg_config"):
        yield Path(subprocess.check_output([pg_config, "--bindir"], text=True).strip())


# Starting them


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A short-lived folder that PostgreSQL's account can get to."""
    path = Path(tempfile.mkdtemp(prefix="am-", dir=_in_memory()))
    try:
        if binaries.is_root():
            path.chmod(0o711)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _in_memory() -> Path | None:
    """Linux's folder in memory, if it is roomy: CREATE DATABASE takes 20 ms there, 250 ms on a disk."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM:
        return memory
    return None


@contextlib.contextmanager
def started(programs: Installation, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server of its own, stopped and removed at the end."""
    with folder() as path:
        wanted = {**SETTINGS, **(settings or {})}
        server = postgres.start(path / "pg", bindir=programs.bindir, settings=wanted, temporary=True)
        with _removed_at_the_end(server):
            yield server


@contextlib.contextmanager
def standby_of(primary: Server, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A hot standby that streams from the primary."""
    with folder() as path:
        data = place_for(path / "standby")
        _copy(primary, Folder(data))
        wanted = {**SETTINGS, **(settings or {})}
        server = postgres.start(data, bindir=primary.bindir, settings=wanted, temporary=True)
        with _removed_at_the_end(server):
            yield server


def _copy(primary: Server, to: Folder) -> None:
    to.empty(to.data)
    to.keep_password(primary.password)
    arguments = ("-R", "-c", "fast", "--no-sync", "-D", to.data, "-d", primary.url())
    finished = Installation(primary.bindir).run("pg_basebackup", *arguments)
    if finished.code != 0:
        raise AssertionError(f"pg_basebackup failed: {finished.output}")


@contextlib.contextmanager
def _removed_at_the_end(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        if connection := _administrators.pop(server.url(), None):
            connection.close()
        try:
            server.stop("immediate")
        finally:
            remove(server.data)


def remove(data: Path) -> None:
    """Remove a data folder and what stands beside it, wherever it was put."""
    for path in [data, *data.parent.glob(f"{data.name}.*")]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# What a test gets on them


@dataclass(frozen=True)
class Role:
    """A role that can log in."""

    name: str
    password: str


@dataclass
class Roles:
    """Makes roles of unique names. They belong to the whole server, so they are dropped at the end."""

    server: Server
    made: list[Role] = field(default_factory=list)

    def create(self, options: LiteralString = "LOGIN") -> Role:
        """A new role. `options` are those of CREATE ROLE."""
        role = Role(_unique("role"), "it's a p@ssword/%")
        statement = "CREATE ROLE {} " + options + " PASSWORD {}"
        self._execute(sql.SQL(statement).format(sql.Identifier(role.name), sql.Literal(role.password)))
        self.made.append(role)
        return role

    def drop_all(self) -> None:
        for role in self.made:
            self._execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(role.name)))
            self._execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role.name)))
        self.made.clear()

    def _execute(self, statement: sql.Composed) -> None:
        on_the_server(self.server, statement)


@dataclass
class Database:
    """An empty database of one test."""

    server: Server
    name: str = field(default_factory=lambda: _unique("test"))
    _opened: list[psycopg.Connection[Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    def url_as(self, role: Role) -> str:
        return self.server.url(self.name, role.name, role.password)

    def connect(self, role: Role | None = None, **options: Any) -> psycopg.Connection[Any]:
        """An autocommit connection, as the superuser if no role is given; closed at the end of the test."""
        url = self.url_as(role) if role else self.url
        connection: psycopg.Connection[Any] = psycopg.connect(url, **{"autocommit": True, **options})
        self._opened.append(connection)
        return connection

    def query(self, statement: str, params: Any = None) -> list[tuple[Any, ...]]:
        """The rows of a query, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement, params).fetchall()

    def execute(self, statements: str) -> None:
        """Run one or more statements, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statements)

    def create(self) -> None:
        self._on_the_server("CREATE DATABASE {}")

    def drop(self) -> None:
        for connection in self._opened:
            connection.close()
        self._on_the_server("DROP DATABASE IF EXISTS {} WITH (FORCE)")

    def _on_the_server(self, statement: LiteralString) -> None:
        on_the_server(self.server, sql.SQL(statement).format(sql.Identifier(self.name)))


def on_the_server(server: Server, statement: sql.Composed) -> None:
    """Runs a statement as the superuser, on a connection kept for the server: to open one takes longer."""
    url = server.url()
    connection = _administrators.get(url)
    if connection is None or connection.closed:
        connection = _administrators[url] = psycopg.connect(url, autocommit=True)
    try:
        connection.execute(statement)
    except psycopg.OperationalError:  # the server was restarted, or a test has ended all sessions
        if not connection.closed:
            raise
        on_the_server(server, statement)


@dataclass(frozen=True)
class Migrations:
    """A folder of migration files."""

    dir: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file byte for byte: line ends stay as given on every system."""
        path = self.dir / name
        path.write_bytes(text.encode())
        return path


def _unique(kind: str) -> str:
    """Unlike any name that other tests, or other runs at the same time, use."""
    return f"{kind}_{os.getpid()}_{next(_numbers)}"


def header(chosen: tuple[Installation, ...]) -> str:
    """The line at the top of the test report."""
    return "PostgreSQL: " + ", ".join(f"{found.version} ({_origin(found)})" for found in chosen)


def _origin(found: Installation) -> str:
    return "embedded" if found.bindir.parent.name == "pginstall" else str(found.bindir)
