"""docs/reference/errors.md: an entry for every error, from its class."""

from __future__ import annotations

from collections.abc import Iterator

from aurora_migrations.cdk.config import Limits
from aurora_migrations.cdk.retries import every_error
from aurora_migrations.cli.remote import aws_errors as cloud
from aurora_migrations.engine.errors import TRY_AGAIN, MigratorError
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
    return fill(PATH, _retries(), "\n".join(_entries()), "\n".join(_format_entry(kind, kind.state) for kind in kinds))


def _entries() -> Iterator[str]:
    family = ""
    found = {example.error.name: example for example in reversed(examples())}
    for example in (found[kind.__name__] for kind in every_error()):  # grouped by family, in the order of the classes
        if example.error.family != family:
            family = example.error.family
            yield f"## {_FAMILIES[family]}\n"
        yield _format_entry(type(example.error), example.error.state)


def _retries() -> str:
    """How often the state machine retries which errors."""
    known = {kind.__name__ for kind in every_error()}
    groups: dict[str, list[str]] = {}
    for retry in Limits().retries:
        longest = min(retry.longest_wait or 10**6, retry.first_wait * 2 ** (retry.attempts - 1))
        groups.setdefault(f"{retry.attempts} times, at most {longest} s apart", []).extend(retry.errors)
    listed = {how: [f"`{name}`" for name in names if name in known] for how, names in groups.items()}
    return "\n".join(f"- {how}: {', '.join(names)}" for how, names in listed.items() if names)


def _format_entry(kind: type[MigratorError], state: str) -> str:
    """An entry: the cause, the state of the database if the page's beginning doesn't describe it, what to do."""
    usual = state == MigratorError.state or state.startswith("The file was rolled back as a whole;")
    meaning = kind.cause if usual else f"{kind.cause} {state}"
    # The page's beginning has the usual next commands: to run again, and to deploy a corrected file or setting.
    following = kind.next_command
    is_usual = following == TRY_AGAIN or kind.by_deployment or f"`{following}`" in kind.solution
    shown = "" if is_usual else f" Next: `{following}`."
    parts = [f"### {kind.__name__}", _one_line(meaning), f"**Fix**: {_one_line(kind.solution)}{shown}"]
    return "\n\n".join(parts) + "\n"


def _one_line(words: str) -> str:
    return " ".join(words.split())
