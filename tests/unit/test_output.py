"""Sentences on the terminal: broken between words at its width, and never in a pipe."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest
from rich.cells import cell_len

from aurora_migrations.cli import findings
from aurora_migrations.cli.output import WIDEST, Styled, paragraph, show_styled

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
TEXT = (
    "Raise the setting `limits.statement_timeout` of the environment, and deploy with `npx aws-cdk@2 deploy X`; see "
    "arn:aws:secretsmanager:eu-west-1:123456789012:secret:a-secret-with-a-name-that-is-longer-than-a-line for more."
)


OUTSIDE: dict[TextIO, int] = {}  # the other end of each terminal


class Terminal:
    """A terminal of so many columns; 0 where nobody knows."""

    def __init__(self, columns: int) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.outside, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream: TextIO = os.fdopen(inside, "w")
        OUTSIDE[self.stream] = self.outside

    def close(self) -> None:
        self.stream.close()
        os.close(self.outside)


def read(columns: TextIO) -> str:
    """All that a terminal was given: one call may return only a part of it."""
    columns.flush()
    found = b""
    while select.select([OUTSIDE[columns]], [], [], 0.2)[0]:
        found += os.read(OUTSIDE[columns], 65_536)
    return found.decode().replace("\r", "")


@pytest.fixture(autouse=True)
def without_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def columns(request: pytest.FixtureRequest) -> Iterator[TextIO]:
    made = Terminal(request.param)
    yield made.stream
    made.close()


def widest(text: str) -> int:
    """The length of the longest line that could have been shorter."""
    return max(len(line) for line in text.splitlines() if "arn:" not in line)


@pytest.mark.parametrize(
    ("columns", "width"), [(80, 80), (60, 60), (0, 80), (300, WIDEST), (5, 45)], indirect=["columns"]
)
def test_lines_are_as_wide_as_the_terminal_and_hang(columns: TextIO, width: int) -> None:
    told = paragraph("  Do     ", TEXT, columns)
    first, *more = told.splitlines()
    assert widest(told) <= width
    assert first.startswith("  Do     Raise")
    assert more
    assert all(line.startswith(" " * 9) and line[9] != " " for line in more)
    assert " ".join([first.removeprefix("  Do     "), *(line.strip() for line in more)]) == TEXT
    for whole in ("`limits.statement_timeout`", "`npx aws-cdk@2 deploy X`", "that-is-longer-than-a-line"):
        assert any(whole in line for line in told.splitlines())


@pytest.mark.parametrize("columns", [80], indirect=True)
def test_columns_say_more_than_the_terminal(columns: TextIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert 40 < widest(paragraph("", TEXT, columns)) <= 60
    monkeypatch.setenv("COLUMNS", "many")
    assert 60 < widest(paragraph("", TEXT, columns)) <= 80


@pytest.mark.parametrize("columns", [40], indirect=True)
def test_lines_of_a_text_stay_lines(columns: TextIO) -> None:
    assert paragraph("  ", "one\n\n  two", columns) == "  one\n  \n    two"
    assert paragraph("  ", "", columns) == "  "


def test_pipe_gets_one_line_for_grep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert paragraph("  Do     ", TEXT, io.StringIO()) == f"  Do     {TEXT}"


@pytest.mark.parametrize("columns", [40], indirect=True)
@pytest.mark.parametrize("word", ["数据库迁移", "ﾃﾞｰﾀ", "데이터", "🐘🐘", "é"], ids=ascii)
def test_characters_of_two_columns_count_as_two(columns: TextIO, word: str) -> None:
    text = " ".join([word] * 60)
    lines = paragraph("  Do     ", text, columns).splitlines()
    widths = [cell_len(line) for line in lines]
    assert max(widths) <= 40
    assert min(widths[:-1]) + cell_len(f" {word}") > 40
    assert " ".join(line.removeprefix("  Do").strip() for line in lines) == text


@pytest.mark.parametrize("columns", [80], indirect=True)
def test_terminal_without_colours_breaks_between_words_only_what_may_be_broken(
    columns: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", columns)
        show_styled(Styled((TEXT, "bold"), wrap=True), Styled((TEXT, "bold")))
    columns.flush()
    shown = read(columns)
    assert shown.endswith(f"\n{TEXT}\n")
    assert widest(shown.removesuffix(f"{TEXT}\n")) <= 80
    assert "\x1b" not in shown


@pytest.mark.parametrize("columns", [80], indirect=True)
def test_option_that_accepts_a_hazard_can_be_copied_as_one_line(
    columns: TextIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", columns)
        for rule in ("short", "require-concurrent-index-creation"):
            findings.show([findings.Finding("warning", "It waits.", "018_a.sql", 1, 1, "", rule)])
    columns.flush()
    shown = read(columns)
    assert "  = or accept it: -- migration: allow = short because REASON\n" in shown
    option = "-- migration: allow = require-concurrent-index-creation because REASON"
    assert f"  = or accept it:\n        {option}\n" in shown
