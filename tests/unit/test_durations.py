"""Spans of time, as people write and read them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.migrator.durations import format_duration, parse_duration

WRITTEN = [
    ("0ms", 0),
    ("1ms", 1),
    ("500ms", 500),
    ("2s", 2_000),
    ("2 s", 2_000),
    ("  2s ", 2_000),
    ("007s", 7_000),
    ("10min", 600_000),
    ("1h", 3_600_000),
    ("596h", 2_145_600_000),
]


@pytest.mark.parametrize(("text", "milliseconds"), WRITTEN)
def test_span_is_understood(text: str, milliseconds: int) -> None:
    assert parse_duration(text) == milliseconds


@pytest.mark.parametrize(
    "text", ["", "s", "2", "-2s", "+2s", "1.5s", "2,5s", "2m", "2S", "2sec", "2s 3ms", "1d", "2s;", "two s", "2s\n2s"]
)
def test_anything_else_is_refused_and_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="500ms, 2s, 10min, 1h"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["597h", "35792min", "2147484s", "999999999h"])
def test_span_that_postgres_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="longer than PostgreSQL's timeouts can be"):
        parse_duration(text)


@given(st.text())
def test_no_text_is_anything_but_a_span_or_an_error(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= parse_duration(text) < 1 << 31


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0, "0 ms"), (0.4, "0 ms"), (340, "340 ms"), (2_500, "2.5 s"), (60_000, "1 min 0 s"), (200_400, "3 min 20 s")],
)
def test_span_is_told(milliseconds: float, text: str) -> None:
    assert format_duration(milliseconds) == text


@pytest.mark.parametrize(("milliseconds", "text"), [(999.6, "1.0 s"), (59_960, "1 min 0 s"), (119_600, "2 min 0 s")])
def test_span_is_rounded_into_the_next_unit(milliseconds: float, text: str) -> None:
    assert format_duration(milliseconds) == text
