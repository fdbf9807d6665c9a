"""One case: a run that a fault strikes in a phase of its statement, the runs that follow, and the checks of all."""

import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from aurora_migrations.engine.script import PAST, Action
from tests.database.helpers import ask, attempts, exists, locks
from tests.proxy import Action as Cut
from tests.proxy import Proxy, Trap
from tests.servers import Database
from tests.torture.case import Outcome
from tests.torture.faults import FAULTS, Fault, Scene
from tests.torture.nontransactional.halting import Halting
from tests.torture.nontransactional.kinds import DETACH, Kind, cells
from tests.torture.nontransactional.phases import Phase
from tests.torture.nontransactional.stage import OWNER, Stage, traces
from tests.torture.oracle import DOUBTFUL, PARTLY, Ended, difference
from tests.torture.runner import Runner

# The kinds of fault; those from the sixth on end a run in ways that its user asked for, or soon end by themselves.
NAMES = (
    *("SIGKILL", "backend terminated", "server crashes", "connection reset", "network silent"),
    *("SIGINT", "backend cancelled", "SIGSTOP, SIGCONT", "server crashes, away"),
)
# The end of a function's time: what may outlive the run is left to the server (see `runner`).
TIME_UP = Fault("time is up", lambda scene: scene.runner.signal(signal.SIGUSR1), exits=(-signal.SIGUSR1,))
STRIKES = (*(next(fault for fault in FAULTS if fault.name == name) for name in NAMES), TIME_UP)
CELLS = [(*cell, fault) for fault in STRIKES for cell in cells()]
random.Random(0).shuffle(CELLS)  # so that a few cases that follow each other are of many kinds
# What a run may report because of the fault. A build that is cancelled fails; what another session still does to the
# database that is dropped is an error of the statement.
ERRORS = {"SIGINT": ("Cancelled",), "backend cancelled": ("Cancelled", "MigrationFailed")}
TABLES = ("ledger", "items")  # that can be read at any time
FOLLOWERS = ("SIGKILL", "backend terminated", "connection reset", "server crashes")  # strike a second time
MOST_MESSAGES = 24  # of a run that resumes, about
TRIES = 3
ALL = 4  # units of the second file, with its record
RELEASE = 2.0  # seconds until the locks are free
LONGEST_RUN, LONGEST_REACH = 90.0, 30.0  # seconds
_UNITS = "SELECT count(*)::int FROM aurora_migrations.units u JOIN aurora_migrations.attempts a ON a.id = u.attempt"
_SESSIONS = """
    SELECT pid, application_name, state, query FROM pg_stat_activity
     WHERE application_name LIKE 'aurora-migrations%%' AND datname = %s
"""
_INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)"


@dataclass(frozen=True)
class Case:
    """What is drawn.

    Attributes:
        at: where the phase is a message: whether the server has it (from 0.5 on).
        share: see `Scene`.
        as_owner: whether the runs log in as the owner of everything, instead of as a superuser.
        lock_wait: how long the run may connect again.
        wait: seconds between the fault and the end of what halts the statement.
        late: whether the run that follows begins before that end, if the first has ended.
        again: if not None, the run that follows is struck as well: by what, at which of its messages.
    """

    seed: int
    kind: Kind
    phase: Phase
    fault: Fault
    action: Action
    at: float
    share: float
    as_owner: bool
    lock_wait: str
    wait: float
    late: bool
    again: tuple[Fault, int] | None

    def __str__(self) -> str:
        again = f", then {self.again[0].name} at message {self.again[1]}" if self.again else ""
        action = f"{self.action}{' as owner' if self.as_owner else ''}"
        return (
            f"{self.fault.name} in {self.kind.name}, {self.phase.name}; {action}, --lock-wait {self.lock_wait}, "
            f"released after {self.wait:.1f} s{', late' if self.late else ''}{again}"
        )


