"""docs/pipeline.md: the way of a migration to the database, and the state machine as the template has it."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from aurora_migrations.cdk.failure_branch import SETTLE
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.watchdogs import GRACE, HOUR
from aurora_migrations.cdk.workflow import STARTS
from tools.documents import NOTE, ROOT, golden

PATH = ROOT / "docs" / "pipeline.md"
ENVIRONMENT = "prod"
_MAILS = {"mail": "MigrationFailed", "died": "function-died", "short": "failure-no-function-could-tell"}
_SHAPES = {"Choice": ("{", "}"), "Succeed": ("([", "])"), "Fail": ("([", "])"), "Task": ("[[", "]]")}
_STATIONS = (
    ("when", "who", "does"),
    ("---", "---", "---"),
    (
        "before the merge",
        "`aurora-migrations check`",
        "reads every file with PostgreSQL's own grammar: mistakes, hazards, locks",
    ),
    ("at the build", "`make build`", "compiles `migrations/` into a manifest, and packs it with the functions"),
    ("at the deployment", "`npx aws-cdk@2 deploy`", "brings package and state machine to AWS, together"),
    (
        "after it",
        "a rule of EventBridge",
        "sees `CREATE_COMPLETE` or `UPDATE_COMPLETE` of the stack, and starts the state machine",
    ),
    (
        "by hand",
        "the console, the command line",
        "start the same machine, with `{}` or [more](functions.md#what-an-execution-may-be-asked)",
    ),
    (f"daily, at {HOUR.zfill(2)}:00 UTC", "the daily check", "looks, and mails if anything is pending or has drifted"),
)
_TEXT = """\
# The pipeline

{note}

From a file in a pull request to a changed database, and what happens where it doesn't get there.

{stations}

A deployment that was rolled back starts nothing. An event that can start nothing is kept in a queue, and an alarm mails
it. The rule of a first deployment may listen too late for its own event: start the first run by hand.

## The state machine

- **Preflight** reads the secret, connects, and holds the package against the history. It changes nothing, and says what
  comes next: apply, verify (nothing is pending) or the answer (`list-migrations`, `plan`).
- **Apply** runs the pending files in order, each in a transaction of its own with its record in the history. One call
  does as many as its time allows, and the machine calls again while it says `more`.
- **Verify** looks in a session of its own at what was left behind. Its answer is the execution's.

Each call works out anew what is pending, from the history: nothing that a call has said needs to be believed. If
another package is deployed in the middle, the run waits, as the functions are deployed one after the other, and starts
over; it begins at most {starts} times.

Every task tries transient errors again, with growing pauses and jitter: connections, locks, another run, trouble of
Lambda itself. A function that died is called once more. Everything else, and what lasts, leads to a mail and to Failed.
Nothing is tried again blindly: `States.ALL` is in no retry.

{main}

## Failures

A function that fails writes its own mail, which is in the error's document: the machine reads it and sends it. Where
there is none (a function died, was cut off or could not be called), the machine waits {settle} seconds and calls
preflight, which looks at the database and writes the mail. If it can't look, the mail says why; if that call fails too,
the machine sends a short text of its own, with the error's name and a link to the execution. A small state before that
notes in which step it was. No mail is sent about a read-only command that somebody typed at a terminal (`status`,
`plan`), nor about a mistake in the command: who typed it sees the error. Then the execution fails with the error that
it had, whether the mail could be sent or not.

Everyone listed in the setting `emails` receives the mails, after confirming Amazon SNS's subscription mail. They are
plain text in 72 columns, hold neither a password nor a row, and say in the subject the environment, what happened and
where. A function that fails says in its mail what happened, why, where the database is, and what to do:

```text
{mail}
```

No Catch sees an execution that times out, is aborted, or breaks inside Step Functions. An event tells of its end to a
machine of its own, `notice`. It waits {grace} seconds and calls preflight, which looks at the database and writes the
mail that fits that end; while a call of the execution, or another run, is at work, it looks again. It sends no mail
about read-only commands typed at a terminal.

