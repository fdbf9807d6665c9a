"""The checks after a run, whatever has struck it: its answer, the history and the database must agree."""

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.engine.errors import InDoubt, MigratorError
from aurora_migrations.engine.interface import rollback_message, success_message
from aurora_migrations.engine.script import PAST
from tests.database.helpers import ROLLED_BACK, ask, exists, last_error
from tests.servers import Database
from tests.torture.faults import Fault
from tests.torture.files import FILES
from tests.torture.world import Way, snapshot

NOT_BEGUN = "No file was begun; the history may have been created or upgraded."
PARTLY = re.compile(
    r"(?P<file>\S+) has (?P<of>\d+) units that commit separately: (?:unit 1 is|units 1 to (?P<last>\d+) are) applied"
    r"(?:; the rest isn't\. The next (?P<next>run|rollback) continues there)?\."
)
DOUBTFUL = re.compile(r"Unit (?P<part>\d+) of (?P<file>\S+) is either applied or not; the next run finds out\.")
_ATTEMPTS = """
    SELECT action, version::int, result, (
           SELECT count(*)::int FROM aurora_migrations.units WHERE first_attempt = coalesce(tried.resumes, tried.id))
      FROM aurora_migrations.attempts AS tried ORDER BY id
"""
SHOWN = 12  # lines of a difference


@dataclass(frozen=True)
class Ended:
    """How a run ended: its exit code (negative: a signal), its answer, what it printed on stderr."""

    code: int
    answer: dict[str, Any]
    err: str

    @property
    def name(self) -> str:
        """In a word or two."""
        if self.code < 0:
            return "killed"
        return str(self.answer.get("error") or self.answer.get("status") or f"exit code {self.code}")

    def __str__(self) -> str:
        words = [f"{fact}: {self.answer[fact]}" for fact in ("error", "message", "state") if fact in self.answer]
        listed = [f"{past}: {self.listed(past)}" for past in PAST.values() if past in self.answer]
        return " | ".join([f"exit code {self.code}", *words, *listed, *([self.err] if self.err else [])])

    def listed(self, past: str) -> list[str]:
        """The migrations that it reports as applied, or rolled back."""
        found = self.answer.get(past, [])
        return [each["migration"] if isinstance(each, dict) else str(each) for each in found]


@dataclass(frozen=True)
class Known:
    """The state that the history records.

    Attributes:
        applied: how many files are, from the first on.
        units: how many units of the next file are done, where that was begun.
        steps: how many steps of the way that makes.
        attempts: (action, version, result) of all, oldest first.
    """

    applied: int = 0
    units: int = 0
    steps: int = 0
    attempts: tuple[tuple[str, int, str | None], ...] = ()


def read(database: Database, way: Way) -> Known:
    """Reads the history.

    Raises:
        AssertionError: it contradicts itself.
    """
    if not exists(database, "aurora_migrations.applied"):
        return Known()
    versions = [int(v) for (v,) in ask(database, "SELECT version FROM aurora_migrations.applied ORDER BY version")]
    assert versions == list(range(1, len(versions) + 1)), f"the history has holes: {versions}"
    rows = ask(database, _ATTEMPTS)
    attempts = tuple((action, version, result) for action, version, result, _ in rows)
    _refuse_contradictions(versions, attempts)
    begun = len(versions) + (way.action == "apply")
    newest = next((row for row in reversed(rows) if row[1] == begun), None)
    units = newest[3] if newest and newest[0] == way.action and newest[2] not in ("applied", "rolled back") else 0
    return Known(len(versions), units, way.steps_until(len(versions), units), attempts)


def _refuse_contradictions(versions: Sequence[int], attempts: Sequence[tuple[str, int, str | None]]) -> None:
    for version in range(1, len(FILES) + 1):
        results = [result for _, each, result in attempts if each == version]
        applied = results.count("applied") - results.count("rolled back")
        assert applied == (version in versions), f"{version} is {'' if applied else 'not '}applied, say the attempts"
    open_ = [number for number, attempt in enumerate(attempts) if attempt[2] is None]
    assert open_ in ([], [len(attempts) - 1]), f"attempts before the newest are still under way: {attempts}"


def compare(snapshots: Sequence[frozenset[str]], steps: int, database: Database) -> list[str]:
    """Whether the database is as those steps make it, each done once and none in part."""
    found = snapshot(database)
    if found == snapshots[steps]:
        return []
    lines = [f"- {line}" for line in sorted(snapshots[steps] - found)]
    lines += [f"+ {line}" for line in sorted(found - snapshots[steps])]
    shown = "\n".join(lines[:SHOWN])
    return [f"the history records {steps} steps; the database differs from that (- missing, + not expected):\n{shown}"]


def difference(expected: str, found: str) -> str:
    """Two texts, beside each other."""
    lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), "undisturbed", "found", lineterm="", n=0)
    return "\n".join(list(lines)[:SHOWN])


