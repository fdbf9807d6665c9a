"""squawk, a linter of migrations (https://squawkhq.com, Apache-2.0 or MIT), told how our runner runs each file.

It is run once for all files in one transaction and once for all others. It reads copies in a folder of its own, for:
names need no quoting as patterns and fit every system's longest command line; a `.squawk.toml` on the way up is not
taken for ours; and comments such as `squawk-ignore`, which need no reason, stay without effect: what is accepted is
accepted by `-- migration: allow = RULE because REASON`.

Where one text crashes it or keeps it busy, it says nothing of all the others. So those of a run that failed are given
to it again in smaller groups, until what does it stands alone: that text counts as one that squawk can't read.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_migrations.engine.errors import InvalidInput

VERSION = "2.70.0"  # whose rules the table below lists
SYNTAX_ERROR = "syntax-error"  # what squawk calls a text that its own parser can't read; it isn't a rule
_OLDEST_SERVER = "14"  # the rules are asked for the oldest server; those kept say the same for 12 and all later ones
_LIMIT_S = 5.0  # of one run, and more for many files: a thousand take a tenth of a second on a machine at rest
_FILES_A_SECOND, _BYTES_A_SECOND = 200, 1 << 20  # what the slowest machine gets through
_GROUPS = 8  # into which the texts of a run that failed are divided: a text that hangs is found in few, slow runs
_STACK = 64 << 20  # bytes of address space for each of its threads, which crash by deep brackets in the usual 2 MB
_HARMLESS = b"SELECT 1;"
_IN_MEMORY = "/dev/shm"
_PREFIX = "aurora-migrations-hazards-"
_BEGINS_S = 60  # a folder is locked long before
_PAGE = 4096  # bytes; the least that a file takes there
_SHOWN = 300  # characters of squawk's own words
_OWN_COMMENTS = re.compile(rb"squawk-(?=ignore|disable)")


@dataclass(frozen=True)
class Rule:
    """Whether a rule of squawk's tells a hazard of a deploy, and why (not); `help` stands in where squawk has none."""

    kept: bool
    reason: str
    help: str = ""


@dataclass(frozen=True)
class Finding:
    """What squawk says of a text. `start` and `end` are byte offsets, the end exclusive."""

    rule: str
    start: int
    end: int
    message: str
    help: str


def lint(texts: Sequence[tuple[bytes, bool]]) -> list[list[Finding]]:
    """What squawk says of each text, in the order of the text; rules left out below are silent. Of a text that crashes
    it or takes it too long it says what it says of one that it can't read: `SYNTAX_ERROR`.

    Args:
        texts: each text (UTF-8, without byte order mark), and whether it runs in one transaction.

    Raises:
        InvalidInput: squawk is missing, or fails whatever it is given.
    """
    found: list[list[Finding]] = [[] for _ in texts]
    if not texts:
        return found
    program = find_program()
    for together in (True, False):
        numbers = [number for number, text in enumerate(texts) if text[1] is together]
        of_group = _lint_group(program, [texts[number][0] for number in numbers], together)
        for number, findings in zip(numbers, of_group, strict=True):
            found[number] = sorted(findings, key=lambda finding: (finding.start, finding.rule))
    return found


def _lint_group(program: str, texts: Sequence[bytes], in_transaction: bool) -> list[list[Finding]]:
    """The findings in texts that are all run alike."""
    try:
        return _lint_at_once(program, texts, in_transaction)
    except InvalidInput:
        _lint_at_once(program, [_HARMLESS], in_transaction)  # raises if it isn't the texts' fault
    return _lint_divided(program, texts, in_transaction)


