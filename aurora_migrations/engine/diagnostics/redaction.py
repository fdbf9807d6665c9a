"""Redaction: what may be shown of a SQL text and of PostgreSQL's messages. Never a password, never a value of a row.

Excerpts of a text (a line and a caret). Where words about secrets occur at all, values (strings, numbers, comments) are
replaced by dots; and nothing is shown of a text that isn't SQL, where the end of a value can't be found.

Messages. A message consists of the server's own text, of names and of values, and doesn't mark which is which. But the
place where an error comes from limits what may be a value (`Origin`), and a name that occurs in the file isn't one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container
from enum import Enum
from functools import cached_property

_SECRET = re.compile(
    r"passw|pwd|secret|crypt\s*\(|api_?key|access_?key|credential|://[^@\s]*@|encrypted"
    r"|(?:create|alter)\s+(?:role|user|group|server|subscription)\b",
    re.IGNORECASE,
)
_WIDTH, _BEFORE = 100, 60  # characters shown of a line, and how many of them before the caret at most
# This pattern, and those of messages, are compiled when they are used: few runs meet an error.
# As PostgreSQL's scanner reads them: names in double quotes stay; strings of all kinds, numbers and comments are
# values. https://www.postgresql.org/docs/current/sql-syntax-lexical.html
_TOKEN = (
    r"""(?s)(?P<name>"(?:[^"]|"")*(?:"|\Z))|(?P<comment>--[^\n]*|/\*)"""
    r"""|(?<![\w$])[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z)(?:\s*\n\s*'(?:[^'\\]|''|\\.)*(?:'|\Z))*"""
    r"""|'(?:[^']|'')*(?:'|\Z)|(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z)"""
    r"""|(?P<number>(?<![\w$])\d[\w.]*)"""
)
_COMMENT_MARKS = r"/\*|\*/"
_URL_PASSWORD = re.compile(r"(://[^:\s]*:).*", re.DOTALL)
_KEY_PASSWORD = re.compile(
    r"((?:(?:password|passwd|pwd)\s*=|--password)\s*)(?:'(?:[^'\\]|\\.)*(?:'|\Z)|\S+)", re.IGNORECASE
)


class Lines:
    """The lines of a text. Looking up positions in their order takes one pass over a long text, however many they are;
    for one before the last, it starts again."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._near = (0, 1, 0, 0)  # the last offset, its line, where that begins, the characters between

    @cached_property
    def _is_ascii(self) -> bool:
        return self._text.isascii()

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1, of a byte offset; columns count characters."""
        upto, line, start, characters = self._near
        if offset < upto:
            upto, line, start, characters = 0, 1, 0, 0
        if further := self._text.count(b"\n", upto, offset):
            line += further
            upto = start = self._text.rindex(b"\n", upto, offset) + 1
            characters = 0
        if self._is_ascii:
            characters = offset - start
        else:
            characters += len(self._text[upto:offset].decode(errors="replace"))
        self._near = (offset, line, start, characters)
        return line, characters + 1


def position(text: bytes, offset: int) -> tuple[int, int]:
    """Line and column, both from 1, of a byte offset; columns count characters. For many places, see `Lines`."""
    start = text.rfind(b"\n", 0, offset) + 1
    return text.count(b"\n", 0, offset) + 1, len(text[start:offset].decode(errors="replace")) + 1


def speaks_of_secrets(text: str | bytes) -> bool:
    """Whether a text has words that occur near passwords."""
    return bool(_SECRET.search(text if isinstance(text, str) else text.decode(errors="replace")))


def without_values(sql: str, numbers: bool = True) -> str:
    """SQL of the same length, with dots for its strings, its comments and, with `numbers`, its numbers."""

    def dotted(kind: str, value: str) -> str:
        if kind == "number" and not numbers:
            return value
        dots = re.sub(r"[^\n]", ".", value)
        return f"'{dots[1:-1]}'" if len(value) > 1 and value[0] == value[-1] == "'" else dots

    return _replaced(sql, dotted)


