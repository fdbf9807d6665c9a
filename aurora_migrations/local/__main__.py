"""`python -m aurora_migrations.local serve|stop`: the PostgreSQL of the local cloud alone."""

import signal
import sys
import time
from collections.abc import Callable
from typing import Never

from aurora_migrations import project
from aurora_migrations.embedded import server as postgres
from aurora_migrations.embedded.data_directory import local_data
from aurora_migrations.embedded.processes import ended_by_signals
from aurora_migrations.embedded.server import ServerError

HELP = f"""\
python -m aurora_migrations.local serve     start the local PostgreSQL and keep it running until Ctrl-C
python -m aurora_migrations.local stop      stop it if it was left running

Its data are kept between runs, in .local/ of the project or where {project.LOCAL_VARIABLE} says.
"""


def main() -> int:
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if verb not in VERBS or arguments:
        print(f"Unknown: {' '.join([verb, *arguments])}\n\n{HELP}", end="", file=sys.stderr)
        return 2
    try:
        return VERBS[verb]()
    except ServerError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def serve() -> Never:
    """Keep the server running in the foreground."""
    with postgres.start(local_data()) as server:
        how = "already running, " if server.shared else ""
        print(f"PostgreSQL {server.version} ({how}data in {project.readable(server.data)}, kept between runs)")
        print(server.url())
        print(f"Use it:   aurora-migrations run --database-url {server.url()}")
        print("Stop it:  Ctrl-C", flush=True)
        while True:
            time.sleep(1)  # not longer, as on Windows Ctrl-C doesn't interrupt a sleep


def stop() -> int:
    """Stop a server that was left running."""
    server = postgres.running(local_data())
    if server is None:
        print(f"No PostgreSQL runs on {project.readable(local_data())}.")
    else:
        server.stop()
        print(f"Stopped PostgreSQL {server.version}; its data stay in {project.readable(server.data)}.")
    return 0


VERBS: dict[str, Callable[[], int]] = {"serve": serve, "stop": stop}


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
