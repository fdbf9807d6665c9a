"""Families sql, verify and internal: what comes of files that run."""

from __future__ import annotations

from collections.abc import Callable

from aurora_migrations.engine import errors
from aurora_migrations.engine.steps.step import RESERVE
from tests.cli.conftest import Answer
from tests.cli.scenes.contention import AT_ONCE, slow_promises
from tests.cli.stage import Stage
from tests.functions.helpers import Context

PARTS = "BEGIN;\nCREATE TABLE c (id integer);\nCOMMIT;\nBEGIN;\nSELECT missing;\nCOMMIT;\n"
NAME_OF_A_ROW = """\
CREATE TABLE names AS SELECT 'some' || 'body' AS name;
DO $$
DECLARE n text;
BEGIN
    SELECT name INTO n FROM names;
    EXECUTE format('DROP FUNCTION %I(integer)', n);
END $$;
"""
ROOM = (
    "SET LOCAL temp_file_limit = '64kB';\nSET LOCAL work_mem = '64kB';\nSELECT count(*) FROM (SELECT i FROM "
    "generate_series(1, 100000) AS i ORDER BY random()) AS s;\n"
)
DEFERRED = "CREATE TABLE c (id integer UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO c VALUES (7), (7);\n"


# ---- statements -----------------------------------------------------------------------------------------------------


def _fails(text: str, *words: str) -> Callable[[Stage], Answer]:
    return lambda stage: stage.write(f003_c=text).on(*(words or ("run",)))


def _record_vanished(stage: Stage) -> Answer:
    down = "DROP TABLE orders;\nDELETE FROM aurora_migrations.applied WHERE version = 2;\n"
    return stage.write(f002_orders_down=down).ran().on("rollback", "2", "--confirm", "2")


def _record_discarded(stage: Stage) -> Answer:
    stage.ran("1").sql(
        "CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER audit BEFORE INSERT ON aurora_migrations.applied FOR EACH ROW EXECUTE FUNCTION audit()"
    )
    return stage.on("run")


def _breaks_out(stage: Stage) -> Answer:
    """Where the server reads a backslash in a text in the old way, it finds a COMMIT that stands in a text for us."""
    stage.sql(f'ALTER DATABASE "{stage.database.name}" SET standard_conforming_strings = off')
    return stage.write(f003_c="CREATE TABLE c (id integer);\nSELECT 'a\\'' ; COMMIT; SELECT '' -- ';\n").on("run")


def _setting_gone(stage: Stage) -> Answer:
    """A role that the first part had taken is there no more when the file goes on."""
    role = stage.roles.create()
    text = f"-- migration: transaction = off\nSELECT 1;\nSET ROLE {role.name};\nSELECT {{}};\n"
    stage.write(f003_c=text.format("missing")).failed()
    stage.roles.drop_all()
    return stage.write(f003_c=text.format("2")).on("run")


def _name_taken(made: str) -> Callable[[Stage], Answer]:
    text = "CREATE INDEX CONCURRENTLY orders_id ON orders (id);\n"
    return lambda stage: stage.ran().sql(made).write(f003_c=text).on("run")


# ---- time -----------------------------------------------------------------------------------------------------------


def _slow_history(stage: Stage) -> Answer:
    """A server that is so busy that the history can't be read in time."""
    stage.ran().machine.variables.update(LOCK_TIMEOUT_MS="200", STATEMENT_TIMEOUT_MS="400")
    stage.sql(
        "ALTER TABLE aurora_migrations.attempts RENAME TO kept;"
        "CREATE VIEW aurora_migrations.attempts AS "
        "SELECT * FROM aurora_migrations.kept WHERE pg_sleep(60) IS NOT NULL OFFSET 0"
    )
    return stage.refused(errors.StatementTimeout)


def _end_of_call(stage: Stage) -> Answer:
    stage.write(f003_c="SELECT pg_sleep(60);\n").ran("2")
    context = Context(RESERVE + 1_000)
    package = stage.machine.write_manifest()
    return stage.refused(errors.StatementTimeout, step="apply", package=package, context=context)


def _end_of_verify(stage: Stage, seconds: float) -> Answer:
    slow_promises(stage, seconds)
    context = Context(RESERVE + 1_000)
    return stage.refused(errors.StatementTimeout, {"action": "verify"}, step="verify", context=context)


