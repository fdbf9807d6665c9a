"""The two mails that no function writes: a state machine's own, where preflight fails too, and that of the alarm."""

from __future__ import annotations

from aurora_migrations.engine.steps import layout
from aurora_migrations.engine.steps.execution import console_page
from aurora_migrations.engine.steps.layout import Mail, Section, wrapped

# What is true whatever has failed.
SETTLED = "A file is in with its record in the history, or not at all; one of several parts goes on where it was. "
SETTLED += "A dead run leaves no lock behind: its session ends within 5 seconds. Nothing has to be cleaned up by hand."
SAFE = "That is always safe, and goes on from what is true; a redrive is not needed."
UNKNOWN = "Look first: the page below has what was asked for, and a run applies anew what a rollback has undone."


def unwritten(environment: str, region: str, what: str) -> Mail:
    """What a state machine mails where preflight could not write the mail either; its body has two places: for what
    failed, and the execution's ARN."""
    headline = f"{what} on {environment}, and the function that writes the mail about it failed too."
    sections: list[Section] = [
        ("What happened", ["  {}"]),
        ("The database now", wrapped(f"It was not looked at. {SETTLED}")),
        ("What to do", wrapped(f"{UNKNOWN} Then start the same again. {SAFE}")),
        ("Next command", [f"  aurora-migrations status --env {environment}"]),
        ("This execution", [f"  {console_page(region)}{{}}"]),
    ]
    return Mail(layout.subject(environment, what), layout.body(headline, sections))


def never_started(environment: str, queue: str) -> str:
    """The description of the dead-letter queue's alarm. CloudWatch puts it into its mail, cut at 1024 bytes."""
    why = (
        "The message tells in the attribute ERROR_MESSAGE the reason, mostly a right that is missing, and in RULE_ARN "
    )
    why += "what is missing: the run after a deployment (on-deploy), the mail about a run that was ended "
    sections: list[Section] = [
        ("What happened", wrapped(f"An event could not start its state machine, and lies in the queue {queue}.")),
        ("Why", wrapped(f"{why}(on-end), or the daily check (daily).")),
        ("The database now", wrapped("The event has changed nothing.")),
        (
            "What to do",
            wrapped("Start a run by hand: that makes up for all three. Mend the reason, delete the message."),
        ),
        ("Next command", [f"  aurora-migrations run --env {environment}"]),
    ]
    return layout.body(f"An event about the migrations of {environment} started nothing.", sections)
