"""One case: a run that a fault strikes, the run that follows, and the checks of both. All is drawn from its seed."""

import contextlib
import random
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import psycopg

from aurora_migrations.engine.script import Action
from tests.database.helpers import ask, backends, locks
from tests.proxy import Action as Cut
from tests.proxy import Proxy, Trap
from tests.servers import Database
from tests.torture import oracle
from tests.torture.faults import FAULTS, Fault, Scene
from tests.torture.files import FILES, PAUSE
from tests.torture.oracle import Ended, Known
from tests.torture.runner import Runner
from tests.torture.world import ALL, Step, Way, World, pauses

KINDS: tuple[tuple[Fault, Action], ...] = tuple((fault, action) for fault in FAULTS for action in ("apply", "rollback"))
STARTS = {"apply": (0, 1, 2, 3, 4, 5, 6), "rollback": (ALL, ALL - 3)}
MOST_FILES = 5  # that a run works on
EARLY = 0.08  # an instant before which it isn't waited for the run's first message
TRIES = 4  # to strike while the run is alive
# Seconds until a run that has ended, however it did, holds no lock any more: the server looks for its client every half
# second (client_connection_check_interval), and the machine may be busy with other jobs.
RELEASE = 3.0
LONG = 12.0  # seconds that a statement takes which would outlast that by far
_PAUSING = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
LONGEST_RUN, LONGEST_NEXT = 60.0, 20.0  # seconds


@dataclass(frozen=True)
class Case:
    """What is drawn.

    Attributes:
        start, goal: how many files are applied before the run, and are to be after it.
        at_message: whether the fault strikes at a message of the run, or at a time.
        when: from 0 to 1: in the messages, or in the time, that such a run takes.
        got: from 0.5 on, the server has got the message at which the fault strikes, or has begun a statement that takes
            a while when the time begins.
        share: see `Scene`.
        lock_wait: how long the run may try again.
        long: whether it strikes in a statement that takes longer than the run's locks may last after its end.
        blocked: if not None, somebody else holds locks for so many seconds.
        again: if not None, the run that follows is struck as well, at this instant.
        forward: of a rollback: whether the run that follows it applies again, instead of finishing it.
        replayed: whether the files' effects are compared with those of a replay.
    """

    seed: int
    fault: Fault
    action: Action
    start: int
    goal: int
    at_message: bool
    when: float
    got: float
    share: float
    lock_wait: str
    long: bool
    blocked: float | None
    again: float | None
    forward: bool
    replayed: bool

    def __str__(self) -> str:
        moment = "message" if self.at_message else "time"
        return (
            f"{self.fault.name}, {self.action} from {self.start} files to {self.goal}, by {moment} {self.when:.2f}, "
            f"share {self.share:.2f}, --lock-wait {self.lock_wait}"
            f"{', in a long statement' if self.long else ''}{', blocked' if self.blocked is not None else ''}"
            f"{', then again' if self.again is not None else ''}{', then forward' if self.forward else ''}"
            f"{', replayed' if self.replayed else ''}"
        )


@dataclass(frozen=True)
class Outcome:
    """What happened.

    Attributes:
        struck: whether the fault met a run that was alive.
        ended: `success`, an error's name, or what ended the run.
        done: how much of its work the run had done: `none`, `some` or `all`.
        released_s: how long after its end its locks were free.
        problems: the checks that failed.
    """

    seed: int
    fault: str
    action: str
    case: str
    struck: bool
    ended: str
    done: str
    released_s: float
    problems: list[str] = field(default_factory=list)


def draw(seed: int) -> Case:
    """The case of a seed. Seeds that follow each other go through all kinds."""
    fault, action = KINDS[seed % len(KINDS)]
    chance = random.Random(seed)
    start = chance.choice(STARTS[action])
    files = chance.randint(1, min(MOST_FILES, ALL - start if action == "apply" else start))
    long = chance.random() < 0.2 and fault.ends
    return Case(
        seed,
        fault,
        action,
        start,
        start + files if action == "apply" else start - files,
        at_message=chance.random() < 0.5 and not long,
        when=chance.random(),
        got=chance.random(),
        share=chance.random(),
        lock_wait=chance.choice(("0s", "0s" if long else "20s")),
        long=long,
        blocked=chance.uniform(0.2, 1.5) if chance.random() < 0.25 else None,
        again=chance.random() if chance.random() < 0.3 else None,
        forward=action == "rollback" and chance.random() < 0.4,
        replayed=chance.random() < 0.5,
    )


