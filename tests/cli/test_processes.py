"""The command line in processes of its own: terminals, pipes and encodings as they are out there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aurora_migrations.cli.main import main
from aurora_migrations.embedded.server import Server
from tests.cli.conftest import Answer, Call, checked, environment
from tests.database.helpers import applied, apply, attempts, backend
from tests.servers import Database, Migrations

CTRL_C, CTRL_D = b"\x03", b"\x04"
CALL = "os.execv(sys.executable, [sys.executable, '-m', 'aurora_migrations', *sys.argv[1:]])"
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


# ---- from anywhere --------------------------------------------------------------------------------------------------


def test_run_in_a_process_of_its_own(spawn: Call, two: Migrations, database: Database) -> None:
    first = spawn("run", "002", DATABASE_URL=database.url)
    assert (first.code, first.err) == (0, "")
    assert first.message == "Migration 002 executed successfully"
    second = spawn("run", "002", "--output", "json", DATABASE_URL=database.url)
    assert second.code == 0
    assert "already applied" in second.json["message"]


def test_run_with_nothing_to_do_loads_no_more_than_it_needs(two: Migrations, database: Database) -> None:
    assert main(["run", "--migrations", str(two.dir), "--database-url", database.url]) == 0
    program = "import sys; from aurora_migrations.cli.main import main\n"
    program += "code = main(['run']); print(*sys.modules); sys.exit(code)"
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=two.dir.parent,
        env=environment(DATABASE_URL=database.url),
        capture_output=True,
        text=True,
    )
    answer = Answer(finished.returncode, finished.stdout, finished.stderr)
    assert answer.message.startswith("Nothing to do")
    needless = {"postgast", "google.protobuf", "rich", "aurora_migrations.local", "boto3"}
    assert needless & set(answer.out.splitlines()[-1].split()) == set()


# ---- its end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "code"), [("return 3", 3), ("return 0", 0), ("raise ValueError", 1), ("sys.exit(4)", 4)]
)
def test_process_ends_after_what_others_do_at_its_end(end: str, code: int) -> None:
    """Threads that it waits for, functions that are registered, what was printed and isn't out yet."""
    program = f"""
import atexit, sys, threading, time
from aurora_migrations.cli import main as command
def main():
    atexit.register(print, "registered", end=" ")
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread", end=" "))).start()
    print("main", end=" ")
    {end}
command.main = main
sys.exit(command.program())
"""
    finished = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert (finished.returncode, finished.stdout) == (code, "main thread registered ")
    assert ("ValueError" in finished.stderr) == (code == 1)


# ---- odd terminals --------------------------------------------------------------------------------------------------


def test_name_that_does_not_fit_the_terminal_is_no_reason_to_fail(
    spawn: Call, here: Migrations, database: Database
) -> None:
    here.write("001_ação_列_ж.sql", "SELECT 'ação';")
    here.write("002_列.sql", "SELECT 列;")
    ran = spawn("run", DATABASE_URL=database.url, PYTHONIOENCODING="ascii")
    assert ran.code == 1
    assert ran.out.startswith("ok 001_a")
    assert "42703" in ran.err
    assert spawn("list", DATABASE_URL=database.url, PYTHONIOENCODING="cp1252").code == 0


# ---- closed pipes ---------------------------------------------------------------------------------------------------


