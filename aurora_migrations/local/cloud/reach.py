"""A local cloud to talk to: the one that `aurora-migrations up` keeps running, or one for as long as it is needed."""

from __future__ import annotations

import contextlib
import gc
import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_migrations import project
from aurora_migrations.local import paths
from aurora_migrations.local.cloud.apart import apart
from aurora_migrations.local.cloud.discovery import Access, find
from aurora_migrations.local.cloud.fitting import hold_against
from aurora_migrations.local.postgres.guard import guarded
from aurora_migrations.local.postgres.process_lifetime import ended_by_signals

if TYPE_CHECKING:
    from aurora_migrations.local.cloud.cloud import Cloud
    from aurora_migrations.local.cloud.services.inbox import Mail
    from aurora_migrations.local.postgres.server import Server


@contextlib.contextmanager
def reached(migrations: Path, tell: Callable[[str], None], *, hurry: bool = False) -> Iterator[Access]:
    """Where a local cloud is, which is there for the block at least.

    Args:
        migrations: what a cloud of our own is deployed with; one that runs already must have the same.
        tell: told what takes a while.

    Raises:
        ServerError, PackagingError, InvalidFile, InvalidInput: there is none, and it can't be started.
        InvalidInput: the one that is there has the migrations of another folder.
    """
    there = find(project.local())
    if there is not None:
        hold_against(there, migrations, hurry, tell)
        yield there
        return
    with started(migrations, None, tell, hurry=hurry) as (cloud, _):
        try:
            yield Access(cloud.endpoint, cloud.secret_key)
        finally:
            _show(cloud.mails, project.local() / "inbox", tell)


def _show(mails: Sequence[Mail], folder: Path, tell: Callable[[str], None]) -> None:
    """Keeps the mails of a cloud that ends, and says what they are about."""
    for mail in mails:
        text = f"To: {', '.join(mail.to)}\nSubject: {mail.subject}\n\n{mail.body}\n"
        try:
            where = paths.readable(_keep(text, folder))
        except OSError as error:
            where = f"It can't be kept in {paths.readable(folder)} ({error}), so here it is:\n{text}"
        tell(f"Mail to {', '.join(mail.to)}: {mail.subject}\n  {where}")


def _keep(text: str, folder: Path) -> Path:
    """Writes a mail under the next number, which no run beside us takes too."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = max((int(path.stem) for path in folder.glob("*.txt") if path.stem.isdecimal()), default=0)
    for number in itertools.count(taken + 1):
        path = folder / f"{number:03}.txt"
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(text)
            return path
    raise AssertionError("numbers don't end")


@contextlib.contextmanager
def started(
    migrations: Path,
    database_url: str | None,
    tell: Callable[[str], None],
    *,
    hurry: bool = False,
    watch: Callable[[dict[str, Any]], None] = lambda detail: None,
) -> Iterator[tuple[Cloud, str]]:
    """A cloud of our own for the block, on the local PostgreSQL or on another database; and that database's URL.

    Args:
        watch: told of each change of an execution's status.

    Raises:
        ServerError, PackagingError, InvalidFile, InvalidInput: it can't be started.
    """
    tell("Starting the local cloud ...")
    with apart(), ended_by_signals(), contextlib.ExitStack() as closing, ThreadPoolExecutor(1) as beside:
        with _without_collections():
            starting = None if database_url else _start(closing, beside)
            from aurora_migrations.local.cloud.cloud import opened  # takes seconds, as PostgreSQL does

            url = starting.result().url() if starting else str(database_url)
            how: dict[str, Any] = {"hurry": hurry, "tell": tell, "watch": watch}
            cloud = closing.enter_context(opened(url, migrations, project.cache() / "cloud", **how))
        yield cloud, url


@contextlib.contextmanager
def _without_collections() -> Iterator[None]:
    """What is imported and deployed stays: looking through it for garbage again and again would take a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _start(closing: contextlib.ExitStack, beside: Executor) -> Future[Server]:
    """Has the local PostgreSQL start, which is there until the stack is closed. Its guard is there before it."""
    closing.enter_context(guarded(paths.data()))
    starting = beside.submit(paths.start, None)
    closing.callback(_leave, starting)
    return starting


def _leave(starting: Future[Server]) -> None:
    """Stops using the server, also one that came up when nobody waited for it any more."""
    if starting.exception() is None:
        starting.result().close()
