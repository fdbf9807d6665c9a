"""Where a replay runs: an embedded PostgreSQL, whose databases are kept as templates, or a server of the user's own.

On the embedded one a replay may do anything; one replay uses it at a time. On a user's server it makes a database of
its own, and drops that and the roles that it has made.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from aurora_migrations import project
from aurora_migrations.embedded import binaries, data_directory
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.binaries import Installation
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.embedded.processes import locked
from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.postgres.connect import open_connection, parse_url
from aurora_migrations.replay import standins
from aurora_migrations.replay.cache import folder

KEPT = 4  # templates
WAIT = 900.0  # seconds for another replay to end
_TEMPLATE, _WORK = "prefix_", "aurora_migrations_replay_"
_APPLICATION = "aurora-migrations-replay"
_FORGET = "DELETE FROM pg_catalog.pg_db_role_setting WHERE setrole IN (0, current_user::regrole::oid)"
# Nothing in it is of value, so all that makes it faster. The catalogue's query is never worth being compiled.
_SETTINGS = {
    "autovacuum": "off",
    "jit": "off",
    "max_locks_per_transaction": "512",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
    "synchronous_commit": "off",
    "wal_level": "minimal",
}


class ReplayServer:
    """A server that a replay may use, through a session of an administrator.

    Args:
        url: of the administrator's session.
        is_ours: whether nobody else uses the server, and databases and roles may stay.
    """

    def __init__(self, url: str, programs: Installation | None, *, is_ours: bool) -> None:
        self._params: Mapping[str, Any] = parse_url(url)
        self.programs, self.is_ours = programs, is_ours
        self._admin = open_connection(url, _APPLICATION)
        if is_ours:  # whatever an earlier history has set for our role
            self._admin.execute("SET default_transaction_read_only = off; SET statement_timeout = 0; RESET search_path")
        self._roles_before = self._role_names()
        self._texts: list[bytes] = []
        self._databases: list[str] = []

    @property
    def major(self) -> int:
        return self._admin.info.server_version // 10_000

    @property
    def version(self) -> str:
        """What decides what a migration changes here: the server's version, its extensions and preloaded libraries."""
        rows = self._admin.execute(
            "SELECT name FROM pg_catalog.pg_available_extensions UNION ALL"
            " SELECT setting FROM pg_catalog.pg_settings WHERE name = 'shared_preload_libraries' ORDER BY 1"
        ).fetchall()
        return f"{self._admin.info.server_version} {' '.join(str(name) for (name,) in rows)}"

    def url(self, database: str) -> str:
        """The connection string of one of its databases, for a session without the settings that files have made for
        databases and our own role: when such a session begins is an accident, and others replay on the server, too."""
        if self.is_ours:
            self._admin.execute(_FORGET)
        return make_conninfo("", **{**self._params, "dbname": database})

    def url_without_password(self, database: str) -> tuple[str, str]:
        """The same for a program's arguments, which others can see; and the password."""
        params = {**self._params, "dbname": database}
        password = str(params.pop("password", "") or "")
        return make_conninfo("", **params), password

    # ---- databases

    def create(self, template: str | None = None) -> str:
        """Makes a database, empty or as a copy of another, and returns its name. It is dropped at the end."""
        name = f"{_WORK}{secrets.token_hex(6)}"
        self._databases.append(name)
        source = template or "template0"
        how = " STRATEGY file_copy" if self.is_ours else ""  # faster, and unknown to PostgreSQL 14
        self._run(f"CREATE DATABASE {{}} TEMPLATE {{}}{how}", name, source)
        return name

    def stand_in_for_database(self, name: str) -> None:
        """Makes an empty database, as a file changes a setting of one of this name."""
        self._databases.append(name)
        self._run("CREATE DATABASE {}", name)

    def drop(self, name: str) -> None:
        self._run("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
        self._databases = [each for each in self._databases if each != name]

    def templates(self) -> set[str]:
        """The keys of the states of which a template is kept."""
        return set(self._template_names())

    def template(self, key: str) -> str:
        """The template of a state, which counts as used now."""
        name = self._template_names()[key]
        self._mark(name)
        return name

    def keep(self, name: str, key: str, *, copy: bool = False) -> None:
        """Keeps a database, or a copy of it, as the template of a state, instead of the one unused for longest."""
        if key in self.templates():
            return
        if copy:
            name = self.create(name)
        kept = f"{_TEMPLATE}{key}"
        self._mark(name)
        self._run("ALTER DATABASE {} RENAME TO {}", name, kept)
        self._databases = [each for each in self._databases if each != name]
        for old in list(self._template_names().values())[KEPT:]:
            self.drop(old)

    def clean(self) -> None:
        """Drops everything that replays have made on a server of ours, also what a killed one has left."""
        for name in (*self._template_names().values(), *self._leftovers()):
            self.drop(name)
        for (role,) in self._admin.execute("SELECT rolname FROM pg_roles WHERE oid >= 16384").fetchall():
            self._run("DROP ROLE {}", str(role))

    def drop_leftovers(self) -> None:
        """Drops what a killed replay has left."""
        for name in self._leftovers():
            self.drop(name)

    def _leftovers(self) -> list[str]:
        query = "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' AND datname !~ %s"
        return [str(name) for (name,) in self._admin.execute(query, [f"^{_TEMPLATE}"]).fetchall()]

    def _template_names(self) -> dict[str, str]:
        """By key, the one used last first."""
        query = (
            "SELECT description, datname FROM pg_database JOIN pg_shdescription ON objoid = pg_database.oid"
            " AND classoid = 'pg_database'::regclass WHERE datname ~ %s ORDER BY description DESC"
        )
        rows = self._admin.execute(query, [f"^{_TEMPLATE}"]).fetchall()
        return {str(name).removeprefix(_TEMPLATE): str(name) for _, name in rows}

    def _mark(self, name: str) -> None:
        ((now,),) = self._admin.execute("SELECT to_char(clock_timestamp(), 'YYYYMMDDHH24MISSUS')").fetchall()
        self._admin.execute(SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), Literal(str(now))))

    # ---- roles

    def make_role(self, name: str) -> None:
        """Makes a role that a file names, without any right."""
        self._run("CREATE ROLE {}", name)

    def runs(self, text: bytes) -> None:
        """A file of this text runs, and may make roles. Of those that are new at the end, a role is taken for one of
        ours only if a file names it: on a user's server others work, too."""
        if not self.is_ours:
            self._texts.append(text)

    def _role_names(self) -> set[str]:
        return {str(name) for (name,) in self._admin.execute("SELECT rolname FROM pg_roles").fetchall()}

    # ---- the end

    def close(self) -> None:
        """Drops what isn't kept."""
        with contextlib.closing(self._admin):
            for name in list(self._databases):
                self.drop(name)
            if not self.is_ours:
                for role in self._role_names() - self._roles_before:
                    if any(role.encode() in text for text in self._texts):
                        self._run("DROP ROLE {}", role)

    def _run(self, text: LiteralString, *names: str) -> None:
        self._admin.execute(SQL(text).format(*map(Identifier, names)))