def _lint_divided(program: str, texts: Sequence[bytes], in_transaction: bool) -> list[list[Finding]]:
    """The same of texts one of which, at least, makes squawk fail."""
    if len(texts) == 1:
        return [[Finding(SYNTAX_ERROR, 0, len(texts[0]), "squawk can't read this.", "")]]
    found: list[list[Finding]] = []
    size = -(-len(texts) // _GROUPS)
    for start in range(0, len(texts), size):
        group = texts[start : start + size]
        try:
            found += _lint_at_once(program, group, in_transaction)
        except InvalidInput:
            found += _lint_divided(program, group, in_transaction)
    return found


def _lint_at_once(program: str, texts: Sequence[bytes], in_transaction: bool) -> list[list[Finding]]:
    """The findings by one run of squawk.

    Raises:
        InvalidInput: it fails, or takes too long.
    """
    found: list[list[Finding]] = [[] for _ in texts]
    if not texts:
        return found
    with _private_folder(texts) as folder:
        (folder / "squawk.toml").touch()
        for number, text in enumerate(texts):
            (folder / f"{number:06}.sql").write_bytes(_OWN_COMMENTS.sub(b"squawk_", text))
        records = _records(_run(_command(program, in_transaction), folder, _limit_s(texts)))
    of_text: dict[int, list[Mapping[str, Any]]] = {}
    for record in records:
        of_text.setdefault(int(Path(record["file"]).stem), []).append(record)
    for number, of_one in of_text.items():
        starts = _line_starts(texts[number])
        found[number] = [finding for record in of_one for finding in _findings(texts[number], starts, record)]
    return found


@contextlib.contextmanager
def _private_folder(texts: Sequence[bytes]) -> Iterator[Path]:
    """A folder that only we can read, for the block. Where others of ours are in memory that nobody has locked, their
    processes were killed: memory is never swept, so it is done here."""
    memory = _memory(texts)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=memory) as name, contextlib.ExitStack() as locked:
        if memory is not None:
            _lock(Path(name), locked)
            _sweep(Path(memory))
        yield Path(name)


def _sweep(memory: Path) -> None:
    for left in memory.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), contextlib.ExitStack() as locked:
            status = left.lstat()
            old = status.st_mtime < time.time() - _BEGINS_S
            if old and stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
                _lock(left, locked)
                shutil.rmtree(left)


def _lock(folder: Path, locked: contextlib.ExitStack) -> None:
    """Locks it until the end of the block, or of this process. Raises OSError if another has it locked."""
    import fcntl  # there is no such folder in memory where there is no fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    locked.callback(os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _limit_s(texts: Sequence[bytes]) -> float:
    return _LIMIT_S + len(texts) / _FILES_A_SECOND + sum(map(len, texts)) / _BYTES_A_SECOND


def find_program(path: str | None = None) -> str:
    """Where squawk is: beside this Python, as pip installs it, or else on the PATH (or on `path`).

    Raises:
        InvalidInput: it is in neither place.
    """
    beside = str(Path(sys.executable).parent)
    found = shutil.which("squawk", path=beside) or shutil.which("squawk", path=path)
    if found is None:
        raise _error(
            "squawk, which looks for hazards in migrations, is not installed.",
            "It is neither beside this Python nor on the PATH.",
        )
    return found


def _memory(texts: Sequence[bytes]) -> str | None:
    """Linux's folder in memory, if there is room: a busy disk takes up to a millisecond to make a file."""
    if not os.access(_IN_MEMORY, os.W_OK | os.X_OK):
        return None
    needed = sum(len(text) + _PAGE for text in texts)
    return _IN_MEMORY if shutil.disk_usage(_IN_MEMORY).free > 2 * needed else None


def _command(program: str, in_transaction: bool) -> list[str]:
    mode = "--assume-in-transaction" if in_transaction else "--no-assume-in-transaction"
    command = [program, "--config", "squawk.toml", "--reporter", "json", "--pg-version", _OLDEST_SERVER, mode]
    return [*command, "--exclude", ",".join(_nameable_left_out()), "--include", ",".join(sorted(KEPT)), "*.sql"]


def _nameable_left_out() -> list[str]:
    return [name for name, rule in RULES.items() if not rule.kept and name not in _UNNAMEABLE]


