"""What the state machines and the alarm say where no function can write the mail: in the layout of `functions.mail`.

A `{}` stands for what is known only when the mail is written. Apostrophes and backslashes would end a text in the
machines' language, so none stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from functions.layout import Section, body, wrapped

CANNOT_BE_READ = "What it said is no text for people; the page of the execution has it."
NO_CAUSE = "No cause was given."
NAMELESS = "Unknown error"
_NAME, _ARN = "$$.Execution.Name", "$$.Execution.Id"
_CONSOLE = "https://console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{{}}"
_PLACE = "  {}"
_SETTLED = "A file is in with its record in the history, or not at all; one of several parts goes on where it was. "
_SETTLED += "A dead run leaves no lock behind: its session ends within 5 seconds. Nothing has to be cleaned up by hand."
_BETWEEN = "Or a run is under way and waits between two tries."
_ANEW = "Start a new execution: that is always safe, and goes on from what is true. A redrive would only fail again."


@dataclass(frozen=True)
class Text:
    """A mail with places in it.

    Attributes:
        subject: ASCII, less than 100 characters once filled.
        words, subject_words: what stands for each `{}` of body and subject, in order: paths into a machine's state.
    """

    subject: str
    body: str
    words: tuple[str, ...] = ()
    subject_words: tuple[str, ...] = ()

    def filled(self, values: Mapping[str, str]) -> tuple[str, str]:
        """Subject and body as the machine writes them, with these values under the paths."""
        subject, text = (map(values.__getitem__, words) for words in (self.subject_words, self.words))
        return self.subject.format(*subject), self.body.format(*text)


def broken(environment: str, region: str, what: str, paths: Mapping[str, str], seen: bool) -> Text:
    """A run failed by no error of the engine: a function died or was cut off, or AWS couldn't call it.

    Args:
        what: failed, such as `run of migrations`.
        paths: `name` for the subject, `error` and `why`, and `look`: the state of the database, or why it isn't known.
        seen: whether it is.
    """
    headline = f"The {what} on {environment} failed, and no function was left to say why."
    happened = [
        _PLACE,
        *wrapped("A function died, was cut off by its time limit, could not be called, or answered amiss."),
    ]
    again = f"{_ANEW} If it fails in the same way again, read the log of the function."
    sections = [
        ("What happened", happened),
        ("Why", [_PLACE]),
        ("The database now", _now(seen)),
        ("What to do", wrapped(again)),
        *_rest(environment, region),
    ]
    words = (paths["error"], paths["why"], paths["look"], _NAME, _ARN)
    return Text(f"[{environment}] {{}}: migrations failed", body(headline, sections), words, (paths["name"],))


def ended(environment: str, region: str, look: str, seen: bool) -> Text:
    """An execution was stopped, or its time was over: seen from outside, by an event with `status`."""
    headline = f"A run of migrations on {environment} ended without a result of its own."
    happened = [
        _PLACE,
        *wrapped("The execution was ended from outside, by its time limit or by a person, or it broke."),
        *wrapped("A call of a function that was under way goes on to its end, and what it has committed counts."),
    ]
    ask = f"See on the page of the execution how far it came, and if it was aborted, ask who did it and why. {_ANEW}"
    sections = [
        ("What happened", happened),
        ("The database now", _now(seen)),
        ("What to do", wrapped(ask)),
        *_rest(environment, region),
    ]
    words = ("$.status", look, "$.name", "$.executionArn")
    return Text(f"[{environment}] {{}}: migrations ended", body(headline, sections), words, ("$.status",))


def pending(environment: str, region: str, look: str) -> Text:
    """The daily check found migrations that wait."""
    sections = [
        ("What happened", wrapped("The daily check found migrations that were deployed and are not applied.")),
        (
            "Why",
            wrapped(f"The event of a deployment was missed, or a run failed and was not started again. {_BETWEEN}"),
        ),
        ("The database now", ["{}", *wrapped("The check changed nothing.")]),
        ("What to do", wrapped("Start a run: that is always safe. One that is at work is waited for.")),
        *_rest(environment, region),
    ]
    headline = f"Migrations are waiting on {environment}."
    return Text(f"[{environment}] Migrations pending", body(headline, sections), (look, _NAME, _ARN))


def never_started(environment: str, queue: str) -> str:
    """What the alarm of the dead-letter queue says; CloudWatch writes the mail around it, and cuts at 1024 bytes."""
    sections: list[Section] = [
        ("What happened", wrapped(f"An event could not start its state machine, and lies in the queue {queue}.")),
        (
            "Why",
            wrapped(
                "The message tells in the attribute ERROR_MESSAGE the reason, mostly a right that is missing, and in "
                "RULE_ARN what is missing: the run after a deployment (on-deploy), the mail about a run that was ended "
                "(on-end), or the daily check (daily)."
            ),
        ),
        ("The database now", wrapped("The event has changed nothing.")),
        (
            "What to do",
            wrapped("Start a run by hand: that makes up for all three. Mend the reason, delete the message."),
        ),
        ("Next command", [f"  aurora-migrations run --env {environment}"]),
    ]
    return body(f"An event about the migrations of {environment} started nothing.", sections)


def _now(seen: bool) -> list[str]:
    return ["{}" if seen else "  It could not be looked at: {}.", *wrapped(_SETTLED)]


def _rest(environment: str, region: str) -> list[Section]:
    execution = ["  Execution  {}", f"  {_CONSOLE.format(region=region)}"]
    return [("Next command", [f"  aurora-migrations run --env {environment}"]), ("This execution", execution)]
