"""Runs squawk, a linter of migrations (https://squawkhq.com, Apache-2.0 or MIT), with its rules that apply here.

It runs once for all files in one transaction and once for all others. It reads copies in a private folder: their names
need no quoting as patterns and fit every system's longest command line; no `.squawk.toml` of a parent folder applies;
and comments such as `squawk-ignore`, which need no reason, have no effect: what is accepted is accepted by
`-- migration: allow = RULE because REASON`.

If one text crashes it or keeps it busy, it reports nothing for all others. So the texts of a failed run are divided
into smaller groups, until the one that causes it is alone: it counts as one that squawk can't read.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_migrations.engine.errors import InvalidInput

VERSION = "2.70.0"  # whose rules squawk.tsv lists
_INSTALL = f"python -m pip install squawk-cli=={VERSION}"
SYNTAX_ERROR = "syntax-error"  # what squawk calls a text that its own parser can't read; it isn't a rule
_OLDEST_SERVER = "14"  # the oldest server supported; the kept rules report the same for 12 and all later ones
_LIMIT_S = 5.0  # of one run, and more for many files: a thousand take a tenth of a second on a machine at rest
_FILES_A_SECOND, _BYTES_A_SECOND = 200, 1 << 20  # what the slowest machine gets through
_GROUPS = 8  # into which the texts of a run that failed are divided: few, as each run with a text that hangs is slow
_STACK = 64 << 20  # bytes of address space for each of its threads, which crash by deep brackets in the usual 2 MB
_HARMLESS = b"SELECT 1;"
_SHOWN = 300  # characters of squawk's own words
_OWN_COMMENTS = re.compile(rb"squawk-(?=ignore|disable)")


@dataclass(frozen=True)
class Rule:
    """A rule of squawk's."""

    kept: bool  # whether it reports a hazard of a deployment
    reason: str  # what happens to the running application; of one that isn't kept, why not
    help: str = ""  # what to do instead


@dataclass(frozen=True)
class Violation:
    """What squawk reports about a text. `start` and `end` are byte offsets, the end exclusive."""

    rule: str
    start: int
    end: int


def lint(texts: Sequence[tuple[bytes, bool]]) -> list[list[Violation]]:
    """The violations of kept rules in each text, in the order of the text; `SYNTAX_ERROR` for a text that squawk can't
    read, or that crashes it or takes it too long.

    Args:
        texts: each text (UTF-8, without byte order mark), and whether it runs in one transaction.

    Raises:
        InvalidInput: squawk is missing, or fails whatever it is given.
    """
    found: list[list[Violation]] = [[] for _ in texts]
    if not texts:
        return found
    program = find_program()
    for in_transaction in (True, False):
        numbers = [number for number, text in enumerate(texts) if text[1] is in_transaction]
        group = [texts[number][0] for number in numbers]
        try:
            violations = _lint_at_once(program, group, in_transaction)
        except InvalidInput:
            _lint_at_once(program, [_HARMLESS], in_transaction)  # raises if it isn't the texts' fault
            violations = _lint_divided(program, group, in_transaction)
        for number, of_text in zip(numbers, violations, strict=True):
            found[number] = sorted(of_text, key=lambda violation: (violation.start, violation.rule))
    return found


