"""The report for people: a table by kind, each violation with the command that repeats it, and a last line."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.torture.case import KINDS, Outcome

DONE = ("none", "some", "all")


@dataclass
class Report:
    """Collects outcomes. `nontransactional`: of cases of statements outside transactions."""

    seed: int
    nontransactional: bool = False
    found: list[Outcome] = field(default_factory=list)

    def add(self, outcome: Outcome) -> None:
        """Takes one in."""
        self.found.append(outcome)

    @property
    def injections(self) -> int:
        """How many faults met a run that was alive."""
        return sum(outcome.struck for outcome in self.found)

    @property
    def violations(self) -> list[Outcome]:
        """Those of which a check failed."""
        return [outcome for outcome in self.found if outcome.problems]

    @property
    def missed(self) -> list[str]:
        """Kinds that never met a run, though there were cases of them."""
        kinds = {_kind(outcome) for outcome in self.found}
        return sorted(kinds - {_kind(outcome) for outcome in self.found if outcome.struck})

    @property
    def last_line(self) -> str:
        """`seed 17: 1000 injections, 0 violations`."""
        return f"seed {self.seed}: {self.injections} injections, {len(self.violations)} violations"

    def __str__(self) -> str:
        if self.nontransactional:
            parts = [_table(self._phases()), "", _table(self._kinds())]
        else:
            parts = [_table(self._rows())]
            parts += [f"No fault of this kind met a run: {kind}" for kind in self.missed]
        longest = max((outcome.released_s for outcome in self.found), default=0.0)
        parts.append(f"After a run had ended, its locks were free within {longest:.2f} s.")
        return "\n".join([*parts, self.last_line])

    def _kinds(self) -> Iterable[Sequence[str]]:
        """How many faults of each kind met statements of each kind, and how many of the checks failed."""
        faults = list(dict.fromkeys(outcome.fault for outcome in self.found))
        yield "statement", *faults, "all", "violations"
        for kind in (*sorted({_statement(outcome) for outcome in self.found}), "all"):
            of_kind = [outcome for outcome in self.found if kind in ("all", _statement(outcome))]
            struck = Counter(outcome.fault for outcome in of_kind if outcome.struck)
            failed = sum(bool(outcome.problems) for outcome in of_kind)
            yield kind, *(str(struck[fault]) for fault in faults), str(struck.total()), str(failed)

    def _phases(self) -> Iterable[Sequence[str]]:
        """How many faults met statements in each phase."""
        yield "statement: phase", "struck", "not met", "violations"
        for action in sorted({outcome.action for outcome in self.found}):
            of_phase = [outcome for outcome in self.found if outcome.action == action]
            counts = Counter(outcome.struck for outcome in of_phase)
            failed = sum(bool(outcome.problems) for outcome in of_phase)
            yield action, str(counts[True]), str(counts[False]), str(failed)

    def _rows(self) -> Iterable[Sequence[str]]:
        yield "fault", "action", "cases", "struck", "nothing", "a part", "all", "the run ended with"
        for fault, action in KINDS:
            of_kind = [outcome for outcome in self.found if _kind(outcome) == f"{fault.name}, {action}"]
            if of_kind:
                yield fault.name, action, *_counts(of_kind)


def violation(outcome: Outcome, options: str = "") -> str:
    """One, with the command that repeats it."""
    problems = "\n".join(f"  - {problem}".replace("\n", "\n    ") for problem in outcome.problems)
    repeat = f"  python -m tests.torture --seed {outcome.seed} --count 1{options}"
    return f"VIOLATION with seed {outcome.seed}: {outcome.case}\n{problems}\n{repeat}"


def _statement(outcome: Outcome) -> str:
    return outcome.action.partition(":")[0]


def _kind(outcome: Outcome) -> str:
    return f"{outcome.fault}, {outcome.action}"


def _counts(of_kind: Sequence[Outcome]) -> list[str]:
    struck = [outcome for outcome in of_kind if outcome.struck]
    done = Counter(outcome.done for outcome in struck)
    ends = Counter(outcome.ended for outcome in struck)
    told = ", ".join(f"{ended} {count}" for ended, count in ends.most_common())
    return [str(len(of_kind)), str(len(struck)), *(str(done[each]) for each in DONE), told]


def _table(rows: Iterable[Sequence[str]]) -> str:
    """The fourth to the sixth column count what the run had done when it had ended."""
    lines = list(rows)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
