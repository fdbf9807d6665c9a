"""What `check` finds, for people: the place, the words underlined, what happens, what to write instead."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from aurora_migrations.cli.output import Styled, columns_of, plural, show_styled
from aurora_migrations.compiler.check import Checked
from aurora_migrations.compiler.hazards import UNKNOWN_TABLE
from aurora_migrations.compiler.parser import Statement, parse
from aurora_migrations.compiler.remedies import remedy
from aurora_migrations.engine.diagnostics.redaction import excerpt
from aurora_migrations.engine.migrations import Problem
from aurora_migrations.engine.script import Hazard

Level = Literal["error", "warning"]
_COLOURS = {"error": "bold red", "warning": "bold yellow"}
_SHOWN = 10  # findings of one rule; more of them scroll the others away
_EDGE = "blue"
_REST = re.compile(r".*[^ ;]")  # of the line
_NAME = re.compile(r'"(?:[^"]|"")+"|[\w$]+')


@dataclass(frozen=True)
class Finding:
    """One problem or hazard, and all that is shown of it."""

    level: Level
    message: str
    file: str
    line: int
    column: int
    excerpt: str  # the line and a mark under it; empty where it isn't shown
    rule: str = ""  # of a hazard
    help: str = ""
    sql: str = ""  # what to write instead


def find(files: Iterable[Checked], hazards: Level) -> Iterator[Finding]:
    """Everything found in files, in their order. `hazards`: what a hazard is that its file doesn't allow."""
    for file in files:
        found = [of_problem("error", problem) for problem in file.problems]
        found += [of_problem("warning", problem) for problem in file.warnings]
        found += [_of_hazard(hazards, file, hazard) for hazard in file.open_hazards]
        yield from sorted(found, key=lambda each: (each.file, each.line, each.column))


def of_problem(level: Level, problem: Problem) -> Finding:
    """A problem as a finding."""
    reason = f"{problem.reason[:1].upper()}{problem.reason[1:]}"
    return Finding(level, reason, problem.file, problem.line, problem.column, problem.excerpt)


def _of_hazard(level: Level, file: Checked, hazard: Hazard) -> Finding:
    shown = sql = ""
    if file.compiled:
        text, statements = file.compiled.text, file.compiled.statements or _parsed(file.compiled.text)
        lines = text.split(b"\n")[: hazard.line]
        before = lines[-1].decode(errors="replace")[: hazard.column - 1]
        offset = sum(len(line) + 1 for line in lines[:-1]) + len(before.encode())
        found = next((each for each in reversed(statements) if each.start <= offset), None)
        if found:
            shown, sql = excerpt(text, offset, (found.start, found.end)), remedy(hazard.rule, found)
    return Finding(
        level,
        hazard.message,
        hazard.file,
        hazard.line,
        hazard.column,
        _underlined(shown, _NAME if hazard.rule == UNKNOWN_TABLE else _REST),
        hazard.rule,
        hazard.help,
        sql,
    )


@lru_cache(maxsize=1)  # a file's hazards are shown one after the other
def _parsed(text: bytes) -> Sequence[Statement]:
    return parse(text)


def _underlined(shown: str, words: re.Pattern[str] = _REST) -> str:
    """The excerpt with a mark under these words, instead of only under their first character."""
    line, _, mark = shown.partition("\n")
    found = words.match(line, len(mark) - 1) if mark else None
    return f"{line}\n{mark}{'^' * (found.end() - len(mark))}" if found else shown


def show(findings: Sequence[Finding]) -> None:
    """Prints findings, of each rule the first few, and then how many there are of each."""
    shown: Counter[str] = Counter()
    for finding in findings:
        shown[finding.rule] += 1
        if not finding.rule or shown[finding.rule] <= _SHOWN:
            show_styled(*_lines(finding), Styled())
    counts = Counter(finding.rule for finding in findings if finding.rule)
    if len(findings) > 1 and counts:
        width = len(str(max(counts.values())))
        for rule, count in counts.most_common():
            more = f"  ({_SHOWN} shown)" if count > _SHOWN else ""
            show_styled(Styled((f"  {count:>{width}}  ", ""), (rule, "bold"), (more, "dim")))
        show_styled(Styled())


def _lines(finding: Finding) -> Iterator[Styled]:
    colour = _COLOURS[finding.level]
    rule = f"[{finding.rule}]" if finding.rule else ""
    yield Styled((f"{finding.level}{rule}", colour), (f": {finding.message}", "bold"), wrap=True)
    number = str(finding.line)
    edge = " " * len(number)
    yield Styled((f"{edge}--> ", _EDGE), (f"{finding.file}:{finding.line}:{finding.column}", ""))
    if finding.excerpt:
        line, mark = _fitted(finding.excerpt, (columns_of(sys.stdout) or sys.maxsize) - len(f"{number} | "))
        yield Styled((f"{edge} |", _EDGE))
        yield Styled((f"{number} | ", _EDGE), (line, ""))
        yield Styled((f"{edge} | ", _EDGE), (mark, colour))
    if finding.help:
        yield Styled((f"{edge} = ", _EDGE), ("do: ", "bold"), (finding.help, ""), wrap=True)
    for line in finding.sql.splitlines():
        # A break between words changes nothing, unless it is in a text or ends a comment.
        copyable = not any(mark in line for mark in ("'", '"', "--"))
        yield Styled((f"{edge}       {line}", "cyan"), wrap=copyable)
    if finding.rule:
        accepted = f"-- migration: allow = {finding.rule} because REASON"
        offer = Styled((f"{edge} = ", _EDGE), ("or accept it: ", "bold"), (accepted, "dim"))
        if len(str(offer)) <= (columns_of(sys.stdout) or math.inf):
            yield offer
        else:  # it must stay one line to be copied
            yield Styled((f"{edge} = ", _EDGE), ("or accept it:", "bold"))
            yield Styled((f"{edge}       {accepted}", "dim"))


def _fitted(shown: str, width: int) -> tuple[str, str]:
    """The line and the mark of an excerpt, cut to a terminal's width: a mark that breaks points at nothing."""
    line, mark = shown.split("\n")
    start = len(mark) - len(mark.lstrip())
    first = max(0, start - width // 2) if start > width // 2 and len(line) > width else 0
    line, mark = line[first:], mark[first:]
    return (f"{line[: width - 1]}…", mark[: width - 1]) if len(line) > width else (line, mark)


def summary(files: Sequence[Checked], findings: Sequence[Finding]) -> Styled:
    """How many files were checked, and what was found."""
    errors = sum(not finding.rule and finding.level == "error" for finding in findings)
    hazards = sum(bool(finding.rule) for finding in findings)
    verified = sum(file.action == "apply" and file.migration.verify is not None for file in files)
    count = f"{plural(len(files) + verified, 'file')} checked"
    if not findings:
        return Styled(("✓ ", "bold green"), (f"{count}: nothing wrong", ""))
    colour = _COLOURS["error" if errors or any(f.level == "error" for f in findings) else "warning"]
    return Styled((f"{count}: ", ""), (f"{plural(errors, 'error')}, {plural(hazards, 'hazard')}", colour))
