"""Families input: what was asked for, or the files, can't be."""

from __future__ import annotations

import sys
from pathlib import Path

from aurora_migrations.engine import errors
from aurora_migrations.local.cloud.discovery import Access, found_by_others
from tests.cli.cloud import answering
from tests.cli.conftest import Answer
from tests.cli.scenes import adopted, imported
from tests.cli.stage import Stage
from tests.database.helpers import holding, holding_run_lock
from tests.listeners import PLAIN, another_pid, listening, refuse_startup, url_to

# What the grammar, the options and our own rules refuse, each in a file of its own.
REFUSED = {
    "f003_copy": "COPY users FROM STDIN;\n1\n\\.\n",
    "f004_commit": "CREATE TABLE c (id integer);\nCOMMIT;\n",
    "f005_option": "-- migration: lock_timeot = 2s\nSELECT 1;\n",
    "f006_value": "-- migration: lock_timeout = soon\nSELECT 1;\n",
    "f007_late": "SELECT 1;\n-- migration: lock_timeout = 2s\n",
    "f008_rule": "-- migration: allow = no-such-rule because it is fine\nSELECT 1;\n",
    "f009_concurrently": "CREATE INDEX CONCURRENTLY i ON users (id);\n",
    "f010_rows": "-- verify: rows users ~ 3\nSELECT 1;\n",
    "f011_empty": "SELECT 1;\n",
    "f011_empty_verify": "-- nothing yet\n",
    "f012_writes": "SELECT 1;\n",
    "f012_writes_verify": "DELETE FROM users;\n",
    "f013_text": "SELECT 'no end;\n",
}
UNDO = {"action": "rollback", "target": "001", "confirm": "002"}


def _empty_folder(stage: Stage) -> Answer:
    stage.write(f001_users=None, f001_users_down=None, f002_orders=None, f002_orders_down=None)
    return stage.on("run")


def _file_for_a_folder(stage: Stage) -> Answer:
    Path(".github").write_text("")
    return stage.call("init", "--project", "shop")


def _pooler(stage: Stage) -> Answer:
    port = stage.enter(listening(another_pid(stage.database.server.port)))
    there = stage.database.url.replace(f":{stage.database.server.port}/", f":{port}/")
    return stage.on("run", url=f"{there}?{PLAIN}")


def _strict_pooler(stage: Stage) -> Answer:
    return stage.on("run", url=f"{url_to(stage.enter(listening(refuse_startup)))}?{PLAIN}")


def _interrupted_rollback(stage: Stage) -> Answer:
    """It has undone 002, and finds the table of 001 in use; then somebody applies 002 again."""
    machine = stage.machine
    machine.run({})
    machine.execution, machine.variables["LOCK_WAIT_MS"] = "undo", "0"
    with holding(stage.database.url, "SELECT FROM users"):
        machine.refused("apply", errors.LockTimeout, UNDO)
    machine.execution = "another"
    machine.run({})
    machine.execution = "undo"
    return stage.refused(errors.InvalidInput, UNDO)


def _not_there(stage: Stage) -> Answer:
    """Without --confirm, the environment is asked first what is applied."""
    entry = {"migration": "001", "name": "001_users.sql", "applied_at": "2026-11-23T04:00:17Z"}
    entry = {**entry, "has_down_file": True}
    listed = {"status": "success", "migration": None, "message": "1 migration", "migrations": [entry]}
    stage.cloud.deploy_bare(answering({"list-migrations": listed}))
    return stage.env("rollback", "2")


def _without_down_file(stage: Stage) -> Answer:
    """The package of the environment lacks one."""
    entry = {"migration": "018", "name": "018_b.sql", "applied_at": "2026-11-23T04:00:17Z", "has_down_file": False}
    listed = {"status": "success", "migration": None, "message": "1 migration", "migrations": [entry]}
    stage.cloud.deploy_bare(answering({"list-migrations": listed}))
    return stage.env("rollback", "18")


def _left_out(stage: Stage) -> Answer:
    """The answer of the environment has no room for its oldest migrations."""
    at = "2026-11-23T04:00:17Z"
    entry = {"migration": "018", "name": "018_b.sql", "state": "applied", "applied_at": at, "execution": None}
    listed = {"status": "success", "migration": None, "message": "18 migrations", "migrations": [entry], "omitted": 17}
    stage.cloud.deploy_bare(answering({"list-migrations": listed}))
    return stage.env("rollback", "5")