def draw(seed: int) -> Case:
    """The case of a seed. Seeds that follow each other go through all kinds, phases and faults."""
    kind, phase, fault = CELLS[seed % len(CELLS)]
    chance = random.Random(seed)
    name = chance.choice(FOLLOWERS)
    second = next(fault for fault in FAULTS if fault.name == name)
    message = chance.randint(1, MOST_MESSAGES)
    return Case(
        seed,
        kind,
        phase,
        fault,
        action="rollback" if chance.random() < 0.25 else "apply",
        at=chance.random(),
        share=chance.random(),
        as_owner=chance.random() < 0.5 and not kind.superuser,
        lock_wait=chance.choice(("0s", "20s")),
        wait=chance.uniform(0, 1),
        late=chance.random() < 0.5,
        again=(second, message) if chance.random() < 0.5 else None,
    )


def run(stage: Stage, case: Case) -> Outcome:
    """Tries the case; again, where the statement had left the phase before the fault could strike."""
    stage.end(case.kind, case.action)  # before the case has databases of its own
    outcome = _try(stage, case)
    for _ in range(TRIES - 1):
        if outcome.struck or outcome.problems:
            break
        outcome = _try(stage, case)
    return outcome


def _try(stage: Stage, case: Case) -> Outcome:
    with stage.database(case.kind, case.action) as database, Proxy(database.server.port) as proxy:
        tried = _Try(stage, case, database, proxy)
        try:
            tried.run()
        except AssertionError as error:
            tried.problems.append(str(error))
        finally:
            for runner in tried.runners:  # one that is frozen, or is still at work
                runner.signal(signal.SIGKILL)
        return tried.outcome()


