"""The two actions that change a database behind one interface, so that a test of a fault is written once for both."""

from __future__ import annotations

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import MigratorError, RunResult, discover
from aurora_migrations.engine.postgres.protocol import Wire
from aurora_migrations.engine.script import PAST, Action
from tests.database.helpers import (
    PATIENCE,
    Runner,
    agreed,
    applied,
    apply,
    ask,
    labels,
    roll_back,
    start_runner,
    write_steps,
)
from tests.servers import Database, Migrations

PARTS = """\
-- migration: transaction = off
INSERT INTO tests.parts SELECT 1 {};
BEGIN;
INSERT INTO tests.parts VALUES (2);
COMMIT;
BEGIN;
{}
COMMIT;
"""


# A statement that ends its own session at its first two tries: a sequence isn't rolled back.
ENDS = "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(9) WHERE nextval('tests.tries') < 3"
MAKES_IT_END = f"""
CREATE SEQUENCE tests.tries;
CREATE TABLE tests.late (id integer);
CREATE FUNCTION tests.late() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM * FROM ({ENDS}) AS it; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON tests.late DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tests.late();
"""
ENDS_AT_COMMIT = "INSERT INTO tests.late VALUES (1)"


@dataclass
class Work:
    """Applying all migrations of a folder, or rolling all of them back.

    Attributes:
        steps: the migrations in the order in which the action takes them: a rollback begins with the newest.
    """

    action: Action
    database: Database
    migrations: Migrations
    steps: list[str] = field(default_factory=list)
    _compiled: Compiler | None = None

    # What there is to do

    def write(self, count: int) -> list[str]:
        """Writes steps, and brings the database to where the action begins. Returns the steps in the action's order.

        The schema `tests` isn't looked at by `done`: what a test needs beside the steps has its place there.
        """
        self.steps = write_steps(self.migrations, count)
        self.prepare()
        if self.action == "rollback":
            self.steps.reverse()
        return self.steps

    def write_all_kinds(self) -> None:
        """Writes two steps. The first has several units, makes a promise, and queues for a lock."""
        first, _ = self.write(2)
        self.divide(first)
        self.add(first, before="-- verify: rows ledger = 1")

    def prepare(self) -> None:
        """Brings an empty database to where the action begins, whatever was added to the action's files since."""
        self.database.execute("CREATE SCHEMA tests; CREATE TABLE tests.parts (part integer)")
        if self.action == "rollback":
            self.by_another("apply")

    def path(self, label: str) -> Path:
        """The file that the action runs for a step."""
        return self.migrations.dir / f"{label}_step{'.down' if self.action == 'rollback' else ''}.sql"

    def add(self, label: str, text: str = "", before: str = "") -> None:
        """Adds statements to the end of a step's file, and a line to its beginning."""
        self._write(label, f"{before}\n{self.path(label).read_text()}{text}\n".lstrip("\n"))

    def divide(self, label: str, first: str = "") -> None:
        """Makes a step's file one of three units. The first two sign `tests.parts`, the last is what the file was.

        Args:
            first: what the first unit's SELECT reads from.
        """
        self._write(label, PARTS.format(first, self.path(label).read_text()))

    def _write(self, label: str, text: str) -> None:
        self.path(label).write_text(text)
        self._compiled = None

    # Doing it

    def run(self, **changes: Any) -> RunResult:
        """Does all of it. `changes` are attributes of `Request`."""
        return self._do(self.action, self.steps[0], **changes)

    def outcome(self, **changes: Any) -> RunResult | MigratorError:
        """What doing all of it returned, or the error that it raised."""
        try:
            return self.run(**changes)
        except MigratorError as error:
            return error

    def rest(self, **changes: Any) -> list[str]:
        """What the next run does; nothing if nothing is left to do."""
        return self.by_another(self.action, execution="test-2", **changes)

    def by_another(self, action: Action, execution: str = "other", **changes: Any) -> list[str]:
        """What another execution does that applies, or rolls back, all that it can."""
        known = applied(self.database)
        if action == "rollback" and not known:
            return []
        return labels(self._do(action, known[-1] if known else "", execution=execution, **changes))

    def _do(self, action: Action, newest: str, **changes: Any) -> RunResult:
        self._compiled = self._compiled or Compiler(discover(self.migrations.dir))  # which takes longer than the run
        changes = {"source": self._compiled, **changes}
        if action == "apply":
            return apply(self.database, self.migrations, **changes)
        return roll_back(self.database, self.migrations, min(self.steps), newest, **changes)

    def start(self, *, url: str | None = None) -> contextlib.AbstractContextManager[Runner]:
        """The command line that does all of it, in a process of its own."""
        if self.action == "apply":
            return start_runner(self.database, self.migrations, url=url)
        arguments = (min(self.steps), "--confirm", self.steps[0])
        return start_runner(self.database, self.migrations, *arguments, verb="rollback", url=url)

    @contextlib.contextmanager
    def fork(self, first: Callable[[], object] = lambda: None) -> Iterator[BaseProcess]:
        """A copy of this process that does all of it: there at once, where a new one takes most of a second."""
        process = multiprocessing.get_context("fork").Process(target=lambda: (first(), self.run()))
        process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join(PATIENCE)

    # What is true then

    @property
    def record(self) -> bytes:
        """What the message with the COMMIT of a step's last unit holds: the attempt's result, as a parameter. The texts
        of our statements are sent only once in a session."""
        return len(self.result).to_bytes(4, "big") + self.result.encode()

    @property
    def result(self) -> str:
        """The result of an attempt that succeeded."""
        return PAST[self.action].replace("_", " ")

    @property
    def done(self) -> list[str]:
        """The steps that are done, in their order, after seeing to it that history, schema and rows agree."""
        known = agreed(self.database)
        done = [step for step in self.steps if (step in known) == (self.action == "apply")]
        assert done == self.steps[: len(done)]
        return done

    @property
    def parts(self) -> list[int]:
        """The units of a divided file that are done, but the last."""
        return [part for (part,) in ask(self.database, "SELECT part FROM tests.parts ORDER BY part")]

    @property
    def attempts(self) -> list[tuple[str, str | None]]:
        """Number and result of every attempt of this action, oldest first."""
        query = "SELECT split_part(name, '_', 1), result FROM aurora_migrations.attempts WHERE action = %s ORDER BY id"
        return ask(self.database, query, (self.action,))  # type: ignore[return-value]

    def assert_done_once(self) -> None:
        """All that `write_all_kinds` has written is done, and nothing of it twice, whatever had been interrupted."""
        assert (self.done, self.parts) == (self.steps, [1, 2])
        assert [step for step, result in self.attempts if result == self.result] == self.steps
        assert {result for _, result in self.attempts} <= {self.result, "interrupted", "failed"}

    def start_over(self) -> None:
        """Empties the database, and brings it to where the action begins."""
        self.database.execute("DROP SCHEMA IF EXISTS aurora_migrations, public, tests CASCADE; CREATE SCHEMA public")
        self.prepare()

    def told(self, error: MigratorError) -> list[str]:
        """The steps that a run had done before it failed, by its error."""
        return error.facts.get(PAST[self.action], [])  # type: ignore[return-value]


