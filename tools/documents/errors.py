"""docs/reference/errors.md: an entry for every error, from its class."""

from __future__ import annotations

from collections.abc import Iterator

from aurora_migrations.cdk.config import Limits
from aurora_migrations.cdk.retries import every_error
from aurora_migrations.cli.remote import aws_errors as cloud
from aurora_migrations.engine.errors import PROGRAM, MigratorError
from functions import mail
from functions.remediation import in_environment
from tests.examples.examples import ENVIRONMENT, Example, examples
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
    return fill(PATH, "\n".join(_entries()), "\n".join(map(_cloud_entry, kinds)))


def _entries() -> Iterator[str]:
    family = ""
    found = {example.error.name: example for example in reversed(examples())}
    for example in (found[kind.__name__] for kind in every_error()):  # grouped by family, in the order of the classes
        if example.error.family != family:
            family = example.error.family
            yield f"## {_FAMILIES[family]}\n"
        yield _entry(example)


def _entry(example: Example) -> str:
    kind = type(example.error)
    command = in_environment(kind(""), {}, mail.Run(ENVIRONMENT, "apply", "", "", {})).next_command
    following = "" if command.verb == "run" or "deploy" in kind.solution else f"Next: `{command}`."
    following = "Then deploy." if kind.by_deployment and following else following
    return _format_entry(kind, example.error.state, following, _retried(kind))


def _cloud_entry(kind: type[cloud.CloudError]) -> str:
    ours = kind.next_command.program == PROGRAM and kind.next_command.verb != "check"
    following = f"Next: `{kind.next_command}{f' --env {ENVIRONMENT}' if ours else ''}`."
    return _format_entry(kind, kind.state, following)


def _format_entry(kind: type[MigratorError], state: str, following: str, retried: str = "") -> str:
    """An entry: the cause, the state of the database if the page's beginning doesn't describe it, what to do."""
    usual = state == MigratorError.state or state.startswith("The file was rolled back as a whole;")
    meaning = kind.cause if usual else f"{kind.cause} {state}"
    paragraphs = [f"### {kind.__name__}", _one_line(meaning), f"**Fix**: {_one_line(kind.solution)} {following}"]
    return "\n\n".join([*(each.strip() for each in paragraphs), *([retried] if retried else [])]) + "\n"


def _one_line(words: str) -> str:
    return " ".join(words.split())


def _retried(kind: type[MigratorError]) -> str:
    found = next((retry for retry in Limits().retries if kind.__name__ in retry.errors), None)
    if found is None:
        return ""
    longest = min(found.longest_wait or 10**6, found.first_wait * 2 ** (found.attempts - 1))
    return f"Retried {found.attempts} times, {longest} s apart at most."
