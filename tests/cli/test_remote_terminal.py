"""What a terminal shows of an environment, and what a pipe, a file and NO_COLOR get: in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import account
from tests.cli.conftest import environment
from tests.servers import Migrations

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
ESCAPE = "\x1b"


class Terminal:
    """A terminal of 80 columns, and all that was written to it."""

    def __init__(self, words: list[str], folder: Path, variables: dict[str, str]) -> None:
        import fcntl
        import pty
        import struct
        import termios

        self.keyboard, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.process = account.start(words, folder, variables, [inside] * 3)
        os.close(inside)
        self.shown = ""

    def read(self, until: str | None = None) -> str:
        """Everything up to these words, or to the end."""
        deadline = time.monotonic() + 60
        while until is None or until not in self.shown:
            assert time.monotonic() < deadline, self.shown
            with contextlib.suppress(OSError):
                if part := os.read(self.keyboard, 65536).decode():
                    self.shown += part
                    continue
            break
        return self.shown

    def type(self, keys: str) -> None:
        os.write(self.keyboard, keys.encode())

    def ended(self) -> int | None:
        """Its exit code, after its end."""
        self.process.join(20)
        return self.process.exitcode

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        os.close(self.keyboard)


def variables(**more: str) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "eu-west-1"}
    kept = environment(**{**keys, "TERM": "xterm-256color", **more})
    for name in ("NO_COLOR", "COLUMNS", "AWS_PROFILE", "FORCE_COLOR"):
        if name not in more:
            kept.pop(name, None)
    return kept


@contextlib.contextmanager
def terminal(here: Migrations, *words: str, **more: str) -> Iterator[Terminal]:
    made = Terminal(list(words), here.dir.parent, variables(**more))
    try:
        yield made
    finally:
        made.close()


def plain(text: str) -> list[str]:
    """The lines without the codes of a terminal."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n").replace("\r", "\n").splitlines()


def test_terminal_shows_what_goes_on_now_and_for_how_long(here: Migrations) -> None:
    with terminal(here, "run", "017", "--env", "dev", SECONDS="5") as person:
        shown = person.read()
        assert person.ended() == 0
    assert ESCAPE in shown
    assert re.search(r"017_create_log\.sql  \d s", shown)
    lines = plain(shown)
    assert re.search(r"\x1b\[[\d;]*32m✓", shown)
    assert any(re.fullmatch(r"✓ 017_create_log  1[23](\.5)? ms *", line) for line in lines)
    assert "Migration 017 executed successfully" in lines
    assert not any(line.startswith("{") for line in lines)


@pytest.mark.parametrize("odd", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb terminal"])
def test_terminal_that_wants_text_gets_text(here: Migrations, odd: dict[str, str]) -> None:
    for verb in ("run", "history"):
        with terminal(here, verb, "--env", "dev", **odd) as person:
            shown = person.read()
            assert person.ended() == 0
        assert ESCAPE not in shown


def test_pipe_gets_neither_codes_nor_progress_on_stdout(here: Migrations) -> None:
    for words in ([], ["--output", "json"]):
        (out_of, out_into), (err_of, err_into) = os.pipe(), os.pipe()
        with Path(os.devnull).open() as nobody:
            files = [nobody.fileno(), out_into, err_into]
            process = account.start(["run", "017", "--env", "dev", *words], here.dir.parent, variables(), files)
        os.close(out_into)
        os.close(err_into)
        with os.fdopen(out_of) as reading, os.fdopen(err_of) as reading_err:
            out, err = reading.read(), reading_err.read()
        process.join(20)
        assert process.exitcode == 0, err
        assert ESCAPE not in out + err
        assert "Executing migration" not in out
    assert (json.loads(out)["status"], err) == ("success", "")


@pytest.mark.parametrize("verb", ["history", "verify"])
def test_tables_fit_80_columns_and_lose_nothing(here: Migrations, verb: str) -> None:
    with terminal(here, verb, "--env", "dev") as person:
        shown = person.read()
        assert person.ended() == 0
    lines = plain(shown)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    assert "…" not in shown
    squeezed = "".join(shown.split())
    assert ("failed:LockTimeout" if verb == "history" else "micro_agente_created_at_and_tenant") in squeezed


@pytest.mark.parametrize("odd", [{}, {"NO_COLOR": "1"}], ids=["as it is", "NO_COLOR"])
def test_error_fits_80_columns_and_hangs_beneath_its_word(here: Migrations, odd: dict[str, str]) -> None:
    with terminal(here, "list", "--env", "nowhere", **odd) as person:
        shown = person.read()
        assert person.ended() == 1
    lines = plain(shown)
    assert max(map(len, lines)) <= 80, max(lines, key=len)
    (why,) = [number for number, line in enumerate(lines) if line.startswith("  Why    ")]
    assert re.match(r" {9}\S", lines[why + 1])
    told = " ".join(" ".join(lines).split())
    assert "Why The stack was deployed with another environment name, or in another region or account." in told
    assert (ESCAPE in shown[shown.index("StackNotFound") :]) is not bool(odd)


def test_ctrl_c_at_a_terminal_asks(here: Migrations) -> None:
    with terminal(here, "run", "017", "--env", "dev", SECONDS="30") as person:
        person.read("017_create_log.sql")
        os.killpg(person.process.pid, 2)
        person.read("keep watching > ")
        person.type("l\n")
        shown = person.read()
        assert person.ended() == 130
    assert "is still running. To follow it: aurora-migrations logs " in " ".join(plain(shown))


def test_watching_shows_each_look_in_the_place_of_the_last_one(here: Migrations) -> None:
    with terminal(here, "status", "--watch", "--every", "100ms", "--env", "dev") as person:
        deadline = time.monotonic() + 60
        while person.shown.count("Seen       ") < 6:
            assert time.monotonic() < deadline, person.shown
            person.shown += os.read(person.keyboard, 65536).decode()
        os.killpg(person.process.pid, 2)
        shown = person.read()
        assert person.ended() == 0
    lines = screen(shown)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == WATCHED, lines  # a long line goes on
    assert "keep watching" not in shown


WATCHED = ["dev:", "Database", "Applied", "Pending", "Last", "Running", "Seen"]


def screen(text: str) -> list[str]:
    """What stands on a terminal in the end, of what was written to it."""
    lines, row, column = [""], 0, 0
    for up, erased, back, down, written in re.findall(
        r"\x1b\[(\d*)A|(\x1b\[2K)|\x1b\[[\d;?]*[a-zA-Z]|(\r)|(\n)|([^\x1b\r\n]+)", text
    ):
        if erased:
            lines[row] = ""
        elif back:
            column = 0
        elif down:
            row += 1
            lines += [""] * (row == len(lines))
        elif written:
            lines[row] = lines[row][:column].ljust(column) + written + lines[row][column + len(written) :]
            column += len(written)
        else:
            row -= int(up or 0)
    return [line for line in lines if line.strip()]
