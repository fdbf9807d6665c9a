"""What can go wrong with the local PostgreSQL server, told to the person who started it."""

from pathlib import Path


class ServerError(Exception):
    """Says what failed, what the log ends with and what to do.

    Attributes:
        failed: what did, with what was said and the end of the log.
        solution: what to do.
    """

    def __init__(self, what: str, *, todo: str, said: str = "", log: Path | None = None) -> None:
        self.failed = "\n".join(filter(None, [what, _indented(said), _end_of(log)]))
        self.solution = todo
        super().__init__(f"{self.failed}\nWhat to do: {todo}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-10:])


def _end_of(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    return f"The log, {log}, ends with:\n{_indented(log.read_text('utf-8', 'replace'))}"
