"""Files of several units: each commits by itself with its record, in one session that goes on from unit to unit."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest

from aurora_migrations.compiler.nontransactional import read_nontransactional
from aurora_migrations.compiler.parser import parse
from aurora_migrations.compiler.transaction_units import control_of
from aurora_migrations.engine import script as scripts
from aurora_migrations.engine.errors import (
    InvalidFile,
    LockTimeout,
    MigrationChanged,
    MigrationFailed,
    MigratorError,
    StatementTimeout,
    VerificationFailed,
)
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.postgres.protocol import Command, Row, Watch, Wire
from tests.database.helpers import (
    ROLLED_BACK,
    Task,
    applied,
    apply,
    ask,
    attempts,
    backend,
    backends,
    entries,
    holding,
    labels,
    last_error,
    roll_back,
    tables,
    units,
    until,
)
from tests.servers import Database, Migrations

OFF = "-- migration: transaction = off\n"


def failing(database: Database, migrations: Migrations, kind: type[MigratorError] = MigrationFailed) -> MigratorError:
    with pytest.raises(kind) as caught:
        apply(database, migrations)
    return caught.value


# ---- each commits by itself -----------------------------------------------------------------------------------------

LEDGER = "CREATE TABLE ledger (step text, xid xid8 DEFAULT pg_current_xact_id())"


def sign(step: str) -> str:
    return f"INSERT INTO ledger (step) VALUES ('{step}')"


def signed(database: Database) -> list[str]:
    return [str(step) for (step,) in ask(database, "SELECT step FROM ledger ORDER BY xid, step")]


def test_blocks_and_statements_between_them_are_transactions_of_their_own(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        f"{LEDGER};\n{sign('a')};\nBEGIN;\n{sign('b')};\n{sign('b')};\nCOMMIT;\nBEGIN;\n{sign('c')};\nEND;\n{sign('d')}",
    )
    assert labels(apply(database, migrations)) == ["001"]
    rows = ask(database, "SELECT step, dense_rank() OVER (ORDER BY xid) FROM ledger ORDER BY xid, step")
    assert rows == [("a", 1), ("b", 2), ("b", 2), ("c", 3), ("d", 4)]
    assert units(database) == [("applied", 4)]
    assert applied(database) == ["001"]


@pytest.mark.parametrize(
    "text",
    [
        f"{LEDGER};\n{sign('a')};\n{sign('b')};",
        f"BEGIN;\n{LEDGER};\n{sign('a')};\n{sign('b')};\nCOMMIT;",
        f"-- a\nSTART TRANSACTION READ WRITE;\n{LEDGER};\n{sign('a')};\n{sign('b')};\nEND; -- b\n",
        f"{OFF}BEGIN;\n{LEDGER};\n{sign('a')};\n{sign('b')};\nCOMMIT;",
    ],
    ids=["plain", "wrapped", "wrapped, other words", "one block, transaction = off"],
)
def test_one_unit_is_one_transaction_with_the_history(database, migrations, text: str) -> None:
    migrations.write("001_a.sql", text)
    assert labels(apply(database, migrations)) == ["001"]
    assert ask(database, "SELECT count(*), count(DISTINCT xid) FROM ledger") == [(2, 1)]
    same = "SELECT count(*) FROM ledger JOIN aurora_migrations.applied a ON a.xmin::text = (ledger.xid::text)"
    assert ask(database, same) == [(2,)]
    assert units(database) == [("applied", 0)]


def test_each_statement_is_a_unit_where_the_file_says_so(database, migrations) -> None:
    migrations.write("001_a.sql", f"{OFF}{LEDGER};\n{sign('a')};\n{sign('b')};")
    apply(database, migrations)
    assert ask(database, "SELECT count(DISTINCT xid) FROM ledger") == [(2,)]
    assert units(database) == [("applied", 2)]


def test_file_without_a_statement_is_applied_however_it_is_told_to_run(database, migrations) -> None:
    migrations.write("001_a.sql", f"{OFF}-- nothing\n")
    migrations.write("002_b.sql", "BEGIN;\nCOMMIT;\n")
    migrations.write("003_c.sql", "BEGIN;\nCOMMIT;\nBEGIN;\n;\nCOMMIT;\n")
    assert labels(apply(database, migrations)) == ["001", "002", "003"]
    assert units(database) == [("applied", 0), ("applied", 0), ("applied", 1)]


def test_unit_is_there_with_its_record_while_the_next_one_runs(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT pg_advisory_xact_lock(42);\nCOMMIT;\n")
    with holding(database.url, "SELECT pg_advisory_xact_lock(42)"):
        run = Task(apply, database, migrations)
        backend(database, "pg_advisory_xact_lock")
        assert tables(database) == ["a"]
        assert units(database) == [(None, 1)]
        assert applied(database) == []
        assert [(entry.state, entry.parts) for entry in entries(database, migrations)] == [("partly applied", 1)]
    assert labels(run.result()) == ["001"]
    assert units(database) == [("applied", 1)]


class Counted:
    """A pattern that counts how often it is looked for."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern, self.times = pattern, 0

    def search(self, text: bytes) -> re.Match[bytes] | None:
        self.times += 1
        return self._pattern.search(text)


