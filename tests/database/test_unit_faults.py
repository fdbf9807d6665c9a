"""Faults inside a file of many units, applied or rolled back: each unit is done exactly once, and what is said is true.

Units are done as single statements, as blocks and as DO blocks, which may commit by themselves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from itertools import cycle

import pytest

from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import discover
from aurora_migrations.engine.errors import AnotherRunInProgress, ConnectionLost, InDoubt
from aurora_migrations.engine.locks import locked_session
from tests.database.helpers import ROLLED_BACK, Watcher, ask, at, backends, holding_run_lock, labels, units, until
from tests.database.work import Moments, Work
from tests.proxy import Proxy

OFF = "-- migration: transaction = off\n"
COUNT = 12
ALL = list(range(1, COUNT + 1))


@pytest.fixture
def work(work: Work) -> Work:
    """One step whose file has a unit for each of twelve signatures, and a last one with what the step is for."""
    work.write(1)
    work.database.execute("CREATE TABLE tests.signed (step int)")
    text = OFF
    for step in ALL:
        sign = f"INSERT INTO tests.signed SELECT {step}"
        text += (f"BEGIN;\n{sign};\nCOMMIT;\n", f"{sign};\n", f"DO $$ BEGIN {sign}; END $$;\n")[step % 3]
    work.add("001", "COMMIT;", before=f"{text}BEGIN;")
    return work


def signed(work: Work) -> list[int]:
    """The signatures, in the order of their commits."""
    return [step for (step,) in ask(work.database, "SELECT step FROM tests.signed ORDER BY step, ctid")]


def tries(work: Work) -> list[tuple[str | None, int]]:
    """Result of every attempt of this action, and how many units of its file were done by then but its last."""
    return units(work.database)[1 if work.action == "rollback" else 0 :]


def mark(work: Work, number: int) -> bytes:
    """What the record of a unit holds, and nothing else that is sent before it."""
    package = discover(work.migrations.dir)
    script = Compiler(package).script(work.action, package.migrations[0])
    return work.record if number == COUNT else script.units[number].tokens.encode()


def assert_done(work: Work, *before: tuple[str | None, int]) -> None:
    assert signed(work) == ALL
    assert work.done == ["001"]
    assert tries(work) == [*before, (work.result, COUNT)]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_runner_killed_again_and_again_does_each_unit_once(work) -> None:
    numbers, rounds = cycle((12, 17, 14, 20)), 0
    while not work.done:
        die = Moments(next(numbers), "before the answer", lambda message: os.kill(os.getpid(), signal.SIGKILL))
        with work.fork(lambda moments=die: moments.install(pytest.MonkeyPatch())) as process:
            process.join(30)
        until(lambda: not backends(work.database), "the dead runner's session is gone")
        assert signed(work) == ALL[: len(signed(work))]
        rounds += 1
        assert rounds < 30, "no run gets anywhere"
    assert signed(work) == ALL
    assert rounds > 3
    *before, last = tries(work)
    assert last == (work.result, COUNT)
    assert {result for result, _ in before} == {"interrupted"}
    assert [count for _, count in before] == sorted(count for _, count in before)


@pytest.mark.parametrize("number", [0, 1, 7, COUNT])
def test_commit_of_a_unit_whose_answer_was_lost_counts_and_the_run_goes_on(work, proxy, number: int) -> None:
    cut = Watcher(at("001", lambda: proxy.cut_after(mark(work, number))))
    result = work.run(url=proxy.url(work.database.url), listener=cut)
    assert proxy.wait()
    assert labels(result) == ["001"]
    assert cut.heard == [("executing", "001"), ("executed", "001")]
    assert_done(work, *([] if number == COUNT else [("interrupted", number + 1)]))


@pytest.mark.parametrize("inside", [False, True], ids=["at its COMMIT", "inside it"])
@pytest.mark.parametrize("number", [0, 1, 7, COUNT])
def test_unit_whose_connection_was_lost_is_told_as_not_done(work, proxy, number: int, inside: bool) -> None:
    text = "TABLE t001" if number == COUNT else f"tests.signed SELECT {number + 1}"
    needle = text.encode() if inside else mark(work, number)
    cut = Watcher(at("001", lambda: proxy.cut_before(needle)))
    with pytest.raises(ConnectionLost) as caught:
        work.run(url=proxy.url(work.database.url), listener=cut)
    assert proxy.wait()
    assert caught.value.retryable
    state = {0: ROLLED_BACK, 1: "unit 1 is applied"}.get(number, f"units 1 to {number} are applied")
    assert state in caught.value.state
    assert signed(work) == ALL[:number]
    assert tries(work) == [(None, number)]
    assert work.rest() == ["001"]
    assert_done(work, ("interrupted", number))


def test_connection_lost_before_a_file_is_resumed_does_not_deny_what_is_done(work, proxy) -> None:
    for needle in (b"tests.signed SELECT 6", b"INSERT INTO aurora_migrations.attempts"):
        cut = Watcher(at("001", lambda needle=needle: proxy.cut_before(needle)))
        with pytest.raises(ConnectionLost, match="001_step") as caught:
            work.run(url=proxy.url(work.database.url), listener=cut)
        assert proxy.wait()
        assert "units 1 to 5 are applied" in caught.value.state
        assert signed(work) == ALL[:5]
    assert work.rest() == ["001"]
    assert signed(work) == ALL


def test_settings_hold_after_the_session_was_replaced(work, proxy, roles) -> None:
    role = roles.create()
    work.database.execute(f"CREATE SCHEMA s AUTHORIZATION {role.name}")
    sets = f"SET search_path = s;\nSET lock_timeout = '7s';\nSET ROLE {role.name};\nCREATE TABLE a ();\n"
    shows = "CREATE TABLE b AS SELECT current_setting('lock_timeout') AS l, current_user AS u;\n"
    work.path("001").write_text(f"{OFF}{sets}{shows}")
    cut = Watcher(at("001", lambda: proxy.cut_after(mark(work, 3))))
    assert labels(work.run(url=proxy.url(work.database.url), listener=cut)) == ["001"]
    assert proxy.wait()
    assert ask(work.database, "SELECT l, u FROM s.b, (TABLE s.a UNION ALL SELECT) AS a") == [("7s", role.name)]


def test_doubt_about_a_unit_does_not_deny_those_before_it(work, server, between, monkeypatch) -> None:
    monkeypatch.setattr(locked_session, "SETTLE_TIME", 0.5)
    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        between(stack.close)  # from then on connections are refused
        cut = Watcher(at("001", lambda: proxy.cut_after(mark(work, 7))))
        with pytest.raises(InDoubt) as caught:
            work.run(url=proxy.url(work.database.url), listener=cut)
    assert "completely" not in caught.value.state
    assert "units 1 to 7 are applied" in caught.value.state
    assert work.rest() == ["001"]
    assert_done(work, ("interrupted", 8))


def test_file_whose_units_are_all_done_is_not_told_as_done_before_its_record_is(work, proxy, between) -> None:
    """A last unit that may commit by itself has a record of its own; the file's comes after it."""
    work.path("001").write_text(f"{OFF}DO $$ BEGIN INSERT INTO tests.signed SELECT 1; COMMIT; END $$;\n")
    cut = Watcher(at("001", lambda: proxy.cut_after(b"INSERT INTO aurora_migrations.units")))
    with contextlib.ExitStack() as stack:
        between(lambda: stack.enter_context(holding_run_lock(work.database.url)))
        with pytest.raises(AnotherRunInProgress) as caught:
            work.run(url=proxy.url(work.database.url), listener=cut)
    assert caught.value.state.startswith(f"All units of {work.path('001').name} are applied, but not recorded.")
    assert signed(work) == [1]
    assert work.rest() == ["001"]
    assert signed(work) == [1]