class Moments:
    """Counts the messages that runs send to the server, and does something at one of their moments."""

    def __init__(self, number: int, moment: str, do: Callable[[object], object]) -> None:
        """Prepares.

        Args:
            number: which message, from 1.
            moment: `before it is sent`, which is also after the answer to the one before, or `before the answer`.
            do: called with the message: a text, or commands.
        """
        self.sent = 0
        self._number = number
        self._moment = moment
        self._do = do
        self._message: object = None

    @property
    def reached(self) -> bool:
        """Whether so many messages were sent."""
        return self.sent >= self._number

    def install(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("execute_pipeline", "execute_script"):
            patch.setattr(Wire, name, self._counted(getattr(Wire, name)))
        patch.setattr(Wire, "_flush", self._flushed(Wire._flush))

    def _counted(self, send: Callable[..., object]) -> Callable[..., object]:
        def sends(wire: Wire, message: object, *more: object, **ahead: object) -> object:
            self.sent, self._message = self.sent + 1, message
            self._at("before it is sent")
            return send(wire, message, *more, **ahead)

        return sends

    def _flushed(self, flush: Callable[[Wire], None]) -> Callable[[Wire], None]:
        def after_sending(wire: Wire) -> None:
            flush(wire)
            self._at("before the answer")

        return after_sending

    def _at(self, moment: str) -> None:
        if (self.sent, moment) == (self._number, self._moment):
            self._moment = "over"
            self._do(self._message)
