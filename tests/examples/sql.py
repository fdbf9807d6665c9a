"""Examples of errors that a migration's file meets, with the facts that `file_errors.py` gives them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from aurora_migrations.engine import errors
from aurora_migrations.engine.diagnostics.file_errors import more_time
from aurora_migrations.engine.diagnostics.redaction import excerpt, position
from aurora_migrations.engine.errors import MigratorError, NextCommand
from aurora_migrations.engine.expectations import Check
from aurora_migrations.engine.locks.blockers import Blocker, LockWait
from aurora_migrations.engine.options import Limits
from aurora_migrations.engine.steps.step import RESERVE

FILE = "018_add_email_to_users.sql"
PARTS_FILE = "018_fill_in_email.sql"
NEXT_FILE = "019_create_orders.sql"
TEXT = b"""-- Every user has an address; the newsletter needs it.
ALTER TABLE users ADD COLUMN email text;
UPDATE users SET email = lower(emial);
"""
ROLLED_BACK = "The file was rolled back as a whole; the database is as it was before it."
_BLOCKER = Blocker(
    pid=4711,
    user="app",
    application="reporting",
    state="idle in transaction",
    age_s=2_460.0,
    mode="ACCESS SHARE",
    transaction="7/204",
    query="SELECT count(*) FROM users WHERE created_at > ?",
)


def known(needle: bytes, statement: int, begins: bytes, **more: Any) -> dict[str, Any]:
    """The facts of a statement that failed at `needle`; it begins with `begins`."""
    offset, start = TEXT.index(needle), TEXT.index(begins)
    line, column = position(TEXT, offset)
    facts = {"state": ROLLED_BACK, "migration": "018", "file": FILE, "line": line, "column": column}
    shown = excerpt(TEXT, offset, (start, TEXT.index(b";", start)))
    return {**facts, "statement": statement, "excerpt": shown, **left(), **more}


def left() -> dict[str, Any]:
    """What `functions.apply` adds to an error of its second of three files."""
    return {"applied": ["017"], "not_done": [FILE, NEXT_FILE], "not_done_count": 2}


def failed() -> MigratorError:
    """PostgreSQL doesn't know a name."""
    hint = 'Perhaps you meant to reference the column "users.email".'
    return errors.MigrationFailed(
        f'{FILE}:3:32: column "emial" does not exist (42703).',
        cause=f"{errors.MigrationFailed.cause} {hint}",
        **known(b"emial", 2, b"UPDATE", sqlstate="42703", hint=hint),
    )


def partly_in() -> MigratorError:
    """The second of two parts, which commit by themselves, failed."""
    statement = b"UPDATE user_ SET email = name;"
    return errors.MigrationFailed(
        f'{PARTS_FILE}:6:8: relation "user_" does not exist (42P01).',
        state=f"{PARTS_FILE} has 2 units that commit separately: unit 1 is applied; the rest isn't. "
        "The next run continues there.",
        migration="018",
        file=PARTS_FILE,
        line=6,
        column=8,
        statement=2,
        sqlstate="42P01",
        excerpt=excerpt(statement, statement.index(b"user_"), (0, len(statement))),
        applied=[],
        not_done=[PARTS_FILE],
        not_done_count=1,
    )


def half_undone() -> MigratorError:
    """019 is rolled back, and the down file of 018 is wrong."""
    down = b"ALTER TABLE users DROP COLUMN emial;"
    file = FILE.replace(".sql", ".down.sql")
    return errors.MigrationFailed(
        f'{file}:1:1: column "emial" of relation "users" does not exist (42703).',
        state=ROLLED_BACK,
        migration="018",
        file=file,
        line=1,
        column=1,
        statement=1,
        sqlstate="42703",
        excerpt=excerpt(down, 0, (0, len(down) - 1)),
        rolled_back=["019"],
        not_done=[FILE, "017_create_dry_run_log_micro_agente.sql"],
        not_done_count=2,
    )


