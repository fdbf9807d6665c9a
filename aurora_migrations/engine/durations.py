"""Spans of time as people write them: 500ms, 2s, 10min, 1h."""

from __future__ import annotations

import re

_UNITS = {"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000}
_FORM = re.compile(r"(\d{1,9})\s*(ms|s|min|h)")
_LONGEST = 2_147_483_647  # PostgreSQL keeps its timeouts in 32 bits of milliseconds


def parse_duration(text: str) -> int:
    """Milliseconds of a span such as `2s`.

    Raises:
        ValueError: the text is no such span, or is longer than PostgreSQL's timeouts can be (24 days).
    """
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a span of time; write a whole number and a unit: 500ms, 2s, 10min, 1h")
    value = int(match[1]) * _UNITS[match[2]]
    if value > _LONGEST:
        raise ValueError(f"{text!r} is longer than PostgreSQL's timeouts can be (24 days)")
    return value


def format_duration(milliseconds: float) -> str:
    """The span for people: `340 ms`, `2.5 s`, `3 min 20 s`."""
    if round(milliseconds) < 1_000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1_000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1_000), 60)
    return f"{minutes} min {seconds} s"


def write_duration(milliseconds: int) -> str:
    """The span as `parse_duration` reads it, in the largest unit in which it is a whole number: `90s`, `26min`."""
    unit = next(unit for unit, size in reversed(_UNITS.items()) if milliseconds % size == 0)
    return f"{milliseconds // _UNITS[unit]}{unit}"
