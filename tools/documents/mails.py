"""docs/mails.md: every mail that is sent, made of the golden files."""

from __future__ import annotations

from collections.abc import Iterator

from tests.examples.examples import examples
from tools.documents import NOTE, ROOT, golden

PATH = ROOT / "docs" / "mails.md"
_BEGIN = f"""\
# The mails

{NOTE}

Who stands in the setting `emails` gets them, after clicking the link in Amazon SNS's first mail. All are plain text, in
72 columns but for commands, links and what else has no space in it, and for AWS's own words, which nobody can wrap: the
reason that it gives for a function's death, and what CloudWatch writes around the text of its alarm, subject included.
Subjects say the environment, what happened and where. None holds a password or a row: see
[what messages show](history.md#what-messages-show). Where a statement is shown, it is as its file has it.

A function that fails writes the mail about it itself, and the state machine only sends it
([pipeline.md](pipeline.md)); what each error means stands in [troubleshooting.md](troubleshooting.md). The machine
writes the mail where no function is left to do so, and looks at the database for it. A mail that can't be sent changes
nothing of how an execution ends. None is sent about what who typed a command sees: a look that failed, or wrong input.

On Windows, a next command that begins with `npx` needs `--app "python -m tasks synth"` at its end, and is written
`npx.cmd` in PowerShell.

All that follows is from an environment `prod` that doesn't exist.
"""


def _ends(name: str, heading: str) -> tuple[tuple[str, str], ...]:
    """The mails about one way in which an execution ends."""
    return (
        (f"execution-{name}", heading),
        (f"execution-{name}-and-still-at-work", f"{heading}, and a call of it, or another run, is still at work"),
        (f"execution-{name}-and-no-look", f"{heading}, and the database can't be looked at"),
    )


_MACHINES = (
    ("function-died", "A function died, or was cut off"),
    ("function-died-and-no-look", "The same, and the database can't be looked at"),
    ("function-died-in-a-rollback", "The same in a rollback"),
    ("function-died-and-told-nothing", "The same, and no function has said what was asked"),
    ("answer-not-understood", "Function and state machine don't fit"),
    *_ends("timed-out", "The whole execution ran out of time"),
    ("execution-timed-out-in-a-rollback", "The same in a rollback"),
    ("execution-timed-out-and-nobody-told", "The same, and no function has said what was asked"),
    *_ends("aborted", "Somebody stopped the execution"),
    *_ends("failed", "The execution broke inside Step Functions"),
    ("daily-check-pending", "The daily check finds what nobody has run"),
    ("daily-check-pending-and-still-at-work", "The same, and a run is at work all the time"),
    ("daily-check-died", "The function that the daily check calls died"),
    ("run-never-started", "An event could not start a run (CloudWatch writes more around it)"),
)
_SUCCESSES = (
    ("success", "Migrations were applied"),
    ("success-of-a-rollback", "Migrations were rolled back"),
)


def render() -> str:
    """The page."""
    return "\n".join([_BEGIN, *_errors(), *_group("Failures that no function could tell", _MACHINES), *_good()])


def _errors() -> Iterator[str]:
    family = ""
    for example in examples():
        if example.error.family != family:
            family = example.error.family
            yield f"## Errors of the family {family}\n"
        yield _entry(example.name, example.name.replace("-", ", ", 1).replace("-", " "))


def _good() -> list[str]:
    told = "Only where the setting `success_mail` is `true`, and only if a run has changed something.\n"
    title, *entries = _group("Success", _SUCCESSES)
    return [title, told, *entries]


def _group(title: str, entries: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"## {title}\n", *(_entry(name, heading) for name, heading in entries)]


def _entry(name: str, heading: str) -> str:
    text = (golden.MAILS / f"{name}.txt").read_text("utf-8")
    return f"### {heading}\n\n```text\n{text.rstrip()}\n```\n"