def without_literals(sql: str) -> str:
    """SQL in one line, with `?` for its strings and numbers and without its comments; it may be cut off anywhere."""
    return " ".join(_replaced(sql, lambda kind, _: " " if kind == "comment" else "?").split())


def without_password(text: str) -> str:
    """A user's text without passwords in URLs or `key=value` pairs, so that it can be shown."""
    before, at, rest = text.rpartition("@")  # the last: a password that isn't encoded may hold @, and : and / as well
    return _KEY_PASSWORD.sub(r"\1...", _URL_PASSWORD.sub(r"\1...", before) + at + rest)


def _replaced(sql: str, by: Callable[[str, str], str]) -> str:
    """SQL with its values (`number`, `comment`, `string`) replaced."""
    parts, at, token = [], 0, re.compile(_TOKEN)
    while match := token.search(sql, at):
        end = _comment_end(sql, match.start()) if match[0] == "/*" else match.end()
        value = sql[match.start() : end]
        kind = "number" if match["number"] else "comment" if match["comment"] else "string"
        parts += [sql[at : match.start()], value if match["name"] else by(kind, value)]
        at = end
    return "".join([*parts, sql[at:]])


def _comment_end(sql: str, start: int) -> int:
    """The end of the comment that begins here; comments can be nested."""
    depth = 0
    for mark in re.compile(_COMMENT_MARKS).finditer(sql, start):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(sql)


def pointed(text: bytes, line: int, column: int) -> str:
    """The line and a caret under the column; of a long line an extract. Empty for a line about a password."""
    lines = text.split(b"\n", line)
    whole = lines[line - 1].decode(errors="replace") if 0 < line <= len(lines) else ""
    return "" if speaks_of_secrets(whole) else _caret(whole, column)


def excerpt(text: bytes, offset: int, statement: tuple[int, int] | None, hide_values: bool = False) -> str:
    """The line of a byte offset and a caret; of a statement about secrets, or with `hide_values`, without its values.
    `statement` is the span of the statement that the offset is in, where that is known."""
    begin = text.rfind(b"\n", 0, offset) + 1
    end = text.find(b"\n", offset)
    line = text[begin : end if end >= 0 else len(text)].decode(errors="replace")
    column = len(text[begin:offset].decode(errors="replace")) + 1
    start, stop = statement or (begin, begin)
    if not hide_values and not speaks_of_secrets(line) and not speaks_of_secrets(text[start:stop]):
        return _caret(line, column)
    if statement is None:
        return ""
    before = len(text[begin:start].decode(errors="replace"))  # what precedes it on the line isn't checked
    stop += text.startswith(b";", stop)
    hidden = without_values(text[start:stop].decode(errors="replace")).split("\n")
    shown = hidden[text.count(b"\n", start, offset)] if offset >= start else ""
    return _caret(" " * before + shown, column)


def _caret(line: str, column: int) -> str:
    first = max(0, column - _BEFORE - 1)
    return f"{line[first : first + _WIDTH].replace(chr(9), ' ')}\n{' ' * (column - 1 - first)}^"


VALUE_CLASSES = ("22", "23")  # data exceptions and integrity violations: their messages carry row values
NOT_SHOWN = "an exception was raised whose words may hold values and aren't shown; PostgreSQL's log has them"


class Origin(Enum):
    """Where an error comes from, and with it what in its message may be a value of a row."""

    TEXT = "nothing: the parser's errors, and those of commands that read no rows"
    ROWS = "what is quoted, what follows a colon, and numbers: a statement of the file that reads rows"
    NAMES = "also names without quotation marks: a statement that was put together from values (EXECUTE)"
    RAISED = "any word: an exception that SQL raises itself"


