"""The local cloud to talk to: the one that `aurora-migrations up` keeps running, or one started for the moment.

A running cloud is announced by a file, which only its owner can read, with its address and its secret key; a lock that
ends with its process shows whether the file is still true. Nothing here loads moto before a cloud is started.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_migrations import project
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.data_directory import local_data
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.embedded.processes import ended_by_signals, hold, is_held
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.local.account import isolated_environment
from aurora_migrations.local.cloud.artifact_cache import fingerprint
from aurora_migrations.local.cloud.services.iam import FILES, signed

if TYPE_CHECKING:
    from aurora_migrations.embedded.server import Server
    from aurora_migrations.local.cloud.cloud import Cloud

_LOCK, _FILE = "cloud.lock", "cloud.json"
_PROBE_S = 0.02  # much longer than a mere check holds the lock


@dataclass(frozen=True)
class Access:
    """How to reach a local cloud. `migrations` is the folder that it deploys, absolute."""

    endpoint: str
    secret_key: str = field(repr=False)
    pid: int = field(default_factory=os.getpid)
    migrations: str | None = None
    hurry: bool = False


@contextlib.contextmanager
def find_or_start(migrations: Path, tell: Callable[[str], None], *, hurry: bool = False) -> Iterator[Access]:
    """A local cloud that runs at least for the block. `tell` receives a message about each step that takes a while.

    Raises:
        ServerError, PackagingError, InvalidFile, InvalidInput: it can't be started, or has other migrations.
    """
    access = find(project.local())
    if access is not None:
        ensure_same_migrations(access, migrations)
        if hurry and not access.hurry:
            tell("The local cloud that is up doesn't hurry: its waits are as on AWS. `up --hurry` keeps one that does.")
        yield access
        return
    with start_cloud(migrations, None, tell, hurry=hurry) as (cloud, _):
        try:
            yield Access(cloud.endpoint, cloud.secret_key)
        finally:
            from aurora_migrations.local.cloud.console import save_mails

            save_mails(cloud.mails, project.local() / "inbox", tell)


# ---- a cloud that runs ----------------------------------------------------------------------------------------------


def find(home: Path) -> Access | None:
    """The cloud that runs on this folder, if one does."""
    found = _read(home)
    if found is None:
        return None
    time.sleep(_PROBE_S)  # the lock may have been that of another check, and the file a dead cloud's
    return found if _read(home) == found else None


@contextlib.contextmanager
def found_by_others(home: Path, access: Access) -> Iterator[bool]:
    """Announces this cloud to other commands for the block; false where another one is announced already.

    Raises:
        ServerError: the folder can't be written to.
    """
    with contextlib.ExitStack() as closing:
        try:
            project.make(home)
            deadline = time.monotonic() + 20 * _PROBE_S
            while (lock := hold(home / _LOCK)) is None and time.monotonic() < deadline:
                time.sleep(_PROBE_S / 10)  # a check has it for a moment
            if lock is not None:
                closing.enter_context(lock)
                making = home / f"{_FILE}.new"
                making.unlink(missing_ok=True)  # or it would keep the permissions that it has
                making.touch(mode=0o600, exist_ok=False)
                making.write_text(json.dumps(asdict(access)), encoding="utf-8")
                making.replace(home / _FILE)  # it appears whole
                closing.callback((home / _FILE).unlink, missing_ok=True)  # before the lock is released
        except OSError as error:
            raise ServerError(
                f"Where the local cloud is can't be kept in {home}: {error}.",
                todo="check its permissions and free space, or name another folder with AURORA_MIGRATIONS_LOCAL.",
            ) from error
        yield lock is not None


def ensure_same_migrations(access: Access, migrations: Path) -> None:
    """Refuses a cloud with the migrations of another folder. Where none was typed and the usual one doesn't exist, the
    command takes the cloud as it is."""
    wanted = migrations.resolve()
    nothing_typed = migrations == project.migrations() and not wanted.is_dir()
    if nothing_typed or not access.migrations or Path(access.migrations) == wanted:
        return
    raise InvalidInput(
        f"The local cloud that is up has the migrations of {access.migrations}, not those of {wanted}.",
        cause=f"`aurora-migrations up` keeps it running (process {access.pid}), and was started with that folder.",
        solution=f"Add --migrations {access.migrations}; or end it (q or Ctrl-C where it runs): "
        "without it, a command starts a cloud of its own, with its own folder.",
        next_command=NextCommand("list", ("--local", "--migrations", str(access.migrations))),
    )


def report_changes(access: Access, tell: Callable[[str], None]) -> None:
    """Reports whether the files have changed since the cloud deployed them. If the cloud doesn't answer, that is left
    to the call that needs it."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, HTTPException, ValueError, LookupError, TypeError):
        with directly.open(signed("GET", f"{access.endpoint}{FILES}", access.secret_key), timeout=5) as response:
            deployed = json.load(response)["fingerprint"]
        if access.migrations and deployed != fingerprint(Path(access.migrations)):
            tell("The files have changed since they were deployed. To deploy them:\n  aurora-migrations deploy --local")


def _read(home: Path) -> Access | None:
    if is_held(home / _LOCK, leftover=home / _FILE):
        with contextlib.suppress(OSError, ValueError, TypeError):
            return Access(**json.loads((home / _FILE).read_text("utf-8")))
    return None


# ---- a cloud of our own ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def start_cloud(
    migrations: Path,
    database_url: str | None,
    tell: Callable[[str], None],
    *,
    hurry: bool = False,
    watch: Callable[[dict[str, Any]], None] = lambda detail: None,
) -> Iterator[tuple[Cloud, str]]:
    """A cloud of our own for the block, as of `opened`, on the local PostgreSQL or on another database; and that
    database's URL."""
    tell("Starting the local cloud ...")
    with (
        isolated_environment(),
        ended_by_signals(),
        contextlib.ExitStack() as closing,
        ThreadPoolExecutor(1) as background,
    ):
        gc.disable()  # what is imported and deployed stays: to scan it again and again would take a second
        try:
            starting = _start_postgres(closing, background) if database_url is None else None
            from aurora_migrations.local.cloud.cloud import opened  # takes seconds, as PostgreSQL does

            url = starting.result().url() if starting else str(database_url)
            kept = project.cache() / "cloud"
            cloud = closing.enter_context(opened(url, migrations, kept, hurry=hurry, tell=tell, watch=watch))
        finally:
            gc.freeze()
            gc.enable()
        yield cloud, url


def _start_postgres(closing: contextlib.ExitStack, background: Executor) -> Future[Server]:
    """Starts the local PostgreSQL, to be used until the stack is closed. Its guard is there before it."""
    data = local_data()
    closing.enter_context(postgres.guarded(data))
    starting = background.submit(postgres.start, data)

    def leave() -> None:
        if starting.exception() is None:  # also if it came up after an exception here
            starting.result().close()

    closing.callback(leave)
    return starting