@contextlib.contextmanager
def embedded() -> Iterator[ReplayServer]:
    """The embedded server, for this replay alone.

    Raises:
        ServerError: it isn't installed, or doesn't start.
    """
    programs = binaries.find()
    try:
        project.make(folder())
    except OSError as error:
        raise ServerError(
            f"The folder {folder()} can't be made: {error.strerror}.",
            todo=f"correct its permissions, or name another folder in {project.LOCAL_VARIABLE}.",
        ) from error
    data = folder() / f"postgres-{programs.major}"
    with locked(folder() / "lock", timeout=WAIT), postgres.guarded(data), contextlib.ExitStack() as closing:
        try:
            server = ReplayServer(closing.enter_context(_started(data)).url(), programs, is_ours=True)
            server.drop_leftovers()
        except (MigratorError, psycopg.Error):  # a file has locked us out, such as by another password
            closing.close()
            shutil.rmtree(data_directory.place_for(data), ignore_errors=True)
            server = ReplayServer(closing.enter_context(_started(data)).url(), programs, is_ours=True)
        with contextlib.closing(server):
            yield server


@contextlib.contextmanager
def of_url(url: str) -> Iterator[ReplayServer]:
    """A server of the user's own, whose programs aren't known: pg_dump is that of the embedded one, if it is there."""
    programs = None
    with contextlib.suppress(ServerError):
        programs = binaries.find()
    with contextlib.closing(ReplayServer(url, programs, is_ours=False)) as server:
        yield server


def _started(data: Path) -> postgres.Server:
    """Starts the server. A power failure may have damaged it: then it is made again."""
    settings = {**_SETTINGS, "extension_control_path": os.pathsep.join(("$system", str(install_standins(data))))}
    try:
        return postgres.start(data, settings=settings, temporary=True)
    except ServerError:
        shutil.rmtree(data_directory.place_for(data), ignore_errors=True)
        return postgres.start(data, settings=settings, temporary=True)


def install_standins(data: Path) -> Path:
    """Writes the stand-ins where the account of the server on a data directory can read them. Returns the folder, for
    the setting `extension_control_path` (PostgreSQL 18 and later)."""
    place = data_directory.place_for(data)
    target = place.with_name(f"{place.name}-standins")
    (target / "extension").mkdir(parents=True, exist_ok=True)
    for name, text in standins.texts().items():
        path = target / "extension" / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            path.chmod(0o644)
    for each in (target, target / "extension"):
        each.chmod(0o755)
    return target
