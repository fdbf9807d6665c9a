"""The engine: applies the migrations of a folder to a database and records them in its history.

Start with `run`: the loop over pending files, the run lock, retries and the resolution of a lost COMMIT. It calls
`transaction`, which runs one file, and that calls `wire`, which sends SQL to the server.

    interface     request       request of a run, listener, result      errors        error classes, drawn as a tree
    a run         run           apply and roll back                     transaction   one unit, its record inside
                  plan          what a run would do; drift              patience      retry policy for transient faults
                  runlock       advisory lock: one run at a time        budget        how long locks may block others
                  blockers      who holds the lock we wait for          expectations  what must be true before COMMIT
                  history       records and attempts                    executions    what one execution has done
                  job           a file to run, and its messages         deadline      the time a call has left
    PostgreSQL    connecting    from a URL to a connection              session       a connection, clean between files
                  wire          scripts and pipelines of statements     sqlstate      PostgreSQL's errors, classified
    diagnostics   failures      errors of a file, with their place      frames        PL/pgSQL's CONTEXT
                  unreadable    why a history can't be read             excerpts      redaction
    package       files         the migrations of a folder              options       options of a file
                  script        a file as the compiler understood it    manifest      the same, as written at build
    status        overview      state of each migration; answers        inspection    tables and indexes as they are
    workflow      ask           execution input                         step          a call of a function
                  preflight, applying, verify                           document      an error as JSON of limited size
                  settings      environment variables                   credentials   login from Secrets Manager
    process       ctrl_c        Ctrl-C, where a run can stop cleanly

The engine knows PostgreSQL. Of Lambda, AWS and the command line it knows nothing, apart from `credentials`.
"""

from aurora_migrations.engine.errors import MigratorError
from aurora_migrations.engine.interface import Listener, Request, RunResult, failure
from aurora_migrations.engine.migrations import Migration, Package, discover
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
    "discover",
    "failure",
    "read_entries",
    "read_overview",
    "roll_back",
]