def locked() -> MigratorError:
    """Somebody sits in an open transaction."""
    wait = LockWait("public.users", "ACCESS EXCLUSIVE", 2_000.0, (_BLOCKER,))
    end = f"SELECT pg_terminate_backend({_BLOCKER.pid});"
    return errors.LockTimeout(
        f"{FILE}:2:1: waited 2 s for {wait} (55P03). Tried 7 times in 1min, as lock_wait allows.",
        cause="Other sessions hold conflicting locks; lock_timeout is 2s.",
        solution=f"Run again when those sessions have ended, or end them: {end}",
        table=wait.table,
        mode=wait.mode,
        blockers=[asdict(_BLOCKER)],
        **known(b"ALTER TABLE", 1, b"ALTER TABLE", sqlstate="55P03"),
    )


def deadlock() -> MigratorError:
    """Two took the same locks in different order."""
    facts = known(b"ALTER TABLE", 1, b"ALTER TABLE", sqlstate="40P01")
    return errors.Deadlock(
        f"{FILE}:2:1: deadlock detected (40P01). Tried 4 times in 1min, as lock_wait allows.", **facts
    )


def too_long() -> MigratorError:
    """Filling a large table takes longer than the environment allows."""
    return errors.StatementTimeout(
        f"{FILE}:3:1: canceling statement due to statement timeout (57014).",
        cause="The statement took longer than statement_timeout allows (13 min 0 s).",
        solution=more_time(Limits(statement_timeout=780_000, longest=900_000 - RESERVE)),
        **known(b"UPDATE", 2, b"UPDATE", sqlstate="57014"),
    )


def cancelled() -> MigratorError:
    """An administrator ended the statement."""
    return errors.Cancelled(
        f"{FILE}:3:1: canceling statement due to user request (57014).",
        **known(b"UPDATE", 2, b"UPDATE", sqlstate="57014"),
    )


def lost() -> MigratorError:
    """The server was restarted in the middle."""
    return errors.ConnectionLost(
        f"The connection was lost while {FILE} was running: terminating connection due to administrator command.",
        state=ROLLED_BACK,
        sqlstate="57P01",
        migration="018",
        file=FILE,
        **left(),
    )


def in_doubt() -> MigratorError:
    """The network went away at COMMIT and didn't come back."""
    return errors.InDoubt(
        f"The connection was lost while {FILE} was committing, and then: "
        "shop.cluster-abc.eu-west-1.rds.amazonaws.com:5432 can't be reached: no connection within 5 s.",
        migration="018",
        file=FILE,
        **left(),
    )


def interrupted() -> MigratorError:
    """The function was killed during a CALL, which commits on its own."""
    resolve = NextCommand("resolve", ("018", "again"))
    return errors.InDoubt(
        f"{PARTS_FILE}:6: it isn't known how far CALL got: its run ended first.",
        cause="The statement commits on its own, and the run was killed or lost its connection before it ended.",
        solution="Find out what the statement has committed.\n"
        "If it did everything, type `aurora-migrations resolve 018 applied`.\n"
        "If it can run again from its beginning:",
        state=f"{PARTS_FILE} has 2 units that commit separately: unit 1 is applied. What unit 2 has committed stays.",
        next_command=resolve,
        migration="018",
        file=PARTS_FILE,
        applied=[],
        not_done=[PARTS_FILE],
        not_done_count=1,
    )


def broken_promise() -> MigratorError:
    """What the file promised wasn't true before its commit."""
    check = Check("every user has an address", "true", "false", False, "018_add_email_to_users.verify.sql:2:1")
    return errors.VerificationFailed(
        f"{FILE}: {check}.", state=ROLLED_BACK, migration="018", file=FILE, checks=[asdict(check)], **left()
    )


def unfit_index() -> MigratorError:
    """Verify finds an index that isn't fit for use, after the commit."""
    check = Check("index users_email_idx on public.users", "valid and ready", "not valid", False)
    return errors.VerificationFailed(
        f"{check}.",
        cause="What the run should have left is missing, or has been changed since.",
        solution="To repair it (a run doesn't): REINDEX INDEX CONCURRENTLY public.users_email_idx;",
        state="The migrations stay applied: the checks run after the commit.",
        next_command=NextCommand("verify"),
        checks=[asdict(check)],
        applied=["017", "018", "019"],
    )