# Words of PostgreSQL's messages around names that have no quotation marks. A word that isn't here is only hidden.
_SERVERS_WORDS = """
a access action active add administrator aggregate all allowed already alter ambiguous among an analyze and any
appear appears applied are argument arguments array as assign assigned assignment at attached attribute
automatically available b-tree be because been before being between bigint binary block boolean both bound but by
bytea call called can canceling cannot canonical cascade cast casts change check child class clause closed code
collation collations column columns combine command comparison composite concurrent configuration conflict
conflicting connection constant constraint constraints contain contains conversion convert could crash create
cross-database current currently cursor data database deadlock declared default defined definition denied depend
dependencies dependent depends descriptor detected determine device dictionary different directory does domain
dotted drop due duplicate during each element encoding entry enum equality event exclusion execute exist existing
exists expected explicit expression expressions extension family field file find for foreign foreign-data format
found from from-clause function functions generated group grouping has hash have identify identity immutable
implemented improper in incorrect index inherit inherited input insert inside integer into invalid is it its join
json jsonb key keys kind label lacks language large length less library limit list load loaded lock locked logical
many match matched matches matching materialized maximum maxvalue member method minvalue missing mode modifier more
multiple multirange must name named names near new no nor not not-null null number numeric object objects obtain of
on once one only open operand operator operators option options or order ordering other out output over owner
parameter parameters parent parse parser part partition partitioned path performed permission point policy
polymorphic position precision prepared privilege privileges procedure provider publication qualified query range
read read-only read/write reading recognized record reference referenced references relation relations request
required requires reserved result return returns role routine row rows rule rules run same scalar schema search
select sequence serialize server session set set-returning shared should similar size smallint source specification
specified specify statement statistics string subquery subscript such superuser support supported syntax system
table tables tablespace target template temporary terminating text than that the there this timeout to too
transaction transactions transform trigger two type types unacceptable unexpected union unique unit unnamed
unrecognized unsafe unsupported up update use used user uses using uuid valid value values variable version versus
view violates volatile was when where which window with within without wrapper write wrong yet zone
"""
_SERVERS = frozenset(_SERVERS_WORDS.split())
_SAID_BY_RAISE = ("P0001", "P0004", "38", "39", "45", "HV")  # RAISE, ASSERT, other languages, foreign data
_RAISED_IN = ("exec_stmt_raise", "exec_stmt_assert")  # PL/pgSQL's RAISE and ASSERT, whatever SQLSTATE they were given
_LANGUAGES = ("plv8", "plpy_", "plperl", "pltcl")  # names of server source files that pass exceptions on
_FIXED_WORDS = ("2201B",)  # PostgreSQL's messages about invalid regular expressions
_SIZES = ("53", "54")  # limits of the server: their numbers are sizes and counts
_MARKS = '"\u00ab\u00bb\u2018-\u201f\u2039\u203a\u300c-\u300f'
_MARK = f"([{_MARKS}])"
_NUMBER = r"(?<![\w.])(?<!\w\()[-+]?\d[\w.:+/-]*"  # but those of a type: varchar(10)
_COLON = ":(?= |$)|\uff1a"
_WORD = r"[^\s(]+\([^()]*\)\S*|\S+"  # a word, or a function with the types of its arguments
_AROUND = ".,:;!?()[]{}<>'\"`%=|"  # what surrounds words, in a message as in a file's strings
_BETWEEN = r"[\s'\"%$(),.;|=]+"
_HOLES = r"\?(?:\s+\?)+"


def is_raised(sqlstate: str, function: str | None, file: str | None) -> bool:
    """Whether SQL, and not the server itself, wrote the message of an error. `function` and `file` are those of the
    server's source, as the server reports them."""
    by_language = (file or "").rpartition("/")[2].startswith(_LANGUAGES)
    return function in _RAISED_IN or by_language or sqlstate.startswith(_SAID_BY_RAISE)