def into_closed_pipe(migrations: Migrations, *words: str, **variables: str) -> Answer:
    """Calls it with a stdout that nobody reads any more, as `| true` does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_migrations", *words],
        cwd=migrations.dir.parent,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    err = process.stderr.read().decode()
    return checked(Answer(process.wait(), "", err))


@posix
@pytest.mark.parametrize(
    ("words", "unbuffered"), [(["--help"], ""), (["list"], "1"), (["status", "--output", "json"], "")]
)
def test_closed_pipe_is_no_reason_to_complain(
    two: Migrations, database: Database, words: list[str], unbuffered: str
) -> None:
    answer = into_closed_pipe(two, *words, DATABASE_URL=database.url, PYTHONUNBUFFERED=unbuffered)
    assert answer.err == ""
    assert answer.code in (0, 1, 141)


@posix
def test_run_into_a_closed_pipe_is_all_or_nothing(two: Migrations, database: Database) -> None:
    answer = into_closed_pipe(two, "run", DATABASE_URL=database.url)
    assert "BrokenPipe" not in answer.err
    known = applied(database)
    assert database.query("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1 DESC") == [
        (name,) for name in ("users", "orders")[: len(known)]
    ]
    assert answer.code == 0 if len(known) == 2 else answer.code != 0


def without_streams(migrations: Migrations, closed: Sequence[int], *words: str, **variables: str) -> Answer:
    """Calls it with streams that are closed, as by `>&-`."""
    closing = "".join(f"os.close({number}); " for number in closed)
    program = f"import os, sys; {closing}{CALL}"
    finished = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=migrations.dir.parent,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    return checked(Answer(finished.returncode, finished.stdout, finished.stderr))


@posix
def test_closed_streams_are_no_reason_to_fail(two: Migrations, database: Database) -> None:
    url = {"DATABASE_URL": database.url}
    assert without_streams(two, [0, 1, 2], "run", **url) == Answer(0, "", "")
    assert applied(database) == ["001", "002"]
    assert without_streams(two, [1], "list", **url) == Answer(0, "", "")
    assert without_streams(two, [2], "list", "--frob", **url) == Answer(2, "", "")
    asked = without_streams(two, [0], "rollback", "1", **url)
    assert (asked.code, asked.out) == (2, "")
    assert "Rolling back needs a confirmation" in asked.err


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has a device that is always full")
@pytest.mark.parametrize(("words", "unbuffered"), [(["--help"], ""), (["run"], "1"), (["run", "--output", "json"], "")])
def test_output_that_cannot_be_written_is_said(
    two: Migrations, database: Database, words: list[str], unbuffered: str
) -> None:
    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [sys.executable, "-m", "aurora_migrations", *words],
            cwd=two.dir.parent,
            env=environment(DATABASE_URL=database.url, PYTHONUNBUFFERED=unbuffered),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    answer = checked(Answer(finished.returncode, "", finished.stderr))
    assert answer.code == 1
    assert answer.err.startswith("aurora-migrations: the output can't be written: No space left on device.")
    assert ("`aurora-migrations status` shows it" in answer.err) == ("run" in words)


# ---- Ctrl-C before anything has begun -------------------------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "module", ["aurora_migrations.cli.options", "psycopg", "aurora_migrations.compiler.folder_source"]
)
def test_ctrl_c_during_imports_ends_it_quietly(two: Migrations, module: str) -> None:
    program = f"""
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.default_int_handler)
from aurora_migrations.cli.main import main
sys.meta_path.insert(0, Finder())
sys.exit(main(["run"]))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=two.dir.parent, env=environment(), capture_output=True, text=True
    )
    assert (finished.returncode, finished.stdout) == (130, "")
    assert finished.stderr == "\naurora-migrations: stopped by Ctrl-C.\n"


# ---- at a terminal --------------------------------------------------------------------------------------------------


class Terminal:
    """A person at a terminal: their keyboard is a pseudo-terminal, what they see is read from pipes."""

    def __init__(self, process: subprocess.Popen[bytes], keyboard: int) -> None:
        self._process = process
        self._keyboard = keyboard

    def answer(self, keys: bytes) -> tuple[int, str, str]:
        """Waits for the question, types (Ctrl-C is sent), and returns the exit code with what was said."""
        assert self._process.stdout
        assert self._process.stderr
        deadline = time.monotonic() + 20
        os.set_blocking(self._process.stdout.fileno(), False)
        os.set_blocking(self._process.stderr.fileno(), False)
        seen = {self._process.stdout: b"", self._process.stderr: b""}
        while b"to continue: " not in b"".join(seen.values()):
            assert time.monotonic() < deadline, seen
            for stream in seen:
                seen[stream] += stream.read() or b""
            time.sleep(0.01)
        if keys == CTRL_C:
            self._process.send_signal(signal.SIGINT)
        else:
            os.write(self._keyboard, keys)
        self._process.wait(20)
        out, err = (said + (stream.read() or b"") for stream, said in seen.items())
        assert b"Traceback" not in out + err, err.decode()
        return self._process.returncode, out.decode(), err.decode()


