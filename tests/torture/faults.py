"""The kinds of fault, and how each strikes a run at an instant that its case has drawn."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from aurora_migrations.engine import history
from tests.database.helpers import ask
from tests.proxy import Action as Cut
from tests.proxy import Proxy, Trap
from tests.servers import Database
from tests.torture.runner import Runner

LOCK_TIMEOUT = 2.0  # seconds, the product's default: a frozen runner blocks nobody for longer
MORE_CUTS, MOST_CANCELS = 3, 15
ENOUGH = 0.8  # seconds for the statement that was under way, and for a machine that is busy
LOOKED_AT = ("ledger", "counter", "accounts")  # tables that were there before any run
# What is sent with each COMMIT of a unit, as the engine writes it.
_RECORDING = (history.add_unit(0, 0, 0, ""), history.finish_attempt(0, ""))
RECORDS = tuple(command.sql[:50].encode() for command in _RECORDING)


@dataclass
class Scene:
    """A run under way, and what can be done to it.

    Attributes:
        share: from 0 to 1; how much, of what a fault can do more or less of.
        longest: seconds that a fault lasts at most.
        tables: what nobody may be kept from reading for long.
        striking: whether the fault has begun.
        struck: whether the fault has met a run that was alive.
        problems: the checks that failed while the fault lasted.
    """

    database: Database
    proxy: Proxy
    runner: Runner
    share: float
    longest: float
    tables: tuple[str, ...] = LOOKED_AT
    striking: bool = False
    struck: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def lasts(self) -> float:
        """Seconds."""
        return 0.1 + self.share * (self.longest - 0.1)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        strike: does it, at once.
        after: what follows a while later.
        cut: for those that come with a COMMIT: what happens to that message, and the share of it that passes, if that
            isn't drawn.
        errors: what the run may end with, if not with success.
        exits: exit codes other than 0 and 1 that it may end with.
        ends: whether it ends a run that may not try again, whatever that is at.
        survives: whether the run must end with success.
        settle_time: seconds in which the run must find out a commit's fate, in place of its own.
    """

    name: str
    strike: Callable[[Scene], object] = lambda scene: None
    after: Callable[[Scene], object] = lambda scene: None
    cut: tuple[Cut, float | None] | None = None
    errors: tuple[str, ...] = ()
    exits: tuple[int, ...] = ()
    ends: bool = False
    survives: bool = False
    settle_time: float | None = None

    def trap(self, number: int, share: float) -> Trap:
        """What has it strike at the COMMIT of this unit of the run, from 1."""
        if self.cut is None:
            raise AssertionError(f"{self.name} doesn't come with a COMMIT")
        action, fixed = self.cut
        return Trap(RECORDS, action, left=number, share=share if fixed is None else fixed)


def _send(number: int) -> Callable[[Scene], None]:
    return lambda scene: scene.runner.signal(number)


def _freeze(scene: Scene) -> None:
    scene.runner.signal(signal.SIGSTOP)


def _thaw(scene: Scene) -> None:
    time.sleep(scene.lasts)
    if scene.lasts > LOCK_TIMEOUT + ENOUGH:
        scene.problems += _blocked(scene)
    scene.runner.signal(signal.SIGCONT)


def _blocked(scene: Scene) -> list[str]:
    """Tables that can't be read because of a runner that is frozen."""
    found = []
    with psycopg.connect(scene.database.url, autocommit=True) as connection:
        connection.execute("SET lock_timeout = '500ms'")
        for table in scene.tables:
            try:
                connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table)))
            except psycopg.errors.LockNotAvailable:
                found.append(f"{table} can't be read though the runner has been frozen for longer than lock_timeout")
    return found


def _signal_backend(function: str) -> Callable[[Scene], None]:
    """For the session that works, or for all that the run has."""

    def strike(scene: Scene) -> None:
        name = "aurora-migrations %%" if scene.share < 0.7 else "aurora-migrations%%"
        query = f"SELECT {function}(pid) FROM pg_stat_activity WHERE application_name LIKE '{name}' AND datname = %s"
        ask(scene.database, query, (scene.database.name,))

    return strike


