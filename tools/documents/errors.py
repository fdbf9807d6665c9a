"""docs/reference/errors.md: an entry for every error, from its class."""

from __future__ import annotations

from collections.abc import Iterator

from aurora_migrations.cdk.config import Limits
from aurora_migrations.cdk.retries import every_error
from aurora_migrations.cli.remote import aws_errors as cloud
from aurora_migrations.engine.errors import MigratorError
from tests.examples.examples import examples
from tools.documents import REFERENCE, fill

PATH = REFERENCE / "errors.md"
_FAMILIES = {
    "input": "Request and files",
    "package": "Package",
    "secret": "Secret",
    "connection": "Connection",
    "contention": "Contention",
    "history": "History",
    "sql": "SQL",
    "verify": "Verification",
    "internal": "Internal",
}


def render() -> str:
    kinds = [kind for kind in vars(cloud).values() if isinstance(kind, type) and kind.__base__ is cloud.CloudError]
    return fill(PATH, _retries(), "\n".join(_entries()), "\n".join(map(_format_entry, kinds)))


def _entries() -> Iterator[str]:
    family = ""
    found = {example.error.name: example for example in reversed(examples())}
    for example in (found[kind.__name__] for kind in every_error()):  # grouped by family, in the order of the classes
        if example.error.family != family:
            family = example.error.family
            yield f"## {_FAMILIES[family]}\n"
        yield _format_entry(type(example.error))


def _retries() -> str:
    """How often the state machine retries which errors."""
    known = {kind.__name__ for kind in every_error()}
    groups: dict[str, list[str]] = {}
    for retry in Limits().retries:
        longest = min(retry.longest_wait or 10**6, retry.first_wait * 2 ** (retry.attempts - 1))
        groups.setdefault(f"{retry.attempts} times, at most {longest} s apart", []).extend(retry.errors)
    listed = {how: [f"`{name}`" for name in names if name in known] for how, names in groups.items()}
    return "\n".join(f"- {how}: {', '.join(names)}" for how, names in listed.items() if names)


def _format_entry(kind: type[MigratorError]) -> str:
    """An entry: what the error means, and what to do. The page's beginning describes the state of the database."""
    return "\n\n".join([f"### {kind.__name__}", _one_line(kind.cause), _one_line(kind.solution)]) + "\n"


def _one_line(words: str) -> str:
    return " ".join(words.split())
