"""What a database or an execution holds can't control the terminal that it is shown on."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime

import pytest

from aurora_migrations.cli.output import Line, Live, Printable, Styled, printable, screen

EVIL = "a\x1b[2J\x07\x9b1A\u202eb\rc"
SHOWN = r"a\x1b[2J\x07\x9b1A\u202eb\rc"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def opened(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal that both streams of the program go to."""
    made = Terminal()
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Printable(made))
    return made


def test_control_characters_are_shown_and_text_stays() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("é😀\tx\n\xa0") == "é😀\tx\n\xa0"


def test_printed_text_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = opened(monkeypatch)
    print(EVIL)
    print(EVIL, file=sys.stderr)
    assert terminal.getvalue() == f"{SHOWN}\n{SHOWN}\n"
    assert sys.stdout.isatty()


def test_live_progress_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = opened(monkeypatch)
    live = Live()
    with live.busy():
        live.note(EVIL)
        live.show([Line(datetime.now(UTC), "apply", EVIL, doing=EVIL)])
    drawn = terminal.getvalue()
    assert drawn.count(SHOWN) >= 3
    assert "\x1b[2J" not in drawn


def test_look_that_is_drawn_again_and_again_is_printable(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = opened(monkeypatch)
    with screen() as show:
        show([Styled((EVIL, ""))])
    assert SHOWN in terminal.getvalue()
    assert "\x1b[2J" not in terminal.getvalue()