_TERMINATE, _CANCEL = _signal_backend("pg_terminate_backend"), _signal_backend("pg_cancel_backend")


def _cancel_again(scene: Scene) -> None:
    """Between two statements a session isn't disturbed by it."""
    for _ in range(int(MOST_CANCELS * scene.share)):
        time.sleep(0.02)
        _CANCEL(scene)


def _come_back(scene: Scene) -> None:
    time.sleep(scene.lasts)
    scene.database.server.restart("immediate")


def _end_silence(scene: Scene) -> None:
    """Sometimes what was held back arrives, sometimes the connections are gone."""
    time.sleep(scene.lasts)
    if int(scene.share * 100) % 2:
        scene.proxy.reset_now()
    scene.proxy.forward()


def _cut_again(scene: Scene) -> None:
    """While the run finds out what became of its commit, or goes on."""
    chance = random.Random(scene.share)
    for _ in range(MORE_CUTS):
        cut = chance.choice((Cut.CUT_BEFORE, Cut.CUT_AFTER))
        scene.proxy.set(Trap((), cut, left=chance.randint(1, 16), patience=1.0))
        while scene.runner.running and not scene.proxy.wait(0.01):
            pass


def _interrupt_later(scene: Scene) -> None:
    time.sleep(scene.share * 1.5)
    scene.runner.signal(signal.SIGINT)


def _slow_down(scene: Scene) -> None:
    scene.proxy.delay = 0.005 + 0.03 * scene.share


LOST = ("ConnectionLost",)
# A runner that stands still, or can't be heard, may have held locks for longer than they may block others.
HELD = ("StatementTimeout",)
AWAY = ("ConnectionLost", "DatabaseUnreachable", "DatabaseBusy", "InDoubt")
FAULTS = (
    Fault("SIGKILL", _send(signal.SIGKILL), exits=(-signal.SIGKILL,), ends=True),
    Fault("SIGTERM", _send(signal.SIGTERM), exits=(-signal.SIGTERM,), ends=True),
    Fault("SIGINT", _send(signal.SIGINT), errors=("Cancelled",), exits=(130,), ends=True),
    Fault("SIGSTOP, SIGCONT", _freeze, _thaw, errors=LOST + HELD),
    Fault("backend terminated", _TERMINATE, errors=AWAY, ends=True),
    Fault("terminated, then SIGINT", _TERMINATE, _interrupt_later, errors=(*AWAY, "Cancelled"), exits=(130,)),
    Fault("backend cancelled", _CANCEL, _cancel_again, errors=("Cancelled",), ends=True),
    Fault("server crashes", lambda scene: scene.database.server.restart("immediate"), errors=AWAY, ends=True),
    Fault("server crashes, away", lambda scene: scene.database.server.kill(), _come_back, errors=AWAY),
    Fault("server restarts", lambda scene: scene.database.server.restart("fast"), errors=AWAY, ends=True),
    Fault("connection reset", lambda scene: scene.proxy.reset_now(), errors=(*LOST, "DatabaseUnreachable"), ends=True),
    Fault("network silent", lambda scene: scene.proxy.black_hole(), _end_silence, errors=AWAY + HELD),
    Fault("network slow", _slow_down, survives=True),
    Fault("cut before COMMIT", cut=(Cut.CUT_BEFORE, 0.0), errors=LOST),
    Fault("cut in COMMIT", cut=(Cut.CUT_WITHIN, None), errors=LOST),
    Fault("cut before the answer", cut=(Cut.CUT_AFTER, 0.0), errors=LOST),
    Fault("cut in the answer", cut=(Cut.CUT_AFTER, None), errors=LOST),
    Fault("cut after the answer", cut=(Cut.CUT_AFTER, 1.0), errors=LOST),
    Fault("cut again and again", after=_cut_again, cut=(Cut.CUT_AFTER, 0.0), errors=AWAY),
    Fault("gone after COMMIT", cut=(Cut.GONE, 0.0), errors=("InDoubt",), settle_time=1.0),
)
