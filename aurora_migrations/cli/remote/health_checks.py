"""What `doctor` looks at, one check after the other. A check that can't be made is no reason not to make the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal, TextIO

from aurora_migrations.cli import options, where
from aurora_migrations.cli.paragraphs import paragraph
from aurora_migrations.cli.remote import aws_errors, resources
from aurora_migrations.cli.remote.client import ask_in
from aurora_migrations.cli.remote.display import Screen
from aurora_migrations.cli.remote.environment import Place
from aurora_migrations.cli.remote.executions import RUNNING, iso, last_run
from aurora_migrations.cli.remote.failing import ERRORS, explain
from aurora_migrations.cli.remote.outcome import error_of
from aurora_migrations.engine.errors import PROGRAM, MigratorError, NextCommand

Result = Literal["ok", "warn", "FAILED"]
_BROKEN = ("FAILED", "ROLLBACK_COMPLETE", "DELETE")
_OTHERWISE = "Another version may have deployed the environment: deploy it again, with this one."
_REST = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE")


@dataclass(frozen=True)
class Finding:
    """What a check found, and what to do about it; nothing to do if all is well."""

    check: str
    result: Result
    message: str
    solution: str = ""

    def to_dict(self) -> dict[str, object]:
        """The finding as JSON-able data."""
        return asdict(self)

    def told(self, stream: TextIO) -> str:
        """The finding for people, as it is to be written to a stream."""
        lines = [paragraph(f"{self.result:6}  {self.check:12}  ", self.message, stream)]
        lines += [paragraph(f"{'':22}Do: ", self.solution, stream)] if self.solution else []
        return "\n".join(lines)


Check = Callable[[Place, argparse.Namespace], Iterator[Finding]]


def examine(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    """Every check in turn. Without a login or a stack there is nothing more to look at."""
    for name, check in _FIRST.items():
        found = list(_made(name, check, place, arguments))
        yield from found
        if any(finding.result == "FAILED" for finding in found):
            return
    for name, check in _CHECKS.items():
        if place.endpoint is None or name not in _ON_AWS:
            yield from _made(name, check, place, arguments)


def _made(name: str, check: Check, place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    try:
        yield from check(place, arguments)
    except ERRORS as error:
        yield _failed(name, explain(error), arguments)
    except MigratorError as error:
        yield _failed(name, error, arguments)
    except resources.NotTold as error:
        yield Finding(name, "warn", f"Can't be looked at: {error}", error.solution)
    except LookupError as error:
        yield Finding(name, "warn", f"Can't be looked at: the answer has no {error}", _OTHERWISE)


def _failed(name: str, error: MigratorError, arguments: argparse.Namespace) -> Finding:
    """That whoever asks may not look at something says nothing about the environment."""
    if isinstance(error, aws_errors.AccessDenied) and name != "login":
        return Finding(name, "warn", f"Can't be looked at: {error.message}", error.solution)
    options.go_on_with(error, "status", arguments)
    following = "" if error.next_command.verb == "doctor" else f" Next: {error.next_command}"
    return Finding(name, "FAILED", f"{error.name}: {error.message}", f"{error.solution}{following}")


def _login(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    _ = place.region  # first: without one STS isn't asked
    yield Finding("login", "ok", place.introduction)


def _stack(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    status = str(place.described["StackStatus"])
    message = f"{place.stack} is {status}"
    if status in _REST:
        yield Finding("stack", "ok", message)
    elif status.startswith("UPDATE_ROLLBACK") and not status.endswith("FAILED"):
        yield Finding("stack", "warn", message, "The last deployment failed and what was before is back: deploy again.")
    elif any(word in status for word in _BROKEN):
        yield Finding("stack", "FAILED", message, "See the stack's events in the console, and deploy again.")
    else:
        yield Finding("stack", "warn", message, "A deployment is under way: wait for it to end.")
    _ = place.outputs  # StackNotReady, if there is no machine yet


def _last_run(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    last = last_run(place)
    if last is None:
        yield Finding("last run", "warn", "Nothing has been run yet", _command("run", arguments))
        return
    if last.status in (RUNNING, "SUCCEEDED"):
        word = "is under way since" if last.status == RUNNING else "succeeded; it was started"
        yield Finding("last run", "ok", f"{last.name} {word} {iso(last.started_at)}")
        return
    told = f"{last.name}, started {iso(last.started_at)}, ended by {error_of(last).name}"
    yield Finding("last run", "warn", told, _command(f"logs {last.name}", arguments))


def _database(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
    """By an execution: it takes the way that a run takes, through function, secret and network."""
    told = ask_in(place, arguments, options.look_name(), {"action": "status"}, Screen())
    where_it_is = f"{told['database']} as {told['user']}, PostgreSQL {told['server_version']}"
    yield Finding("database", "ok", where_it_is)
    if not told["sound"]:
        yield Finding("migrations", "FAILED", told["message"], _command("status", arguments))
    elif told["counts"]["pending"] or told["counts"]["partly in"]:
        yield Finding("migrations", "warn", told["message"], _command("run", arguments))
    else:
        yield Finding("migrations", "ok", told["message"])


def _command(command: str, arguments: argparse.Namespace) -> str:
    return str(where.as_asked(NextCommand.parse(f"{PROGRAM} {command}"), arguments))


def _of(looks: Callable[[Place, argparse.Namespace], Iterator[tuple[Result, str, str]]], name: str) -> Check:
    def check(place: Place, arguments: argparse.Namespace) -> Iterator[Finding]:
        for result, message, solution in looks(place, arguments):
            yield Finding(name, result, message, solution)

    return check


_FIRST: dict[str, Check] = {"login": _login, "stack": _stack}
_CHECKS: dict[str, Check] = {
    "machine": _of(resources.machine, "machine"),
    "functions": _of(resources.functions, "functions"),
    "e-mail": _of(resources.email, "e-mail"),
    "network": _of(resources.network, "network"),
    "secret": _of(resources.secret, "secret"),
    "dead letters": _of(resources.dead_letters, "dead letters"),
    "last run": _last_run,
    "database": _database,
}
_ON_AWS = ("network",)  # what the local cloud has nothing like
