"""`python -m local run|serve|stop`: the product on this machine, with a PostgreSQL of its own."""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Never, TextIO

from local import installation, postgres
from local.postgres import Server, ServerError

FOLDER_VARIABLE = "AURORA_MIGRATIONS_LOCAL"
EXAMPLE = "017"  # the migration one tries first; it makes dry_run_log
DONE, FAILED, USAGE = 0, 1, 2

HELP = f"""\
python -m local run [TARGET] [OPTION...]   migrate a PostgreSQL of your own up to TARGET (default {EXAMPLE});
                                           options are those of `aurora-migrations run`
python -m local serve                      start that PostgreSQL and keep it running until Ctrl-C
python -m local stop                       stop it if it was left running

Its data are kept between runs, in .local/ of this repository or where {FOLDER_VARIABLE} says.
"""


def main(argv: Sequence[str] | None = None) -> int:
    verb, *arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    if verb in ("-h", "--help"):
        print(HELP, end="")
        return DONE
    if verb not in VERBS or (arguments and verb != "run"):
        print(f"Unknown: {' '.join([verb, *arguments])}\n\n{HELP}", end="", file=sys.stderr)
        return USAGE
    try:
        return VERBS[verb](arguments)
    except ServerError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def run(arguments: Sequence[str]) -> int:
    """Migrate up to the target, on a server that is there for as long as that takes."""
    has_target = bool(arguments) and not arguments[0].startswith("-")
    target, options = (arguments[0], arguments[1:]) if has_target else (EXAMPLE, arguments)
    remarks = sys.stderr if "json" in " ".join(options).replace("=", " ").split() else sys.stdout
    with _start(remarks) as server:
        code = _migrate(server, target, options)
        if code == DONE and target == EXAMPLE:
            print(_count(server, "SELECT count(*) FROM dry_run_log"), file=remarks)
        return code


def _migrate(server: Server, target: str, options: Sequence[str]) -> int:
    from cli.main import main as aurora_migrations

    return aurora_migrations(["run", target, "--database-url", server.url(), *options])


def _count(server: Server, query: str) -> str:
    import psycopg

    with psycopg.connect(server.url(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    return f"{query}  ->  {row[0] if row else 'no row'}"


def serve(arguments: Sequence[str]) -> Never:
    """Keep the server running in the foreground."""
    with _start(sys.stdout) as server:
        print(server.url())
        print(f"Use it:   aurora-migrations run {EXAMPLE} --database-url {server.url()}")
        print("Stop it:  Ctrl-C", flush=True)
        _wait_for_a_signal()


def _wait_for_a_signal() -> Never:
    while True:
        time.sleep(1)  # in short naps, as on Windows Ctrl-C doesn't wake a long one


def stop(arguments: Sequence[str]) -> int:
    """Stop a server that was left running."""
    programs = installation.find()
    server = postgres.running(_data(programs.major))
    if server is None:
        print(f"No PostgreSQL runs on {_readable(_data(programs.major))}.")
    else:
        server.stop()
        print(f"Stopped PostgreSQL {server.version}; its data stay in {_readable(server.data)}.")
    return DONE


def _start(remarks: TextIO) -> Server:
    programs = installation.find()
    server = postgres.start(_data(programs.major))
    how = "already running, " if server.shared else ""
    kept = f"data in {_readable(server.data)}, kept between runs"
    print(f"PostgreSQL {programs.version} ({how}{kept})", file=remarks, flush=True)
    return server


def _data(major: int) -> Path:
    wanted = os.environ.get(FOLDER_VARIABLE)
    folder = Path(wanted) if wanted else Path(__file__).resolve().parent.parent / ".local"
    return folder.absolute() / f"postgres-{major}"


def _readable(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


VERBS: dict[str, Callable[[Sequence[str]], int]] = {"run": run, "serve": serve, "stop": stop}


def _end_on_signals() -> None:
    """Ctrl-C, SIGTERM and a closed terminal end us through the `with` blocks, which stop the server.

    SIGINT too is set, as a shell starts background programs with it ignored.
    """

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)


if __name__ == "__main__":
    _end_on_signals()
    sys.exit(main())