def _run(command: Sequence[str], folder: Path, limit_s: float) -> subprocess.CompletedProcess[bytes]:
    variables = {
        **os.environ,
        "SQUAWK_DISABLE_GITHUB_ANNOTATIONS": "1",  # or it mixes them into its JSON
        "RUST_MIN_STACK": str(_STACK),
    }
    try:
        return subprocess.run(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s
        )
    except subprocess.TimeoutExpired as error:
        again = "Try again when the machine is less busy; if it lasts, run squawk by hand on the files."
        raise _error(
            f"squawk was still at work after {limit_s:.0f} s.", "The machine is busy, or it hangs.", again
        ) from error
    except OSError as error:
        raise _error(f"squawk can't be started: {error.strerror}.", f"{command[0]} isn't a program here.") from error


def _records(done: subprocess.CompletedProcess[bytes]) -> list[Mapping[str, Any]]:
    """Its JSON. It ends with 0 if it found nothing, with 1 if it found something, and also with 1 if it failed."""
    try:
        records = json.loads(done.stdout) if done.returncode in (0, 1) else None
    except ValueError:
        records = None
    if not isinstance(records, list) or not all(_is_record(record) for record in records):
        words = " ".join(done.stderr.decode(errors="replace").split())[:_SHOWN]
        silent = "It said nothing that could be read; it may be another version, or another program of that name."
        why = f"Its own words: {words}" if words else silent
        raise _error(f"squawk failed with exit code {done.returncode}.", why)
    return records


def _is_record(record: object) -> bool:
    expected = {"file": str, "rule_name": str, "message": str, "line": int, "column": int}
    return isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in expected.items())


def _error(message: str, cause: str, solution: str | None = None) -> InvalidInput:
    install = f"Install it: python -m pip install squawk-cli=={VERSION}"
    return InvalidInput(message, cause=cause, solution=solution or install, program="squawk")


def _findings(text: bytes, line_starts: Sequence[int], record: Mapping[str, Any]) -> list[Finding]:
    name = record["rule_name"]
    if name not in KEPT and name != SYNTAX_ERROR:
        return []

    def offset(line: int, column: int) -> int:
        """Both count from 0; columns count bytes."""
        return min(line_starts[line] + column, len(text)) if line < len(line_starts) else len(text)

    start = offset(record["line"], record["column"])
    end = offset(record.get("line_end", record["line"]), record.get("column_end", record["column"]))
    help_text = record.get("help") or (RULES[name].help if name in RULES else "")
    return [Finding(name, start, max(start, end), record["message"], help_text)]


def _line_starts(text: bytes) -> list[int]:
    return [0, *(match.end() for match in re.finditer(b"\n", text))]


_UNNAMEABLE = frozenset({"unused-ignore"})  # squawk reports it, but takes it neither for --exclude nor for --include

_TAKEN_CARE_OF = "the compiler says it itself, with the file's units"
_TIMEOUTS = "the runner sets both timeouts for every file, by default and by the file's options"
_STYLE = "a matter of the schema's design: nothing blocks or breaks while it is deployed"
_SEEN_AT_ONCE = (
    "nothing is locked for long and nothing breaks by itself: it changes only what the author set out to change"
)

