"""What may hurt when a file is deployed: squawk's rules that apply under our runner, and rules of our own.

A hazard is accepted, with a reason, by a line at the top of its file: `-- migration: allow = RULE because REASON`.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any

import postgast
from postgast import pg_query_pb2 as pb

from compiler import squawk
from compiler.sql import Statement
from compiler.squawk import Finding
from functions.migrator.files import Problem, position

PASSWORD = "password-literal"
NAMELESS = "concurrently-without-name"
UNREAD = "unread-statement"
OWN_RULES: Mapping[str, str] = {
    PASSWORD: "a password in the repository, the package, the history and the server's log",
    NAMELESS: "tried again, it would make another index each time: _idx, _idx1, _idx2",
    UNREAD: "PostgreSQL can read the statement but squawk can't, so nobody looked for hazards in it",
}
REFUSED = frozenset({NAMELESS})  # wrong in any case: no reason makes it right
RULES = squawk.KEPT | OWN_RULES.keys()

_ALLOW = re.compile(r"(?P<rule>\S+)(?:\s+because\b\s*(?P<reason>.*))?", re.IGNORECASE | re.DOTALL)
_NAMELESS_INDEX = re.compile(rb"\bconcurrently\b", re.IGNORECASE)
_HARMLESS_RENAMES = (pb.OBJECT_INDEX, pb.OBJECT_TRIGGER, pb.OBJECT_POLICY, pb.OBJECT_RULE)
_MORE_EXACT = frozenset(
    {"adding-foreign-key-constraint", "disallowed-unique-constraint", "adding-serial-primary-key-field"}
)


@dataclass(frozen=True)
class Source:
    """A file to look at: its name, its text (as `read_text` gives it), its statements, and how it is run."""

    path: str
    text: bytes
    statements: Sequence[Statement]
    in_transaction: bool


@dataclass(frozen=True)
class Hazard:
    """One thing in one file that may hurt when it is deployed. Lines and columns count from 1.

    Attributes:
        message: what happens; never a text out of the file.
        help: what to write instead; may be empty.
        refused: wrong in any case, and no `allow` accepts it.
        allowed_because: the reason its file gives for accepting it, if it does.
    """

    rule: str
    file: str
    line: int
    column: int
    message: str
    help: str
    refused: bool = False
    allowed_because: str | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class Allow:
    """A file's word that it accepts a rule's hazards, and where it stands (line 0: nowhere in particular)."""

    rule: str
    reason: str
    file: str = ""
    line: int = 0


def find_hazards(files: Sequence[Source]) -> dict[str, list[Hazard]]:
    """The hazards of each file, by its path, in the order of the text.

    Raises:
        InvalidInput: squawk is missing or fails.
    """
    examined = _examine(files)
    return {
        file.path: sorted(
            [*_from_squawk(file, findings), *_unread(file, unread), *_own(file)],
            key=lambda hazard: (hazard.line, hazard.column, hazard.rule),
        )
        for file, (findings, unread) in zip(files, examined, strict=True)
    }


# ---- allows ---------------------------------------------------------------------------------------------------------


def parse_allow(value: str, file: str = "", line: int = 0) -> Allow:
    """What stands behind `-- migration: allow = `: a rule and why its hazards are accepted.

    Raises:
        ValueError: the reason is missing, or the rule is unknown or can't be accepted; says what to write.
    """
    match = _ALLOW.fullmatch(value.strip())
    if match is None:
        raise ValueError("allow needs a rule and a reason; write `-- migration: allow = RULE because REASON`")
    rule, reason = match["rule"], " ".join((match["reason"] or "").split())
    if rule not in RULES:
        raise ValueError(_why_unknown(rule))
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
    told: list[Hazard] = []
    used: set[Allow] = set()
    for hazard in hazards:
        covering = [allow for allow in allows if _covers(allow, hazard)]
        used.update(covering)
        told.append(replace(hazard, allowed_because=covering[0].reason) if covering else hazard)
    return told, [allow for allow in allows if allow not in used]


def unused(allow: Allow) -> Problem:
    """The warning about an allow that covers nothing."""
    reason = f"`allow = {allow.rule}` no longer applies: the file has no such hazard; take the line out"
    return Problem(allow.file, reason, allow.line, 1 if allow.line else 0)


def _covers(allow: Allow, hazard: Hazard) -> bool:
    return allow.rule == hazard.rule and not hazard.refused and allow.file in ("", hazard.file)


def _why_unknown(rule: str) -> str:
    left_out = squawk.RULES.get(rule)
    if left_out:
        return f"there is nothing to allow: `{rule}` is never reported here ({left_out.reason}); take the line out"
    near = get_close_matches(rule.lower(), sorted(RULES), n=3, cutoff=0.5)
    known = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(RULES))}"
    return f"there is no rule `{rule}`; {known}"


# ---- rules of our own -----------------------------------------------------------------------------------------------


def _own(file: Source) -> Iterator[Hazard]:
    for literals in _password_literals(file.text, file.statements):
        start = literals[0][0]
        yield _hazard(
            file,
            start,
            PASSWORD,
            "A password stands in the file, and so in the repository, the history and the server's log.",
            "Create the role without one and set it from where secrets are kept; change this one, it is known.",
        )
    if not _NAMELESS_INDEX.search(file.text):
        return
    for statement in file.statements:
        if statement.kind == "IndexStmt" and statement.node.concurrent and not statement.node.idxname:
            message = "CONCURRENTLY without a name: tried again, it would make another index each time."
            yield _hazard(
                file, statement.start, NAMELESS, message, "Give the index a name: CREATE INDEX CONCURRENTLY name ON ..."
            )


def _unread(file: Source, numbers: Iterable[int]) -> Iterator[Hazard]:
    for number in numbers:
        message = "squawk can't read this statement, so nobody looked for hazards in it."
        help_text = "Look yourself, then write `-- migration: allow = unread-statement because ...`."
        yield _hazard(file, file.statements[number].start, UNREAD, message, help_text)


def _hazard(file: Source, offset: int, rule: str, message: str, help_text: str) -> Hazard:
    return Hazard(rule, file.path, *position(file.text, offset), message, help_text, refused=rule in REFUSED)


# ---- passwords ------------------------------------------------------------------------------------------------------

_Span = tuple[int, int]
_MAY_HOLD_ONE = re.compile(rb"passw|pwd|://", re.IGNORECASE)
_LITERALS = ("SCONST", "USCONST")
_ROLES = ("CreateRoleStmt", "AlterRoleStmt")
_FOREIGN = (
    *("CreateUserMappingStmt", "AlterUserMappingStmt", "CreateForeignServerStmt", "AlterForeignServerStmt"),
    *("CreateFdwStmt", "AlterFdwStmt"),
)
_SUBSCRIPTIONS = ("CreateSubscriptionStmt", "AlterSubscriptionStmt")
_CODE = ("DoStmt", "CreateFunctionStmt")
_OPTIONS = (b"password", b"passwd", b"pwd", b"sslpassword")
# https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING: keywords, or an URI. A placeholder of
# format() isn't a password.
_CONNECTION = re.compile(
    rb"\b(?:password|sslpassword)\s*=\s*(?!''|%(?:\d+\$)?[sLI])\S|://[^:/@\s]*:(?!%(?:\d+\$)?[sLI]@)[^@/\s]+@",
    re.IGNORECASE,
)
_CONNECTS = re.compile(rb"\b(?:host|hostaddr|port|dbname|user|service)\s*=", re.IGNORECASE)
_PLACEHOLDER = re.compile(rb"(?:%(?:\d+\$)?[sLI]?|)")
_FORMATS = re.compile(rb"%(?:\d+\$)?[sLI]")
_TEMPLATE = re.compile(rb"\bpassword(?:\s*=\s*|\s+)'*(?P<place>%(?:(?P<number>\d{1,3})\$)?[sL])", re.IGNORECASE)
_BREAKS_OFF = re.compile(rb"\bpassword(?:\s*=\s*|\s+)'*\Z", re.IGNORECASE)
_UNSCANNABLE = re.compile(rb"\bpassword\s+(?:e|u&)?'+[^'%]", re.IGNORECASE)
_DEEPEST = 20  # strings within strings that are looked into; what is deeper is looked at as plain text
_FARTHEST = 200  # tokens from a string to what completes it
_AROUND = (b"(", b"quote_literal", b"quote_nullable")
_DOLLARS = re.compile(rb"\$[^$]*\$")


def hide_passwords(text: bytes, statements: Sequence[Statement]) -> bytes:
    """The text with each password literal made x's of the same length: what may be shown of it, as in an excerpt."""
    hidden = bytearray(text)
    for start, end in (span for spans in _password_literals(text, statements) for span in spans):
        hidden[start:end] = b"'" + re.sub(rb"[^\n]", b"x", text[start + 1 : end - 1]) + b"'"
    return bytes(hidden)