def test_what_a_unit_costs_does_not_grow_with_the_number_of_units(database, migrations, monkeypatch) -> None:
    """Round trips, bytes sent, statements looked at and rows written: all of it once a unit."""
    migrations.write("000_a.sql", "CREATE TABLE altered (id int);")
    apply(database, migrations)
    count, sent = 60, {"messages": 0, "bytes": 0}
    batch, script = Wire.execute_pipeline, Wire.execute_script

    def counted_batch(wire: Wire, commands: Sequence[Command], *watch: Watch, **ahead: Any) -> list[list[Row]]:
        if "-watch " not in (wire.connection.info.parameter_status("application_name") or ""):
            sent["messages"] += 1
            sent["bytes"] += sum(len(command.sql) + len(str(command.params)) for command in commands)
        return batch(wire, commands, *watch, **ahead)

    def counted_script(wire: Wire, text: bytes, *watch: Watch) -> frozenset[str]:
        sent["messages"] += 1
        return script(wire, text, *watch)

    monkeypatch.setattr(Wire, "execute_pipeline", counted_batch)
    monkeypatch.setattr(Wire, "execute_script", counted_script)
    costs = []
    for version, number in enumerate((count, 2 * count), 1):
        looked = Counted(scripts._SETS_LOCK_TIMEOUT)
        monkeypatch.setattr(scripts, "_SETS_LOCK_TIMEOUT", looked)
        steps = [f"BEGIN;\nSELECT pg_current_xact_id();\nCOMMIT;\nSELECT {step};\n" for step in range(number // 2)]
        # Statements are looked at where one needs a lock that blocks the application.
        steps[0] = steps[0].replace("SELECT 0", f"ALTER TABLE altered ADD a{version} int")
        migrations.write(f"{version:03}_a.sql", "".join(steps))
        until(lambda: not backends(database), "the session of the run before is gone")  # or its lock is waited for
        sent |= {"messages": 0, "bytes": 0}
        apply(database, migrations)
        costs.append((sent["messages"], sent["bytes"], looked.times))
    (messages, size, looks), twice = costs
    assert (twice[0] - messages, twice[2] - looks) == (2 * count, count)
    assert twice[1] < 2 * size
    assert units(database) == [("applied", 0), ("applied", count - 1), ("applied", 2 * count - 1)]
    written = "SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables WHERE schemaname = 'aurora_migrations'"
    rows = 3 * count - 2 + 3 * len(("applied", "attempt", "end of the attempt"))
    until(lambda: ask(database, written) == [(rows,)], f"{rows} rows were written")


# ---- what fails -----------------------------------------------------------------------------------------------------

PARTS = ["CREATE TABLE a ();", "BEGIN;\n  CREATE TABLE b ();\n{}COMMIT;", "CREATE TABLE c ();", "CREATE TABLE d ();"]


@pytest.mark.parametrize(
    ("number", "line", "statement", "there", "state"),
    [
        (0, 2, 1, [], ROLLED_BACK),
        (1, 5, 4, ["a"], "unit 1 is applied"),
        (2, 6, 5, ["a", "b"], "units 1 to 2 are applied"),
        (3, 7, 6, ["a", "b", "c"], "units 1 to 3 are applied"),
    ],
)
def test_units_before_the_failing_one_stay_and_it_is_said(
    database, migrations, number: int, line: int, statement: int, there: list[str], state: str
) -> None:
    broken = "\tSELECT 'é', nowhere;"
    parts = [part.replace("{}", "") for part in PARTS]
    parts[number] = PARTS[1].format(f"{broken}\n") if number == 1 else broken
    migrations.write("001_a.sql", "-- ünïts 😀\n" + "\n".join(parts))
    error = failing(database, migrations)
    assert (error.facts["line"], error.facts["column"], error.facts["statement"]) == (line, 14, statement)
    assert error.message == f'001_a.sql:{line}:14: column "nowhere" does not exist (42703).'
    assert error.facts["excerpt"] == " SELECT 'é', nowhere;\n             ^"
    assert state in error.state
    assert ("4 units that commit separately" in error.state) == (number > 0)
    assert tables(database) == there
    assert applied(database) == []
    assert units(database) == [("failed", number)]
    assert last_error(database)["state"] == error.state


BEFORE = {
    "BOM": "\ufeff-- BOM\n",
    "CRLF": "-- a\r\n\r\n",
    "tabs": "\t/* \t */\t\n",
    "non-ASCII": "-- é😀日本\n",
    "in a string": "SELECT 'é\n😀';\n",
    "in dollar quotes": "SELECT $$\r\n;$$;\r\n",
    "deep": f"SELECT {' + '.join(['1'] * 100)};\n",
}


@pytest.mark.parametrize("block", [False, True], ids=["plain", "in a block"])
def test_place_of_an_error_is_right_whatever_stands_before_it(database, migrations, block: bool) -> None:
    begin, commit = ("BEGIN;\r\nSELECT 'ü';\n", ";\nCOMMIT;\nSELECT 1") if block else ("", "")
    for what, before in BEFORE.items():
        text = f"{before}{begin}\tSELECT 'é' AS 日本,\r\n  'ü' || nowhere{commit}"
        if what.startswith(("in", "deep")) and block:  # or it would be a unit that is in and is changed next time
            text = text.replace(before, "", 1).replace(begin, begin + before, 1)
        migrations.write("001_a.sql", text)
        error = failing(database, migrations)
        whole = text.removeprefix("\ufeff").replace("\r\n", "\n")
        line = whole[: whole.index("nowhere")].count("\n") + 1
        statements = before.count("SELECT") + 2 * block + 1
        place = (error.facts["line"], error.facts["column"], error.facts["statement"])
        assert (what, place) == (what, (line, 10, statements))
        assert error.message.startswith(f"001_a.sql:{line}:10: ")
        assert error.facts["excerpt"] == "  'ü' || nowhere" + (";" if block else "") + "\n         ^"


def test_error_without_a_place_of_its_own_is_at_its_statement(database, migrations) -> None:
    migrations.write("001_a.sql", "SELECT 1;\nBEGIN;\n  SELECT 2;\n\n  SELECT 1 / 0;\nCOMMIT;\n")
    error = failing(database, migrations)
    assert (error.facts["line"], error.facts["column"], error.facts["statement"]) == (5, 3, 4)
    assert error.facts["sqlstate"] == "22012"


def test_hint_is_told_in_any_unit(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a (number int);\nBEGIN;\nSELECT numbr FROM a;\nCOMMIT;")
    error = failing(database, migrations)
    assert error.facts["hint"] == 'Perhaps you meant to reference the column "a.number".'
    assert "Perhaps you meant" in error.cause


def test_new_enum_value_used_too_early_names_the_way_out(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TYPE mood AS ENUM ('ok');")
    migrations.write("002_b.sql", "ALTER TYPE mood ADD VALUE 'glad';\nSELECT CAST('glad' AS mood);")
    error = failing(database, migrations)
    assert error.facts["sqlstate"] == "55P04"
    assert "transaction = off" in error.facts["hint"]
    migrations.write("002_b.sql", f"{OFF}ALTER TYPE mood ADD VALUE 'glad';\nSELECT 'glad'::mood;")
    assert labels(apply(database, migrations)) == ["002"]


def test_deferred_checks_are_made_at_the_end_of_each_block(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
        "BEGIN;\nINSERT INTO a VALUES (1), (2);\nUPDATE a SET id = 3 - id;\nCOMMIT;\n"
        "BEGIN;\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (3);\nCOMMIT;\n"
        "DELETE FROM a WHERE id = 1;",
    )
    error = failing(database, migrations)
    assert error.message.startswith("001_a.sql, at COMMIT: ")
    assert error.facts["sqlstate"] == "23505"
    assert "units 1 to 2 are applied" in error.state
    assert ask(database, "SELECT id FROM a ORDER BY id") == [(1,), (2,)]


def test_limits_of_the_file_hold_in_each_unit(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "-- migration: statement_timeout = 300ms\n-- migration: lock_timeout = 100ms\n"
        "CREATE TABLE a ();\nBEGIN;\nSELECT 1;\nSELECT pg_sleep(5);\nCOMMIT;",
    )
    error = failing(database, migrations, StatementTimeout)
    assert error.facts["statement"] == 4
    migrations.write("001_a.sql", "-- migration: lock_timeout = 100ms\nCREATE TABLE b ();\nBEGIN; LOCK a; COMMIT;")
    ask(database, "DELETE FROM aurora_migrations.attempts RETURNING id")
    with holding(database.url, "LOCK a"):
        assert failing(database, migrations, LockTimeout).facts["statement"] == 3


def test_promise_is_checked_in_the_last_unit_and_undoes_only_that(database, migrations) -> None:
    migrations.write("001_a.sql", "-- verify: rows b = 1\nCREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;")
    error = failing(database, migrations, VerificationFailed)
    assert "unit 1 is applied" in error.state
    assert tables(database) == ["a"]
    migrations.write("001_a.sql", "-- verify: rows b = 0\nCREATE TABLE a ();\nBEGIN;\nCREATE TABLE b ();\nCOMMIT;")
    assert [check.promise for check in apply(database, migrations).applied[0].checks] == ["rows b = 0"]
    assert tables(database) == ["a", "b"]


# ---- what goes on from unit to unit, and what doesn't ---------------------------------------------------------------


def test_settings_and_temporary_tables_go_on_to_the_next_unit(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "CREATE SCHEMA s;\nSET search_path = s;\nSET work_mem = '5MB';\n"
        "BEGIN;\nSET LOCAL work_mem = '7MB';\nCREATE TEMP TABLE here (a int);\n"
        "CREATE TEMP TABLE gone () ON COMMIT DROP;\nCOMMIT;\n"
        "BEGIN;\nCREATE TABLE t AS SELECT to_regclass('pg_temp.here')::text AS here, "
        "current_setting('work_mem') AS memory, to_regclass('gone') AS gone;\nCOMMIT;\n",
    )
    migrations.write(
        "002_b.sql", "CREATE TABLE u AS SELECT current_schema() AS s, to_regclass('pg_temp.here') AS here;"
    )
    assert labels(apply(database, migrations)) == ["001", "002"]
    assert ask(database, "SELECT here, memory, gone FROM s.t") == [("here", "5MB", None)]
    assert ask(database, "SELECT s, here FROM public.u") == [("public", None)]


def test_setting_of_a_unit_that_failed_is_gone(database, migrations) -> None:
    migrations.write("001_a.sql", "BEGIN;\nSET search_path = nowhere;\nSELECT 1/0;\nCOMMIT;\nCREATE TABLE a ();")
    failing(database, migrations)
    migrations.write("001_a.sql", "BEGIN;\nSELECT 1;\nCOMMIT;\nCREATE TABLE a ();")
    apply(database, migrations)
    assert tables(database) == ["a"]


def test_files_own_limits_go_on_to_the_next_unit(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        f"{OFF}SET lock_timeout = '7s';\nSET statement_timeout = '70s';\n"
        "CREATE TABLE a AS SELECT current_setting('lock_timeout') AS l, current_setting('statement_timeout') AS s;",
    )
    migrations.write("002_b.sql", "CREATE TABLE b AS SELECT current_setting('lock_timeout') AS l;")
    apply(database, migrations)
    assert ask(database, "SELECT l, s FROM a") == [("7s", "70s")]
    assert ask(database, "SELECT l FROM b") == [("2s",)]


@pytest.fixture
def owner(database, roles) -> str:
    """A role that may make tables and knows nothing of the history."""
    role = roles.create()
    database.execute(f"GRANT CREATE ON SCHEMA public TO {role.name}")
    return role.name


@pytest.mark.parametrize("how", ["SET ROLE {}", "SET SESSION AUTHORIZATION {}", "BEGIN; SET ROLE {}; COMMIT"])
def test_role_goes_on_to_the_next_unit_and_the_record_is_written_all_the_same(
    database, migrations, owner: str, how: str
) -> None:
    migrations.write("001_a.sql", f"{how.format(owner)};\nBEGIN;\nCREATE TABLE a ();\nCOMMIT;\nCREATE TABLE b ();")
    migrations.write("002_b.sql", "CREATE TABLE c ();")
    assert labels(apply(database, migrations)) == ["001", "002"]
    owners = ask(database, "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    assert owners == [("a", owner), ("b", owner), ("c", ask(database, "SELECT current_user")[0][0])]
    by = "SELECT DISTINCT database_user <> %s FROM aurora_migrations.attempts"
    assert ask(database, by, (owner,)) == [(True,)]


def test_authorization_and_role_of_a_file_outlive_the_record_between_its_units(database, migrations, roles) -> None:
    member, group = roles.create(), roles.create("NOLOGIN")
    database.execute(f"GRANT CREATE ON SCHEMA public TO {member.name}; GRANT {group.name} TO {member.name}")
    migrations.write(
        "001_a.sql",
        f"{OFF}SET SESSION AUTHORIZATION {member.name};\nCREATE TABLE t (s name, c name);\n"
        f"GRANT INSERT ON t TO {group.name};\nSET ROLE {group.name};\n"
        "BEGIN; INSERT INTO t VALUES (session_user, current_user); COMMIT;\n"
        "RESET ROLE;\nINSERT INTO t VALUES (session_user, current_user);",
    )
    apply(database, migrations)
    assert ask(database, "SELECT s, c FROM t") == [(member.name, group.name), (member.name, member.name)]


def test_unprivileged_role_fails_in_its_unit_and_the_failure_is_recorded(database, migrations, owner: str) -> None:
    migrations.write("001_a.sql", f"SET ROLE {owner};\nBEGIN;\nCREATE TABLE a ();\nCOMMIT;\nCREATE SCHEMA s;")
    error = failing(database, migrations)
    assert error.facts["sqlstate"] == "42501"
    assert "units 1 to 2 are applied" in error.state
    assert units(database) == [("failed", 2)]


MODES = {
    "": ("read committed", "off"),
    "ISOLATION LEVEL REPEATABLE READ": ("repeatable read", "off"),
    "ISOLATION LEVEL SERIALIZABLE, READ WRITE": ("serializable", "off"),
    "WORK ISOLATION LEVEL SERIALIZABLE DEFERRABLE": ("serializable", "on"),
    "TRANSACTION\n  READ WRITE -- a\n  , /* b */ ISOLATION LEVEL REPEATABLE READ": ("repeatable read", "off"),
}
IN_FORCE = (
    "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_deferrable') AS waits"
)


@pytest.mark.parametrize("wrapped", [True, False], ids=["one unit", "several"])
def test_modes_of_begin_are_in_force_and_only_in_its_block(database, migrations, wrapped: bool) -> None:
    around = "" if wrapped else "INSERT INTO a SELECT 'around', * FROM now;\n"
    migrations.write(
        "000_a.sql", f"CREATE VIEW now AS {IN_FORCE}; CREATE TABLE a AS SELECT '' AS n, * FROM now LIMIT 0"
    )
    for number, modes in enumerate(MODES, 1):
        block = f"BEGIN {modes};\nINSERT INTO a SELECT '{number}', * FROM now;\nCOMMIT;\n"
        migrations.write(f"00{number}_b.sql", f"{around}{block}{around}")
    apply(database, migrations)
    rows = ask(database, "SELECT DISTINCT n, level, waits FROM a ORDER BY n")
    expected = [(str(number), *settings) for number, settings in enumerate(MODES.values(), 1)]
    assert rows == expected + ([] if wrapped else [("around", "read committed", "off")])


def test_repeatable_read_is_a_snapshot_of_its_own_block(database, migrations) -> None:
    """The record of a unit must not take the next one's snapshot before its time."""
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (id int);\nBEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT pg_advisory_xact_lock(42);\n"
        "INSERT INTO a SELECT count(*) FROM a;\nCOMMIT;\n",
    )
    with holding(database.url, "SELECT pg_advisory_xact_lock(42)"):
        run = Task(apply, database, migrations)
        backend(database, "pg_advisory_xact_lock")
        database.execute("INSERT INTO a VALUES (100)")
    run.result()
    assert sorted(ask(database, "SELECT id FROM a")) == [(0,), (100,)]


def test_comment_glued_to_begin_changes_nothing(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "BEGIN/* READ ONLY */ISOLATION LEVEL SERIALIZABLE;\n"
        "CREATE TABLE a AS SELECT current_setting('transaction_isolation') AS level;\nCOMMIT;\n"
        "BEGIN/* a b */;\nINSERT INTO a SELECT current_setting('transaction_isolation');\nCOMMIT;\n",
    )
    apply(database, migrations)
    assert ask(database, "SELECT level FROM a ORDER BY level DESC") == [("serializable",), ("read committed",)]


def test_read_only_block_says_what_to_take_out(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nBEGIN READ ONLY;\nSELECT 1;\nCOMMIT;\nCREATE TABLE b ();")
    with pytest.raises(InvalidFile, match=r"001_a\.sql:2:1: a READ ONLY transaction"):
        apply(database, migrations)
    assert tables(database) == []
    migrations.write("001_a.sql", "CREATE TABLE a ();\nSET TRANSACTION READ ONLY;\nSELECT 1;\n")
    with pytest.raises(InvalidFile, match=r"001_a\.sql:2:1: a READ ONLY transaction"):
        apply(database, migrations)
    migrations.write(
        "001_a.sql", "CREATE TABLE a ();\nBEGIN;\nSELECT set_config('transaction_read_only', 'on', true);\nCOMMIT;"
    )
    error = failing(database, migrations)
    assert error.facts["sqlstate"] == "25006"
    assert "unit 1 is applied" in error.state


def test_savepoints_work_in_any_unit(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "CREATE TABLE a (id int);\nBEGIN;\nSAVEPOINT s;\nINSERT INTO a VALUES (1);\nROLLBACK TO s;\n"
        "INSERT INTO a VALUES (2);\nRELEASE s;\nCOMMIT;\n",
    )
    apply(database, migrations)
    assert ask(database, "SELECT id FROM a") == [(2,)]


def test_new_enum_value_of_one_block_is_used_in_the_next(database, migrations) -> None:
    migrations.write(
        "001_a.sql",
        "CREATE TYPE mood AS ENUM ('ok');\nBEGIN;\nALTER TYPE mood ADD VALUE 'glad';\nCOMMIT;\n"
        "BEGIN;\nCREATE TABLE a (m mood DEFAULT 'glad');\nINSERT INTO a DEFAULT VALUES;\nCOMMIT;\n",
    )
    apply(database, migrations)
    assert ask(database, "SELECT m::text FROM a") == [("glad",)]


def test_what_runs_is_what_stands_below_a_copy_of_it_in_a_comment(database, migrations) -> None:
    """A deep statement makes the file be cut another way."""
    migrations.write(
        "001_a.sql",
        f"SELECT {' + '.join(['1'] * 200)};\n-- BEGIN;\nBEGIN;\nCREATE TABLE a ();\n-- COMMIT\nCOMMIT;\n"
        "/* CREATE TABLE b () */ CREATE TABLE b ();\n",
    )
    apply(database, migrations)
    assert tables(database) == ["a", "b"]
    assert units(database) == [("applied", 2)]


# ---- rolling back ---------------------------------------------------------------------------------------------------


def test_down_file_of_several_units_goes_on_where_it_failed(database, migrations) -> None:
    migrations.write("001_a.sql", "CREATE TABLE a ();\nCREATE TABLE b ();")
    migrations.write("001_a.down.sql", "DROP TABLE a;\nBEGIN;\nDROP TABLE nowhere;\nCOMMIT;")
    apply(database, migrations)
    with pytest.raises(MigrationFailed) as caught:
        roll_back(database, migrations, "001", "001")
    assert "001_a.down.sql has 2 units that commit separately: unit 1 is applied" in caught.value.state
    assert tables(database) == ["b"]
    assert applied(database) == ["001"]
    assert [(entry.state, entry.parts) for entry in entries(database, migrations)] == [("partly rolled back", 1)]
    migrations.write("002_b.sql", "CREATE TABLE c ();")
    with pytest.raises(MigrationChanged, match=r"001_a\.sql is partly rolled back") as caught:
        apply(database, migrations)
    assert str(caught.value.next_command) == "aurora-migrations rollback 001 --confirm 1"
    (migrations.dir / "002_b.sql").unlink()

    migrations.write("001_a.down.sql", "DROP TABLE a;\nBEGIN;\nDROP TABLE b;\nCOMMIT;")
    assert labels(roll_back(database, migrations, "001", "001")) == ["001"]
    assert tables(database) == []
    assert units(database) == [("applied", 0), ("failed", 1), ("rolled back", 1)]
    assert labels(apply(database, migrations)) == ["001"]
    assert tables(database) == ["a", "b"]


# ---- statements that may commit by themselves ----------------------------------------------------------------------

FILL = """
CREATE PROCEDURE fill(upto int) LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1 .. upto LOOP
        INSERT INTO ledger (step) SELECT n WHERE NOT EXISTS (SELECT FROM ledger WHERE step = n::text);
        COMMIT;
        IF n = 3 AND EXISTS (SELECT FROM trap) THEN RAISE division_by_zero; END IF;
    END LOOP;
END $$
"""


def test_call_and_do_that_commit_run_outside_a_transaction(database, migrations) -> None:
    block = f"DO $$ BEGIN {sign('x')}; ROLLBACK; {sign('4')}; COMMIT; {sign('5')}; END $$"
    text = f"{LEDGER};\nCREATE TABLE trap ();\n{FILL};\nCALL fill(3);\n{block};"
    migrations.write("001_a.sql", f"-- verify: rows ledger = 5\n{OFF}{text}")
    [file] = apply(database, migrations).applied
    assert [check.found for check in file.checks] == ["5"]
    assert ask(database, "SELECT step FROM ledger ORDER BY step") == [(str(n),) for n in range(1, 6)]
    assert ask(database, "SELECT count(DISTINCT xid) FROM ledger") == [(5,)]
    assert units(database) == [("applied", 5)]


def test_call_that_fails_keeps_what_it_has_committed_and_is_run_again_from_its_beginning(database, migrations) -> None:
    database.execute(f"{LEDGER}; CREATE TABLE trap (); INSERT INTO trap DEFAULT VALUES; {FILL}")
    migrations.write("001_a.sql", f"{OFF}CALL fill(4);\nCREATE TABLE a ();")
    error = failing(database, migrations)
    assert (error.facts["sqlstate"], error.facts["line"]) == ("22012", 2)
    assert error.state == (
        "Nothing of 001_a.sql is recorded. What unit 1 has committed stays, and the next run starts it again "
        "from its beginning."
    )
    assert signed(database) == ["1", "2", "3"]
    assert units(database) == [("failed", 0)]
    database.execute("DELETE FROM trap")
    assert labels(apply(database, migrations)) == ["001"]
    assert signed(database) == ["1", "2", "3", "4"]


FAULTS = {
    "lock": "LOCK TABLE hot",
    "connection": "PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(9)",
    "deadlock": "RAISE deadlock_detected",
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_error_after_a_commit_of_its_own_is_not_retried(database, migrations, fault: str) -> None:
    """A transient error, too: another try would do again what is committed, and nobody would notice."""
    database.execute(f"{LEDGER}; CREATE TABLE hot ()")
    migrations.write("001_a.sql", f"{OFF}DO $$ BEGIN {sign('a')}; COMMIT; {fault}; END $$;")
    with holding(database.url, "LOCK TABLE hot"), pytest.raises(MigrationFailed, match="001_a") as caught:
        apply(database, migrations, limits=Limits(lock_timeout=200, lock_wait=60_000))
    assert not caught.value.retryable
    assert "It isn't retried automatically" in caught.value.cause
    assert "starts it again from its beginning" in caught.value.state
    assert signed(database) == ["a"]
    assert len(attempts(database)) == 1


@pytest.mark.parametrize("commit", ["", "COMMIT;"])
def test_do_block_that_loses_the_run_lock_is_in_no_further_than_its_last_commit(
    database, migrations, commit: str
) -> None:
    """Its record goes into the transaction that its own last commit has left open."""
    database.execute(LEDGER)
    unlock = "EXECUTE 'SELECT pg_advisory_unlock' || '_all()'"
    migrations.write("001_a.sql", f"{OFF}DO $$ BEGIN {sign('a')}; {commit} {sign('b')}; {unlock}; END $$;")
    assert "released the run lock" in failing(database, migrations).message
    assert signed(database) == (["a"] if commit else [])


def test_what_only_the_server_can_know_fails_with_a_reason(database, migrations) -> None:
    """That the table is partitioned doesn't stand in the statement."""
    migrations.write("001_a.sql", "CREATE TABLE p (a int PRIMARY KEY) PARTITION BY RANGE (a);")
    migrations.write("002_b.sql", "REINDEX TABLE p;")
    error = failing(database, migrations)
    assert error.facts["sqlstate"] == "25001"
    assert "`-- migration: transaction = off`" in error.cause
    assert attempts(database) == [("001", "applied"), ("002", "failed")]
    migrations.write("002_b.sql", f"{OFF}REINDEX TABLE p;\nREINDEX INDEX p_pkey;\nCREATE TABLE after ();")
    assert labels(apply(database, migrations)) == ["002"]


# The table of aurora_migrations/compiler/transaction_units.py against the server, by statements that differ in little.

THINGS = """
CREATE TABLE t (a int PRIMARY KEY, b int);
CREATE INDEX i ON t (b);
CREATE TABLE p (a int) PARTITION BY RANGE (a);
CREATE TABLE q PARTITION OF p FOR VALUES FROM (1) TO (2);
CREATE MATERIALIZED VIEW m AS SELECT 1 AS a;
CREATE UNIQUE INDEX ON m (a);
CREATE TYPE e AS ENUM ('x');
CREATE SCHEMA s;
CREATE SUBSCRIPTION idle CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (connect = false, slot_name = NONE);
CREATE SUBSCRIPTION busy CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x, z
    WITH (connect = false, slot_name = 'none_such', enabled = false);
CREATE SUBSCRIPTION held CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x
    WITH (connect = false, slot_name = 'none_such', enabled = false);
ALTER SUBSCRIPTION busy ENABLE;
"""
GONE = """
ALTER SUBSCRIPTION busy DISABLE;
ALTER SUBSCRIPTION busy SET (slot_name = NONE);
DROP SUBSCRIPTION busy;
ALTER SUBSCRIPTION held SET (slot_name = NONE);
DROP SUBSCRIPTION held;
DROP SUBSCRIPTION idle;
"""
OUTSIDE = """
CREATE INDEX CONCURRENTLY x ON t (b)
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS x ON t USING btree (b) WHERE b > 1
DROP INDEX CONCURRENTLY i
DROP INDEX CONCURRENTLY IF EXISTS i RESTRICT
REINDEX INDEX CONCURRENTLY i
REINDEX TABLE CONCURRENTLY t
REINDEX (VERBOSE, CONCURRENTLY) TABLE t
REINDEX (CONCURRENTLY ON) INDEX i
REINDEX SCHEMA s
REINDEX SCHEMA CONCURRENTLY s
REINDEX DATABASE {database}
REINDEX SYSTEM {database}
VACUUM
VACUUM t
VACUUM FULL t
VACUUM (ANALYZE, VERBOSE) t
VACUUM ANALYZE
CLUSTER
CLUSTER VERBOSE
ALTER TABLE p DETACH PARTITION q CONCURRENTLY
ALTER SYSTEM SET work_mem = '4MB'
ALTER SYSTEM RESET work_mem
CREATE DATABASE other_{database}
DROP DATABASE {database}
DROP DATABASE IF EXISTS other_{database} WITH (FORCE)
ALTER DATABASE {database} SET TABLESPACE pg_default
CREATE TABLESPACE x LOCATION '/nowhere'
DROP TABLESPACE IF EXISTS x
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (copy_data = false)
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (create_slot = true)
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (connect = true)
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (connect, create_slot = 1)
DROP SUBSCRIPTION busy
ALTER SUBSCRIPTION busy REFRESH PUBLICATION
ALTER SUBSCRIPTION busy REFRESH PUBLICATION WITH (copy_data = false)
ALTER SUBSCRIPTION busy SET PUBLICATION y
ALTER SUBSCRIPTION busy ADD PUBLICATION y
ALTER SUBSCRIPTION busy DROP PUBLICATION x WITH (refresh = true)
"""
INSIDE = """
CREATE INDEX x ON t (b)
CREATE INDEX concurrently_not ON t (b)
DROP INDEX i
REINDEX INDEX i
REINDEX TABLE t
REINDEX (VERBOSE) TABLE t
REINDEX (CONCURRENTLY FALSE) TABLE t
REINDEX (CONCURRENTLY OFF) INDEX i
ANALYZE
ANALYZE t
ANALYZE VERBOSE t
CLUSTER t USING t_pkey
CLUSTER t_pkey ON t
ALTER TABLE p DETACH PARTITION q
ALTER TABLE t SET TABLESPACE pg_default
ALTER TABLE t ADD COLUMN c int, DROP COLUMN b
ALTER INDEX i SET TABLESPACE pg_default
ALTER TABLE ALL IN TABLESPACE pg_default SET TABLESPACE pg_default
REFRESH MATERIALIZED VIEW m
REFRESH MATERIALIZED VIEW CONCURRENTLY m
ALTER TYPE e ADD VALUE 'y'
ALTER DATABASE {database} SET work_mem = '5MB'
ALTER DATABASE {database} CONNECTION LIMIT 50
ALTER DATABASE {database} RENAME TO {database}_x
ALTER TABLESPACE pg_default RESET (seq_page_cost)
COMMENT ON DATABASE {database} IS 'x'
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (connect = false)
CREATE SUBSCRIPTION x CONNECTION 'host=127.0.0.1 port=1' PUBLICATION x WITH (connect = off, slot_name = NONE)
ALTER SUBSCRIPTION busy DISABLE
ALTER SUBSCRIPTION busy CONNECTION 'host=127.0.0.1 port=2'
ALTER SUBSCRIPTION busy SET (synchronous_commit = off)
ALTER SUBSCRIPTION busy SET PUBLICATION y WITH (refresh = false)
ALTER SUBSCRIPTION busy ADD PUBLICATION y WITH (refresh = off)
CREATE PUBLICATION x
LOCK TABLE t
TRUNCATE t
DISCARD PLANS
DISCARD TEMP
CHECKPOINT
LOAD 'plpgsql'
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE
PREPARE x AS SELECT 1
LISTEN x
CREATE TABLE x (a int) PARTITION BY LIST (a)
CREATE EXTENSION IF NOT EXISTS plpgsql
"""
SINCE_18 = """
ALTER SUBSCRIPTION held SET (failover = true)
ALTER SUBSCRIPTION held SET (two_phase = false)
"""
NEVER = "COMMIT PREPARED 'x'", "ROLLBACK PREPARED 'x'"  # refused as two-phase commit, whatever it stands in


@pytest.fixture
def things(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A session on a database with something of everything. With a subscription it couldn't be dropped."""
    database.execute(THINGS)
    try:
        with psycopg.connect(database.url, autocommit=True) as connection:
            yield connection
    finally:
        database.execute(GONE)


def refusal(connection: psycopg.Connection[Any], statement: str) -> str | None:
    """The SQLSTATE with which a statement fails inside a transaction; the transaction is undone."""
    connection.execute("BEGIN")
    try:
        connection.execute(statement)  # type: ignore[call-overload]
    except psycopg.Error as error:
        return error.sqlstate
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.execute("ROLLBACK")
    return None


def listed(statements: str, database: Database) -> list[str]:
    return statements.strip().format(database=database.name).splitlines()


def test_server_refuses_inside_a_transaction_what_we_say_it_does(things, database) -> None:
    statements = listed(OUTSIDE, database)
    statements += listed(SINCE_18, database) if things.info.server_version >= 180000 else []
    assert {statement: refusal(things, statement) for statement in statements} == dict.fromkeys(statements, "25001")
    known = {statement: bool(read_nontransactional(parse(statement.encode())[0])) for statement in statements}
    assert [statement for statement, refused in known.items() if not refused] == []


def test_server_runs_inside_a_transaction_what_we_say_it_does(things, database) -> None:
    statements = listed(INSIDE, database)
    failed = {statement: refusal(things, statement) for statement in statements}
    renamed = [statement for statement in statements if "RENAME TO" in statement]  # it's the one we are in
    assert {s: state for s, state in failed.items() if state} == dict.fromkeys(renamed, "0A000")
    known = {statement: read_nontransactional(parse(statement.encode())[0]) for statement in statements}
    assert {statement: found for statement, found in known.items() if found} == {}


def test_two_phase_commit_is_for_the_server_outside_too(things) -> None:
    for statement in NEVER:
        assert refusal(things, statement) == "25001"
        assert control_of(parse(statement.encode())[0]) is not None
