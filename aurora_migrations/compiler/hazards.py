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
from aurora_migrations.compiler.parser import Statement, has_column_twice, longest_and_deepest
from aurora_migrations.compiler.remedies import table_of
from aurora_migrations.compiler.secret_literals import hide_passwords, password_literals
from aurora_migrations.compiler.squawk import Violation
from aurora_migrations.compiler.transaction_units import session_state
from aurora_migrations.engine.diagnostics.redaction import Lines
from aurora_migrations.engine.rows import distinct
from aurora_migrations.engine.script import Hazard

PASSWORD = "password-literal"
UNREAD = "unread-statement"
SESSION_STATE = "session-state-between-parts"
ENUM_VALUE = "enum-value-in-its-transaction"
UNKNOWN_TABLE = "unknown-table"  # found by reading the whole folder
DOWN_LEAVES, DOWN_FAILS, ROWS = "down-leaves-objects", "down-fails", "fails-on-rows"  # found by a replay
OWN_RULES: Mapping[str, str] = {
    PASSWORD: "A password is in the repository, the package, the history and the server's log.",
    SESSION_STATE: "If a later unit fails, the next run resumes there in a new session, without this state.",
    ENUM_VALUE: "PostgreSQL refuses an enum's new value in the transaction that adds it.",
    UNREAD: "PostgreSQL can read the statement but squawk can't, so it wasn't checked for hazards.",
    UNKNOWN_TABLE: "No earlier file creates the table: one creates a similar name, or nothing else could have made it.",
    DOWN_LEAVES: "After the migration and its down file, the schema isn't what it was before.",
    DOWN_FAILS: "The down file fails right after its migration.",
    ROWS: "The statement fails on tables that hold certain rows.",
}
REPLAYED = frozenset({DOWN_LEAVES, DOWN_FAILS, ROWS})
OF_FOLDER = REPLAYED | {UNKNOWN_TABLE}  # what one file alone doesn't show
RULES = squawk.KEPT | OWN_RULES.keys()

_ALLOW = re.compile(r"(?P<rule>\S+)(?:\s+because\b\s*(?P<reason>.*))?", re.IGNORECASE | re.DOTALL)
_HARMLESS_RENAMES = (pb.OBJECT_INDEX, pb.OBJECT_TRIGGER, pb.OBJECT_POLICY, pb.OBJECT_RULE)
_ONLY_CREATING = frozenset({"CommentStmt", "CreateEnumStmt", "CreateExtensionStmt", "CreateSeqStmt", "CreateStmt"})
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


@dataclass(slots=True)
class LintedFile:
    """A file to find hazards in. `text` is as `read_text` returns it; `last_unit` is the byte where the last of several
    units begins; `enum_values` are the bytes of strings that may be values of an enum before they can be used."""

    path: str
    text: bytes
    statements: Sequence[Statement]
    in_transaction: bool
    last_unit: int = 0
    enum_values: Sequence[int] = ()
    on_new: frozenset[int] = frozenset()  # the numbers of statements that change only what the file has created


@dataclass(frozen=True)
class Allow:
    """A file's option that accepts a rule's hazards, and its line."""

    rule: str
    reason: str
    line: int


def find_hazards(files: Sequence[LintedFile]) -> dict[str, list[Hazard]]:
    """The hazards of each file, by its path, in the order of the text.

    Raises:
        InvalidInput: squawk is missing or fails.
    """
    found: dict[str, list[Hazard]] = {}
    for file, (violations, unread) in zip(files, _lint(files), strict=True):
        lines = Lines(file.text)  # which reads the text when the first position is needed
        hazards = [*_from_squawk(file, lines, violations), *_own(file, lines)]
        for number in unread:
            message = "squawk can't read this statement, so it wasn't checked for hazards."
            help_text = "Look yourself, then write `-- migration: allow = unread-statement because ...`."
            hazards.append(_hazard(file, lines, file.statements[number].start, UNREAD, message, help_text))
        found[file.path] = sorted(hazards, key=lambda hazard: (hazard.line, hazard.column, hazard.rule))
    return found


# ---- allows ---------------------------------------------------------------------------------------------------------


def parse_allow(value: str, line: int) -> Allow:
    """The value of `-- migration: allow = `: a rule and why its hazards are accepted.

    Raises:
        ValueError: the reason is missing, or the rule is unknown. Its message shows what to write.
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
    if not re.search(r"\w", reason):
        raise ValueError(
            f"allow needs a reason; write `-- migration: allow = {rule} because ...` and write why it does no harm here"
        )
    return Allow(rule, reason, line)


def apply_allows(hazards: Iterable[Hazard], allows: Sequence[Allow]) -> tuple[list[Hazard], list[Allow]]:
    """A file's hazards, those that one of its allows covers with its reason; and the allows that cover none."""
    reasons: dict[str, str] = {}
    for allow in allows:
        reasons.setdefault(allow.rule, allow.reason)
    result: list[Hazard] = []
    used: set[str] = set()
    for hazard in hazards:
        if hazard.rule in reasons:
            used.add(hazard.rule)
            hazard = replace(hazard, allowed_because=reasons[hazard.rule])
        result.append(hazard)
    return result, [allow for allow in allows if allow.rule not in used]