@pytest.fixture
def ran(two: Migrations, database: Database) -> Migrations:
    """Two migrations that are applied."""
    apply(database, two)
    return two


@contextlib.contextmanager
def terminal(database: Database, migrations: Migrations, *arguments: str) -> Iterator[Terminal]:
    import pty

    keyboard, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_migrations", "rollback", *arguments],
        cwd=migrations.dir.parent,
        env=environment(DATABASE_URL=database.url),
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    os.close(inside)
    try:
        yield Terminal(process, keyboard)
    finally:
        process.kill()
        process.communicate()
        os.close(keyboard)


@posix
def test_person_who_types_the_newest_number_goes_on(ran: Migrations, database: Database) -> None:
    with terminal(database, ran, "1") as person:
        code, out, err = person.answer(b" 2 \n")
    assert code == 0, err
    shown = out + err
    assert shown.index("002_orders.down.sql") < shown.index("001_users.down.sql") < shown.index("Type 002")
    assert applied(database) == []


@posix
@pytest.mark.parametrize("keys", [b"\n", b"no\n"], ids=["nothing", "no"])
def test_person_who_types_anything_else_does_not(ran: Migrations, database: Database, keys: bytes) -> None:
    with terminal(database, ran, "1") as person:
        code, _, err = person.answer(keys)
    assert code in (1, 2)
    assert re.search(r"(?m)^(InvalidInput|Cancelled): ", err)
    assert "names ," not in err
    assert applied(database) == ["001", "002"]


@posix
@pytest.mark.parametrize("keys", [CTRL_D, CTRL_C], ids=["Ctrl-D", "Ctrl-C"])
def test_person_who_leaves_changes_nothing(ran: Migrations, database: Database, keys: bytes) -> None:
    with terminal(database, ran, "1") as person:
        code, _, err = person.answer(keys)
    assert code in (1, 2, 130)
    assert err.strip()
    assert applied(database) == ["001", "002"]


@posix
def test_question_does_not_stand_in_the_document(ran: Migrations, database: Database) -> None:
    with terminal(database, ran, "1", "--output", "json") as person:
        code, out, _ = person.answer(b"002\n")
    assert code == 0
    assert json.loads(out)["status"] == "success"


# ---- Ctrl-C in a run ------------------------------------------------------------------------------------------------

STOPPING = "Stopping as soon as that leaves nothing half done (Ctrl-C again ends at once)."


def stopped(database: Database, migrations: Migrations, before: str, *words: str) -> tuple[int, str]:
    """Its exit code and what it said of a run that Ctrl-C meets in a file, after a line of Python in its process."""
    migrations.write("003_long.sql", "SELECT pg_sleep(60);")
    program = f"import os, sys; {before}{CALL}"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "run", *words],
        cwd=migrations.dir.parent,
        env=environment(DATABASE_URL=database.url),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        backend(database, "pg_sleep")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert attempts(database)[-1] == ("003", "failed")
    return process.returncode, err


@posix
def test_first_ctrl_c_is_told_at_once_and_only_to_people(two: Migrations, database: Database) -> None:
    code, err = stopped(database, two, "")
    assert code == 1
    assert err.count(STOPPING) == 1
    assert err.index(STOPPING) < err.index("Cancelled: ")
    code, err = stopped(database, two, "", "--output", "json")
    assert (code, err) == (1, "")


@posix
def test_ctrl_c_with_stderr_closed_is_told_to_nobody_else(two: Migrations, database: Database) -> None:
    """Its number may be the connection's then."""
    assert stopped(database, two, "os.close(2); ") == (1, "")
