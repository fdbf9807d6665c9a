"""docs/troubleshooting.md: an entry for every error, made of its class, and of what a terminal really showed of it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping

from aurora_migrations.cdk.config import Limits
from aurora_migrations.cdk.retries import every_error
from aurora_migrations.cli.remote import aws_errors as cloud
from aurora_migrations.engine.errors import PROGRAM, MigratorError
from functions import mail
from functions.remediation import in_environment
from tests.examples.examples import ENVIRONMENT, Example, examples
from tools.documents import NOTE, ROOT, golden

PATH = ROOT / "docs" / "troubleshooting.md"
_BEGIN = f"""\
# Troubleshooting

{NOTE}

Every failure has a name. It stands in the mail's subject, on the terminal, in the log, in the history and at the failed
execution.

| what you see | its name |
| --- | --- |
| a connection timeout | [DatabaseUnreachable](#databaseunreachable) |
| a secret that isn't found | [SecretNotFound](#secretnotfound) |
| an SQL error | [MigrationFailed](#migrationfailed) |
| a lock that is waited for too long | [LockTimeout](#locktimeout) |
| `Runtime.*`, `Sandbox.Timedout`, `Lambda.*`, `States.Timeout` | [a function died](#a-function-died) |
| `ContractBroken`, `Unknown error` | [an answer that isn't understood](#an-answer-that-isnt-understood) |
| `TIMED_OUT`, `ABORTED` or `FAILED` in the subject | [the execution was ended](#the-execution-was-ended) |
| an alarm about dead letters | [a run never started](#a-run-never-started) |
| a deployment, and neither a run nor a mail | [nothing happened](#nothing-happened) |
| a VPC that isn't found | [a reference that leads nowhere](#a-reference-that-leads-nowhere) |
| a build that fails | [the package can't be made](#the-package-cant-be-made) |
| a command that AWS refuses | [Family cloud](#family-cloud) |

On Windows, a next command that begins with `npx` needs `--app "python -m tasks synth"` at its end (with the Python of
your checkout), and is written `npx.cmd` in PowerShell.

Three things hold for all of them. A file is in together with its record in the history, or not at all; one of several
parts goes on after the last part that is in. The run lock is gone with the session that held it. So a new execution is
always safe, and nothing has to be cleaned up by hand unless the message says so. A redrive of a failed execution only
fails again.

Under each stands an example of what a terminal shows of one; the others are in tests/golden/terminal. Words in capitals
(`DATABASE`, `PORT`, `PID`, `TIME`, `N s`) stand for what differs from time to time.
"""
_CLOUD = """\
## Family cloud

Between a terminal and an environment: nothing has started, or it goes on without being watched. No mail tells of these.
"""
_END = """\
## What no error tells

### A function died

Out of memory, cut off by Lambda, or it couldn't be started or called. The state machine has called it again: once,
after 20 seconds, where it died. The server has ended what the dead function was at, within 5 seconds; the mail says
what is applied, and in which step it died. The failed execution bears the same name, behind `Workflow.` where it is
Step Functions' own (`Workflow.States.Timeout`). Start a new execution. If it happens again, the function's log says
what it was doing: `aurora-migrations logs EXECUTION --env ENV`, or `filter correlation_id = "EXECUTION" | sort
@timestamp` in CloudWatch Logs Insights.

### An answer that isn't understood

`ContractBroken`: a function answered what the state machine doesn't know, so the two are of different versions. Deploy
again: both come from one template.

### A mail without details

`A run of migrations failed`, `A run of migrations ended early` or `The daily check of migrations failed`: a function
died or could not be called, and then preflight too, which writes the mail about that. The mail has the error's name and
a link to the execution, which shows what was asked for and by whom. Mostly something is wrong with the functions
themselves, such as their memory, their role or their network: `aurora-migrations doctor --env ENV` checks them.

### The execution was ended

By its time limit, by a person or a program, or because it broke where no failure branch reaches. The call of a function
that was under way goes on: so the database was looked at a minute later, and again until nobody was at work there, for
as long as a call can last. The mail says what is applied, who is still at work, and who or what had started the run.

| subject | what to do |
| --- | --- |
| `ABORTED` | ask who stopped it and why, first; `aurora-migrations logs EXECUTION --env ENV` shows how far it came |
| `TIMED_OUT` | start a new execution; raise the setting `limits.run_timeout` if that takes as long |
| `FAILED` | start a new execution; if that breaks in the same way, deploy anew |

Where somebody is still at work, wait first: `aurora-migrations status --env ENV --watch`. (AWS delivers the events that
this goes by as well as it can, but promises nothing; what is pending, the daily check mails.)

### A run never started

EventBridge could not start a state machine, and put the event into the queue `...-dead-letters`: at once where a
right is missing, after a day of trying where it was refused for another reason. The message's attribute `RULE_ARN`
says what is missing: the run after a deployment, the mail about a run that was ended, or the daily check. A run by
hand makes up for each. `ERROR_MESSAGE` says why; mend that, and delete the message. The alarm rings for each new
message, but for those that come within 20 minutes of another.

### Nothing happened

- The first deployment of a stack may end before its own rule listens: start the first run by hand.
- The event of a deployment may have been missed: the daily check mails what is pending.
- The subscription may not be confirmed: each address has to click the link in Amazon SNS's first mail.
- The mail may have been sent and kept by a filter: the execution's page shows the state `Notify failure`.

### A reference that leads nowhere

The deployment itself fails, before there is anything to run, and `npx aws-cdk@2 deploy` shows CloudFormation's words.
An export that isn't there: deploy the stack that exports it first, or correct the name in `cdk.json`. A parameter that
isn't there: make it. A VPC, subnet or security group that doesn't exist: the id is wrong, or of another account or
region. The stack goes back to what it was.

### The package can't be made

`make build` says what is missing or wrong and what to do: an SQL file that doesn't compile (file, line, column), no
way to the package index the first time, a dependency without a wheel. `npx` is needed by the deployment only; the build
says so if it isn't there.
"""


def render() -> str:
    kinds = [kind for kind in vars(cloud).values() if isinstance(kind, type) and kind.__base__ is cloud.CloudError]
    return "\n".join([_BEGIN, *_entries(), _CLOUD, *map(_cloud_entry, kinds), _END])


def _entries() -> Iterator[str]:
    family = ""
    found = {example.error.name: example for example in reversed(examples())}
    for example in (found[kind.__name__] for kind in every_error()):  # grouped by family, in the order of the classes
        if example.error.family != family:
            family = example.error.family
            yield f"## Family {family}\n"
        yield _entry(example)


def _entry(example: Example) -> str:
    kind = type(example.error)
    general = in_environment(kind(""), {}, mail.Run(ENVIRONMENT, "apply", "", "", {}))
    rows = {
        "why": kind.cause,
        "the database": example.error.state,
        "what to do": general.solution,
        "next command": f"`{general.next_command}`",
        "tried again by the state machine": _retried(kind),
        "subject of the mail": f"`{golden.failure_mail(example)[0]}`",
    }
    return _format_entry(kind, rows)


def _cloud_entry(kind: type[cloud.CloudError]) -> str:
    ours = kind.next_command.program == PROGRAM and kind.next_command.verb != "check"
    following = f"{kind.next_command} --env {ENVIRONMENT}" if ours else kind.next_command
    rows = {"why": kind.cause, "the database": kind.state, "what to do": kind.solution}
    return _format_entry(kind, {**rows, "next command": f"`{following}`"})


def _format_entry(kind: type[MigratorError], rows: Mapping[str, str]) -> str:
    """An entry: the class's description, and an example of what a terminal shows."""
    cells = {name: " ".join(words.split()).replace("|", "\\|") for name, words in rows.items()}
    table = "\n".join(f"| {name} | {cell} |" for name, cell in cells.items())
    meaning = " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())
    shown = f"```text\n{golden.first_of(kind)}\n```\n"
    return f"### {kind.__name__}\n\n{meaning}\n\n| | |\n| --- | --- |\n{table}\n\n{shown}"


def _retried(kind: type[MigratorError]) -> str:
    found = next((retry for retry in Limits().retries if kind.__name__ in retry.errors), None)
    if found is None:
        return "no"
    waits = [min(found.longest_wait or 10**6, found.first_wait * 2**number) for number in range(found.attempts)]
    return f"yes, {found.attempts} times, with pauses of up to {waits[0]} to {waits[-1]} seconds"
