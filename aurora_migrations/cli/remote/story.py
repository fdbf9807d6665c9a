"""A function's log line, told to people: when, which step, what happened, and of its facts those that matter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from aurora_migrations.cli.queries import described
from aurora_migrations.cli.remote.function_logs import Line
from aurora_migrations.engine.options import format_duration

_Record = Mapping[str, Any]
_ENDS = ("Step done",)
_SHOWN = 300  # characters of one fact


def tell(record: _Record) -> Line:
    """One line of the log as one line of the story."""
    message = str(record["message"])
    bad = record.get("level") in ("ERROR", "CRITICAL")
    text, doing = message, None
    for begins, words in _WORDS.items():
        if message.startswith(begins):
            facts = words(record)
            text = f"{message}: {facts}" if facts else message
    if message.startswith(("Executing", "Rolling back")):
        doing = f"{record.get('file', message)}"
    elif message == "At work":
        doing = _at_work(record)
    elif message.startswith(("Waiting", "Others")):
        doing = text
    return Line(_at(record), str(record.get("service", "")), text, bad, doing, bad or message in _ENDS, record)


def _received(record: _Record) -> str:
    return described(record.get("asked"))


def _connected(record: _Record) -> str:
    tls = "with TLS" if record.get("tls") else "without TLS"
    return (
        f"{record.get('database')} on {record.get('host')}:{record.get('port')} as {record.get('role')}, "
        f"PostgreSQL {record.get('server_version')}, {tls}"
    )


def _in_the_way(record: _Record) -> str:
    who = ", ".join(map(str, record.get("blockers") or ())) or "nobody seen"
    return f"{record.get('mode')} on {record.get('table')}, held by {who}"


def _at_work(record: _Record) -> str:
    return f"{record.get('file')}:{record.get('line')}, {record.get('statements')}"


def _executed(record: _Record) -> str:
    facts = [str(record.get("file", ""))]
    if isinstance(record.get("duration_ms"), int | float):
        facts.append(format_duration(record["duration_ms"]))
    kept = len(record.get("verified") or ())
    facts.append(f"{kept} promise{'' if kept == 1 else 's'} kept" if kept else "")
    facts += [str(lock) for lock in record.get("locks") or ()]
    return ", ".join(filter(None, facts))


def _done(record: _Record) -> str:
    answer = record.get("answer") or {}
    return ", ".join(f"{key} {value}" for key, value in answer.items() if value is not None)


def _named(key: str) -> Callable[[_Record], str]:
    return lambda record: str(record.get(key) or "")[:_SHOWN]


_WORDS: dict[str, Callable[[_Record], str]] = {
    "Event received": _received,
    "Credentials fetched": lambda record: f"user {record.get('user')}",
    "Connected": _connected,
    "Waiting for another run": _named("holder"),
    "May hurt": _named("hazard"),
    "Others are in the way": _in_the_way,
    "Executing": _named("file"),
    "At work": _at_work,
    "Rolling back": _named("file"),
    "Executed": _executed,
    "Rolled back": _executed,
    "Step done": _done,
}


def _at(record: _Record) -> datetime:
    try:
        return datetime.fromisoformat(str(record.get("timestamp"))).astimezone(UTC)
    except ValueError:
        return datetime.now(UTC)