def run(world: World, case: Case) -> Outcome:
    """Tries the case, at an earlier instant where the run had ended before."""
    outcome = _Try(world, case).run()
    for _ in range(TRIES - 1):
        if outcome.struck or outcome.problems:
            break
        case = replace(case, when=case.when * 0.6)
        outcome = _Try(world, case).run()
    return outcome


class _Try:
    def __init__(self, world: World, case: Case) -> None:
        self.world, self.case = world, case
        self.way = world.way(case.action, case.start, case.goal)
        self.folder = (world.replayed if case.replayed else world.migrations).dir
        self.problems: list[str] = []
        self.released = 0.0
        self.ended, self.struck = Ended(-1, {}, ""), False

    def run(self) -> Outcome:
        before = known = Known(self.case.start)
        with self.world.database(self.case.start) as database:
            try:
                self.ended, self.struck = self.strike(database, before, self.case.when)
                known = self.look(database, before, self.ended)
                now = known
                if self.struck and self.case.again is not None and known.steps < len(self.way.steps):
                    ended, _ = self.strike(database, known, self.case.again)
                    now = self.look(database, known, ended)
                self.follow(database, now)
            except AssertionError as error:
                self.problems.append(str(error))
        return self.outcome(known)

    @property
    def allowed(self) -> Fault:
        """The fault, with what else may be the reason for an error."""
        fault, patient = self.case.fault, self.case.lock_wait != "0s"
        if self.case.blocked is None:
            return fault
        return replace(fault, errors=(*fault.errors, "LockTimeout"), survives=fault.survives and patient)

    def look(self, database: Database, before: Known, ended: Ended) -> Known:
        """Checks what a run has reported and left behind against each other."""
        known = oracle.read(database, self.way)
        found = [
            *oracle.judge(self.way, before, known, ended, self.allowed),
            *oracle.judge_record(self.way, known, database),
            *oracle.compare(self.way.snapshots, known.steps, database),
        ]
        self.problems += [f"{problem}\n({ended}; history: {known})" for problem in found]
        return known

    def strike(self, database: Database, before: Known, when: float) -> tuple[Ended, bool]:
        """Starts the run, has the fault strike, and waits until all is over."""
        case, fault = self.case, self.case.fault
        pause = quote(f"-c torture.pause={LONG if case.long else PAUSE}")
        with Proxy(database.server.port) as proxy:
            with _blocked(database, case.blocked):
                url = proxy.url(f"{database.url}?options={pause}")
                argv = [*_command(self.way, before.applied), "--lock-wait", case.lock_wait]
                runner = Runner(argv, url, self.folder, self.world.folder, fault.settle_time)
                scene = Scene(database, proxy, runner, case.share, self.world.longest)
                self.arm(scene, when, self.way.steps[before.steps :])
                if scene.struck:
                    fault.after(scene)
                ended = Ended(*runner.finish(LONGEST_RUN))
            self.release(database)
        self.problems += scene.problems
        return ended, scene.struck

    def arm(self, scene: Scene, when: float, steps: Sequence[Step]) -> None:
        """Has the fault strike, and returns when it has, or when the run has ended before."""
        case, fault, proxy, runner = self.case, self.case.fault, scene.proxy, scene.runner
        by_trap = fault.cut is not None or case.at_message
        if fault.cut is not None:
            proxy.set(fault.trap(1 + int(when * len(steps)), case.share))
        elif case.at_message:
            number = 1 + int(when * (14 + 6 * len(steps)))  # about as many as such a run sends
            proxy.set(Trap((), Cut.CALL, left=number, share=case.got, call=lambda: self.call(scene)))
        while by_trap and runner.running and not proxy.wait(0.01):
            pass
        if by_trap:
            scene.struck = proxy.wait(LONGEST_NEXT if scene.striking else 0.1)
            return
        early = when < EARLY and not case.long
        while runner.running and not (runner.begun if early else self.has_begun(scene)):
            time.sleep(0.005)
        time.sleep(when * (0.3 if case.long else pauses(steps) * PAUSE + 0.1))
        scene.struck = runner.running
        if scene.struck:
            fault.strike(scene)

    def has_begun(self, scene: Scene) -> bool:
        """Whether the run is connecting; or, in half of the cases, at the first statement that takes a while."""
        pausing = self.case.long or self.case.got >= 0.5
        return bool(ask(scene.database, _PAUSING) if pausing else scene.proxy.messages)

    def call(self, scene: Scene) -> None:
        """Strikes, from the proxy's thread; the run may end meanwhile."""
        scene.striking = True
        self.case.fault.strike(scene)

    def release(self, database: Database) -> None:
        """Waits until the run's sessions and locks are gone."""
        began = time.monotonic()
        while (held := locks(database)) or backends(database):
            self.released = time.monotonic() - began
            if self.released > RELEASE:
                self.problems.append(f"{self.released:.1f} s after the run's end there still are its locks: {held}")
                return
            time.sleep(0.01)

    # The run that follows

    def follow(self, database: Database, known: Known) -> None:
        """Finishes what was begun; or, after a rollback, sometimes applies again."""
        if self.case.forward and known.applied < self.case.start + (known.units > 0):
            self.go_forward(database, known)
            return
        if self.case.action == "apply" or known.applied > self.case.goal:
            self.next(database, _command(self.way, known.applied))
        known = oracle.read(database, self.way)
        self.problems += oracle.compare(self.way.snapshots, len(self.way.steps), database)
        self.problems += oracle.judge_end(self.way, known)
        dump = self.world.dump(database)
        expected = self.world.dump_after(self.case.action, self.case.start, self.case.goal)
        if dump != expected:
            lines = oracle.difference(expected, dump)
            self.problems.append(f"pg_dump differs from that of a run without a fault:\n{lines}")

    def go_forward(self, database: Database, known: Known) -> None:
        """A file that is partly rolled back has to be rolled back to its end first; the error names the command."""
        forward = ["run", FILES[self.case.start - 1].label]
        applied = known.applied
        if known.units:
            refused = self.finish(database, forward)
            self.problems += oracle.judge_refusal(self.way, known, refused)
            words = shlex.split(str(refused.answer.get("next_command")))
            self.next(database, words[1 : words.index("--confirm") + 2])
            applied -= 1
        self.next(database, forward)
        self.problems += oracle.compare([self.world.forward_again(self.case.start, applied)], 0, database)

    def next(self, database: Database, argv: list[str]) -> None:
        """A run without a fault. It must finish."""
        began = time.monotonic()
        ended = self.finish(database, argv)
        if ended.code != 0 or ended.answer.get("status") != "success":
            self.problems.append(f"the next run ({' '.join(argv)}) didn't finish: {ended}")
        elif time.monotonic() - began > LONGEST_NEXT:
            self.problems.append(f"the next run took {time.monotonic() - began:.0f} s")

    def finish(self, database: Database, argv: list[str]) -> Ended:
        runner = Runner(argv, database.url, self.folder, self.world.folder)
        return Ended(*runner.finish(LONGEST_RUN))

    def outcome(self, known: Known) -> Outcome:
        case, all_steps = self.case, len(self.way.steps)
        done = "none" if known.steps == 0 else "all" if known.steps == all_steps else "some"
        return Outcome(
            case.seed,
            case.fault.name,
            case.action,
            str(case),
            self.struck,
            self.ended.name,
            done,
            round(self.released, 3),
            self.problems,
        )


@contextlib.contextmanager
def _blocked(database: Database, seconds: float | None) -> Iterator[None]:
    """Somebody else holds locks, for a while."""
    if seconds is None:
        yield
        return
    connection = psycopg.connect(database.url)
    connection.execute("LOCK TABLE accounts, counter IN SHARE MODE")
    timer = threading.Timer(seconds, connection.close)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        connection.close()


def _command(way: Way, applied: int) -> list[str]:
    """What does all of the way, or what is left of it where so many files are applied."""
    if way.action == "apply":
        return ["run", FILES[way.goal - 1].label]
    return ["rollback", FILES[way.goal].label, "--confirm", FILES[applied - 1].label]
