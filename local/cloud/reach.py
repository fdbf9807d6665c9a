"""A local cloud to talk to: the one that `aurora-migrations up` keeps running, or one for as long as it is needed."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local import place
from local.cloud.apart import apart
from local.cloud.fitting import hold_against
from local.cloud.running import Access, find
from local.guard import guarded

if TYPE_CHECKING:
    from local.cloud.cloud import Cloud
    from local.cloud.inbox import Mail
    from local.postgres import Server


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
    there = find(place.home())
    if there is not None:
        hold_against(there, migrations, hurry, tell)
        yield there
        return
    with started(migrations, None, tell, hurry=hurry) as (cloud, _):
        try:
            yield Access(cloud.endpoint, os.getpid())
        finally:
            _show(cloud.mails, place.home() / "inbox", tell)


def _show(mails: Sequence[Mail], folder: Path, tell: Callable[[str], None]) -> None:
    """Keeps the mails of a cloud that ends, and says what they are about."""
    for mail in mails:
        folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in folder.glob("*.txt") if path.stem.isdecimal()), default=0)
        path = folder / f"{number:03}.txt"
        path.write_text(f"To: {', '.join(mail.to)}\nSubject: {mail.subject}\n\n{mail.body}\n", encoding="utf-8")
        tell(f"Mail to {', '.join(mail.to)}: {mail.subject}\n  {place.readable(path)}")


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
    with apart(), contextlib.ExitStack() as closing, ThreadPoolExecutor(1) as beside:
        with _without_collections():
            starting = None if database_url else beside.submit(place.start, None)
            from local.cloud.cloud import opened  # takes seconds, as PostgreSQL does

            url = database_url or _url(closing, starting)
            how: dict[str, Any] = {"hurry": hurry, "tell": tell, "watch": watch}
            cloud = closing.enter_context(opened(url, migrations, place.CACHE, **how))
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


def _url(closing: contextlib.ExitStack, starting: Future[Server] | None) -> str:
    """The URL of the local PostgreSQL, which is there until the stack is closed."""
    server = closing.enter_context(starting.result() if starting else place.start(None))
    closing.enter_context(guarded(place.data()))
    return server.url()
