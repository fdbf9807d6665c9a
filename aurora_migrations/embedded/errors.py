"""The error of the local PostgreSQL and the local cloud, for the person who started them."""

from pathlib import Path


class ServerError(Exception):
    """Something failed on this machine. `failed` ends with the output of the program and the last lines of the log."""

    def __init__(self, what: str, *, todo: str, output: str = "", log: Path | None = None) -> None:
        self.failed = "\n".join(filter(None, [what, _last_lines(output)]))
        if log is not None and log.exists():
            self.failed += f"\nThe log, {log}, ends with:\n{_last_lines(log.read_text('utf-8', 'replace'))}"
        self.solution = todo
        super().__init__(f"{self.failed}\nWhat to do: {todo}")


def _last_lines(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-10:])
