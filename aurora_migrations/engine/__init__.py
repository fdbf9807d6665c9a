"""The engine: applies and rolls back migrations, one transaction per file, and keeps a history in the database.

    runner        a run: plan, lock, result          interface      requests, results and listeners
    script        a file: as compiled, and as it is run
    migrations    the files of a folder              options        what a file sets for its run
    manifest      compiled files, for Lambda         plan           pending migrations, and drift
    history       what is applied, and attempts      history_format its tables, and why it can't be read
    status        the state of each migration        errors         all errors, drawn as a tree
    expectations  what must be true after a file     interrupts     Ctrl-C
    rows          statements that are alike, in little memory

    running/        the files of a run, one after another, each in a transaction with its record
    catalog/        what a database consists of, and what each migration changes of it
    postgres/       the session        locks/          lock budget and retries     diagnostics/   what an error shows
    steps/          the steps of an execution             nontransactional/  statements outside any transaction
    preview/        what a run would meet: privileges, a rehearsal

It knows PostgreSQL, and nothing of Lambda, AWS or the command line; only what `steps/` has is shared by functions,
stack and command line. The path of a statement: `runner` takes the run lock (`locks/locked_session`),
`running/files` runs file by file, `locks/retry` decides about another attempt, `running/transaction` is one attempt,
`script` divides a file into messages, and `postgres/protocol` sends them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_migrations.engine.errors import MigratorError
    from aurora_migrations.engine.interface import Listener, Request, RunResult, failure
    from aurora_migrations.engine.migrations import Migration, Package, discover
    from aurora_migrations.engine.nontransactional.decisions import cancel, resolve
    from aurora_migrations.engine.postgres.session import Session
    from aurora_migrations.engine.runner import apply, roll_back
    from aurora_migrations.engine.status import read_entries, read_overview

__all__ = [
    "Listener",
    "Migration",
    "MigratorError",
    "Package",
    "Request",
    "RunResult",
    "Session",
    "apply",
    "cancel",
    "discover",
    "failure",
    "read_entries",
    "read_overview",
    "resolve",
    "roll_back",
]
# Loaded when it is asked for: `check` needs no database, and psycopg takes longer to load than a file to check.
_MODULES = {
    **dict.fromkeys(("Listener", "Request", "RunResult", "failure"), "interface"),
    **dict.fromkeys(("Migration", "Package", "discover"), "migrations"),
    **dict.fromkeys(("apply", "roll_back"), "runner"),
    **dict.fromkeys(("cancel", "resolve"), "nontransactional.decisions"),
    **dict.fromkeys(("read_entries", "read_overview"), "status"),
    "MigratorError": "errors",
    "Session": "postgres.session",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