{notice}

The mail about a function that died, which preflight writes, and the machine's own where preflight fails too:

```text
{died}
```

```text
{short}
```

[tests/golden/mails](../tests/golden/mails) has all mails.

The daily check is a machine too, `daily`. It also looks again while a run is at work. About what it can't do, preflight
writes the mail as well:

{daily}
"""


def render(machines: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. The state machines' definitions are by name."""
    names = Names(ENVIRONMENT)
    main, notice, daily = (machines[names.of(*part)] for part in ((), ("notice",), ("daily",)))
    mails = {name: (golden.MAILS / f"{file}.txt").read_text("utf-8").rstrip() for name, file in _MAILS.items()}
    return _TEXT.format(
        note=NOTE,
        stations="\n".join(f"| {' | '.join(row)} |" for row in _STATIONS),
        starts=STARTS,
        settle=SETTLE.to_seconds(),
        grace=GRACE.to_seconds(),
        main=diagram(main),
        notice=diagram(notice),
        daily=diagram(daily),
        **mails,
    )


def definitions() -> dict[str, dict[str, Any]]:
    """The state machines of the example environment, from a template synthesised now."""
    import aws_cdk as cdk

    from infra.app import add_stacks

    context = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(context={**context, "env": ENVIRONMENT, "aws:cdk:bundling-stacks": []}, outdir=folder)
        add_stacks(app)
        template = app.synth().get_stack_by_name(Names(ENVIRONMENT).stack).template
    found = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::StepFunctions::StateMachine"]
    return {each["StateMachineName"]: json.loads(_flat(each["DefinitionString"])) for each in found}


def _flat(text: Any) -> str:
    """A definition without CloudFormation's functions, of which no state's name or way depends."""
    parts = text["Fn::Join"][1] if isinstance(text, dict) else [text]
    return "".join(part if isinstance(part, str) else "-" for part in parts)


def reachable(states: Mapping[str, Any], start: str) -> list[str]:
    """The states that may follow one, itself included, the nearest first."""
    found = [start]
    for name in found:
        found += dict.fromkeys(after for after, _ in _ways(states[name]) if after not in found)
    return found


def diagram(machine: Mapping[str, Any]) -> str:
    """A machine's states and what follows what, as Mermaid."""
    states = machine["States"]
    names = reachable(states, machine["StartAt"])
    numbers = {name: f"s{number}" for number, name in enumerate(names)}
    shapes = {name: _SHAPES.get(states[name]["Type"], ("[", "]")) for name in names}
    lines = [f'    {numbers[name]}{before}"{name}"{behind}' for name, (before, behind) in shapes.items()]
    ways = [(numbers[name], numbers[after], word) for name in names for after, word in _ways(states[name])]
    arrows = dict.fromkeys(
        f"    {name} {f'-. {word} .->' if word == 'fails' else f'-- {word} -->' if word else '-->'} {after}"
        for name, after, word in ways
    )
    return "\n".join(["```mermaid", "flowchart TD", *lines, *arrows, "```"])


def _ways(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a state may lead to, with a word for the arrow."""
    for choice in state.get("Choices", []):
        words = condition_text(choice)
        yield choice["Next"], words if re.fullmatch(r"[\w ]+", words) else f'"{words}"'  # as Mermaid takes them
    if "Default" in state:
        yield state["Default"], "else"
    if "Next" in state:
        yield state["Next"], ""
    for catch in state.get("Catch", []):
        yield catch["Next"], "fails" if catch["ErrorEquals"] == ["States.ALL"] else catch["ErrorEquals"][0]


def condition_text(choice: Mapping[str, Any]) -> str:
    """What must be so, in a word or two: the rule's comment, or what it compares with."""
    if "Comment" in choice:
        return str(choice["Comment"])
    for test in choice.get("And", [choice]):
        if "StringEquals" in test:
            return str(test["StringEquals"])
        if test.get("StringMatches", "").startswith("{"):
            return "JSON"
    return "yes"
