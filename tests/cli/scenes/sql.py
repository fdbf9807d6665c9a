"""Families contention, sql, verify and internal: what comes of files that run."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from compiler import checking
from functions.migrator import Request, connecting, ctrl_c, errors, run
from functions.migrator.deadline import RESERVE
from functions.migrator.patience import Patience
from tests.cli.cloud import stops_explained, waiting
from tests.cli.conftest import Answer
from tests.cli.stage import Stage
from tests.database.helpers import Task, attempts, backend, holding, holding_run_lock, until
from tests.functions.helpers import Context

ADD = "ALTER TABLE busy ADD COLUMN note text;\n"
PARTS = "BEGIN;\nCREATE TABLE c (id integer);\nCOMMIT;\nBEGIN;\nSELECT missing;\nCOMMIT;\n"
RECORD = b"INSERT INTO aurora_migrations.applied"
AT_ONCE = ("run", "--lock-wait", "0s")
SHORT = ("run", "--lock-wait", "0s", "--lock-timeout", "200ms")
DEFERRED = "CREATE TABLE c (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO c VALUES (7), (7);\n"
# A trigger that doesn't let itself be cancelled, at COMMIT.
STUBBORN = """\
CREATE TABLE c (id integer);
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_sleep(30); RETURN NULL; EXCEPTION WHEN query_canceled THEN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON c DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();
INSERT INTO c VALUES (1);
"""


def _busy(stage: Stage, mode: str = "ACCESS SHARE") -> Stage:
    """Somebody sits in a transaction, and has a lock that the next file needs."""
    stage.sql("CREATE TABLE busy (id integer)").ran().write(f003_c=ADD)
    stage.enter(holding(stage.database.url, f"LOCK TABLE busy IN {mode} MODE"))
    return stage


# ---- locks ----------------------------------------------------------------------------------------------------------


def _locked(stage: Stage, *words: str) -> Answer:
    _busy(stage)
    answer = stage.on("run", *words)
    for _ in range(4):  # a slow machine may end a try before it was seen who is in the way
        if "1:1: waited" in answer.err:
            break
        answer = stage.on("run", *words)
    return answer


def _hidden(stage: Stage) -> Answer:
    """Our role may not see what others do."""
    role = stage.roles.create()
    stage.sql("CREATE TABLE busy (id integer)")
    stage.sql(f'GRANT CREATE ON DATABASE "{stage.database.name}" TO {role.name}; ALTER TABLE busy OWNER TO {role.name}')
    stage.write(f001_users=ADD, f001_users_down=None, f002_orders=None, f002_orders_down=None)
    stage.enter(holding(stage.database.url, "LOCK TABLE busy IN SHARE MODE"))
    return stage.on("run", "--lock-wait", "0s", "--lock-timeout", "500ms", url=stage.database.url_as(role))


def _nobody_looks(stage: Stage) -> Answer:
    """There is no connection left for the second session, which looks who is in the way."""
    role = stage.roles.create("LOGIN CONNECTION LIMIT 1")
    stage.sql("CREATE TABLE busy (id integer)")
    stage.sql(f'GRANT CREATE ON DATABASE "{stage.database.name}" TO {role.name}; ALTER TABLE busy OWNER TO {role.name}')
    stage.write(f001_users=ADD, f001_users_down=None, f002_orders=None, f002_orders_down=None)
    stage.enter(holding(stage.database.url, "LOCK TABLE busy IN SHARE MODE"))
    return stage.on(*SHORT, url=stage.database.url_as(role))


def _history_locked(stage: Stage, *words: str) -> Answer:
    """Somebody works on the history in psql, or VACUUM FULL does."""
    stage.patch.setitem(connecting.STARTUP_SETTINGS, "lock_timeout", "200")
    stage.ran().enter(holding(stage.database.url, "LOCK TABLE aurora_migrations.applied"))
    return stage.on(*words)


def _record_locked(stage: Stage) -> Answer:
    """The same, of the other table, while a file runs."""
    stage.patch.setitem(connecting.STARTUP_SETTINGS, "lock_timeout", "200")
    stage.ran().write(f003_c="CREATE TABLE c (id integer);\nSELECT pg_sleep(0.4);\n")
    done = threading.Event()

    def lock() -> None:
        backend(stage.database, "pg_sleep")
        with holding(stage.database.url, "LOCK TABLE aurora_migrations.applied IN SHARE MODE"):
            done.wait(20)

    other = Task(lock)
    answer = stage.on(*SHORT)
    done.set()
    other.result()
    return answer


def _deadlock(stage: Stage) -> Answer:
    """Two sessions take the same two locks, each in its order."""
    stage.sql("CREATE TABLE one (id integer); CREATE TABLE two (id integer)").ran()
    stage.write(
        f003_c="-- migration: lock_timeout = 20s\nSET LOCAL deadlock_timeout = '50ms';\n"
        "LOCK TABLE one;\nSELECT pg_sleep(0.3);\nLOCK TABLE two;\n"
    )

    def cross() -> None:
        with holding(stage.database.url, "SET LOCAL deadlock_timeout = '60s'; LOCK TABLE two") as other:
            held = "SELECT 1 FROM pg_locks WHERE relation = 'one'::regclass AND granted"
            until(lambda: stage.database.query(held), "the file has its lock")
            other.execute("LOCK TABLE one")

    return stage.beside(cross, *AT_ONCE)


# ---- other runs -----------------------------------------------------------------------------------------------------


def _another_run(stage: Stage, application: str) -> Answer:
    stage.enter(holding_run_lock(stage.database.url, application_name=application))
    return stage.on("run", "--wait", "100ms")


def _between(stage: Stage, do: Callable[[], object]) -> None:
    """Somebody does this once the run has lost its connection, and before it opens the next."""
    reconnect, left = run.reconnect, [do]

    def first(request: Request) -> Any:
        while left:
            left.pop()()
        return reconnect(request)

    stage.patch.setattr(run, "reconnect", first)


def _overtaken_at_commit(stage: Stage) -> Answer:
    stage.ran().write(f003_c="SELECT 1;\n", f004_d="SELECT 2;\n")
    _between(stage, lambda: stage.enter(holding_run_lock(stage.database.url)))
    stage.proxy.cut_after(RECORD)
    return stage.on("run", "--wait", "100ms", url=stage.by_proxy)


def _overtaken_while_waiting(stage: Stage, meanwhile: Callable[[], object]) -> Answer:
    """The run waits for others to let go of their locks, and its connection is ended."""
    _busy(stage)
    _between(stage, meanwhile)

    def end() -> None:
        until(lambda: ("003", "failed") in attempts(stage.database), "it waits")
        time.sleep(0.1)
        ours = "datname = current_database() AND application_name LIKE 'aurora-migrations cli%'"
        between_tries = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours} AND state = 'idle'"
        until(lambda: stage.database.query(between_tries), "it is between two tries")

    return stage.beside(end, "run", "--lock-wait", "20s", "--lock-timeout", "200ms")


def _held_by_another(stage: Stage) -> Answer:
    return _overtaken_while_waiting(stage, lambda: stage.enter(holding_run_lock(stage.database.url)))


def _changed_by_another(stage: Stage) -> Answer:
    gone = "DELETE FROM aurora_migrations.applied WHERE version = 2"
    return _overtaken_while_waiting(stage, lambda: stage.sql(gone))


# ---- statements -----------------------------------------------------------------------------------------------------


def _fails(text: str, *words: str) -> Callable[[Stage], Answer]:
    return lambda stage: stage.write(f003_c=text).on(*(words or ("run",)))


def _record_vanished(stage: Stage) -> Answer:
    down = "DROP TABLE orders;\nDELETE FROM aurora_migrations.applied WHERE version = 2;\n"
    return stage.write(f002_orders_down=down).ran().on("rollback", "2", "--confirm", "2")


def _breaks_out(stage: Stage) -> Answer:
    """Where the server reads a backslash in a text in the old way, it finds a COMMIT that stands in a text for us."""
    stage.sql(f'ALTER DATABASE "{stage.database.name}" SET standard_conforming_strings = off')
    return stage.write(f003_c="CREATE TABLE c (id integer);\nSELECT 'a\\'' ; COMMIT; SELECT '' -- ';\n").on("run")


def _several_locks(stage: Stage) -> Answer:
    """Others let go of the first table soon, and not of the second."""
    stage.sql("CREATE TABLE busy (id integer); CREATE TABLE second (id integer)").ran()
    stage.write(f003_c="-- migration: lock_timeout = 1s\nLOCK TABLE busy, second;\n")
    stage.enter(holding(stage.database.url, "LOCK TABLE second"))

    def hold() -> None:
        with holding(stage.database.url, "LOCK TABLE busy"):
            waits = "SELECT 1 FROM pg_locks WHERE relation = 'busy'::regclass AND NOT granted"
            until(lambda: stage.database.query(waits), "the file waits")
            time.sleep(0.6)

    return stage.beside(hold, *AT_ONCE)


def _setting_gone(stage: Stage) -> Answer:
    """A role that the first part had taken is there no more when the file goes on."""
    role = stage.roles.create()
    text = f"-- migration: transaction = off\nSELECT 1;\nSET ROLE {role.name};\nSELECT {{}};\n"
    stage.write(f003_c=text.format("missing")).failed()
    stage.roles.drop_all()
    return stage.write(f003_c=text.format("2")).on("run")


def _history_changed(stage: Stage) -> Answer:
    stage.ran().sql("ALTER TABLE aurora_migrations.applied RENAME COLUMN execution TO run")
    return stage.on("status")


# ---- time -----------------------------------------------------------------------------------------------------------


def _slow_history(stage: Stage) -> Answer:
    """A server that is so busy that the history can't be read in time."""
    stage.ran().machine.variables.update(LOCK_TIMEOUT_MS="200", STATEMENT_TIMEOUT_MS="400")
    _behind_a_view(stage, "SELECT kept.* FROM aurora_migrations.kept, (SELECT pg_sleep(60) IS NULL AS x) AS slow")
    return stage.refused(errors.StatementTimeout)