def judge(way: Way, before: Known, known: Known, ended: Ended, fault: Fault) -> Iterator[str]:
    """What of the run's exit code and answer isn't true.

    Args:
        before: the history before the run; and `known`, after it.
    """
    if "Traceback" in ended.err:
        yield "a traceback"
    if ended.code in fault.exits:
        return  # it had no say
    if ended.code == 0:
        yield from _untrue_success(way, before, known, ended)
    elif ended.code == 1 and ended.answer.get("status") == "failed" and not fault.survives:
        if ended.answer.get("error") not in fault.errors:
            yield f"{fault.name} can't be the reason for this error"
        yield from _untrue_failure(way, before, known, ended)
    else:
        yield "a run can't end so"


def _untrue_success(way: Way, before: Known, known: Known, ended: Ended) -> Iterator[str]:
    labels = _labels(way, before, known)
    if ended.answer.get("status") != "success" or known.steps != len(way.steps):
        yield "the run reports success, but not all is done"
    if ended.listed(PAST[way.action]) != labels:
        yield f"done are {labels}, which isn't what the answer lists"
    expected = success_message(labels, labels[-1], None) if way.action == "apply" else rollback_message(labels)
    if labels and ended.answer.get("message") != expected:
        yield f"the message should be {expected!r}"
    if any(result is None for *_, result in known.attempts):
        yield "an attempt is left open"


def _untrue_failure(way: Way, before: Known, known: Known, ended: Ended) -> Iterator[str]:
    listed, labels = ended.listed(PAST[way.action]), _labels(way, before, known)
    if listed != labels[: len(listed)]:
        yield f"done are {labels}, which isn't what the answer lists"
    whole = way.steps_until(before.applied + len(listed) * (1 if way.action == "apply" else -1), 0)
    state = str(ended.answer.get("state"))
    possible = _meant(way, state, whole, whole if listed else before.steps)
    if possible is None:
        yield f"this text about the state isn't known here: {state!r}"
    elif known.steps not in possible:
        yield f"{known.steps} steps are done; what the answer lists and its text about the state mean {possible}"


def _meant(way: Way, state: str, whole: int, unchanged: int) -> set[int] | None:
    """How many steps are done, if an error's text about the state is true; None: the text isn't known here.

    Args:
        whole: how many steps the files have that are done by now.
        unchanged: how many are done if nothing else was changed.
    """
    if state in (MigratorError.state, NOT_BEGUN):
        return {unchanged}
    if state == ROLLED_BACK:
        return {whole}
    of_file = _steps_of_next(way, whole)
    if state == InDoubt.state:
        return {whole, whole + of_file}
    partly, doubtful = PARTLY.match(state), DOUBTFUL.search(state)
    names = {found["file"] for found in (partly, doubtful) if found}
    if names != {_name_of_next(way, whole)} or (partly and int(partly["of"]) != of_file):
        return None
    following = "run" if way.action == "apply" else "rollback"
    if partly and partly["next"] != (None if doubtful else following):  # of a part in doubt nothing else may be said
        return None
    done = int(partly["last"] or 1) if partly else 0
    if doubtful and int(doubtful["part"]) != done + 1:
        return None
    return {whole + done, whole + done + 1} if doubtful else {whole + done}


def _steps_of_next(way: Way, steps: int) -> int:
    return way.steps[steps].of if steps < len(way.steps) else 0


def _name_of_next(way: Way, steps: int) -> str:
    ending = ".sql" if way.action == "apply" else ".down.sql"
    return way.steps[steps].file.name + ending if steps < len(way.steps) else ""


def _labels(way: Way, before: Known, known: Known) -> list[str]:
    """The migrations that a run has applied, or rolled back, in its order."""
    if way.action == "apply":
        return [file.label for file in FILES[before.applied : known.applied]]
    return [file.label for file in reversed(FILES[known.applied : before.applied])]


def judge_record(way: Way, known: Known, database: Database) -> list[str]:
    """Whether the error that the history keeps of a failed attempt is true about the state."""
    if not known.attempts or known.attempts[-1][2] != "failed":
        return []
    state = str(last_error(database)["state"])
    whole = way.steps_until(known.applied, 0)
    if known.steps in (_meant(way, state, whole, whole) or ()):
        return []
    return [f"{known.steps} steps are done, but the history keeps an error with the state {state!r}"]


def judge_refusal(way: Way, known: Known, ended: Ended) -> list[str]:
    """Whether a run over a file that is partly rolled back is refused, and the error is true."""
    parts = f"{known.units} unit{'' if known.units == 1 else 's'} of its down file ran"
    true = parts in str(ended.answer.get("message")) and ended.answer.get("state") == MigratorError.state
    if ended.code == 1 and ended.answer.get("error") == "MigrationChanged" and true:
        return []
    return [f"{parts}, but a run that applies again isn't refused with that: {ended}"]


def judge_end(way: Way, known: Known) -> list[str]:
    """Whether the history records all of the way, each file once."""
    numbers = sorted({step.number for step in way.steps})
    result = PAST[way.action].replace("_", " ")
    done = sorted(version for _, version, each in known.attempts if each == result and version in numbers)
    if known.steps != len(way.steps) or done != numbers:
        return [f"at the end the history isn't that of a run without a fault: {known}"]
    if any(result is None for *_, result in known.attempts):
        return [f"at the end an attempt is left open: {known}"]
    return []