@dataclass
class _Try:
    stage: Stage
    case: Case
    database: Database
    proxy: Proxy
    problems: list[str] = field(default_factory=list)
    runners: list[Runner] = field(default_factory=list)
    ended: Ended = field(default_factory=lambda: Ended(-1, {}, ""))
    struck: bool = False
    done: str = "none"
    released: float = 0.0

    def run(self) -> None:
        case, before = self.case, traces(self.database, self.case.kind)
        halting = Halting(self.database, case.phase.halts) if case.phase.halts else None
        try:
            scene = self.start(case.lock_wait, case.fault, case.share)
            if halting is None:
                self.strike_at(scene, case.fault, Trap((case.phase.needle,), Cut.CALL, share=case.at))
            elif self.reach(halting, scene.runner):
                scene.struck = scene.runner.running
                self.strike(scene, halting)
            self.struck = scene.struck
            late = threading.Timer(case.wait, halting.release) if halting else None
            if late:
                late.start()
            if scene.struck:
                case.fault.after(scene)
            if not case.late and late:
                late.join()
            self.ended = self.finish(scene)
            self.judge(scene, self.ended)
            if case.again and self.struck:
                self.follow_struck(*case.again)
            if late:
                late.join()
        finally:
            if halting:
                halting.release()
        self.follow()
        self.release()
        self.check(before)

    # The run that is struck

    def start(self, lock_wait: str, fault: Fault, share: float, command: Sequence[str] = ()) -> Scene:
        argv = [*(command or self.command()), "--lock-wait", lock_wait]
        folder = self.stage.migrations(self.case.kind, self.case.action)
        url = self.database.url_as(OWNER) if self.case.as_owner else self.database.url
        runner = Runner(argv, self.proxy.url(url), folder, self.stage.folder, fault.settle_time)
        self.runners.append(runner)
        return Scene(self.database, self.proxy, runner, share, self.stage.longest, TABLES)

    def command(self) -> list[str]:
        if self.case.action == "apply":
            return ["run", "003"]
        last = 3 if not exists(self.database, "aurora_migrations.applied") else self.applied()
        return ["rollback", "002", "--confirm", f"00{last}"]

    def applied(self) -> int:
        ((newest,),) = ask(self.database, "SELECT coalesce(max(version), 0)::int FROM aurora_migrations.applied")
        return int(newest)

    def reach(self, halting: Halting, runner: Runner) -> bool:
        deadline = time.monotonic() + LONGEST_REACH

        def is_running() -> bool:
            assert time.monotonic() < deadline, f"the statement wasn't seen in this phase: {self.case}"
            return runner.running

        return halting.reach(is_running)

    def strike(self, scene: Scene, halting: Halting) -> None:
        """What is stopped ends only once it goes on, also by a server that stops."""
        stops = any(halt.stops for halt in self.case.phase.halts)
        if stops and self.case.fault.name.startswith("server"):
            threading.Timer(0.3, halting.release).start()
        self.case.fault.strike(scene)

    def strike_at(self, scene: Scene, fault: Fault, trap: Trap) -> None:
        """Strikes at a message, from the proxy's thread."""

        self.set_trap(scene, fault, trap)
        while scene.runner.running and not self.proxy.wait(0.01):
            pass
        scene.struck = self.proxy.wait(20 if scene.striking else 0.1)

    def set_trap(self, scene: Scene, fault: Fault, trap: Trap) -> None:
        def call() -> None:
            scene.striking = True
            fault.strike(scene)

        self.proxy.set(replace(trap, call=call))

    def finish(self, scene: Scene) -> Ended:
        ended = Ended(*scene.runner.finish(LONGEST_RUN))
        self.proxy.forward()
        return ended

    def judge(self, scene: Scene, ended: Ended) -> None:
        """Whether the run's exit code and answer are true."""
        fault, units = self.case.fault, self.units()
        self.done = "none" if units == 0 else "all" if units == ALL else "some"
        self.problems += scene.problems
        found = list(self.untrue(ended, fault, units))
        self.problems += [f"{problem}\n({ended}; {units} units done)" for problem in found]

    def untrue(self, ended: Ended, fault: Fault, units: int) -> Iterator[str]:
        """What isn't true of an answer, where so many units of the second file are done (see `units`)."""
        if "Traceback" in ended.err:
            yield "a traceback"
        if ended.code in fault.exits or (not self.struck and ended.code == 0):
            return
        if ended.code == 0 and fault is TIME_UP:
            return  # it says what is left
        if ended.code == 0:
            if units != ALL or ended.answer.get("status") != "success":
                yield "the run reports success, but not all is done"
            return
        doubt = ("InDoubt", "MigrationFailed") if self.case.kind.commits or self.case.kind.has_slot else ()
        allowed = (*fault.errors, *doubt, *ERRORS.get(fault.name, ()), "LockTimeout", "StatementTimeout")
        if ended.code != 1 or ended.answer.get("error") not in allowed:
            yield f"{fault.name} can't be the reason for this end"
        state = str(ended.answer.get("state"))
        partly, doubtful = PARTLY.search(state), DOUBTFUL.search(state)
        if partly and not doubtful and int(partly["last"] or 1) != units:
            yield f"the text about the state isn't true: {state}"
        if doubtful and units not in (int(doubtful["part"]) - 1, int(doubtful["part"])):
            yield f"the text about the state isn't true: {state}"

    def units(self) -> int:
        """How many units of the second file the history records;
        `ALL`, if it records the file as done."""
        if not exists(self.database, "aurora_migrations.applied"):
            return 0
        known = ask(self.database, "SELECT FROM aurora_migrations.applied WHERE version = 2")
        if bool(known) == (self.case.action == "apply"):
            return ALL
        rows = ask(self.database, f"{_UNITS} WHERE a.version = 2 AND a.action = %s", (self.case.action,))
        return int(rows[0][0])

    # The runs that follow

    def follow_struck(self, fault: Fault, message: int) -> None:
        """A run that resumes is struck as well, wherever it is at."""
        if self.case.action == "rollback" and self.units() == ALL:
            return
        scene = self.start("20s", fault, self.case.share)
        self.set_trap(scene, fault, Trap((), Cut.CALL, left=message, share=self.case.at))
        ended = self.finish(scene)
        if scene.striking:
            self.proxy.wait(20)  # it may have ended before the server is there again
        if self.was_done_before(ended):
            return
        found = self.untrue(ended, replace(fault, errors=(*fault.errors, "MigrationFailed")), self.units())
        self.problems += [f"the second run: {problem}\n({ended})" for problem in found]

    def follow(self) -> None:
        """A run without a fault must finish. A rollback that is done is refused, as it should be."""
        if self.case.action == "rollback" and self.units() == ALL:
            return
        ended = self.finish(self.start("20s", STRIKES[0], 0))
        if self.case.kind.commits and ended.answer.get("error") == "InDoubt":
            self.resolve()
            ended = self.finish(self.start("20s", STRIKES[0], 0))
        if "slot" in str(ended.answer.get("solution")):
            self.stage.settle_slot(self.database)  # what the error says
            ended = self.finish(self.start("20s", STRIKES[0], 0))
        if self.was_done_before(ended):
            return
        if ended.code != 0 or ended.answer.get("status") != "success":
            self.problems.append(f"the next run doesn't finish: {ended}")

    def was_done_before(self, ended: Ended) -> bool:
        """Whether the server had finished a rollback after its run, so that the next one was refused."""
        refused = ended.answer.get("error") == "InvalidInput" and self.case.kind.option == DETACH
        return refused and self.case.action == "rollback" and self.units() == ALL

    def resolve(self) -> None:
        """What a person does who has looked whether the last step is done."""
        done = ask(self.database, "SELECT FROM ledger WHERE step = 'step 2'")
        outcome = "applied" if done else "again"
        scene = self.start(
            "20s", replace(STRIKES[0], settle_time=None), 0, ["resolve", "002", outcome, "--confirm", outcome]
        )
        ended = self.finish(scene)
        if ended.code != 0:
            self.problems.append(f"what is in doubt can't be resolved: {ended}")

    def release(self) -> None:
        """Waits until the runs' sessions and locks are gone."""
        began = time.monotonic()
        while held := [*locks(self.database), *ask(self.database, _SESSIONS, (self.database.name,))]:
            self.released = time.monotonic() - began
            if self.released > RELEASE:
                self.problems.append(f"{RELEASE} s after the last run there still are its locks or sessions: {held}")
                break
            time.sleep(0.02)

    def check(self, before: object) -> None:
        """History, catalogue and rows after all."""
        database, case = self.database, self.case
        expected, found = self.stage.end(case.kind, case.action), self.stage.read(database)
        if found != expected:
            lines = [f"- {line}" for line in sorted(expected[0] - found[0])]
            lines += [f"+ {line}" for line in sorted(found[0] - expected[0])]
            lines.append(difference(expected[1], found[1]))
            self.problems.append("\n".join(["the database isn't as it should be:", *lines]))
        if invalid := ask(database, _INVALID):
            self.problems.append(f"indexes that aren't valid: {invalid}")
        if intents := ask(database, "SELECT version, number, statement FROM aurora_migrations.intents"):
            self.problems.append(f"intents are left: {intents}")
        result, known = PAST[case.action].replace("_", " "), attempts(database)
        results = [label for label, each in known if each == result and (label != "001" or case.action == "apply")]
        wanted = ["001", "002", "003"] if case.action == "apply" else ["003", "002"]
        if results != wanted or any(each is None for _, each in known):
            self.problems.append(f"the history isn't that of a run without a fault: {known}")
        after = traces(database, case.kind)
        if case.kind.renews and after.file == before.file:  # type: ignore[attr-defined]
            self.problems.append("the index wasn't built anew")
        if case.kind.name.startswith("VACUUM") and not after.visible:
            self.problems.append("nothing was vacuumed")

    def outcome(self) -> Outcome:
        case = self.case
        return Outcome(
            case.seed,
            case.fault.name,
            f"{case.kind.name}: {case.phase.name}",
            str(case),
            self.struck,
            self.ended.name,
            self.done,
            round(self.released, 3),
            self.problems,
        )