def _slow_promise(stage: Stage) -> Answer:
    slow_promises(stage, 60).machine.variables.update(LOCK_TIMEOUT_MS="100", STATEMENT_TIMEOUT_MS="300")
    return stage.refused(errors.StatementTimeout, {"action": "verify"}, step="verify")


def _many_short_statements(stage: Stage) -> Answer:
    """The file has held its lock for long when its next message is to be sent."""
    text = "-- migration: lock_timeout = 100ms\nALTER TABLE users ADD COLUMN a integer;\n"
    many = (f"ALTER TABLE users ADD COLUMN c{n} integer, DROP COLUMN c{n - 1};" for n in range(1, 600))
    line = " ".join([f"/* {'in one line ' * 8}*/", *many]).replace(", DROP COLUMN c0", "")
    return stage.ran().write(f003_c=f"{text}{line}\n").on(*AT_ONCE)


# ---- promises -------------------------------------------------------------------------------------------------------


def _unfit_index(stage: Stage) -> Answer:
    stage.write(f003_index="CREATE INDEX orders_id ON orders (id);\n").ran()
    stage.sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id'::regclass")
    return stage.on("verify")


def _not_applied(stage: Stage) -> Answer:
    return stage.ran("1").on("verify", "2")


def _table_gone(stage: Stage) -> Answer:
    return stage.replayed().ran().sql("DROP TABLE users").on("verify")


def _changed_by_hand(stage: Stage) -> Answer:
    text = "CREATE TABLE c (id integer NOT NULL, name text DEFAULT 'x');\nCREATE INDEX c_name ON c (name);\n"
    stage.write(f003_c=text).replayed().ran()
    return stage.sql("DROP INDEX c_name; ALTER TABLE c ALTER id DROP NOT NULL, ALTER name DROP DEFAULT").on("verify")


def _another_one_is_there(stage: Stage) -> Answer:
    """What IF NOT EXISTS passes over in silence."""
    text = "CREATE TABLE IF NOT EXISTS c (\n  id integer\n);\nALTER TABLE c ADD COLUMN IF NOT EXISTS name text;\n"
    return stage.write(f003_c=text).replayed().sql("CREATE TABLE c (id bigint, name integer)").on("run")


def _rows_lost(stage: Stage) -> Answer:
    stage.write(f003_c="INSERT INTO users (id) VALUES (1);\n").replayed().ran("2")
    body = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM kept; RETURN new; END';"
    stage.sql(f"CREATE TABLE kept AS SELECT 1; {body} CREATE TRIGGER t AFTER INSERT ON users EXECUTE FUNCTION f()")
    return stage.on("run")


def _not_in(stage: Stage) -> Answer:
    """What apply has said that it did isn't in the history."""
    package = stage.machine.write_manifest()
    return stage.refused(errors.VerificationFailed, step="verify", package=package)


def _broken_for_ever(stage: Stage) -> Answer:
    stage.write(f003_c="-- verify always: rows c <= 1\nCREATE TABLE c (id integer);\n").ran()
    stage.sql("INSERT INTO c VALUES (1), (2)")
    return stage.on("verify")


# ---- mistakes of ours -----------------------------------------------------------------------------------------------


def _mistake(stage: Stage) -> Answer:
    stage.patch.setattr("functions.entrypoint.read_login", None)
    return stage.refused(errors.InternalError)


BLOCK = "DO $$ BEGIN COMMIT; PERFORM 1 / 0; END $$;\n"
LEFT_INVALID = (
    "CREATE INDEX book_idx ON book (id); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'book_idx'::regclass"
)


def _indexes(before: str, unique: str = "") -> Callable[[Stage], Answer]:
    """An index that is built outside any transaction, on a table that somebody has changed before."""
    text = f"CREATE {unique}INDEX CONCURRENTLY book_idx ON book (id);\n"
    return lambda stage: stage.sql(f"CREATE TABLE book (id int); {before}").write(f003_c=text).on("run")


