"""What can go wrong with the local PostgreSQL server, told to the person who started it."""

from pathlib import Path

TODO = "What to do: "  # begins the last line


class ServerError(Exception):
    """Says what failed, what the log ends with and what to do."""

    def __init__(self, what: str, *, todo: str, said: str = "", log: Path | None = None) -> None:
        parts = [what, _indented(said), _end_of(log), f"{TODO}{todo}"]
        super().__init__("\n".join(part for part in parts if part))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines()[-10:])


def _end_of(log: Path | None) -> str:
    if log is None or not log.exists():
        return ""
    return f"The log, {log}, ends with:\n{_indented(log.read_text('utf-8', 'replace'))}"
