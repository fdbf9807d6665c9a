"""`aurora-migrations up`: keeps the local cloud running, and prints what happens in it."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_migrations import project
from aurora_migrations.cli import options
from aurora_migrations.cli.keyboard import pressed
from aurora_migrations.cli.output import Styled, columns_of, note, paragraph, show, show_styled
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.options import format_duration

if TYPE_CHECKING:
    from aurora_migrations.local.cloud.cloud import Cloud

_CHECK_S = 2  # between two checks whether PostgreSQL still runs
_KEYS = "Keys: d deploys the migrations as they are now · c runs the daily check · q ends"


def main(argv: Sequence[str]) -> int:
    """Runs the verb until q, Ctrl-C or a signal; returns the exit code."""
    parser = options.make_parser(
        "up",
        "Keeps the local cloud running, and prints its addresses and every execution and mail. Ctrl-C ends it; the "
        "database's data stay.",
        "up",
        "up --database-url postgresql://app@localhost/shop",
        outputs=("text",),
    )
    database = "use this database instead of the local one; the password may be in PGPASSWORD"
    parser.add_argument("--database-url", metavar="URL", type=str, help=database)
    parser.add_argument("--hurry", action="store_true", help="shorten the state machine's waits to a second")
    arguments = parser.parse_args(argv)
    from aurora_migrations.cli.remote.environment import local_errors
    from aurora_migrations.embedded import server
    from aurora_migrations.embedded.data_directory import local_data
    from aurora_migrations.local.cloud.discovery import Access, found_by_others, start_cloud
    from aurora_migrations.local.database_login import read_login, verify_login

    try:
        news: queue.Queue[dict[str, Any]] = queue.Queue()
        how: dict[str, Any] = {"hurry": arguments.hurry, "watch": news.put}
        with contextlib.ExitStack() as closing:
            with local_errors():
                login = None
                # Not DATABASE_URL: no database is migrated because a variable happens to be set.
                if arguments.database_url:
                    login = verify_login(read_login(arguments.database_url, os.environ))
                asked = login.url if login else None
                cloud, url = closing.enter_context(start_cloud(arguments.migrations, asked, note, **how))
                migrations, hurry = str(arguments.migrations.resolve()), arguments.hurry
                access = Access(cloud.endpoint, cloud.secret_key, migrations=migrations, hurry=hurry)
                first = closing.enter_context(found_by_others(project.local(), access))
            _introduce(cloud, login.redacted_url if login else url, arguments.migrations, first)
            ended = (lambda: None) if login else (lambda: server.log_if_ended(local_data()))
            with contextlib.suppress(KeyboardInterrupt):
                _watch(cloud, news, ended, closing.enter_context(pressed()))
            show("Ending ...")
    except MigratorError as error:
        if error.next_command == InvalidInput.next_command:
            error = error.but(next_command=NextCommand("up"))
        return options.fail(error, "up", arguments)
    return 0


def _introduce(cloud: Cloud, url: str, migrations: Path, first: bool) -> None:
    run = str(NextCommand("run", ("--local", *options.folder(migrations))))
    windows = sys.platform == "win32"
    form = "$env:{}='{}';" if windows else "{}={}"
    # The command that starts a run, to be copied, with all that the AWS CLI needs where it was never configured.
    start = (
        form.format("AWS_ACCESS_KEY_ID", cloud.access_key),
        form.format("AWS_SECRET_ACCESS_KEY", cloud.secret_key),
        f"aws --region {cloud.region} --endpoint-url {cloud.endpoint}",
        "stepfunctions start-execution --input '{}' --state-machine-arn",
        cloud.machine,
    )
    lines = {
        "Run": run if first else "(the commands with --local find the cloud that was up first)",
        "Inbox": cloud.inbox,
        "Database": url,
        "Migrations": str(migrations),
        "Endpoint": f"{cloud.endpoint}   (region {cloud.region}, access key {cloud.access_key})",
        "Secret": f"{cloud.secret_key}   (new at every start)",
        "Machine": cloud.machine,
        "Start": " ".join(start),
    }
    width = columns_of(sys.stdout) or math.inf
    show("The local cloud is up.")
    for name, value in lines.items():
        if len(line := f"  {name:12}{value}") <= width:
            show(line)
        else:  # broken only where it can still be copied
            show(f"  {name}", *(f"    {part}" for part in (in_lines(start, windows) if name == "Start" else [value])))
    show(_KEYS if sys.stdin.isatty() else "Ctrl-C ends it.")


def in_lines(start: Sequence[str], windows: bool) -> list[str]:
    """A command in several lines, of which the shell makes one."""
    return [*(f"{part} {'`' if windows else chr(92)}" for part in start[:-1]), start[-1]]


def status_line(change: dict[str, Any]) -> Styled | None:
    """A change of an execution's status in a line; None if the execution only reads, as those of `status --watch`."""
    if change["name"].startswith(f"{options.READ_ONLY}-"):
        return None
    machine, status, error = change["stateMachineArn"].rpartition(":")[2], change["status"], change["error"]
    began, ended = change["startDate"], change["stopDate"]  # in milliseconds
    took = f"  {format_duration(ended - began)}" if ended else ""
    style = {"RUNNING": "", "SUCCEEDED": "green"}.get(status, "bold red")
    at = time.strftime("%H:%M:%SZ", time.gmtime((ended or began) / 1_000))
    return Styled(
        (f"{at}  ", "dim"),
        (f"{machine} {change['name']} ", ""),
        (status, style),
        (took, "dim"),
        (f"  {error}" if error else "", ""),
    )


def _watch(
    cloud: Cloud, news: queue.Queue[dict[str, Any]], ended: Callable[[], Path | None], keys: Iterator[str]
) -> None:
    """Prints what happens, and runs the command of each key, until q or the end of the input. `ended` returns
    PostgreSQL's log when its process is gone."""
    shown, checked = 0, time.monotonic()  # infinity once that was reported
    for key in keys:
        if key.lower() == "q":
            return
        if key:
            does = {"d": cloud.deploy, "c": cloud.daily_check}.get(key.lower(), lambda: show(_KEYS))
            try:
                does()
            except Exception as problem:  # whatever is wrong with the files, the cloud stays
                show(paragraph("", f"{type(problem).__name__}: {problem}", sys.stdout))
        while not news.empty():
            if line := status_line(news.get_nowait()):
                show_styled(line)
        mails = cloud.mails
        for mail in mails[shown:]:
            body = "\n".join(f"  | {line}".rstrip() for line in mail.body.splitlines())
            show(f"Mail to {', '.join(mail.to)}: {mail.subject}\n{body}")
        shown = len(mails)
        if time.monotonic() - checked > _CHECK_S:
            log = ended()
            checked = math.inf if log else time.monotonic()
            if log:
                show(f"PostgreSQL has ended, so every execution fails from now on. Its log: {log}")
                show("Stop this command (q or Ctrl-C) and start it again; the data stay.")