# ---- rules of our own -----------------------------------------------------------------------------------------------


def _own(file: LintedFile, lines: Lines) -> Iterator[Hazard]:
    for literals in password_literals(file.text, file.statements):
        message = "A password is in the file, and so in the repository, the history and the server's log."
        help_text = "Create the role without one and set it from where secrets are kept; change this one, it is known."
        yield _hazard(file, lines, literals[0][0], PASSWORD, message, help_text)
    for start in file.enum_values:
        message = "If this is the enum's value that the same transaction adds, PostgreSQL refuses to use it there."
        help_text = (
            "Use it in the next file, or write `-- migration: transaction = off` at the top. Where the same "
            "transaction has created the type, PostgreSQL 17 and later allow it."
        )
        yield _hazard(file, lines, start, ENUM_VALUE, message, help_text)
    for statement in file.statements if file.last_unit else ():
        state = session_state(statement) if statement.start < file.last_unit else None
        if state:
            message = f"This makes {state}, which is gone if a later unit fails and the next run resumes there."
            help_text = "Use it up within its own BEGIN ... COMMIT, or create a plain table that the last unit drops."
            yield _hazard(file, lines, statement.start, SESSION_STATE, message, help_text)


def _hazard(file: LintedFile, lines: Lines, offset: int, rule: str, message: str, help_text: str) -> Hazard:
    return Hazard(rule, file.path, *lines.position(offset), message, help_text)


# ---- squawk's rules -------------------------------------------------------------------------------------------------


def _lint(files: Sequence[LintedFile]) -> list[tuple[list[Violation], list[int]]]:
    """squawk's violations in each file, and the numbers of the statements it can't read.

    It reports nothing for a file in which it can't read one statement. Such a file is read again without those.
    """
    texts, unread = [b""] * len(files), list[list[int]]([] for _ in files)
    wanted = [number for number, file in enumerate(files) if not _is_safe(file)]
    for each in wanted:
        file = files[each]
        # It reads no passwords, no large data and code, and nothing so nested that it would crash or take minutes.
        left_out, nested = list[int](), unread[each]
        for number, statement in enumerate(file.statements):
            if statement.end - statement.start <= _LARGE:
                continue
            if statement.kind in _DATA_AND_CODE:
                left_out.append(number)
            else:
                chain, depth = longest_and_deepest(statement.text)
                if chain > _LONGEST_CHAIN or depth > _DEEPEST:
                    nested.append(number)
        texts[each] = _without(hide_passwords(file.text, file.statements), file.statements, [*left_out, *nested])
    violations: list[list[Violation]] = [[] for _ in files]
    for number, found in zip(wanted, squawk.lint([(texts[n], files[n].in_transaction) for n in wanted]), strict=True):
        violations[number] = found
    broken = [number for number, found in enumerate(violations) if _is_broken(found)]
    # Those that it can't read are found by giving it each statement alone.
    alone = [(texts[n][s.start : s.end] + b";", files[n].in_transaction) for n in broken for s in files[n].statements]
    verdicts = iter([_is_broken(found) for found in squawk.lint(alone)])
    for number in broken:
        unread[number] = [
            each for each, _ in enumerate(files[number].statements) if next(verdicts) or each in unread[number]
        ]
    rest = [(_without(texts[n], files[n].statements, unread[n]), files[n].in_transaction) for n in broken]
    for number, found in zip(broken, squawk.lint(rest), strict=True):
        violations[number] = [] if _is_broken(found) else found
        unread[number] = list(range(len(files[number].statements))) if _is_broken(found) else unread[number]
    return list(zip(violations, unread, strict=True))


def _is_safe(file: LintedFile) -> bool:
    """Whether none of squawk's rules can apply to a file, so that it needn't be started: it only creates, and changes
    only what it has created."""
    return all(
        number in file.on_new or statement.kind in _ONLY_CREATING or _is_plain_insert(statement)
        for number, statement in distinct(file.statements)
    )


def _is_plain_insert(statement: Statement) -> bool:
    """Whether it is an INSERT of values into different columns: one with ON CONFLICT, WITH or a query may hold an
    UPDATE."""
    if statement.kind != "InsertStmt":
        return False
    node = statement.node
    query = node.select_stmt.select_stmt
    has_query = query.from_clause or query.target_list or query.HasField("larg")
    is_plain = not (node.HasField("on_conflict_clause") or node.HasField("with_clause") or has_query)
    return is_plain and not has_column_twice(node)


def _is_broken(violations: Sequence[Violation]) -> bool:
    return any(violation.rule == squawk.SYNTAX_ERROR for violation in violations)


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
    by_statement: dict[int, list[Violation]] = {}
    for violation in violations:
        by_statement.setdefault(bisect_right(starts, violation.start) - 1, []).append(violation)
    for number, found in by_statement.items():
        exact = [violation for violation in found if violation.rule in _MORE_EXACT]
        for violation in found:
            if number < 0 or not (number in file.on_new or _is_moot(file.statements[number], violation, exact)):
                rule = squawk.RULES[violation.rule]
                message = rule.reason.format(table=table_of(file.statements[max(0, number)]))
                yield _hazard(file, lines, violation.start, violation.rule, message, rule.help)


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
