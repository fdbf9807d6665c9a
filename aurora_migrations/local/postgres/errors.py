"""The error of the local PostgreSQL and the local cloud, for the person who started them."""

from pathlib import Path


class ServerError(Exception):
    """Something failed on this machine; with the end of the log and what to do.

    Attributes:
        failed: what failed, with the output of the program and the end of the log.
        solution: what to do.
    """

    def __init__(self, what: str, *, todo: str, output: str = "", log: Path | None = None) -> None:
        self.failed = "\n".join(filter(None, [what, _indented(output), _end_of(log)]))
        self.solution = todo
        super().__init__(f"{self.failed}\nWhat to do: {todo}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-10:])


def _end_of(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    return f"The log, {log}, ends with:\n{_indented(log.read_text('utf-8', 'replace'))}"