def _password_literals(text: bytes, statements: Iterable[Statement]) -> Iterator[list[_Span]]:
    """Where password literals stand, with their quotes, by statement."""
    if not _MAY_HOLD_ONE.search(text):
        return
    for statement in statements:
        if _MAY_HOLD_ONE.search(statement.text):
            spans = [(statement.start + start, statement.start + end) for start, end in _in_statement(statement)]
            if spans:
                yield spans


def _in_statement(statement: Statement) -> list[_Span]:
    text, kind = statement.text, statement.kind
    if kind in _ROLES:
        return list(_after(_scan(text), (b"password",)))
    if kind in _FOREIGN:
        return list(_after(_scan(text), _OPTIONS))
    if kind in _SUBSCRIPTIONS:
        literals = [token for token in _scan(text) if token[0] in _LITERALS]
        return [(start, end) for _, start, end, token in literals if _is_connection(_content(token), remote=True)]
    if kind in _CODE or b"dblink" in text.lower():
        return sorted(set(_in_code(text, b"dblink" in text.lower())))
    return []


_Token = tuple[str, int, int, bytes]


def _scan(text: bytes) -> list[_Token]:
    """Its tokens but comments; none if PostgreSQL's scanner can't read it (a function body in another language)."""
    try:
        found = postgast.scan(text.decode()).tokens
    except (postgast.PgQueryError, UnicodeDecodeError):
        return []
    names = postgast.pg_query_pb2.Token.Name
    every = [(names(token.token), token.start, token.end, text[token.start : token.end]) for token in found]
    return [token for token in every if not token[0].endswith("_COMMENT")]


