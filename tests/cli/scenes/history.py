"""Family history: files and database tell different stories."""

from __future__ import annotations

from collections.abc import Callable

from aurora_migrations.engine.locks import locked_session
from tests.cli.conftest import Answer
from tests.cli.scenes import adopted
from tests.cli.stage import Stage

OFF = "-- migration: transaction = off\n"
PARTS = "BEGIN;\nCREATE TABLE c (id integer);\nCOMMIT;\nBEGIN;\nSELECT missing;\nCOMMIT;\n"
FORGED = (
    "INSERT INTO aurora_migrations.applied (version, name, sha256, sql, attempt, execution, requested_by) "
    "SELECT 1.5, name, sha256, sql, attempt, execution, requested_by FROM aurora_migrations.applied WHERE version = 1"
)
RECORD = b"INSERT INTO aurora_migrations.applied"


def _beginning_edited(stage: Stage) -> Answer:
    stage.write(f003_c=PARTS).failed()
    return stage.write(f003_c=PARTS.replace("integer", "bigint")).on("run")


def _partly_out(stage: Stage) -> Answer:
    down = "DROP TABLE orders;\nBEGIN;\nDROP TABLE nowhere;\nCOMMIT;\n"
    stage.write(f002_orders_down=down).ran().failed("rollback", "2", "--confirm", "2")
    return stage.write(f003_c="SELECT 1;\n").on("run")


def _renumbered(stage: Stage) -> Answer:
    stage.write(f003_c=PARTS).failed()
    return stage.write(f003_c=None, f004_c=PARTS).on("run")


def _taken(stage: Stage) -> Answer:
    """Two branches have written a second migration."""
    stage.ran().write(f002_orders=None, f002_orders_down=None)
    return stage.write(f002_invoices="CREATE TABLE invoices (id integer);\n").on("run")


def _renamed(stage: Stage) -> Answer:
    text = (stage.ran().two.dir / "002_orders.sql").read_text()
    return stage.write(f002_orders=None, f002_orders_down=None, f003_orders=text).on("run")


def _taken_away(stage: Stage) -> Answer:
    stage.write(f003_c=PARTS).failed()
    return stage.write(f003_c=None, f004_d="SELECT 1;\n").on("run")


def _renumbered_down(stage: Stage) -> Answer:
    """To a lower number: then its own is above all that are there, as if the folder were an older one."""
    stage.write(f004_c=PARTS).failed()
    return stage.write(f004_c=None, f003_c=PARTS).on("run")


def _in_doubt(stage: Stage, **files: str) -> Answer:
    """The answer to COMMIT is lost, and from then on the server lets nobody in."""
    stage.patch.setattr(locked_session, "SETTLE_TIME", 0.3)
    stage.ran().write(**files)
    stage.proxy.gone_after(RECORD)
    return stage.on("run", url=stage.by_proxy)


def _tampered(statement: str) -> Callable[[Stage], Answer]:
    return lambda stage: stage.ran().sql(statement).on("status")


def _comment(text: str) -> Callable[[Stage], Answer]:
    return _tampered(f"COMMENT ON TABLE aurora_migrations.applied IS {text}")


def _foreign(stage: Stage) -> Answer:
    stage.sql("CREATE SCHEMA aurora_migrations; CREATE TABLE aurora_migrations.applied (id integer)")
    return stage.on("status")


def _hidden(stage: Stage) -> Answer:
    """Row-level security that is on for a role which may read the history and nothing else."""
    role = stage.roles.create()
    stage.ran().sql(
        f"GRANT USAGE ON SCHEMA aurora_migrations TO {role.name};"
        f"GRANT SELECT ON ALL TABLES IN SCHEMA aurora_migrations TO {role.name};"
        "ALTER TABLE aurora_migrations.applied ENABLE ROW LEVEL SECURITY"
    )
    return stage.on("status", url=stage.database.url_as(role))


def _interrupted_block(stage: Stage) -> Answer:
    """Its run ends when somebody ends its session."""
    block = "DO $$ BEGIN COMMIT; PERFORM pg_sleep(60); END $$;"
    stage.write(f003_c=f"-- migration: transaction = off\n{block}\n")
    stage.beside(stage.end("pg_sleep"), "run")
    return stage.on("run")


SCENES = {
    "MigrationChanged": [
        (
            "an applied file was edited",
            lambda s: s.ran().write(f002_orders="CREATE TABLE orders (id bigint);\n").on("run"),
        ),
        (
            "two applied files were edited",
            lambda s: s.ran().write(f001_users="SELECT 1;\n", f002_orders="SELECT 2;\n").on("run"),
        ),
        ("the beginning of a partly applied file was edited", _beginning_edited),
        ("a file is partly rolled back", _partly_out),
        ("another file has the number of an applied one", _taken),
    ],
    "MigrationMissing": [
        ("an applied file is missing", lambda s: s.ran().write(f001_users=None, f001_users_down=None).on("run")),
        ("an applied file has another number", _renamed),
        ("a partly applied file is missing", _taken_away),
        ("a partly applied file has another number", _renumbered),
        ("a partly applied file has a lower number", _renumbered_down),
        *adopted.MISSING,
    ],
    "OutOfOrder": [("a new file has an old number", lambda s: s.ran().write(f000_late="SELECT 1;\n").on("run"))],
    "InDoubt": [
        ("nothing shows how far a block that commits got", _interrupted_block),
        ("the reply to COMMIT was lost, and the server is gone", lambda s: _in_doubt(s, f003_c="SELECT 1;\n")),
        (
            "the same, in a file of several units",
            lambda s: _in_doubt(s, f003_c="BEGIN;\nSELECT 1;\nCOMMIT;\nBEGIN;\nSELECT 2;\nCOMMIT;\n"),
        ),
    ],
    "HistoryUnreadable": [
        ("a newer version wrote it", _comment("'aurora-migrations history, format 99'")),
        ("the comment with its format is lost", _comment("NULL")),
        ("the schema belongs to something else", _foreign),
        ("row-level security hides records", _hidden),
        ("a column was renamed", _tampered("ALTER TABLE aurora_migrations.applied RENAME COLUMN execution TO run")),
        ("a record has an impossible version", _tampered(FORGED)),
    ],
}