def redact(message: str, sqlstate: str, origin: Origin, text: str, names: Collection[str] = ()) -> str:
    """A message without what may be a value; empty if nothing is left.

    Args:
        text: the file that it is about: what occurs in it isn't a value of a row.
        names: of objects, as the server has sent them beside its message.
    """
    if origin is Origin.TEXT or (origin is Origin.ROWS and sqlstate in _FIXED_WORDS):
        return message
    if origin is Origin.RAISED:
        line = (message.splitlines() or [""])[0]
        shown = " ".join(_words(line, _words_of(text)).split())
        return shown if re.search(r"\w", shown) else ""
    head, quoted, tail = _in_marks(message)
    if origin is Origin.NAMES:
        names = ()  # they are as likely values as those in the message
        tokens = f"{head} {tail}".split()
        if 2 * sum(_is_known(token, _SERVERS) for token in tokens) < len(tokens):
            return condition(sqlstate)  # most words aren't PostgreSQL's, in English: nothing is known about the message
    about_values = sqlstate.startswith(VALUE_CLASSES)
    words = _SERVERS if about_values else _SERVERS | _words_of(text)

    def is_known(name: str) -> bool:
        return name in names or (not about_values and occurs_in(name.strip(), text))

    def plain(part: str) -> str:
        colon = re.search(_COLON, part)
        before, after = (part[: colon.end()], part[colon.end() :]) if colon else (part, "")
        if origin is Origin.NAMES:
            before = _words(before, words)
        elif not sqlstate.startswith(_SIZES):
            before = re.sub(_NUMBER, lambda number: number[0] if number[0] in words else "?", before)
        return before + _words(after, () if about_values else words)

    return f"{plain(head)}{_quoted(quoted, is_known, words)}{plain(tail)}"


def condition(sqlstate: str) -> str:
    """The name of a SQLSTATE in PostgreSQL's documentation: `undefined table`."""
    from psycopg.errors import lookup  # loads libpq, which commands that only read files don't need

    try:
        name = lookup(sqlstate).__name__
    except KeyError:
        return "an error whose words may hold values and aren't shown; PostgreSQL's log has them"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def _in_marks(message: str) -> tuple[str, str, str]:
    """A message in three: before the first quotation mark, up to the last one, and after it. A value may contain
    quotation marks itself: where it begins and ends within them isn't known."""
    marks = [mark.start() for mark in re.finditer(_MARK, message)]
    if not marks:
        return message, "", ""
    end = marks[-1] + 1 if len(marks) > 1 else len(message)
    return message[: marks[0]], message[marks[0] : end], message[end:]


def _quoted(part: str, is_known: Callable[[str], bool], words: Container[str]) -> str:
    """What is in quotation marks, and what is between them, as far as it is known; the rest may all be one value."""
    parts = re.split(_MARK, part)  # nothing, mark, name, mark, between, mark, name, mark, nothing
    kept = ""
    for at in range(1, len(parts) - 1, 4):
        between, name = parts[at - 1], parts[at + 1]
        if len(parts) % 4 != 1 or _words(between, words) != between:
            return f'{kept} "..."'.lstrip()
        if not is_known(name):
            return f'{kept}{between}"..."'
        kept += "".join(parts[at - 1 : at + 3])
    return kept


def _words(text: str, known: Container[str]) -> str:
    """A text with one `?` for all words in a row that aren't known."""

    def shown(token: re.Match[str]) -> str:
        return token[0] if _is_known(token[0], known) else "?:" if token[0].endswith(":") else "?"

    return re.sub(_HOLES, "?", re.sub(_WORD, shown, text))


def _is_known(token: str, known: Container[str]) -> bool:
    bare = token.strip(_AROUND)
    parts = [part for part in re.split(_BETWEEN, bare) if part]
    if not parts:  # punctuation, but no operator
        return not token.strip(".,:;()")
    return bare in known or all(part in known or part.lower() in known for part in parts)


def _words_of(text: str) -> frozenset[str]:
    """The words of a file, as written and as PostgreSQL folds them."""
    words = {word.strip(_AROUND) for word in (*text.split(), *re.split(_BETWEEN, text))}
    return frozenset(words | {word.lower() for word in words})


def occurs_in(name: str, text: str) -> bool:
    """Whether a name, or each part of one with dots, occurs in a text as a word, in upper or lower case."""

    def occurs(word: str) -> bool:
        return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))

    return occurs(name) or ("." in name and all(part and occurs(part) for part in name.split(".")))