def _after(tokens: Sequence[_Token], words: Sequence[bytes]) -> Iterator[_Span]:
    """The literals right after one of these words."""
    for before, (name, start, end, _) in pairwise(tokens):
        if name in _LITERALS and before[3].strip(b'"').lower() in words:
            yield start, end


def _in_code(text: bytes, remote: bool, depth: int = 0) -> Iterator[_Span]:
    """The literals with a password in code: its own statements, and those that it puts together out of strings.

    Args:
        remote: the code connects to another server, so that any `password=` in a string is a connection's.
        depth: how many strings it stands in.
    """
    tokens = _scan(text) if depth < _DEEPEST else []
    if not tokens and _UNSCANNABLE.search(text):
        yield 0, len(text)
    for start, end in _after(tokens, (b"password",)):
        if not _PLACEHOLDER.fullmatch(_content(text[start:end])):
            yield start, end
    for number, (name, start, end, token) in enumerate(tokens):
        if name not in _LITERALS or not _MAY_HOLD_ONE.search(token):
            continue
        opening = _DOLLARS.match(token)
        if opening:
            inner = start + opening.end()
            yield from ((inner + s, inner + e) for s, e in _in_code(_content(token), remote, depth + 1))
        elif any(_in_code(_content(token), remote, depth + 1)) or _is_connection(_content(token), remote):
            yield start, end
        yield from _completing(_content(token), tokens, number + 1)


def _is_connection(content: bytes, remote: bool) -> bool:
    found = _CONNECTION.search(content)
    return bool(found and (remote or found[0].startswith(b"://") or _CONNECTS.search(content)))


def _content(literal: bytes) -> bytes:
    opening = _DOLLARS.match(literal)
    if opening:
        return literal[opening.end() : -opening.end()]
    return literal[literal.index(b"'") + 1 : -1].replace(b"''", b"'")


def _completing(content: bytes, tokens: Sequence[_Token], after: int) -> Iterator[_Span]:
    """The literals that complete a string that ends where its password begins, or is the template of a format()."""
    if _BREAKS_OFF.search(content) and tokens[after : after + 1] and tokens[after][3] == b"||":
        yield from _literal(_arguments(tokens[after + 1 : after + _FARTHEST], b"||")[0])
    template = _TEMPLATE.search(content)
    if template:
        before = len(_FORMATS.findall(content[: template.start("place")]))
        number = int(template["number"] or before + 1)
        arguments = _arguments(tokens[after : after + _FARTHEST], b",")
        yield from _literal(arguments[number] if number < len(arguments) else [])


def _arguments(tokens: Sequence[_Token], separator: bytes) -> list[list[_Token]]:
    """The tokens up to the end of the statement or of the brackets they stand in, cut at the separator."""
    depth = 0
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        depth += {b"(": 1, b")": -1}.get(token[3], 0)
        if depth < 0 or token[3] == b";":
            break
        if token[3] == separator and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _literal(tokens: Sequence[_Token]) -> Iterator[_Span]:
    """The literal that an expression is, if it is one: bare, in brackets or quoted by quote_literal()."""
    for name, start, end, token in tokens:
        if name in _LITERALS:
            yield start, end
            return
        if token.lower() not in _AROUND:
            return


