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
        parts = [_table(self._cells() if self.nontransactional else self._rows())]
        parts += [f"No fault of this kind met a run: {kind}" for kind in self.missed]
        longest = max((outcome.released_s for outcome in self.found), default=0.0)
        parts.append(f"After a run had ended, its locks were free within {longest:.2f} s.")
        return "\n".join([*parts, self.last_line])

    def _cells(self) -> Iterable[Sequence[str]]:
        """How many faults of each kind met a statement in each phase, and how many of the checks failed."""
        faults = list(dict.fromkeys(outcome.fault for outcome in self.found))
        struck = Counter((outcome.action, outcome.fault) for outcome in self.found if outcome.struck)
        failed = Counter(outcome.action for outcome in self.violations)
        yield "statement: phase", *faults, "all", "violations"
        for action in sorted({outcome.action for outcome in self.found}):
            counts = [struck[action, fault] for fault in faults]
            yield action, *map(str, counts), str(sum(counts)), str(failed[action])
        totals = [sum(struck[action, fault] for action in {a for a, _ in struck}) for fault in faults]
        yield "all", *map(str, totals), str(sum(totals)), str(len(self.violations))

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
