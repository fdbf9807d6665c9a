"""Whether the local cloud that is up is the one that was asked for."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.local.cloud.cache.contents import fingerprint
from aurora_migrations.local.cloud.discovery import Access
from aurora_migrations.local.cloud.services.callers import signed

FILES = "/local/files"  # of a cloud's address: the fingerprint of the files that are deployed

_USUAL = Path("migrations")  # where a command looks that was told of no folder


def hold_against(there: Access, migrations: Path, hurry: bool, tell: Callable[[str], None]) -> None:
    """Refuses a cloud with other migrations, and tells where it is slower than was asked for.

    Args:
        migrations: the folder that a command was given. Where nothing was typed and the folder that is usual isn't
            there, the command takes the cloud as it is.

    Raises:
        InvalidInput: the cloud has the migrations of another folder.
    """
    asked = migrations.resolve()
    if there.migrations and Path(there.migrations) != asked and (migrations != _USUAL or asked.is_dir()):
        raise InvalidInput(
            f"The local cloud that is up has the migrations of {there.migrations}, not those of {asked}.",
            cause=f"`aurora-migrations up` keeps it running (process {there.pid}), and was started with that folder.",
            solution=f"Add --migrations {there.migrations}; or end it (q or Ctrl-C where it runs): "
            "without it, a command starts a cloud of its own, with its own folder.",
            next_command=NextCommand("list", ("--local", "--migrations", there.migrations)),
        )
    if hurry and not there.hurry:
        tell("The local cloud that is up doesn't hurry: its waits are as on AWS. `up --hurry` keeps one that does.")


def tell_changes(there: Access, tell: Callable[[str], None]) -> None:
    """Tells if the files of the cloud that is up aren't those that it was deployed with. A cloud that doesn't answer is
    left to the call that needs it."""
    directly = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with contextlib.suppress(OSError, HTTPException, ValueError, LookupError, TypeError):
        with directly.open(signed("GET", f"{there.endpoint}{FILES}", there.secret_key), timeout=5) as response:
            deployed = json.load(response)["fingerprint"]
        if there.migrations and deployed != fingerprint(Path(there.migrations)):
            tell("The files have changed since they were deployed: aurora-migrations deploy --local puts them in.")
