"""`python -m aurora_migrations.local serve|stop`: the PostgreSQL of the local cloud alone."""

import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Never

from aurora_migrations import project
from aurora_migrations.local import paths
from aurora_migrations.local.postgres import server as postgres
from aurora_migrations.local.postgres.process_lifetime import ended_by_signals
from aurora_migrations.local.postgres.server import ServerError

DONE, FAILED, USAGE = 0, 1, 2

HELP = f"""\
python -m aurora_migrations.local serve     start the local PostgreSQL and keep it running until Ctrl-C
python -m aurora_migrations.local stop      stop it if it was left running

Its data are kept between runs, in .local/ of the project or where {project.LOCAL_VARIABLE} says.
"""


def main(argv: Sequence[str] | None = None) -> int:
    verb, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(HELP, end="")
        return DONE
    if verb not in VERBS or arguments:
        print(f"Unknown: {' '.join([verb, *arguments])}\n\n{HELP}", end="", file=sys.stderr)
        return USAGE
    try:
        return VERBS[verb](arguments)
    except ServerError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def serve(arguments: Sequence[str]) -> Never:
    """Keep the server running in the foreground."""
    with paths.start() as server:
        print(server.url())
        print(f"Use it:   aurora-migrations run --database-url {server.url()}")
        print("Stop it:  Ctrl-C", flush=True)
        while True:
            time.sleep(1)  # not longer, as on Windows Ctrl-C doesn't interrupt a sleep


def stop(arguments: Sequence[str]) -> int:
    """Stop a server that was left running."""
    server = postgres.running(paths.data())
    if server is None:
        print(f"No PostgreSQL runs on {paths.readable(paths.data())}.")
    else:
        server.stop()
        print(f"Stopped PostgreSQL {server.version}; its data stay in {paths.readable(server.data)}.")
    return DONE


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"serve": serve, "stop": stop}


if __name__ == "__main__":
    with ended_by_signals():
        sys.exit(main())
