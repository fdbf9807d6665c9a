"""The engine: migrations in a folder, a history in the database, and what turns the one into the other.

    files         which migrations a folder holds            options       what a file asks of its runner
    plan          what there is to do                        run           apply and roll back, under the run lock
    request       what a run is asked, and whom it tells     takeover      its sessions, also after a loss
    job           a file to run                              transaction   one file, one transaction, its record inside
    expectations  what must be true before it commits        failures      what went wrong with a file, and where
    history       what is applied, and every attempt         runlock       at most one run at a time
    session       one connection, clean between files        wire          how bytes go to the server
    connecting    from a URL to a connection, or a reason    sqlstate      PostgreSQL's errors in our words
    overview      what is applied where                      errors        every way to fail, drawn as a tree
    script        a file, understood by the compiler         manifest      the same, written down
    drift         edits of applied files                     results       what a run answers
    answers       what is answered to those who look         ctrl_c        Ctrl-C, heard where a run can stop in order
    standing      which tables must be there                 patience      whether and when a run tries again

It knows PostgreSQL and nothing of Lambda, of a terminal or of AWS.
"""

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.interface import Listener, Request
from aurora_migrations.engine.migrations import Migration, Package, discover
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.results import RunResult, failure
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
    "discover",
    "failure",
    "read_entries",
    "read_overview",
    "roll_back",
]