SCENES = {
    "MigrationFailed": [
        ("an index build outside a transaction fails", _indexes("INSERT INTO book VALUES (1), (1)", "UNIQUE ")),
        ("another index has that name", _indexes("CREATE INDEX book_idx ON book (id DESC)")),
        ("something other than an index has that name", _indexes("CREATE TABLE book_idx ()")),
        ("an invalid index was left by somebody else", _indexes(LEFT_INVALID)),
        ("a block that commits fails", _fails(f"-- migration: transaction = off\n{BLOCK}")),
        ("a transaction that may outlive its run fails", _fails("-- migration: detach = on\nSELECT 1 / 0;\n")),
        ("a statement is refused", _fails("SELECT 1;\nSELECT missing\n  FROM users;\n")),
        ("a file of several units is partly applied", _fails(PARTS)),
        ("row values aren't shown", _fails("CREATE TABLE c (id integer UNIQUE);\nINSERT INTO c VALUES (7), (7);\n")),
        ("a name that a statement takes from a row isn't shown", _fails(NAME_OF_A_ROW)),
        ("what depends on an object is shown", _fails("CREATE VIEW v AS SELECT * FROM users;\nDROP TABLE users;\n")),
        ("the role lacks a privilege", _fails("SET ROLE pg_monitor;\nSELECT * FROM users;\n")),
        ("the server runs out of a resource", _fails(ROOM)),
        ("the error occurs at COMMIT", _fails(DEFERRED)),
        ("the error occurs before an expectation is checked", _fails(f"-- verify: rows c = 2\n{DEFERRED}")),
        (
            "the file releases the run lock",
            _fails("DO $$ BEGIN EXECUTE 'SELECT pg_advisory_unlock' || '_all()'; END $$;\n"),
        ),
        (
            "the file changes the history",
            _fails("DO $$ BEGIN EXECUTE 'ALTER TABLE aurora_' || 'migrations.applied RENAME sql TO text'; END $$;\n"),
        ),
        ("the file deletes its own record", _record_vanished),
        (
            "the file makes its transaction read-only",
            _fails("SELECT set_config('transaction_read_only', 'on', true);\nCREATE TABLE c (id integer);\n"),
        ),
        ("the same, in its last statement", _fails("SELECT set_config('transaction_read_only', 'on', true);\n")),
        ("the file ends its transaction in dynamic SQL", _breaks_out),
        ("a setting of a committed unit can't be restored", _setting_gone),
        ("a trigger discards the file's record", _record_discarded),
        (
            "an index build fails, and the invalid index is dropped",
            _fails(
                "CREATE TABLE c (id integer);\nINSERT INTO c VALUES (7), (7);\n"
                "CREATE UNIQUE INDEX CONCURRENTLY c_id ON c (id);\n"
            ),
        ),
        (
            "an index of that name has another definition",
            _name_taken("CREATE INDEX orders_id ON orders (id) WHERE id > 1"),
        ),
        (
            "an index of that name is invalid, and no run began it",
            _name_taken(
                "CREATE INDEX orders_id ON orders (id);"
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_id'::regclass"
            ),
        ),
        ("a table has the index's name", _name_taken("CREATE TABLE orders_id ()")),
        ("a transaction that may outlive its run fails", _fails("-- migration: detach = on\nSELECT missing;\n")),
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
        ("a lasting expectation takes too long", _slow_promise),
        ("a call of apply runs out of time", _end_of_call),
        ("a call of verify runs out of time in an expectation", lambda s: _end_of_verify(s, 60)),
        ("a call of verify runs out of time before the last expectation", lambda s: _end_of_verify(s, 0.93)),
    ],
    "VerificationFailed": [
        ("an expectation isn't met", _fails("-- verify: rows c = 1\nCREATE TABLE c (id integer);\n")),
        ("an index isn't valid and ready", _unfit_index),
        ("a lasting expectation isn't met any more", _broken_for_ever),
        ("what is to be verified isn't applied", _not_applied),
        ("a table that an applied file created is missing", _table_gone),
        ("an object that an applied file created was changed by hand", _changed_by_hand),
        ("an object that a file creates exists with another definition", _another_one_is_there),
        ("a table loses rows though no statement removes any", _rows_lost),
        ("what a run has applied isn't in the history", _not_in),
    ],
    "InternalError": [("a function meets an unexpected error", _mistake)],
}