def _busy(stage: Stage) -> Stage:
    """Somebody holds the run lock."""
    stage.enter(holding_run_lock(stage.database.url, application_name="aurora-migrations run-1"))
    return stage


def _no_squawk(stage: Stage) -> Answer:
    stage.patch.setattr(sys, "executable", str(stage.two.dir / "python"))
    stage.patch.setenv("PATH", "")
    return stage.call("check")


def _squawk(stage: Stage, text: str) -> Answer:
    """Another program of that name stands beside this Python."""
    folder = stage.two.dir.parent / "bin"
    folder.mkdir()
    program = folder / "squawk"
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    stage.patch.setattr(sys, "executable", str(folder / "python"))
    return stage.call("check")


def _slow_squawk(stage: Stage) -> Answer:
    stage.patch.setattr("aurora_migrations.compiler.squawk._LIMIT_S", 0.2)
    return _squawk(stage, "#!/bin/sh\nexec sleep 60\n")


def _in_the_way(stage: Stage) -> Answer:
    (stage.two.dir / "manifest.json").mkdir()
    return stage.call("check", "--write-manifest")


def _written_meanwhile(stage: Stage) -> Answer:
    """Somebody else has written that very file since the next number was looked for."""
    stage.patch.setattr("aurora_migrations.cli.verbs.new.next_label", lambda folder: "002")
    return stage.call("new", "orders")


def _up_with_others(stage: Stage) -> Answer:
    home = stage.two.dir.parent / "home"
    stage.patch.setenv("AURORA_MIGRATIONS_LOCAL", str(home))
    other = stage.two.dir.parent / "other"
    other.mkdir()
    stage.enter(found_by_others(home, Access("http://127.0.0.1:9", "secret", migrations=str(stage.two.dir.resolve()))))
    return stage.call("list", "--local", "--migrations", "other")


def _by_itself(stage: Stage) -> Answer:
    stage.machine.execution = ""
    return stage.refused(errors.InvalidInput)


def _up(stage: Stage, url: str) -> Answer:
    stage.patch.delenv("PGPASSWORD", raising=False)
    return stage.call("up", "--database-url", url)


def _gone(stage: Stage, name: str) -> Stage:
    """A file that is a link to nothing."""
    path = stage.two.dir / name
    path.unlink(missing_ok=True)
    path.symlink_to(Path("nowhere.sql"))
    return stage


def _everything_wrong(stage: Stage) -> Answer:
    for name in ("add_email.sql", "003_a b.sql", "004_c.SQL", "002_again.sql", "009_alone.down.sql"):
        stage.two.write(name, "SELECT 1;\n")
    (stage.two.dir / "old").mkdir()
    (stage.two.dir / "old" / "000_a.sql").touch()
    return stage.on("run")


def _bytes(stage: Stage, name: str, data: bytes) -> Stage:
    (stage.two.dir / name).write_bytes(data)
    return stage


def _longer_than_a_call(stage: Stage, text: str) -> Answer:
    stage.write(f003_c=f"-- migration: statement_timeout = 20min\n{text}")
    return stage.refused(errors.InvalidInput, step="apply", package=stage.machine.write_manifest())


def _foreign_schema_file(stage: Stage) -> Answer:
    (stage.two.dir.parent / "tables.sql").write_text("CREATE TABLE mine (id int);\n", encoding="utf-8")
    return stage.call("replay", "--schema-file", "tables.sql")


def _misspelt_variable(stage: Stage) -> Answer:
    stage.patch.setenv("AURORA_MIGRATIONS_REPLAY", "yes")
    try:
        return stage.call("check")
    finally:
        stage.patch.setenv("AURORA_MIGRATIONS_REPLAY", "off")