# Every rule of squawk 2.70.0. Kept: what blocks or rewrites, what breaks the release that still runs, what loses data.
# Its default rules are kept unless there is a reason, its opt-in rules are left out unless there is one.
RULES: dict[str, Rule] = {
    # ---- kept: it blocks readers or writers for as long as a scan, a rewrite or a build takes ----
    "require-concurrent-index-creation": Rule(True, "writers wait while the index is built"),
    "require-concurrent-index-deletion": Rule(True, "readers and writers queue behind its ACCESS EXCLUSIVE lock"),
    "require-concurrent-reindex": Rule(True, "readers and writers wait while the index is built"),
    "require-concurrent-partition-detach": Rule(True, "readers and writers of the whole table queue behind its lock"),
    "constraint-missing-not-valid": Rule(True, "the table is scanned while writers wait"),
    "adding-foreign-key-constraint": Rule(True, "the table is scanned while writers of both tables wait"),
    "adding-not-nullable-field": Rule(True, "the table is scanned while readers and writers wait"),
    "adding-serial-primary-key-field": Rule(True, "readers and writers wait while the index is built"),
    "disallowed-unique-constraint": Rule(True, "readers and writers wait while the index is built"),
    "adding-field-with-default": Rule(True, "a volatile default rewrites the table while readers and writers wait"),
    "changing-column-type": Rule(
        True,
        "most changes of type rewrite the table while readers and writers wait",
        "Add a column of the new type, backfill it in batches, move the application over, then drop the old one.",
    ),
    "ban-alter-domain-with-add-constraint": Rule(
        True,
        "every table with a column of the domain is scanned while its writers wait",
        "Add the constraint as `NOT VALID`, and `VALIDATE CONSTRAINT` in the next migration.",
    ),
    # ---- kept: the release that still runs breaks ----
    "adding-required-field": Rule(
        True, "INSERTs of the release that still runs fail; on a table with rows so does this"
    ),
    "renaming-column": Rule(
        True,
        "the release that still runs knows the old name",
        "Add the new column, write both, move the application over, then drop the old one.",
    ),
    "renaming-table": Rule(
        True,
        "the release that still runs knows the old name",
        "Rename it and leave a view of the old name in the same migration; drop the view once nobody reads it.",
    ),
    "renaming-object": Rule(
        True,
        "the release that still runs knows the old name",
        "Create it under the new name, move the application over, then drop the old one.",
    ),
    "ban-set-schema": Rule(
        True,
        "the release that still runs knows it in the old schema",
        "Put both schemas on the application's search_path first, or leave a view in the old one.",
    ),
    "ban-drop-default": Rule(
        True,
        "INSERTs of the release that still runs may rely on it",
        "Drop it after the release that names the column in every INSERT.",
    ),
    "ban-drop-not-null": Rule(
        True,
        "the release that still runs may not expect to read NULL",
        "Drop it after the release that can read NULL, and before the one that writes it.",
    ),
    "ban-drop-constraint": Rule(
        True,
        "ON CONFLICT of the release that still runs may need it, and what it guaranteed holds no more",
        "Drop it after the release that does without it.",
    ),
    "ban-alter-identity": Rule(
        True,
        "INSERTs of the release that still runs may rely on the number, or on writing their own",
        "Change it after the release that inserts in the new way.",
    ),
    "ban-drop-generated-expression": Rule(
        True,
        "the column is computed no more, and the release that still runs doesn't write it",
        "Drop it after the release that writes the column itself.",
    ),
    # ---- kept: data or objects are gone, which no roll-back of the release brings back ----
    "ban-drop-column": Rule(
        True,
        "the release that still runs may read it; its data is lost",
        "Drop it after the release that no longer reads it.",
    ),
    "ban-drop-table": Rule(
        True,
        "the release that still runs may read it; its data is lost",
        "Drop it after the release that no longer reads it.",
    ),
    "ban-drop-view": Rule(
        True, "the release that still runs may read it", "Drop it after the release that no longer reads it."
    ),
    "ban-drop-function": Rule(
        True, "the release that still runs may call it", "Drop it after the release that no longer calls it."
    ),
    "ban-drop-type": Rule(
        True, "the release that still runs may name it", "Drop it after the release that no longer names it."
    ),
    "ban-drop-domain": Rule(
        True, "the release that still runs may name it", "Drop it after the release that no longer names it."
    ),
    "ban-drop-sequence": Rule(
        True, "the release that still runs may draw from it", "Drop it after the release that no longer draws from it."
    ),
    "ban-drop-schema": Rule(
        True, "the release that still runs may use what is in it", "Drop it after the release that no longer uses it."
    ),
    "ban-drop-extension": Rule(
        True,
        "its functions and types go with it",
        "Drop it after the release that no longer uses its functions and types.",
    ),
    "ban-drop-database": Rule(True, "all its data is lost", "Drop databases by hand, not by a migration."),
    "ban-truncate-cascade": Rule(True, "tables that the statement doesn't name lose their rows"),
    # ---- kept: it is bound to fail ----
    "ban-duplicate-column-assignments": Rule(
        True, "PostgreSQL refuses the statement when it is run", "Assign each column once."
    ),
    # ---- left out: it doesn't apply under our runner ----
    "require-lock-timeout": Rule(False, _TIMEOUTS),
    "require-statement-timeout": Rule(False, _TIMEOUTS),
    "require-timeout-settings": Rule(False, _TIMEOUTS),
    "prefer-robust-stmts": Rule(
        False,
        "a file in one transaction is in or out as a whole; of any other each unit is recorded, and a run goes on at "
        "the unit in doubt after asking the catalogue; IF NOT EXISTS would take an INVALID index for a finished one",
    ),
    "transaction-nesting": Rule(False, _TAKEN_CARE_OF),
    "ban-uncommitted-transaction": Rule(False, _TAKEN_CARE_OF),
    "ban-concurrent-index-creation-in-transaction": Rule(False, _TAKEN_CARE_OF),
    "unused-ignore": Rule(
        False, "comments of squawk's own have no effect here; an unused `allow` is a warning of ours"
    ),
    "prefer-repack": Rule(False, "REPACK came with PostgreSQL 19; older servers haven't got it"),
    # ---- left out: style ----
    "prefer-bigint-over-int": Rule(False, _STYLE),
    "prefer-bigint-over-smallint": Rule(False, _STYLE),
    "prefer-identity": Rule(False, _STYLE),
    "prefer-text-field": Rule(False, _STYLE),
    "prefer-timestamp-tz": Rule(False, _STYLE),
    "ban-char-field": Rule(False, _STYLE),
    "ban-create-domain-with-constraint": Rule(False, _STYLE),
    "require-enum-value-ordering": Rule(False, _STYLE),
    "require-table-schema": Rule(False, _STYLE),
    "identifier-too-long": Rule(False, "PostgreSQL cuts a name the same way wherever it stands, and says so"),
    # ---- left out: opt-in of squawk's ----
    "ban-drop-index": Rule(
        False, "its lock is told by require-concurrent-index-deletion; its use can't be seen in the file"
    ),
    "ban-new-write-restriction": Rule(False, "every new constraint and unique index is one; those that block are told"),
    "ban-drop-trigger": Rule(False, "dropping and creating it again is how a trigger is changed"),
    "ban-drop-policy": Rule(False, "dropping and creating it again is how a policy or rule is changed"),
    "ban-disable-trigger": Rule(False, "usual around a change of data, in the same transaction"),
    "ban-revoke": Rule(
        False, "it also speaks of OWNER TO, and of the usual REVOKE ... FROM PUBLIC after CREATE FUNCTION"
    ),
    "ban-detach-inheritance": Rule(False, "usual for old partitions; what it blocks is told by another rule"),
    "ban-alter-generated-expression": Rule(False, "where it rewrites the table, adding-field-with-default tells it"),
    "ban-add-column": Rule(
        False, "safe where the application names its columns; else nearly every migration would have it"
    ),
    "ban-add-composite-attribute": Rule(False, _SEEN_AT_ONCE),
    "ban-add-enum-value": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-database-options": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-extension": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-function-options": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-policy-condition": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-policy-roles": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-role-options": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-row-level-security": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-sequence-values": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-system-options": Rule(False, _SEEN_AT_ONCE),
    "ban-alter-view-options": Rule(False, _SEEN_AT_ONCE),
    "ban-create-policy": Rule(False, _SEEN_AT_ONCE),
    "ban-replace-view-function": Rule(False, _SEEN_AT_ONCE),
    "ban-replica-identity": Rule(False, _SEEN_AT_ONCE),
    "ban-set-default": Rule(False, _SEEN_AT_ONCE),
}
KEPT = frozenset(name for name, rule in RULES.items() if rule.kept)
