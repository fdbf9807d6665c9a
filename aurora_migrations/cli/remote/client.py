"""From a question to its answer: who asks is said first, an execution is started and followed to its end."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aurora_migrations.cli import options, where
from aurora_migrations.cli.remote import display
from aurora_migrations.cli.remote.aws_errors import CloudError, ExecutionFailed
from aurora_migrations.cli.remote.display import Screen
from aurora_migrations.cli.remote.environment import Place, opened
from aurora_migrations.cli.remote.executions import Execution, start, stop, under_way, would_change
from aurora_migrations.cli.remote.outcome import answer_of
from aurora_migrations.cli.remote.progress import Follower
from aurora_migrations.engine.errors import InvalidInput, NextCommand
from aurora_migrations.engine.plan import version_of

_QUESTION = "s: stop it   l: leave it running   anything else: go on watching > "
_QUESTION_HERE = "s: stop it, and the local cloud with it   anything else: go on watching > "


class LeftRunning(KeyboardInterrupt):
    """Ctrl-C, and the execution goes on by itself, or may, or ends with us; its text says how to look at it."""


def ask(
    arguments: argparse.Namespace, execution: str, asked: Mapping[str, str | None], *, story: bool = False
) -> dict[str, Any]:
    """What the environment's state machine answers.

    Args:
        execution: its name.
        asked: the action, and what belongs to it.
        story: whether what happens is told meanwhile, for what takes long.

    Raises:
        MigratorError: the execution failed, there is no way to it, or what is asked can't be right.
        LeftRunning: whoever watched had enough.
    """
    refuse_no_number(asked)
    shown = display.fitting(arguments.output, story)
    with opened(arguments) as place:
        shown.note(place.introduction)
        return ask_in(place, arguments, execution, asked, shown)


def refuse_no_number(asked: Mapping[str, str | None]) -> None:
    """Refuses here what the functions would: an execution that fails mails everybody.

    Raises:
        InvalidInput: `target` or `confirm` isn't a number.
    """
    for key in ("target", "confirm"):
        given = asked.get(key)
        if given is not None and version_of(given) is None:
            raise InvalidInput(
                f"The {key} {given[:60]!r} isn't a migration's number.",
                cause=f"A {key} is the number at the beginning of a file's name.",
                solution="Name it by its number, such as 017; `aurora-migrations list` shows them.",
            )


def ask_status(arguments: argparse.Namespace, execution: str) -> dict[str, Any]:
    """The answer to `status`, with the executions that are under way: between its calls one holds no lock."""
    shown = display.fitting(arguments.output, story=False)
    with opened(arguments) as place:
        shown.note(place.introduction)
        return _status(place, arguments, execution, shown)


def _status(place: Place, arguments: argparse.Namespace, execution: str, shown: Screen) -> dict[str, Any]:
    data = ask_in(place, arguments, execution, {"action": "status"}, shown)
    return {**data, "executions": under_way(place)}


@dataclass
class Watch:
    """Asks for the status again and again. Who asks is said once, and again when it is somebody else; nothing else is
    shown meanwhile, as the terminal is another's."""

    arguments: argparse.Namespace
    closing: contextlib.ExitStack
    _place: Place | None = field(default=None, init=False)
    _introduced: str = field(default="", init=False)

    def ask(self, execution: str) -> dict[str, Any]:
        """The answer, as `ask_status` gives it.

        Raises:
            MigratorError: there is none. If that was on the way, the next look takes a new one: one may have logged in
                again, or the local cloud may be another one.
        """
        try:
            place = self._opened()
            return _status(place, self.arguments, execution, Screen())
        except CloudError as error:
            if not isinstance(error, ExecutionFailed):
                self._close()
            raise

    def _opened(self) -> Place:
        if self._place is None:
            self._place = self.closing.enter_context(opened(self.arguments))
        if self._place.introduction != self._introduced:
            self._introduced = self._place.introduction
            print(self._introduced, file=sys.stderr, flush=True)
        return self._place

    def _close(self) -> None:
        self._place = None
        self.closing.close()