# ---- squawk's rules -------------------------------------------------------------------------------------------------


def _examine(files: Sequence[Source]) -> list[tuple[list[Finding], list[int]]]:
    """squawk's findings in each file, and the numbers of the statements it can't read.

    It says nothing of a file in which it can't read one statement. Such a file is read again without those.
    """
    texts = [hide_passwords(file.text, file.statements) for file in files]
    findings = squawk.lint([(text, file.in_transaction) for text, file in zip(texts, files, strict=True)])
    unread: list[list[int]] = [[] for _ in files]
    broken = [number for number, found in enumerate(findings) if _is_broken(found)]
    for number, numbers in zip(broken, _unreadable([(files[n], texts[n]) for n in broken]), strict=True):
        unread[number] = numbers
    rest = [(_without(texts[n], files[n].statements, unread[n]), files[n].in_transaction) for n in broken]
    for number, found in zip(broken, squawk.lint(rest), strict=True):
        findings[number] = [] if _is_broken(found) else found
        unread[number] = list(range(len(files[number].statements))) if _is_broken(found) else unread[number]
    return list(zip(findings, unread, strict=True))


def _is_broken(findings: Sequence[Finding]) -> bool:
    return any(finding.rule == squawk.SYNTAX_ERROR for finding in findings)


def _unreadable(broken: Sequence[tuple[Source, bytes]]) -> list[list[int]]:
    """The numbers of each file's statements that squawk can't read, found by giving it each alone."""
    alone = [(text[s.start : s.end] + b";", file.in_transaction) for file, text in broken for s in file.statements]
    verdicts = iter([_is_broken(found) for found in squawk.lint(alone)])
    return [[number for number, _ in enumerate(file.statements) if next(verdicts)] for file, _ in broken]


def _without(text: bytes, statements: Sequence[Statement], numbers: Iterable[int]) -> bytes:
    """The text with these statements blanked, so that all else stays where it is."""
    blanked = bytearray(text)
    for number in numbers:
        statement = statements[number]
        blanked[statement.start : statement.end] = re.sub(rb"[^\n]", b" ", text[statement.start : statement.end])
    return bytes(blanked)


def _from_squawk(file: Source, findings: Sequence[Finding]) -> Iterator[Hazard]:
    if not findings:
        return
    starts = [statement.start for statement in file.statements]
    new = _about_new_objects(file)
    for finding in findings:
        number = bisect_right(starts, finding.start) - 1
        if number < 0 or not (number in new or _is_moot(file.statements[number], finding, findings)):
            yield _hazard(file, finding.start, finding.rule, finding.message, finding.help)


def _is_moot(statement: Statement, finding: Finding, others: Iterable[Finding]) -> bool:
    """squawk says more than is so, or says it twice."""
    if finding.rule == "renaming-object" and statement.kind == "RenameStmt":
        return statement.node.rename_type in _HARMLESS_RENAMES
    if finding.rule == "ban-alter-domain-with-add-constraint" and statement.kind == "AlterDomainStmt":
        return bool(getattr(statement.node, "def").constraint.skip_validation)  # NOT VALID: nothing is scanned
    if finding.rule == "constraint-missing-not-valid":
        return any(o.rule in _MORE_EXACT and finding.start <= o.start and o.end <= finding.end for o in others)
    return False


# ---- what the file itself has made ----------------------------------------------------------------------------------

_Key = tuple[str, str, str]  # what it is, its schema, its name


@dataclass
class _Made:
    """The objects that the file has made so far: nobody else has seen them, so nothing done to them hurts.

    Attributes:
        default: the schema of names that have none. A file that sets search_path gets "", which is no other's.
    """

    default: str
    keys: set[_Key] = field(default_factory=set)

    def key(self, names: Sequence[str], kind: str = "relation") -> _Key:
        schema = names[-2] if len(names) > 1 else self.default
        return (kind, self.default if schema == "pg_temp" else schema, names[-1])

    def relation(self, node: Any) -> _Key:
        return self.key([node.schemaname, node.relname] if node.schemaname else [node.relname])


def _about_new_objects(file: Source) -> set[int]:
    """The numbers of the statements that touch only what earlier statements of the file have made."""
    made = _Made("" if b"search_path" in file.text.lower() else "public")
    found = set()
    for number, statement in enumerate(file.statements):
        touched = _touched(statement, made)
        if touched and made.keys.issuperset(touched):
            found.add(number)
        _follow(statement, made, touched)
    return found


