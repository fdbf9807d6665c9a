"""Hazards: risky statements, found before they run by squawk's rules that apply here and by rules of our own.

A hazard is accepted, with a reason, by a line at the top of its file: `-- migration: allow = RULE because REASON`.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from postgast import pg_query_pb2 as pb

from aurora_migrations.compiler import squawk
from aurora_migrations.compiler.locks.created_objects import on_new_objects
from aurora_migrations.compiler.parser import Statement
from aurora_migrations.compiler.parser_limits import longest_chain, nesting
from aurora_migrations.compiler.secret_literals import hide_passwords, password_literals
from aurora_migrations.compiler.session_state import session_state
from aurora_migrations.compiler.squawk import Violation
from aurora_migrations.engine.diagnostics.redaction import Lines
from aurora_migrations.engine.migrations import Problem
from aurora_migrations.engine.script import Hazard

PASSWORD = "password-literal"
NAMELESS = "concurrently-without-name"
UNREAD = "unread-statement"
SESSION_STATE = "session-state-between-parts"
ENUM_VALUE = "enum-value-in-its-transaction"
OWN_RULES: Mapping[str, str] = {
    PASSWORD: "a password in the repository, the package, the history and the server's log",
    NAMELESS: "tried again, it would make another index each time: _idx, _idx1, _idx2",
    SESSION_STATE: "if a later part of the file fails, the next run goes on there, in a session that hasn't got it",
    ENUM_VALUE: "PostgreSQL refuses a new value of an enum in the transaction that adds it",
    UNREAD: "PostgreSQL can read the statement but squawk can't, so nobody looked for hazards in it",
}
REFUSED = frozenset({NAMELESS})  # wrong in any case: no reason makes it right
RULES = squawk.KEPT | OWN_RULES.keys()

_ALLOW = re.compile(r"(?P<rule>\S+)(?:\s+because\b\s*(?P<reason>.*))?", re.IGNORECASE | re.DOTALL)
_HARMLESS_RENAMES = (pb.OBJECT_INDEX, pb.OBJECT_TRIGGER, pb.OBJECT_POLICY, pb.OBJECT_RULE)
_LARGE = 4_000  # bytes of one statement
_LONGEST_CHAIN, _DEEPEST = 4_000, 1_000  # tokens and brackets that squawk, which takes their square, reads in good time
# In these squawk could report no more than a column that is assigned twice, which PostgreSQL reports itself.
_DATA_AND_CODE = frozenset(
    (
        *("CallStmt", "CommentStmt", "CopyStmt", "CreateFunctionStmt", "CreatePolicyStmt", "CreateTableAsStmt"),
        *("CreateTrigStmt", "DeleteStmt", "DoStmt", "ExecuteStmt", "InsertStmt", "MergeStmt", "PrepareStmt"),
        *("RuleStmt", "SelectStmt", "ViewStmt"),
    )
)
_TO_BLANKS = bytes(10 if byte == 10 else 32 for byte in range(256))  # all but line ends
_MORE_EXACT = frozenset(
    {"adding-foreign-key-constraint", "disallowed-unique-constraint", "adding-serial-primary-key-field"}
)


@dataclass(frozen=True)
class LintedFile:
    """A file to find hazards in. `text` is as `read_text` returns it; `last_unit` is the byte where the last of several
    units begins; `enum_values` are the bytes of strings that may be values of an enum before they can be used."""

    path: str
    text: bytes
    statements: Sequence[Statement]
    in_transaction: bool
    last_unit: int = 0
    enum_values: Sequence[int] = ()


@dataclass(frozen=True)
class Allow:
    """A file's option that accepts a rule's hazards, and its line (0: none in particular)."""

    rule: str
    reason: str
    file: str = ""
    line: int = 0


def find_hazards(files: Sequence[LintedFile]) -> dict[str, list[Hazard]]:
    """The hazards of each file, by its path, in the order of the text.

    Raises:
        InvalidInput: squawk is missing or fails.
    """
    found: dict[str, list[Hazard]] = {}
    for file, (violations, unread) in zip(files, _lint(files), strict=True):
        lines = Lines(file.text)
        hazards = [*_from_squawk(file, lines, violations), *_unread(file, lines, unread), *_own(file, lines)]
        found[file.path] = sorted(hazards, key=lambda hazard: (hazard.line, hazard.column, hazard.rule))
    return found


# ---- allows ---------------------------------------------------------------------------------------------------------


def parse_allow(value: str, file: str = "", line: int = 0) -> Allow:
    """The value of `-- migration: allow = `: a rule and why its hazards are accepted.

    Raises:
        ValueError: the reason is missing, or the rule is unknown or can't be accepted. Its message says what to write.
    """
    match = _ALLOW.fullmatch(value.strip())
    if match is None:
        raise ValueError("allow needs a rule and a reason; write `-- migration: allow = RULE because REASON`")
    rule, reason = match["rule"], " ".join((match["reason"] or "").split())
    if left_out := rule not in RULES and squawk.RULES.get(rule):
        raise ValueError(
            f"there is nothing to allow: `{rule}` is never reported here ({left_out.reason}); take the line out"
        )
    if rule not in RULES:
        near = get_close_matches(rule.lower(), sorted(RULES), n=3, cutoff=0.5)
        known = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(RULES))}"
        raise ValueError(f"there is no rule `{rule}`; {known}")
    if rule in REFUSED:
        raise ValueError(f"`{rule}` can't be allowed ({OWN_RULES[rule]}); change the statement")
    if not re.search(r"\w", reason):
        raise ValueError(
            f"allow needs a reason; write `-- migration: allow = {rule} because ...` and say why it does no harm here"
        )
    return Allow(rule, reason, file, line)


def apply_allows(hazards: Iterable[Hazard], allows: Sequence[Allow]) -> tuple[list[Hazard], list[Allow]]:
    """All hazards, those that an allow covers with its reason; and the allows that cover none.

    An allow covers every hazard of its rule in its file, or in any file if it names none.
    """
    result: list[Hazard] = []
    reasons: dict[tuple[str, str], str] = {}  # by rule and file, as a search for each hazard would take their square
    for allow in allows:
        reasons.setdefault((allow.rule, allow.file), allow.reason)
    used: set[tuple[str, str]] = set()
    for hazard in hazards:
        covering = [key for key in ((hazard.rule, hazard.file), (hazard.rule, "")) if key in reasons]
        if covering and not hazard.refused:
            used.update(covering)
            hazard = replace(hazard, allowed_because=reasons[covering[0]])
        result.append(hazard)
    return result, [allow for allow in allows if (allow.rule, allow.file) not in used]


def unused(allow: Allow) -> Problem:
    reason = f"`allow = {allow.rule}` no longer applies: the file has no such hazard; take the line out"
    return Problem(allow.file, reason, allow.line, 1 if allow.line else 0)


# ---- rules of our own -----------------------------------------------------------------------------------------------


def _own(file: LintedFile, lines: Lines) -> Iterator[Hazard]:
    for literals in password_literals(file.text, file.statements):
        start = literals[0][0]
        yield _hazard(
            file,
            lines,
            start,
            PASSWORD,
            "A password stands in the file, and so in the repository, the history and the server's log.",
            "Create the role without one and set it from where secrets are kept; change this one, it is known.",
        )
    for start in file.enum_values:
        message = "If this is the enum's value that the same transaction adds, PostgreSQL refuses to use it there."
        help_text = (
            "Use it in the next file, or write `-- migration: transaction = off` at the top. Where the same "
            "transaction has created the type, PostgreSQL 17 and later allow it."
        )
        yield _hazard(file, lines, start, ENUM_VALUE, message, help_text)
    for statement in file.statements:
        state = session_state(statement) if statement.start < file.last_unit else None
        if state:
            message = f"This makes {state}, which is gone if a later part fails and the next run goes on there."
            help_text = "Use it up within its own BEGIN ... COMMIT, or make a plain table that the last part drops."
            yield _hazard(file, lines, statement.start, SESSION_STATE, message, help_text)
        if statement.kind == "IndexStmt" and statement.node.concurrent and not statement.node.idxname:
            message = "CONCURRENTLY without a name: tried again, it would make another index each time."
            help_text = "Give the index a name: CREATE INDEX CONCURRENTLY name ON ..."
            yield _hazard(file, lines, statement.start, NAMELESS, message, help_text)


def _unread(file: LintedFile, lines: Lines, numbers: Iterable[int]) -> Iterator[Hazard]:
    for number in numbers:
        message = "squawk can't read this statement, so nobody looked for hazards in it."
        help_text = "Look yourself, then write `-- migration: allow = unread-statement because ...`."
        yield _hazard(file, lines, file.statements[number].start, UNREAD, message, help_text)


def _hazard(file: LintedFile, lines: Lines, offset: int, rule: str, message: str, help_text: str) -> Hazard:
    return Hazard(rule, file.path, *lines.position(offset), message, help_text, refused=rule in REFUSED)


# ---- squawk's rules -------------------------------------------------------------------------------------------------


def _lint(files: Sequence[LintedFile]) -> list[tuple[list[Violation], list[int]]]:
    """squawk's violations in each file, and the numbers of the statements it can't read.

    It reports nothing for a file in which it can't read one statement. Such a file is read again without those.
    """
    # Those so large and so nested that squawk would crash or take minutes are never given to it.
    unread = [[number for number, each in enumerate(file.statements) if _is_too_large(each)] for file in files]
    texts = [_squawk_text(file, numbers) for file, numbers in zip(files, unread, strict=True)]
    violations = squawk.lint([(text, file.in_transaction) for text, file in zip(texts, files, strict=True)])
    broken = [number for number, found in enumerate(violations) if _is_broken(found)]
    for number, numbers in zip(broken, _unreadable([(files[n], texts[n]) for n in broken]), strict=True):
        unread[number] = sorted({*unread[number], *numbers})
    rest = [(_without(texts[n], files[n].statements, unread[n]), files[n].in_transaction) for n in broken]
    for number, found in zip(broken, squawk.lint(rest), strict=True):
        violations[number] = [] if _is_broken(found) else found
        unread[number] = list(range(len(files[number].statements))) if _is_broken(found) else unread[number]
    return list(zip(violations, unread, strict=True))


def _is_too_large(statement: Statement) -> bool:
    if len(statement.text) <= _LARGE or statement.kind in _DATA_AND_CODE:
        return False
    return longest_chain(statement.text) > _LONGEST_CHAIN or nesting(statement.text) > _DEEPEST


def _squawk_text(file: LintedFile, left_out: Iterable[int]) -> bytes:
    """The text that squawk reads: no passwords, no statement that is too large for it, no large data and code."""
    large = [
        number
        for number, statement in enumerate(file.statements)
        if len(statement.text) > _LARGE and statement.kind in _DATA_AND_CODE
    ]
    hidden = hide_passwords(file.text, file.statements)
    return _without(hidden, file.statements, [*large, *left_out])


def _is_broken(violations: Sequence[Violation]) -> bool:
    return any(violation.rule == squawk.SYNTAX_ERROR for violation in violations)


def _unreadable(broken: Sequence[tuple[LintedFile, bytes]]) -> list[list[int]]:
    """The numbers of each file's statements that squawk can't read, found by giving it each alone."""
    alone = [(text[s.start : s.end] + b";", file.in_transaction) for file, text in broken for s in file.statements]
    verdicts = iter([_is_broken(found) for found in squawk.lint(alone)])
    return [[number for number, _ in enumerate(file.statements) if next(verdicts)] for file, _ in broken]


def _without(text: bytes, statements: Sequence[Statement], numbers: Iterable[int]) -> bytes:
    """The text with blanks for these statements, so that all other positions stay the same."""
    blanked = bytearray(text)
    for number in numbers:
        statement = statements[number]
        blanked[statement.start : statement.end] = text[statement.start : statement.end].translate(_TO_BLANKS)
    return bytes(blanked)


def _from_squawk(file: LintedFile, lines: Lines, violations: Sequence[Violation]) -> Iterator[Hazard]:
    if not violations:
        return
    starts = [statement.start for statement in file.statements]
    harmless = on_new_objects(file.statements)
    by_statement: dict[int, list[Violation]] = {}
    for violation in violations:
        by_statement.setdefault(bisect_right(starts, violation.start) - 1, []).append(violation)
    for number, found in by_statement.items():
        exact = [violation for violation in found if violation.rule in _MORE_EXACT]
        for violation in found:
            if number < 0 or not (number in harmless or _is_moot(file.statements[number], violation, exact)):
                yield _hazard(file, lines, violation.start, violation.rule, violation.message, violation.help)


def _is_moot(statement: Statement, violation: Violation, exact: Sequence[Violation]) -> bool:
    """Whether squawk reports more than is true, or reports it twice. `exact` are the violations of this statement by
    the more exact rules, in the order of the text."""
    if violation.rule == "renaming-object" and statement.kind == "RenameStmt":
        return statement.node.rename_type in _HARMLESS_RENAMES
    if violation.rule == "ban-alter-domain-with-add-constraint" and statement.kind == "AlterDomainStmt":
        return bool(getattr(statement.node, "def").constraint.skip_validation)  # NOT VALID: nothing is scanned
    if violation.rule == "constraint-missing-not-valid":
        first = bisect_left(exact, violation.start, key=lambda other: other.start)
        return first < len(exact) and exact[first].end <= violation.end
    return False
