"""What a run is asked to do, and whom it tells what happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aurora_migrations.engine.job import AtWork
from aurora_migrations.engine.locks.blockers import LockWait
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.advisory_lock import Holder
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.results import FileDone
from aurora_migrations.engine.script import Action, Hazard, Source
from aurora_migrations.engine.steps.settings import Hazards


class Listener:
    """Is told what happens as it happens; this one keeps quiet."""

    def connected(self, session: Session) -> None:
        """A session is open."""

    def closed(self) -> None:
        """That session is closed."""

    def waiting(self, holder: Holder | None) -> None:
        """Another run has the lock."""

    def may_hurt(self, hazard: Hazard) -> None:
        """A file that is about to run may hurt the application, and doesn't say why it accepts that."""

    def in_the_way(self, wait: LockWait) -> None:
        """A try of a file was rolled back, as others hold locks; the next one begins when they are gone."""

    def planned(self, action: Action, migrations: Sequence[Migration]) -> None:
        """These are to be done, as far as can be told before the run has the lock."""

    def begins(self, action: Action, migrations: Sequence[Migration]) -> None:
        """The run has the lock, and these are to be done, in this order."""

    def executing(self, action: Action, migration: Migration) -> None:
        """A file begins."""

    def at_work(self, at: AtWork) -> None:
        """The server is at this for a while: told once for each message."""

    def executed(self, action: Action, migration: Migration, done: FileDone) -> None:
        """A file is in (or out), committed."""


@dataclass(frozen=True)
class Request:
    """What a run needs to know.

    Attributes:
        url: the database.
        execution: the run's name, in pg_stat_activity and in the history.
        execution_start: when it began, as whoever started it says; with the name it tells the run from all others.
        requested_by: who says to have asked for it.
        source: the migrations: the compiler, or a manifest that it has written.
        wait: seconds to wait for another run to end.
        limits: how long what may last, where a file says nothing else.
        limits_now: asked before each try of a file for the limits that it has, given those that it should have.
        may_begin: asked before every file but the first; False ends the run there, as well as if that were all.
        hazards: whether a file that may hurt, and doesn't say why it accepts that, is refused or only told of.
        resumes: whether this may be one of several calls of the execution; then what it has rolled back before (a call
            may fail after it, or its answer be lost) counts as confirmed.
    """

    url: str
    source: Source
    execution: str
    requested_by: str
    wait: float = 60.0
    limits: Limits = field(default_factory=Limits)
    hazards: Hazards = "warn"
    listener: Listener = field(default_factory=Listener)
    limits_now: Callable[[Limits], Limits] = lambda limits: limits
    may_begin: Callable[[], bool] = lambda: True
    resumes: bool = False
    execution_start: str = ""
