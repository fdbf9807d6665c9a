"""What of PostgreSQL's words may be told: no value of a row.

A message can hold one in quotes, behind a colon, or anywhere in the words of an exception that SQL raises itself. Names
can't be told from values there (`'ana'::regclass`, dynamic SQL). So of a file's statement only those names are told
that stand in the file or that the server itself sends as names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

VALUE_CLASSES = ("22", "23")  # data exceptions and integrity violations: their messages carry row values
NOT_SHOWN = "an exception was raised whose words may hold values and aren't shown; PostgreSQL's log has them"
_RAISED_STATES = ("P0001", "P0004", "38", "39", "45", "HV")  # RAISE, ASSERT, other languages, foreign data
_RAISED_IN = ("exec_stmt_raise", "exec_stmt_assert")  # PL/pgSQL's RAISE and ASSERT, whatever SQLSTATE they were given
_LANGUAGES = ("plv8", "plpy_", "plperl", "pltcl")  # how the files of the server are named that pass exceptions on
_FIXED_WORDS = ("2201B",)  # what is wrong with a regular expression is told in words of PostgreSQL's own
_WITH_NUMBERS = (*VALUE_CLASSES, "XX")  # those of extensions, such as PostGIS, are internal errors
_NAMING = ("42",)  # whose hints name what the catalog has: perhaps you meant to reference the column "users.email"
_MARKS = '"\u00ab\u00bb\u2018-\u201f\u2039\u203a\u300c-\u300f'
_QUOTES = re.compile(f"[{_MARKS}]")
_QUOTED = re.compile(f"[{_MARKS}]([^{_MARKS}]+)[{_MARKS}]")
_NUMBER = re.compile(r"(?<![\w.])(?<!\w\()[-+]?\d[\w.:+/-]*")  # but those of a type: varchar(10)
_COLON = re.compile("[:\uff1a] ?")
_REG_TYPES = re.compile(
    r"\breg(?:class|collation|config|dictionary|namespace|oper|operator|proc|procedure|role|type)\b", re.IGNORECASE
)
_AROUND = ".,:;!?()[]{}<>'\"`%=|"  # what stands around words, in a message as in a file's strings
_BETWEEN = re.compile(r"[\s'\"%$(),;|=]+")


def is_raised(sqlstate: str, function: str | None, file: str | None) -> bool:
    """Whether SQL, and not the server itself, chose the words of an error.

    Args:
        function, file: of the server's own source, where the error was reported, as the server says.
    """
    by_language = (file or "").rpartition("/")[2].startswith(_LANGUAGES)
    return function in _RAISED_IN or by_language or sqlstate.startswith(_RAISED_STATES)


def words_of_file(message: str, text: str) -> str:
    """A message's words that stand in a text, and one `?` for all between two of them; empty if none stands there."""
    known = {word.strip(_AROUND) for word in (*text.split(), *_BETWEEN.split(text))}
    told: list[str] = []
    for word in message.split():
        bare = word.strip(_AROUND)
        if bare and bare in known:
            told.append(word)
        elif told[-1:] != ["?"]:
            told.append("?")
    return " ".join(told) if any(word != "?" for word in told) else ""


def without_values(message: str, sqlstate: str, names: Collection[str], text: str | None) -> str:
    """A message in the server's own words.

    Args:
        names: of objects, as the server has sent them beside its message.
        text: the file that it is about; None of a statement of ours, whose names are ours.
    """
    kept = {f'"{name}"' for name in names}
    if sqlstate.startswith(VALUE_CLASSES):
        shown = _cut(_parts(message, kept, _hide), sqlstate)
    elif text is None:
        shown = message
    else:
        kept |= {match[0] for match in _QUOTED.finditer(message) if _stands_in(match[1].strip(), text)}
        shown = _beside_reg_types(_parts(message, kept, _hide), text)
    return _parts(shown, kept, _without_numbers) if sqlstate.startswith(_WITH_NUMBERS) else shown


def hint_without_values(hint: str, sqlstate: str, text: str | None) -> str:
    """A hint of the server's; those about names keep them, as they are the catalog's."""
    return hint if sqlstate.startswith(_NAMING) else _without_numbers(without_values(hint, "", (), text or ""))


def _cut(message: str, sqlstate: str) -> str:
    """Hides what follows a colon: `date field value out of range: 1987-02-31`. A value may hold a colon itself, so all
    behind the first one is hidden."""
    colon = _COLON.search(message)
    if colon is None or sqlstate in _FIXED_WORDS or message[colon.end() :] in ("", '"..."'):
        return message
    return f"{message[: colon.start()]}: ..."


def _beside_reg_types(message: str, text: str) -> str:
    """The text of a name that is no name comes unquoted: `improper relation name (too many dotted names): a.b.c.d`."""
    head, colon, tail = message.partition(": ")
    return f"{head}: {words_of_file(tail, text) or '...'}" if colon and _REG_TYPES.search(text) else message


def _without_numbers(text: str) -> str:
    """Numbers may be values, too: `character with byte sequence 0xe2 0x82 0xac in encoding "UTF8" has no ...`."""
    return _NUMBER.sub("?", text)


def _stands_in(name: str, text: str) -> bool:
    """Whether a name, or each part of one with dots, stands in a text as a word, in large or small letters."""

    def stands(word: str) -> bool:
        return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))

    return stands(name) or ("." in name and all(part and stands(part) for part in name.split(".")))


def _parts(message: str, kept: Collection[str], change: Callable[[str], str]) -> str:
    """A message whose parts between what is kept are changed."""
    known = sorted(kept, key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, known))})", message) if known else [message]
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))


def _hide(text: str) -> str:
    """Hides all from the first quotation mark to the last, whatever language it is in.

    A value may hold quotation marks and line ends itself, so that where it begins and ends can't be told more exactly.
    """
    marks = [match.start() for match in _QUOTES.finditer(text)]
    if not marks:
        return text
    end = marks[-1] + 1 if len(marks) > 1 else len(text)
    return f'{text[: marks[0]]}"..."{text[end:]}'