def _behind_a_view(stage: Stage, query: str) -> None:
    stage.sql(
        "ALTER TABLE aurora_migrations.applied RENAME TO kept;"
        f"CREATE VIEW aurora_migrations.applied AS {query};"
        "DO $$ BEGIN EXECUTE pg_catalog.format('COMMENT ON VIEW aurora_migrations.applied IS %L',"
        "  pg_catalog.obj_description('aurora_migrations.kept'::regclass)); END $$"
    )


def _end_of_call(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n").ran("2")
    context = Context(RESERVE + 1_000)
    package = stage.machine.write_manifest()
    return stage.refused(errors.StatementTimeout, step="apply", package=package, context=context)


def _slow_promises(stage: Stage, seconds: float) -> Stage:
    """Two promises that hold for ever, of views that take their time since now."""
    views = "".join(f"CREATE VIEW slow{n} AS SELECT pg_sleep(seconds) IS NULL AS x FROM pace;\n" for n in (1, 2))
    promises = "".join(f"-- verify always: rows slow{n} = 1\n" for n in (1, 2))
    stage.sql("CREATE TABLE pace (seconds float8); INSERT INTO pace VALUES (0)")
    stage.write(f003_c=promises + views).ran()
    return stage.sql(f"UPDATE pace SET seconds = {seconds}")


def _end_of_verify(stage: Stage, seconds: float) -> Answer:
    _slow_promises(stage, seconds)
    context = Context(RESERVE + 1_000)
    return stage.refused(errors.StatementTimeout, {"action": "verify"}, step="verify", context=context)


def _slow_promise(stage: Stage) -> Answer:
    _slow_promises(stage, 60).machine.variables.update(LOCK_TIMEOUT_MS="100", STATEMENT_TIMEOUT_MS="300")
    return stage.refused(errors.StatementTimeout, {"action": "verify"}, step="verify")


def _locked_promise(stage: Stage) -> Answer:
    _slow_promises(stage, 0).machine.variables.update(LOCK_TIMEOUT_MS="100")
    stage.enter(holding(stage.database.url, "LOCK TABLE pace"))
    return stage.refused(errors.LockTimeout, {"action": "verify"}, step="verify")


def _many_short_statements(stage: Stage) -> Answer:
    """The file has held its lock for long when its next message is to be sent."""
    text = "-- migration: lock_timeout = 100ms\nALTER TABLE users ADD COLUMN a integer;\n"
    many = (f"ALTER TABLE users ADD COLUMN c{n} integer, DROP COLUMN c{n - 1};" for n in range(1, 600))
    line = " ".join([f"/* {'in one line ' * 8}*/", *many]).replace(", DROP COLUMN c0", "")
    return stage.ran().write(f003_c=f"{text}{line}\n").on(*AT_ONCE)


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------


def _press(stage: Stage, when: Callable[[], object], *words: str, url: str | None = None) -> Answer:
    """Ctrl-C is pressed once this is so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.closing.callback(signal.signal, signal.SIGINT, before)
    main = threading.main_thread().ident or 0

    def press() -> None:
        until(when, "the moment")
        signal.pthread_kill(main, signal.SIGINT)

    return stage.beside(press, *words, url=url)


def _press_before(stage: Stage, step: str) -> Answer:
    """Ctrl-C is pressed when the check of the files comes to this step first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    stage.closing.callback(signal.signal, signal.SIGINT, before)
    real, left = getattr(checking, step), [signal.SIGINT]

    def pressed(*given: Any) -> Any:
        while left:
            signal.raise_signal(left.pop())
        return real(*given)

    stage.patch.setattr(checking, step, pressed)
    return stage.on("run")


def _in_a_statement(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    return _press(stage, lambda: backend(stage.database, "pg_sleep"), "run")


def _at_commit(stage: Stage, text: str) -> Answer:
    stage.ran().write(f003_c=text, f004_d="SELECT 1;\n")
    asleep = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    return _press(stage, lambda: stage.database.query(asleep), "run")


def _pauses(of: Callable[..., object] | None = None) -> bool:
    """Whether the run sleeps at this moment, and not within a query; on behalf of this function, if one is named."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    if frame is None or frame.f_code is not ctrl_c.pause.__code__:
        return False
    return of is None or (frame.f_back is not None and frame.f_back.f_code is of.__code__)  # type: ignore[attr-defined]


def _while_connecting(stage: Stage) -> Answer:
    """To a server that takes the connection and says nothing."""
    silent = stage.enter(socket.create_server(("127.0.0.1", 0)))
    url = f"postgresql://app@127.0.0.1:{silent.getsockname()[1]}/shop"
    return _press(stage, lambda: ctrl_c._State.waiting, "run", url=url)


def _while_the_database_is_away(stage: Stage) -> Answer:
    """The session is ended while a file runs, and the run waits before it begins that anew."""
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    end = stage.end("pg_sleep")

    def away() -> bool:
        end()
        until(lambda: _pauses(Patience.after_connection), "the run waits")
        return True

    return _press(stage, away, "run")


def _while_another_runs(stage: Stage) -> Answer:
    stage.enter(holding_run_lock(stage.database.url, application_name="aurora-migrations cli-other"))
    return _press(stage, _pauses, "run")


def _while_others_hold_locks(stage: Stage) -> Answer:
    _busy(stage)
    return _press(stage, _pauses, "run", "--lock-timeout", "200ms")


def _cancelled_look(stage: Stage) -> Answer:
    stage.ran().enter(holding(stage.database.url, "LOCK TABLE aurora_migrations.applied"))
    return stage.beside(stage.end("aurora_migrations.applied ORDER", "pg_cancel_backend"), "status")


def _cancelled_file(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n")
    return stage.beside(stage.end("pg_sleep", "pg_cancel_backend"), "run")


def _stopped(stage: Stage) -> Answer:
    """Somebody stops the execution in the console."""
    cloud = stage.cloud.deploy_bare(waiting())
    stops_explained(stage.patch)

    def stop() -> None:
        states = cloud.client("stepfunctions")
        arn = ""
        while not arn or len(states.get_execution_history(executionArn=arn)["events"]) < 2:
            time.sleep(0.02)  # moto doesn't hear a stop before the first state
            arn = next((each["executionArn"] for each in cloud.executions()), "")
        states.stop_execution(executionArn=arn, error="Stopped", cause="by the on-call person")

    other = Task(stop)
    answer = stage.env("run")
    other.result()
    return answer


# ---- promises -------------------------------------------------------------------------------------------------------


def _unfit_index(stage: Stage) -> Answer:
    stage.write(f003_index="CREATE INDEX orders_id ON orders (id);\n").ran()
    stage.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id'::regclass")
    return stage.on("verify")


def _not_applied(stage: Stage) -> Answer:
    return stage.ran("1").on("verify", "2")


def _table_gone(stage: Stage) -> Answer:
    return stage.ran().sql("DROP TABLE users").on("verify")


def _not_in(stage: Stage) -> Answer:
    """What apply has said that it did isn't in the history."""
    package = stage.machine.write_manifest()
    return stage.refused(errors.VerificationFailed, step="verify", package=package)


def _broken_for_ever(stage: Stage) -> Answer:
    stage.write(f003_c="-- verify always: rows c <= 1\nCREATE TABLE c (id integer);\n").ran()
    stage.sql("INSERT INTO c VALUES (1), (2)")
    return stage.on("verify")


# ---- mistakes of ours -----------------------------------------------------------------------------------------------


def _odd_payload(stage: Stage) -> Answer:
    """A state machine that passes something else than the function answers: as of another version."""
    package = stage.machine.write_manifest()
    return stage.refused(errors.InternalError, step="apply", package=package, so_far="done")


SCENES = {
    "LockTimeout": [
        ("others hold a lock on its table", lambda s: _locked(s, "--lock-timeout", "400ms", "--lock-wait", "1s")),
        ("several tables, one after the other", _several_locks),
        ("the role may not see who does", _hidden),
        ("there is no connection left to look who does", _nobody_looks),
        ("others hold a lock on the history", lambda s: _history_locked(s, "status")),
        ("others take one while a file runs", _record_locked),
        ("others hold a lock on what a lasting promise is about", _locked_promise),
    ],
    "Deadlock": [("another session takes the same locks in another order", _deadlock)],
    "AnotherRunInProgress": [
        ("another run has the lock", lambda s: _another_run(s, "aurora-migrations cli-other")),
        ("somebody has it in psql", lambda s: _another_run(s, "psql")),
        ("another run took it over when the answer to COMMIT was lost", _overtaken_at_commit),
        ("another run took it over when the connection was lost", _held_by_another),
        ("the database was changed when the connection was lost", _changed_by_another),
    ],
    "MigrationFailed": [
        ("a statement is refused", _fails("SELECT 1;\nSELECT missing\n  FROM users;\n")),
        ("a file of several parts is in in part", _fails(PARTS)),
        ("row values aren't told", _fails("CREATE TABLE c (id integer UNIQUE);\nINSERT INTO c VALUES (7), (7);\n")),
        ("at COMMIT", _fails(DEFERRED)),
        ("before a promise is asked", _fails(f"-- verify: rows c = 2\n{DEFERRED}")),
        (
            "the file lets go of the run lock",
            _fails("DO $$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; END $$;\n"),
        ),
        (
            "the file changes the history",
            _fails("DO $$ BEGIN EXECUTE 'ALTER TABLE aurora_' || 'migrations.applied RENAME sql TO text'; END $$;\n"),
        ),
        ("the file takes its own record away", _record_vanished),
        (
            "the file makes its transaction read-only",
            _fails("SELECT set_config('transaction_read_only', 'on', true);\nCREATE TABLE c (id integer);\n"),
        ),
        ("the same, in its last statement", _fails("SELECT set_config('transaction_read_only', 'on', true);\n")),
        ("the file ends its transaction where nobody saw it", _breaks_out),
        ("a setting of a part that is in can't be made again", _setting_gone),
        ("the history was changed by hand", _history_changed),
    ],
    "StatementTimeout": [
        (
            "a statement takes too long",
            _fails("SELECT pg_sleep(9);\n", "run", "--lock-timeout", "100ms", "--statement-timeout", "300ms"),
        ),
        (
            "a file holds a lock for too long",
            _fails(
                "-- migration: lock_timeout = 200ms\nALTER TABLE orders ADD COLUMN a integer;\nSELECT pg_sleep(9);\n"
            ),
        ),
        ("many short statements hold a lock for too long", _many_short_statements),
        ("the runner's own statement takes too long", _slow_history),
        ("a lasting promise takes too long", _slow_promise),
        ("a call of apply is over", _end_of_call),
        ("a call of verify is over inside a promise", lambda s: _end_of_verify(s, 60)),
        ("a call of verify is over before the last promise", lambda s: _end_of_verify(s, 0.93)),
    ],
    "Cancelled": [
        ("nothing was typed", lambda s: s.ran().types("").on("rollback", "2")),
        ("Ctrl-C in a statement", _in_a_statement),
        ("Ctrl-C at a COMMIT that goes through", lambda s: _at_commit(s, STUBBORN)),
        ("the same, of a part", lambda s: _at_commit(s, f"BEGIN;\n{STUBBORN}COMMIT;\nBEGIN;\nSELECT 1;\nCOMMIT;\n")),
        ("Ctrl-C while another run is waited for", _while_another_runs),
        ("Ctrl-C while locks are waited for", _while_others_hold_locks),
        ("Ctrl-C between two files that are read", lambda s: _press_before(s, "_compile")),
        ("Ctrl-C while hazards are looked for", lambda s: _press_before(s, "find_hazards")),
        ("Ctrl-C while the run connects", _while_connecting),
        ("Ctrl-C while the run waits for a database that was away", _while_the_database_is_away),
        ("an administrator cancels a file's statement", _cancelled_file),
        ("an administrator cancels a look", _cancelled_look),
        ("an execution is stopped", _stopped),
    ],
    "VerificationFailed": [
        ("a promise isn't kept", _fails("-- verify: rows c = 1\nCREATE TABLE c (id integer);\n")),
        ("an index isn't fit for use", _unfit_index),
        ("a lasting promise isn't kept any more", _broken_for_ever),
        ("what is to be verified isn't applied", _not_applied),
        ("a table that an applied file has made is gone", _table_gone),
        ("what a run has applied isn't in the history", _not_in),
    ],
    "InternalError": [("a function meets what it doesn't expect", _odd_payload)],
}