def _lint_divided(program: str, texts: Sequence[bytes], in_transaction: bool) -> list[list[Violation]]:
    """The violations in texts one of which, at least, makes squawk fail."""
    if len(texts) == 1:
        return [[Violation(SYNTAX_ERROR, 0, len(texts[0]))]]
    found: list[list[Violation]] = []
    size = -(-len(texts) // _GROUPS)
    for start in range(0, len(texts), size):
        group = texts[start : start + size]
        try:
            found += _lint_at_once(program, group, in_transaction)
        except InvalidInput:
            found += _lint_divided(program, group, in_transaction)
    return found


def _lint_at_once(program: str, texts: Sequence[bytes], in_transaction: bool) -> list[list[Violation]]:
    """The violations found by one run of squawk."""
    found: list[list[Violation]] = [[] for _ in texts]
    if not texts:
        return found
    limit_s = _LIMIT_S + len(texts) / _FILES_A_SECOND + sum(map(len, texts)) / _BYTES_A_SECOND
    with tempfile.TemporaryDirectory(prefix="aurora-migrations-hazards-") as name:
        folder = Path(name)
        (folder / "squawk.toml").touch()
        for number, text in enumerate(texts):
            (folder / f"{number:06}.sql").write_bytes(_OWN_COMMENTS.sub(b"squawk_", text))
        records = _run(program, folder, in_transaction, limit_s)
    starts: dict[int, list[int]] = {}  # of each line, by text
    for record in records:
        if record["rule_name"] in KEPT or record["rule_name"] == SYNTAX_ERROR:
            number = int(Path(record["file"]).stem)
            if number not in starts:
                starts[number] = [0, *(match.end() for match in re.finditer(b"\n", texts[number]))]
            found[number].append(_violation(texts[number], starts[number], record))
    return found


def find_program(path: str | None = None) -> str:
    """Where squawk is: beside this Python, as pip installs it, or else on the PATH (or on `path`).

    Raises:
        InvalidInput: it is in neither place.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("squawk", path=beside) or shutil.which("squawk", path=path)
    if found is None:
        raise _error(
            "squawk, which finds hazards in migrations, is not installed.",
            "It is neither beside this Python nor on the PATH.",
        )
    return found


def _run(program: str, folder: Path, in_transaction: bool, limit_s: float) -> list[Mapping[str, Any]]:
    """The records of its JSON report about the files of a folder."""
    mode = "--assume-in-transaction" if in_transaction else "--no-assume-in-transaction"
    command = [program, "--config", "squawk.toml", "--reporter", "json", "--pg-version", _OLDEST_SERVER, mode]
    left_out = ",".join(name for name, rule in RULES.items() if not rule.kept and name not in _UNNAMEABLE)
    command += ["--exclude", left_out, "--include", ",".join(sorted(KEPT)), "*.sql"]
    variables = {
        **os.environ,
        "SQUAWK_DISABLE_GITHUB_ANNOTATIONS": "1",  # or it mixes them into its JSON
        "RUST_MIN_STACK": str(_STACK),
    }
    try:
        done = subprocess.run(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        again = "Try again when the machine is less busy; if it lasts, run squawk by hand on the files."
        raise _error(
            f"squawk was still running after {limit_s:.0f} s.", "The machine is busy, or it hangs.", again
        ) from error
    except OSError as error:
        raise _error(f"squawk can't be started: {error.strerror}.", f"{program} isn't a program here.") from error
    try:  # it ends with 0 if it found nothing, with 1 if it found something, and also with 1 if it failed
        records = json.loads(done.stdout) if done.returncode in (0, 1) else None
    except ValueError:
        records = None
    if not isinstance(records, list) or not all(map(_is_record, records)):
        words = " ".join(done.stderr.decode(errors="replace").split())[:_SHOWN]
        silent = "Its output can't be read; it may be another version, or another program of that name."
        why = f"Its message: {words}" if words else silent
        raise _error(f"squawk failed with exit code {done.returncode}.", why, f"Install it again: {_INSTALL}")
    return records


def _is_record(record: object) -> bool:
    expected = {"file": str, "rule_name": str, "message": str, "line": int, "column": int}
    return isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in expected.items())


def _error(message: str, cause: str, solution: str | None = None) -> InvalidInput:
    return InvalidInput(message, cause=cause, solution=solution or f"Install it: {_INSTALL}", program="squawk")


def _violation(text: bytes, line_starts: Sequence[int], record: Mapping[str, Any]) -> Violation:
    def offset(line: int, column: int) -> int:
        """Both count from 0; columns count bytes."""
        return min(line_starts[line] + column, len(text)) if line < len(line_starts) else len(text)

    name = record["rule_name"]
    start = offset(record["line"], record["column"])
    end = offset(record.get("line_end", record["line"]), record.get("column_end", record["column"]))
    return Violation(name, start, max(start, end))


_UNNAMEABLE = frozenset({"unused-ignore"})  # squawk reports it, but takes it neither for --exclude nor for --include


# Every rule of squawk 2.70.0. Kept: what blocks or rewrites, what breaks the release that still runs, what loses data.
# Its default rules are kept unless there is a reason, its opt-in rules are left out unless there is one.
_lines = Path(__file__).with_name("squawk.tsv").read_text("utf-8").splitlines()
_rows = csv.DictReader(_lines, delimiter="\t", quoting=csv.QUOTE_NONE)
RULES = {row["rule"]: Rule(row["kept"] == "yes", row["reason"], row["help"]) for row in _rows}
KEPT = frozenset(name for name, rule in RULES.items() if rule.kept)
