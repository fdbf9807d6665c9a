"""Takes typed values out of an object of cdk.json, and says of each mistake which key of which environment it is."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from functions.migrator.durations import parse_duration


class SettingsError(Exception):
    """A mistake in cdk.json: what is wrong and what may stand there, with its key and environment."""


@dataclass(frozen=True)
class Reference:
    """A value, or where CloudFormation finds it: another stack's export, or a parameter of the parameter store."""

    kind: Literal["value", "export", "parameter"]
    text: str


class Reader:
    """One object of an environment's settings. Every key that was read is known; `finish` refuses the rest."""

    def __init__(self, environment: str, path: str, data: Any) -> None:
        """`path` is where the object stands, such as `network`; empty for the environment itself."""
        self._environment = environment
        self._path = path
        self._known: list[str] = []
        if not isinstance(data, Mapping):
            raise SettingsError(f"{self._place()} must be an object, and is {_shown(data)}.")
        self._data = data

    def wrong(self, key: str, what: str) -> SettingsError:
        """The error for a key."""
        return SettingsError(f"{self._place(key)} {what}.")

    def finish(self) -> None:
        """Refuses keys that nothing has asked for."""
        unknown = [key for key in self._data if key not in self._known]
        if unknown:
            raise self.wrong(unknown[0], f"is unknown; known there are: {', '.join(self._known)}")

    def peek(self, key: str) -> Any:
        """The raw value, None if there is none."""
        return self._data.get(key)

    def drop(self, key: str) -> None:
        """Counts a key as read."""
        self._known.append(key)

    def inner(self, key: str, *, optional: bool = False) -> Reader:
        """The object under a key."""
        path = f"{self._path}.{key}" if self._path else key
        return Reader(self._environment, path, self._take(key, {} if optional else _MISSING))

    def text(self, key: str, pattern: str, what: str, default: Any = None) -> str:
        """A text that fits; `what` is what it should be."""
        return self._fitting(key, self._take(key, _MISSING if default is None else default), pattern, what)

    def optional_text(self, key: str, pattern: str, what: str) -> str | None:
        """A text that fits, or None where the key is missing."""
        value = self._take(key, None)
        return None if value is None else self._fitting(key, value, pattern, what)

    def texts(self, key: str, pattern: re.Pattern[str], what: str, least: int = 0) -> tuple[str, ...]:
        """A list of texts that fit, at least so many."""
        values = self._list(key, self._take(key, _MISSING if least else []), least)
        return tuple(self._fitting(key, value, pattern.pattern, what) for value in values)

    def choice(self, key: str, allowed: Sequence[str], default: str) -> str:
        """One of some words."""
        value = self._take(key, default)
        if value not in allowed:
            raise self.wrong(key, f"must be one of {', '.join(allowed)}, and is {_shown(value)}")
        return str(value)

    def choices(self, key: str, allowed: Sequence[str], default: Sequence[str]) -> tuple[str, ...]:
        """Some of some words, at least one."""
        values = self._list(key, self._take(key, list(default)), 1)
        for value in values:
            if value not in allowed:
                raise self.wrong(key, f"may hold {', '.join(allowed)}, and holds {_shown(value)}")
        return tuple(values)

    def number(self, key: str, default: int, allowed: Collection[int]) -> int:
        """A whole number among those allowed."""
        value = self._take(key, default)
        if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
            return value
        raise self.wrong(key, f"must be {_numbers(allowed)}, and is {_shown(value)}")

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, f"must be true or false, and is {_shown(value)}")
        return value

    def duration(self, key: str, default: int, least: int = 1) -> int:
        """A time such as `2s` or `10min`, in milliseconds, at least so many."""
        value = self._take(key, default)
        if key not in self._data:
            return default
        try:
            milliseconds = parse_duration(value) if isinstance(value, str) else -1
        except ValueError as error:
            raise self.wrong(key, f"can't be understood: {error}") from error
        if milliseconds < least:
            raise self.wrong(key, f'must be a time such as "2s" or "10min", and is {_shown(value)}')
        return milliseconds

    def reference(self, key: str, pattern: str, what: str) -> Reference:
        """A value that fits, or where it is found."""
        return self._reference(key, self._take(key, _MISSING, what), pattern, what)

    def number_reference(self, key: str, default: int, allowed: Collection[int]) -> Reference:
        """A whole number among those allowed, or where it is found."""
        value = self._take(key, default)
        if isinstance(value, Mapping):
            return self._reference(key, value, "", _numbers(allowed))
        return Reference("value", str(self.number(key, default, allowed)))

    def optional_reference(self, key: str, pattern: str, what: str) -> Reference | None:
        """The same, or None where the key is missing."""
        value = self._take(key, None)
        return None if value is None else self._reference(key, value, pattern, what)

    def references(self, key: str, pattern: str, what: str) -> tuple[Reference, ...]:
        """A list of such, at least one."""
        values = self._list(key, self._take(key, _MISSING, f"a list, each {what}"), 1)
        return tuple(self._reference(key, value, pattern, what) for value in values)

    def _take(self, key: str, default: Any, what: str = "") -> Any:
        self._known.append(key)
        value = self._data.get(key, default)
        if value is _MISSING:
            raise self.wrong(key, f"is missing{f': {what}' if what else ''}")
        return value

    def _list(self, key: str, value: Any, least: int) -> list[Any]:
        if not isinstance(value, list) or len(value) < least:
            raise self.wrong(key, f"must be a list{' of at least one' if least else ''}, and is {_shown(value)}")
        self.refuse_twice(key, value)
        return value

    def refuse_twice(self, key: str, values: Sequence[Any]) -> None:
        """What CloudFormation or a service would refuse, or do twice."""
        for number, value in enumerate(values):
            if value in values[:number]:
                raise self.wrong(key, f"holds {_shown(value)} twice; each may stand there once")

    def _fitting(self, key: str, value: Any, pattern: str, what: str) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise self.wrong(key, f"must be {what}, and is {_shown(value)}")
        return value

    def _reference(self, key: str, value: Any, pattern: str, what: str) -> Reference:
        if isinstance(value, str):
            return Reference("value", self._fitting(key, value, pattern, what))
        if isinstance(value, Mapping) and len(value) == 1:
            ((kind, text),) = value.items()
            if kind in _NAMES and isinstance(text, str):
                return self._named(key, kind, text)
        forms = '{"export": "NAME"} or {"parameter": "/NAME"}'
        raise self.wrong(key, f"must be {what}, or {forms}, and is {_shown(value)}")

    def _named(self, key: str, kind: Literal["export", "parameter"], text: str) -> Reference:
        pattern, what = _NAMES[kind]
        if not re.fullmatch(pattern, text):
            raise self.wrong(key, f"must name {what}, and names {_shown(text)}")
        return Reference(kind, text)

    def _place(self, key: str = "") -> str:
        path = ".".join(part for part in (self._path, key) if part)
        return f"Environment {self._environment!r} in cdk.json: {f'`{path}`' if path else 'it'}"


_MISSING = object()
# What CloudFormation and the parameter store allow for names.
_NAMES = {
    "export": (r"[A-Za-z0-9:-]{1,255}", "an export (letters, digits, colons, hyphens)"),
    "parameter": (
        r"(?:/[A-Za-z0-9_.-]+){1,15}|[A-Za-z0-9_.-]+",
        "a parameter (letters, digits, `_.-`; a path begins with a slash)",
    ),
}


def _shown(value: Any) -> str:
    return "missing" if value is _MISSING else repr(value)[:80]


def _numbers(allowed: Collection[int]) -> str:
    if isinstance(allowed, range):
        return f"a whole number from {allowed[0]} to {allowed[-1]}"
    return f"one of {', '.join(map(str, allowed))}"
