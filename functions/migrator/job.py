"""A file to run, with everything that running it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from functions.migrator.expectations import Promise
from functions.migrator.files import Migration
from functions.migrator.options import Options

Action = Literal["apply", "rollback"]
PAST: dict[Action, str] = {"apply": "applied", "rollback": "rolled_back"}


class Span(Protocol):
    """A statement's place in a text: byte offsets."""

    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class Job:
    """A file to run in one transaction.

    Attributes:
        migration: what it belongs to.
        file: the name of the file whose text this is (the down file, for a rollback).
        promises: queries of the verify file; each must return one true.
        locate: finds the statements of a text, for pointing at the one that failed.
        package: the package's digest.
    """

    action: Action
    migration: Migration
    file: str
    text: bytes
    options: Options
    promises: Sequence[Promise]
    locate: Callable[[bytes], Sequence[Span]]
    package: str
    requested_by: str

    @property
    def done(self) -> str:
        """The result that the history records for this action."""
        return PAST[self.action].replace("_", " ")