INPUT = [
    ("no migration has that number", lambda s: s.on("run", "999")),
    ("the target isn't a number", lambda s: s.on("run", "users")),
    ("the same, in an environment: nothing is started", lambda s: s.env("run", "users")),
    ("no place to work was named", lambda s: s.call("run")),
    ("there is no such folder", lambda s: s.on("run", "--migrations", "nowhere")),
    ("the folder is empty", _empty_folder),
    (
        "a file's limits contradict the environment's",
        lambda s: s.write(f003_c="-- migration: statement_timeout = 3s\nSELECT 1;\n").on("run", "--lock-timeout", "5s"),
    ),
    ("a file allows a statement more time than a call has", lambda s: _longer_than_a_call(s, "SELECT 1;\n")),
    (
        "a file of several units allows a statement more time than a call has",
        lambda s: _longer_than_a_call(s, "-- migration: transaction = off\nCALL fill();\nCALL fill();\n"),
    ),
    # ---- the schema file ----
    ("a schema file wasn't written by replay", _foreign_schema_file),
    ("a schema file's folder doesn't exist", lambda s: s.call("replay", "--schema-file", "nowhere/schema.sql")),
    ("the replay's variable is misspelled", _misspelt_variable),
    # ---- the address ----
    ("the URL is of another kind of database", lambda s: s.on("run", url="mysql://app:secret@127.0.0.1/shop")),
    ("the address isn't a URL", lambda s: s.on("run", url="postgresql://app:a%zz@127.0.0.1/shop")),
    ("a password has an @", lambda s: s.on("run", url="postgresql://app:a@b@127.0.0.1/shop")),
    ("a password has a /", lambda s: s.on("run", url="postgresql://app:a/b@127.0.0.1/shop")),
    ("a port isn't a number", lambda s: s.on("run", url="postgresql://app:a@127.0.0.1:54x2/shop")),
    ("a parameter's name is misspelled", lambda s: s.on("run", url=f"{s.database.url}?sslmod=require")),
    ("a parameter's value is misspelled", lambda s: s.on("run", url=f"{s.database.url}?sslmode=requird")),
    ("libpq refuses a parameter's value", lambda s: s.on("run", url=f"{s.database.url}?gssencmode=perhaps")),
    ("a pooler shares sessions", _pooler),
    ("a pooler refuses our settings", _strict_pooler),
    # ---- rolling back ----
    ("what is to be rolled back isn't applied", lambda s: s.ran("1").on("rollback", "2", "--confirm", "1")),
    ("the same, in an environment", _not_there),
    ("an environment can't show all of what would be undone", _left_out),
    ("there is no terminal to confirm at", lambda s: s.ran().on("rollback", "1")),
    ("another number was typed", lambda s: s.ran().types("001").on("rollback", "1")),
    ("another number was confirmed", lambda s: s.ran().on("rollback", "1", "--confirm", "1")),
    ("a down file is missing", lambda s: s.write(f001_users_down=None).ran().on("rollback", "1", "--confirm", "2")),
    ("the package of an environment has no down file", _without_down_file),
    ("another execution changed the database during a rollback", _interrupted_rollback),
    # ---- resolving and cancelling ----
    ("nothing is in doubt", lambda s: s.ran().on("resolve", "1", "applied", "--confirm", "applied")),
    ("nothing is running that could be canceled", lambda s: s.on("cancel", "--yes")),
    ("there is no terminal to confirm a cancel at", lambda s: _busy(s).on("cancel")),
    ("a resolve lacks its arguments", lambda s: s.refused(errors.InvalidInput, {"action": "resolve", "target": "1"})),
    # ---- an execution's input ----
    ("the input isn't an object", lambda s: s.refused(errors.InvalidInput, "run 017")),
    ("the input has an unknown key", lambda s: s.refused(errors.InvalidInput, {"migration": "001"})),
    ("the input's action doesn't exist", lambda s: s.refused(errors.InvalidInput, {"action": "run"})),
    ("the action takes no target", lambda s: s.refused(errors.InvalidInput, {"action": "status", "target": "1"})),
    ("the action takes no confirmation", lambda s: s.refused(errors.InvalidInput, {"confirm": "1"})),
    ("a rollback lacks its arguments", lambda s: s.refused(errors.InvalidInput, {"action": "rollback"})),
    ("a value isn't text", lambda s: s.refused(errors.InvalidInput, {"target": [1]})),
    ("a value has a password in it", lambda s: s.refused(errors.InvalidInput, {"target": "postgresql://a:b@h/d"})),
    ("the function was called outside of the state machine", _by_itself),
    ("an execution's name is invalid", lambda s: s.refused(errors.InvalidInput, execution="x" * 81)),
    ("the state isn't from apply", lambda s: s.refused(errors.InvalidInput, step="apply", so_far="done")),
    ("a file in the state has no number", lambda s: s.refused(errors.InvalidInput, so_far={"applied": [{}]})),
    # ---- an environment's settings ----
    ("a setting is missing", lambda s: s.variable(ALLOWED_ACTIONS="")),
    ("a setting has an invalid value", lambda s: s.variable(LOCK_TIMEOUT_MS="soon")),
    ("two settings contradict each other", lambda s: s.variable(STATEMENT_TIMEOUT_MS="1000")),
    ("certificates are missing", lambda s: s.variable(DATABASE_SSLMODE="verify-full", DATABASE_SSLROOTCERT="no.pem")),
    # ---- writing files ----
    ("a description has no word", lambda s: s.call("new", "???")),
    ("the file is there already", _written_meanwhile),
    ("a project's name is invalid", lambda s: s.call("init", "--project", "My Shop")),
    ("init finds a file in a folder's place", _file_for_a_folder),
    ("there is no such template", lambda s: s.call("new", "a", "--template", "indexes")),
    ("a template's option without a template", lambda s: s.call("new", "a", "--table", "users")),
    ("a template brings its own down file", lambda s: s.call("new", "a", "--template", "index", "--down")),
    ("the template doesn't take that", lambda s: s.call("new", "a", "--template", "index", "--type", "text")),
    ("zero batches", lambda s: s.call("new", "a", "--template", "backfill", "--batches", "0")),
    ("a name is invalid", lambda s: s.call("new", "a", "--template", "index", "--table", "no name")),
    ("a type is empty", lambda s: s.call("new", "a", "--template", "rename", "--type", " ")),
    ("something is where the manifest goes", _in_the_way),
    # ---- squawk ----
    ("squawk isn't installed", _no_squawk),
    ("squawk isn't a program", lambda s: _squawk(s, "no program\n")),
    ("squawk fails", lambda s: _squawk(s, "#!/bin/sh\necho out of memory >&2; exit 9\n")),
    ("squawk hangs", _slow_squawk),
    # ---- the local cloud ----
    ("the local cloud that is up has other migrations", _up_with_others),
    ("the local cloud needs a password", lambda s: _up(s, "postgresql://app@localhost/shop")),
    ("the local cloud needs a user", lambda s: _up(s, "postgresql://localhost/shop")),
    ("the local cloud needs a host", lambda s: _up(s, "postgresql://app:secret@/shop")),
    ("the local cloud needs one host", lambda s: _up(s, "postgresql://app:secret@one,two/shop")),
    (
        "the local cloud knows no such parameter",
        lambda s: _up(s, "postgresql://app:secret@one/shop?channel_binding=require"),
    ),
]
FILES = [
    ("a file to replay has an error", lambda s: s.write(f002_orders="CREATE TABEL a;\n").call("replay")),
    ("a file isn't SQL", lambda s: s.write(f003_c="CREATE TABLE c (id int;\n").on("run")),
    ("names that match no rule, and a folder", _everything_wrong),
    ("everything that is refused, in one folder", lambda s: s.write(**REFUSED).on("run")),
    ("a file is a link to nothing", lambda s: _gone(s, "002_orders.sql").on("run")),
    ("a file isn't UTF-8", lambda s: _bytes(s, "003_c.sql", b"SELECT 'caf\xe9';\n").on("run")),
    ("a file is UTF-16", lambda s: _bytes(s, "003_c.sql", "SELECT 1;\n".encode("utf-16")).on("run")),
    ("an applied file can't be read", lambda s: _gone(s.ran(), "001_users.sql").on("status")),
    (
        "a file's limits contradict each other",
        lambda s: s.write(f003_c="-- migration: statement_timeout = 1s\nSELECT 1;\n").on("run"),
    ),
    ("a plan shows a file that isn't SQL", lambda s: s.write(f003_c="CREATE TABLE c (id int;\n").on("plan")),
    (
        "a down file isn't SQL",
        lambda s: s.ran().write(f002_orders_down="DROP TABLE;\n").on("rollback", "2", "--confirm", "2"),
    ),
]
ALTER = "ALTER TABLE orders DROP COLUMN id;\n"


def _in_environment(stage: Stage) -> Answer:
    stage.write(f003_c=ALTER)
    stage.machine.variables["HAZARDS"] = "refuse"
    return stage.refused(errors.HazardRefused)


HAZARDS = [
    ("a column is dropped", lambda s: s.write(f003_c=ALTER).on("run", "--hazards", "refuse")),
    ("the same, in an environment that refuses hazards", _in_environment),
    (
        "several at once",
        lambda s: s.write(f003_c="ALTER TABLE users RENAME TO people;\nCREATE INDEX ON orders (id);\n").on(
            "run", "--hazards", "refuse"
        ),
    ),
]


def _only_plan(stage: Stage) -> Answer:
    stage.machine.variables["ALLOWED_ACTIONS"] = "plan"
    return stage.refused(errors.ActionNotAllowed)


SCENES = {
    "InvalidInput": [*INPUT, *imported.INPUT, *adopted.INPUT],
    "HazardRefused": HAZARDS,
    "ActionNotAllowed": [("the environment only plans", _only_plan)],
}