def ask_in(
    place: Place, arguments: argparse.Namespace, execution: str, asked: Mapping[str, str | None], shown: Screen
) -> dict[str, Any]:
    """The same, where the place is open and has introduced itself."""
    given = {key: value for key, value in asked.items() if value is not None}
    given |= {"trigger": "cli", "requested_by": options.requester()}
    if not would_change(given):
        return answer_of(_watch(Follower(place, start(place, execution, given), shown), arguments))
    _ = place.machine  # until it is known where it is, nothing is started
    with _told_by_name(place, execution, arguments):
        begun = start(place, execution, given)
        shown.note(f"Execution {execution}\n{place.console(begun.arn) or ''}".rstrip())
        ended = _watch(Follower(place, begun, shown), arguments)
    return answer_of(ended)


@contextlib.contextmanager
def _told_by_name(place: Place, execution: str, arguments: argparse.Namespace) -> Iterator[None]:
    """Ctrl-C where nobody asks what it means: while an execution is being started.

    Raises:
        LeftRunning: that was so; the execution may be there.
    """
    try:
        yield
    except LeftRunning:
        raise
    except KeyboardInterrupt:
        maybe = f"The execution {execution} may have been started. Look at it: {_look_at(execution, arguments)}"
        raise LeftRunning(maybe if place.lasting else _ended_with_us(execution, arguments)) from None


def _ended_with_us(execution: str, arguments: argparse.Namespace) -> str:
    history = where.as_asked(NextCommand("history"), arguments)
    return (
        f"The execution {execution} ends here, with the local cloud of this command. A file that was under way is "
        f"rolled back, or in with its record: {history}. The next run goes on from there."
    )


def _look_at(execution: str, arguments: argparse.Namespace) -> str:
    return str(where.as_asked(NextCommand("logs", (execution, "--follow")), arguments))


def _watch(follower: Follower, arguments: argparse.Namespace) -> Execution:
    """To the end, or to where somebody has had enough of watching."""
    while True:
        try:
            return follower.to_the_end()
        except KeyboardInterrupt:
            if getattr(arguments, "watch", False):  # who only looks on again and again has nothing to decide
                raise
            _decide(follower, arguments)


def _decide(follower: Follower, arguments: argparse.Namespace) -> None:
    """Asks whether to stop it. Where nobody can be asked, and at a second Ctrl-C, it is left running; in a local cloud
    of our own it ends with that."""
    name, lasting = follower.execution.name, follower.place.lasting
    left = f"The execution {name} goes on by itself. Look at it: {_look_at(name, arguments)}"
    left = left if lasting else _ended_with_us(name, arguments)
    if not sys.stdin.isatty():
        raise LeftRunning(left)
    question = _QUESTION if lasting else _QUESTION_HERE
    print(f"\nThe execution {name} is under way.\n{question}", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        raise LeftRunning(left) from None
    if answer.strip().lower() in ("l", "leave") or not answer:
        raise LeftRunning(left)
    if answer.strip().lower() in ("s", "stop"):
        if not lasting:
            raise LeftRunning(left)
        _stop(follower, arguments)
        print("It is being stopped.", file=sys.stderr, flush=True)


def _stop(follower: Follower, arguments: argparse.Namespace) -> None:
    """Has it stopped.

    Raises:
        CloudError: it can't be; it goes on.
        LeftRunning: Ctrl-C came before the answer.
    """
    name = follower.execution.name
    try:
        stop(follower.place, follower.execution.arn, f"Ctrl-C by {options.requester()}")
    except CloudError as error:
        raise follower.lost(error) from error
    except KeyboardInterrupt:
        look = _look_at(name, arguments)
        raise LeftRunning(f"The execution {name} may have been stopped, or may go on. Look at it: {look}") from None