def _touched(statement: Statement, made: _Made) -> list[_Key]:
    """The objects a statement changes, of the kinds of statements that rules speak of."""
    node = statement.node
    if statement.kind == "DropStmt":
        kind = "function" if node.remove_type in _FUNCTIONS else "relation"
        return [made.key(names, kind) for names in map(_names, node.objects) if names]
    if statement.kind == "TruncateStmt":
        return [] if node.behavior == pb.DROP_CASCADE else [made.relation(r.range_var) for r in node.relations]
    if statement.kind in ("AlterDomainStmt", "AlterEnumStmt"):
        return [made.key(_strings(node.type_name))]
    if statement.kind in ("RenameStmt", "AlterObjectSchemaStmt") and not node.HasField("relation"):
        return _renamed_object(statement, made)
    if statement.kind in _ON_A_RELATION and node.HasField("relation"):
        return [made.relation(node.relation)]
    return []


def _renamed_object(statement: Statement, made: _Made) -> list[_Key]:
    of = "rename_type" if statement.kind == "RenameStmt" else "object_type"
    kind = getattr(statement.node, of)
    names = _names(statement.node.object)
    if not names or kind not in (*_FUNCTIONS, pb.OBJECT_TYPE, pb.OBJECT_DOMAIN):
        return []
    return [made.key(names, "function" if kind in _FUNCTIONS else "relation")]


def _follow(statement: Statement, made: _Made, touched: Sequence[_Key]) -> None:
    """Take note of what the statement makes, drops, renames or moves."""
    new = _created(statement, made)
    if new:
        made.keys.add(new)
    elif statement.kind == "DropStmt":
        made.keys.difference_update(touched)
    elif statement.kind in ("RenameStmt", "AlterObjectSchemaStmt") and touched and touched[0] in made.keys:
        _move(statement, made, touched[0])


def _move(statement: Statement, made: _Made, old: _Key) -> None:
    kind, schema, name = old
    if statement.kind == "AlterObjectSchemaStmt":
        made.keys.remove(old)
        made.keys.add((kind, statement.node.newschema, name))
    elif not statement.node.subname:  # else it renames something in it, such as a column
        made.keys.remove(old)
        made.keys.add((kind, schema, statement.node.newname))


def _created(statement: Statement, made: _Made) -> _Key | None:
    """What the statement makes for certain: IF NOT EXISTS and OR REPLACE may find it there, with others using it."""
    node, kind = statement.node, statement.kind
    if kind == "IndexStmt":
        schema = made.relation(node.relation)[1]
        return None if node.if_not_exists or not node.idxname else ("relation", schema, node.idxname)
    if kind in _MAKERS:
        names = getattr(node, _MAKERS[kind])
        return made.relation(names) if hasattr(names, "relname") else made.key(_strings(names))
    if kind in ("CreateStmt", "CreateSeqStmt"):
        return None if node.if_not_exists else made.relation(node.relation if kind == "CreateStmt" else node.sequence)
    if kind == "CreateForeignTableStmt":
        return None if node.base_stmt.if_not_exists else made.relation(node.base_stmt.relation)
    if kind == "CreateTableAsStmt":
        return None if node.if_not_exists else made.relation(node.into.rel)
    if kind == "SelectStmt":
        return made.relation(node.into_clause.rel) if node.HasField("into_clause") else None
    if kind == "ViewStmt":
        return None if node.replace else made.relation(node.view)
    if kind == "CreateFunctionStmt":
        return None if node.replace else made.key(_strings(node.funcname), "function")
    return None


_FUNCTIONS = (pb.OBJECT_FUNCTION, pb.OBJECT_PROCEDURE, pb.OBJECT_ROUTINE, pb.OBJECT_AGGREGATE)
_ON_A_RELATION = frozenset({"AlterTableStmt", "IndexStmt", "ReindexStmt", "RenameStmt", "AlterObjectSchemaStmt"})
_MAKERS = {  # statements without IF NOT EXISTS and OR REPLACE, and the field that names what they make
    "CompositeTypeStmt": "typevar",
    "CreateEnumStmt": "type_name",
    "CreateRangeStmt": "type_name",
    "CreateDomainStmt": "domainname",
}


def _names(item: Any) -> list[str]:
    """The parts of a name where a statement lists objects: tables, types and functions each have their own shape."""
    if item.HasField("list"):
        return _strings(item.list.items)
    if item.HasField("type_name"):
        return _strings(item.type_name.names)
    if item.HasField("object_with_args"):
        return _strings(item.object_with_args.objname)
    return []


def _strings(nodes: Iterable[Any]) -> list[str]:
    return [node.string.sval for node in nodes]
