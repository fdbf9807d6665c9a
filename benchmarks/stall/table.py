"""The Markdown that is printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.stall.operations import Operation
from benchmarks.stall.scenarios import Scenario, Seen

NO_MIGRATION = "no migration"
_HEAD = ("", "longest query, s", "p99, s", "over 0.1 s", "over 1 s", "of", "took, s", "end", "goal")
_AFTER = "after the blocker, s"
LEVEL = 0.1  # seconds; a smaller difference of two longest queries says nothing


def of_scenario(scenario: Scenario, rows: Sequence[tuple[str, Seen | str]], bound: float) -> str:
    """A row for each tool; a sentence stands where one couldn't be measured."""
    head = [*_HEAD[:7], *([_AFTER] if scenario.ends_by_itself else []), *_HEAD[7:]]
    lines = [head, ["---"] * len(head)]
    for name, seen in rows:
        if isinstance(seen, str):
            lines.append([name, seen, *[""] * (len(head) - 2)])
        else:
            lines.append([name, *_figures(scenario, seen), _end(seen, bound), _verdict(scenario, name, seen)])
    return _markdown(lines)


def of_tools(rows: Sequence[tuple[str, str, str]]) -> str:
    return _markdown([("", "version", "on a table that nobody uses"), ("---",) * 3, *rows])


def head_of_operations(tools: Sequence[str]) -> str:
    head = ("", "blocks", *tools, "ours is")
    return _markdown([head, ["---"] * len(head)])


def of_operation(operation: Operation, seen: Mapping[str, Seen | str], bound: float) -> str:
    """A row: of each tool the longest query of the application, and how it ended when."""
    cells = [each if isinstance(each, str) else _longest_and_end(each, bound) for each in seen.values()]
    return _markdown([[operation.name, operation.blocks, *cells, _rank(seen)]])


def _longest_and_end(seen: Seen, bound: float) -> str:
    failed = f" ({seen.latency.failed} failed)" if seen.latency.failed else ""
    if seen.exit is None or seen.took is None:
        end = _end(seen, bound)
    elif seen.exit or not seen.done:
        end = f"exit {seen.exit} after {seen.took:.1f}, {'done' if seen.done else 'not done'}"
    else:
        end = f"done in {seen.took:.1f}"
    return f"{seen.latency.longest:.2f}{failed}; {end}"


def _rank(seen: Mapping[str, Seen | str]) -> str:
    """Where ours is among those that did the work."""
    longest = {name: each.latency.longest for name, each in seen.items() if isinstance(each, Seen) and each.done}
    if "ours" not in longest:
        return "not done" if "ours" in seen else ""
    ours = longest.pop("ours")
    best = min(longest, key=lambda name: longest[name], default=None)
    if best is None:
        return "the only one"
    ahead = longest[best] - ours
    if abs(ahead) < LEVEL:
        return f"level with {best}"
    return "first" if ahead > 0 else f"behind {best} by {-ahead:.2f} s"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _figures(scenario: Scenario, seen: Seen) -> list[str]:
    latency = seen.latency
    failed = f" ({latency.failed} failed)" if latency.failed else ""
    times = [seen.took, *([seen.after] if scenario.ends_by_itself else [])]
    return [
        f"{latency.longest:.3f}",
        f"{latency.p99:.3f}",
        f"{latency.over_tenth:,}",
        f"{latency.over_second:,}",
        f"{latency.count:,}{failed}",
        *("" if seconds is None else f"{seconds:.2f}" for seconds in times),
    ]


def _end(seen: Seen, bound: float) -> str:
    if seen.took is None:
        return ""
    how = f"killed after {bound:g} s" if seen.exit is None else f"exit {seen.exit}"
    return ", ".join(filter(None, [how, "done" if seen.done else "not done", seen.note]))


def _verdict(scenario: Scenario, name: str, seen: Seen) -> str:
    if name != "ours":
        return ""
    return f"{scenario.goal}: {'met' if scenario.met(seen) else 'missed'}"
