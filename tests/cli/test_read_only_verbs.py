"""`aurora-migrations list`, `status` and `history`: what is applied where, for people and for programs."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from tests.cli.conftest import Call
from tests.database.helpers import holding_run_lock
from tests.servers import Database, Migrations, Role

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b2J\u202e"  # a title, a cleared screen twice, and what turns a line round
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def table(text: str) -> list[list[str]]:
    """The rows of a table without its headers."""
    return [re.split(r" {2,}", line.rstrip()) for line in text.splitlines()[1:]]


@pytest.fixture
def mixed(on: Call, two: Migrations) -> Migrations:
    """A folder and a history that disagree in every way there is."""
    for name in ("003_c.sql", "005_e.sql", "006_f.sql"):
        two.write(name, "SELECT 1;")
    on("run")
    two.write("002_orders.sql", "SELECT 'changed';")
    (two.dir / "003_c.sql").unlink()
    (two.dir / "006_f.sql").unlink()
    two.write("004_d.sql", "SELECT 1;")
    return two


def test_list_before_anything_is_applied(on: Call, two: Migrations) -> None:
    answer = on("list")
    assert (answer.code, answer.err) == (0, "")
    assert [row[0] for row in table(answer.out)] == ["pending", "pending"]
    assert answer.out.splitlines()[0].split() == ["State", "Applied", "at", "Migration"]


def test_list_names_every_state(on: Call, mixed: Migrations) -> None:
    rows = table(on("list").out)
    assert [(row[0], row[-1]) for row in rows] == [
        ("applied", "001_users.sql"),
        ("changed", "002_orders.sql"),
        ("missing", "003_c.sql"),
        ("out of order", "004_d.sql"),
        ("applied", "005_e.sql"),
        ("ahead", "006_f.sql"),
    ]
    assert [bool(re.fullmatch(ISO, row[1])) for row in rows if len(row) == 3] == [True] * 5
    told = on("list", "--output", "json").json["migrations"]
    assert [(entry["state"], entry["name"]) for entry in told] == [(row[0], row[-1]) for row in rows]
    keys = {"migration", "name", "state", "applied_at", "execution", "parts", "has_down_file", "origin"}
    assert told[0].keys() == keys


def test_list_is_not_cut_in_a_pipe_and_has_no_blanks_at_line_ends(on: Call, here: Migrations) -> None:
    name = f"001_{'long_' * 40}.sql"
    here.write(name, "SELECT 1;")
    on("run")
    for verb in ("list", "history"):
        answer = on(verb)
        assert name in answer.out
        assert [line for line in answer.out.splitlines() if line != line.rstrip()] == []


def test_status_before_anything_is_applied(on: Call, two: Migrations, database: Database) -> None:
    answer = on("status")
    assert (answer.code, answer.err) == (0, "")
    lines = {line[:10].strip(): line[11:] for line in answer.out.splitlines()}
    assert lines["Database"].startswith(f"{database.name} as postgres (PostgreSQL {database.server.version}")
    assert (lines["Applied"], lines["Pending"], lines["Running"]) == ("0", "2, the next 001_users.sql", "nothing")


def test_status_says_what_a_run_would_refuse(on: Call, mixed: Migrations) -> None:
    answer = on("status")
    assert answer.code == 1
    assert re.search(rf"(?m)^Applied +5, the newest 006_f\.sql at {ISO}$", answer.out)
    refused = re.findall(r"(?m)^Refused +(\S+) is ([\w ]+);", answer.out)
    assert refused == [("002_orders.sql", "changed"), ("003_c.sql", "missing"), ("004_d.sql", "out of order")]
    assert re.search(r"(?m)^Ahead +006_f\.sql", answer.out)
    told = on("status", "--output", "json").json
    assert told["sound"] is False
    some = {"applied": 2, "ahead": 1, "out of order": 1, "changed": 1, "missing": 1}
    assert {state: count for state, count in told["counts"].items() if count} == some
    assert [entry["name"] for entry in told["refused"]] == ["002_orders.sql", "003_c.sql", "004_d.sql"]


def test_status_says_who_is_at_work(on: Call, two: Migrations, database: Database) -> None:
    with holding_run_lock(database.url, application_name="aurora-migrations cli-other") as holder:
        pid = holder.info.backend_pid
        answer, told = on("status"), on("status", "--output", "json").json
    assert f"aurora-migrations cli-other (pid {pid}, user postgres), connected since 2" in answer.out
    assert (told["running"]["pid"], told["running"]["application"]) == (pid, "aurora-migrations cli-other")


def test_times_are_told_in_one_form(on: Call, two: Migrations, database: Database) -> None:
    on("run")
    with holding_run_lock(database.url, application_name="aurora-migrations cli-other"):
        told = on("status").out
    times = re.findall(r"\d{4}-\d\d-\d\d\S*(?: [\d:.+]+)?", told)
    assert len(times) == 3
    assert [time for time in times if not re.fullmatch(ISO, time)] == []


def test_history_of_a_new_database(on: Call, two: Migrations) -> None:
    answer = on("history")
    assert (answer.code, answer.out) == (0, "No attempts yet: nothing has been applied to this database.\n")
    told = on("history", "--output", "json").json
    assert (told["attempts"], told["older"], told["status"]) == ([], False, "success")


def test_history_tells_every_attempt_newest_first(on: Call, two: Migrations) -> None:
    two.write("002_orders.sql", "SELECT 1/0;")
    on("run")
    two.write("002_orders.sql", "SELECT 1;")
    on("run")
    on("rollback", "2", "--confirm", "2")  # fails: there is no table to drop
    answer = on("history")
    assert [row[1:3] for row in table(answer.out)] == [
        ["failed: MigrationFailed", "002_orders.sql (rollback)"],
        ["applied", "002_orders.sql"],
        ["failed: MigrationFailed", "002_orders.sql"],
        ["applied", "001_users.sql"],
    ]
    told = on("history", "--output", "json", "--last", "3").json["attempts"]
    assert [(attempt["action"], attempt["result"]) for attempt in told] == [
        ("rollback", "failed"),
        ("apply", "applied"),
        ("apply", "failed"),
    ]
    assert told[2]["error"]["sqlstate"] == "22012"
    assert told[0]["requested_by"].count("@") == 1


@pytest.mark.parametrize("last", ["0", "-1", "x", "1.5", "", "9" * 5_000])
def test_history_wants_a_number(on: Call, two: Migrations, last: str) -> None:
    answer = on("history", f"--last={last}")
    assert answer.code == 2
    assert "is not a number from 1 on" in answer.err


@pytest.mark.parametrize("verb", ["list", "status", "history"])
def test_looking_makes_nothing(on: Call, two: Migrations, database: Database, verb: str) -> None:
    assert on(verb).code == 0
    assert database.query("SELECT count(*) FROM pg_namespace WHERE nspname = 'aurora_migrations'") == [(0,)]


@pytest.mark.parametrize("verb", ["list", "status", "history"])
@pytest.mark.parametrize("output", ["text", "json"])
def test_looking_at_nothing_is_a_named_error(call: Call, two: Migrations, verb: str, output: str) -> None:
    answer = call(verb, "--output", output, "--database-url", "postgresql://app@127.0.0.1:1/shop")
    assert answer.code == 1
    if output == "json":
        assert (answer.json["status"], answer.json["error"]) == ("failed", "DatabaseUnreachable")
    else:
        assert answer.out == ""
        assert answer.err.startswith("\nDatabaseUnreachable: 127.0.0.1:1 can't be reached")


@pytest.mark.parametrize("verb", ["list", "status", "history"])
def test_after_looking_in_vain_the_next_command_looks_again(call: Call, two: Migrations, verb: str) -> None:
    answer = call(verb, "--database-url", "postgresql://app@127.0.0.1:1/shop")
    assert re.search(rf"(?m)^  Next +aurora-migrations {verb}", answer.err)


class Terminal(io.StringIO):
    """Keeps what reaches it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def escaping(on: Call, two: Migrations, database: Database) -> Iterator[Role]:
    """A database whose names hold what a terminal obeys, and a run under way of a role that is called so."""
    on("run")
    two.write("003_c.sql", f'SELECT * FROM "{ESCAPES}";')
    assert ESCAPES not in on("run").err
    for column in ("name", "requested_by"):
        database.query(f"UPDATE aurora_migrations.attempts SET {column} = {column} || %s RETURNING 1", (ESCAPES,))
    database.query("UPDATE aurora_migrations.applied SET name = name || %s RETURNING 1", (ESCAPES,))
    for path in two.dir.glob("00[23]*"):
        path.unlink()
    role = Role(f"runs{ESCAPES}", "secret")
    name = sql.Identifier(role.name)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, role.password))
        try:
            with holding_run_lock(database.url_as(role)):
                yield role
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_escape_sequences_that_the_database_holds_reach_no_terminal(
    on: Call, escaping: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    for verb in (["list"], ["status"], ["history"], ["run", "--wait=10ms"]):
        answer = on(*verb)
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setenv("COLUMNS", "400")
            patch.setattr(sys, "stdout", terminal)
            patch.setattr(sys, "stderr", terminal)
            on(*verb)
        drawn = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())  # bold headers are the program's own
        for text in (answer.out + answer.err, drawn):
            assert not set("\x1b\x07\x9b\u202e") & set(text), (verb, text)
            assert r"\x1b]0;owned\x07" in re.sub(r"\s", "", text), (verb, text)


def test_escape_sequences_are_escaped_in_json_as_json_does(on: Call, escaping: Role) -> None:
    answer = on("history", "--output", "json")
    assert "\x1b" not in answer.out
    assert answer.json["attempts"][0]["requested_by"].endswith(ESCAPES)
