"""Spans of time, as people write and read them."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_migrations.engine.diagnostics.file_errors import _more_waiting, more_time
from aurora_migrations.engine.options import Limits, format_duration, parse_duration

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


MINUTE = 60_000


@given(st.integers(1, 24 * 60 * MINUTE), st.none() | st.integers(1_000, 890_000))
def test_advised_limit_lies_above_what_was_hit_and_below_what_can_be_had(hit: int, longest: int | None) -> None:
    text = more_time(Limits(statement_timeout=hit, longest=longest))
    found = re.search(r"statement_timeout = (\w+)`", text)
    assert (found is None) == text.startswith("Split the work into several files")
    if found:
        assert hit < parse_duration(found[1]) < (longest or 10**9)
    else:
        assert longest is not None


@pytest.mark.parametrize(
    ("hit", "longest", "advised"),
    [
        (780_000, 890_000, None),
        (2 * MINUTE, 890_000, "4min"),
        (10 * MINUTE, 890_000, "14min"),
        (13 * MINUTE, None, "26min"),
        (400, None, "1s"),
        (90_000, None, "3min"),
        (30 * MINUTE, None, "1h"),
    ],
)
def test_advised_limit_is_one_that_people_would_choose(hit: int, longest: int | None, advised: str | None) -> None:
    text = more_time(Limits(statement_timeout=hit, longest=longest))
    assert ("statement_timeout =" in text) == (advised is not None)
    assert advised is None or f"`-- migration: statement_timeout = {advised}`" in text


@pytest.mark.parametrize(
    ("limits", "advised"),
    [
        (Limits(), "30s"),
        (Limits(lock_timeout=30_000), "1min"),
        (Limits(lock_timeout=2_000, statement_timeout=20_000), None),
        (Limits(lock_timeout=2_000, longest=20_000), None),
    ],
)
def test_longer_wait_is_advised_only_below_what_a_statement_may_take(limits: Limits, advised: str | None) -> None:
    text = _more_waiting(limits)
    assert text.endswith(f"lock_timeout = {advised}`") if advised else not text
