"""What the state machines and the alarm say where no function can write the mail: in the layout of `functions.mail`.

A `{}` stands for what is known only when the mail is written. Apostrophes and backslashes would end a text in the
machines' language, so none stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from aurora_migrations.engine.layout import Section, body, named, wrapped
from functions.mail import origin
from functions.remediation import deploy_command

CANNOT_BE_READ = "What it said is no text for people; the page of the execution has it."
CUT_OFF = "AWS cut the call off when the time limit of the function was over."
NO_CAUSE = "No cause was given."
NAMELESS = "Unknown error"
_NAME, _ARN = "$$.Execution.Name", "$$.Execution.Id"
_CONSOLE = "https://console.aws.amazon.com/states/home?region={region}#/v2/executions/details/{{}}"
_PLACE = "  {}"
_SETTLED = "A file is in with its record in the history, or not at all; one of several parts goes on where it was. "
_SETTLED += "A dead run leaves no lock behind: its session ends within 5 seconds. Nothing has to be cleaned up by hand."
_BETWEEN = "Or a run is under way and waits between two tries."
_LOOK_AGAIN = "The check has changed nothing. Look again; if that fails in the same way, so would a run of migrations, "
_LOOK_AGAIN += "and the log of the function preflight, which the page below leads to, says more."
_UNDONE = "If a rollback was asked for, look first (status): a run applies anew what it has undone."
_SAFE = "That is always safe, and goes on from what is true; a redrive is not needed."
_SAFE_BUT_NO_REDRIVE = "That is always safe, and goes on from what is true; a redrive would only fail again."
_UNKNOWN = (
    "Look first: the page below has what was asked for, and a run applies anew what a rollback has undone. Then start "
    "the same again."
)
DAILY = origin("daily", "")
_ANEW = "Start a new execution: that is always safe, and goes on from what is true. A redrive would only fail again."
_IF_AGAIN = "If it fails in the same way again, this shows what the function has said:"


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


@dataclass(frozen=True)
class Remedy:
    """What to do about a run that failed by no error of the engine, each several lines.

    Attributes:
        to_do: a place is for the name of the execution.
        command: the next one; a place is for what a function says to type.
    """

    to_do: str
    command: str


def run_again(environment: str) -> Remedy:
    """Where a function died, and preflight has said what asks for the same again: of a rollback, a look."""
    return Remedy(f"{_lines(f'{_ANEW} {_UNDONE} {_IF_AGAIN}')}\n  {_logs(environment)}", _PLACE)


def look_first(environment: str) -> Remedy:
    """Where a function died, and nobody has said what asks for the same again: it may have been a rollback."""
    to_do = f"{_UNKNOWN} {_SAFE_BUT_NO_REDRIVE} {_IF_AGAIN}"
    return Remedy(f"{_lines(to_do)}\n  {_logs(environment)}", _status(environment))


def begin_again(environment: str) -> Remedy:
    """Where an execution ended, and preflight has said what asks for the same again."""
    return Remedy(_lines(f"Start a new execution. {_SAFE} {_UNDONE}"), _PLACE)


def look_before(environment: str) -> Remedy:
    """Where an execution ended, and nobody has said what asks for the same again."""
    return Remedy(_lines(f"{_UNKNOWN} {_SAFE}"), _status(environment))


def look_again(environment: str) -> Remedy:
    """Where the function died that the daily check calls."""
    return Remedy(_lines(_LOOK_AGAIN), _status(environment))


def deploy_again(environment: str) -> Remedy:
    """Where function and state machine do not fit each other."""
    to_do = f"Deploy again: state machine and functions then fit each other, and a run starts by itself. {_SAFE}"
    return Remedy(_lines(to_do), f"  {deploy_command(environment)}")


def broken(
    environment: str, region: str, what: str, paths: Mapping[str, str], seen: bool, started: str | None = None
) -> Text:
    """A run failed by no error of the engine: a function died or was cut off, or AWS couldn't call it.

    Args:
        what: failed, such as `run of migrations`.
        paths: `name` for the subject, `error`, `step` and `why`, `look`: the state of the database, or why it isn't
            known, the texts of a `Remedy` by their names, and `started`: who or what started it, in lines.
        seen: whether the database's state is known.
        started: who or what started it, where that is always the same; it has no path then.
    """
    headline = f"The {what} on {environment} failed, and no function was left to say why."
    happened = [
        f"{_PLACE}, in the step {{}}",
        *wrapped("A function died, was cut off by its time limit, could not be called, or answered amiss."),
    ]
    sections = [
        ("What happened", happened),
        ("Why", [_PLACE]),
        ("The database now", _now(seen)),
        ("What to do", ["{}"]),
        ("Next command", ["{}"]),
        ("This execution", _execution(region, started)),
    ]
    who = () if started else (paths["started"],)
    words = (*(paths[each] for each in ("error", "step", "why", "look", "to_do", "command")), *who, _NAME, _ARN)
    subject = f"[{environment}] {{}} in {{}}"
    return Text(subject, body(headline, sections), words, (paths["name"], paths["step"]))


@dataclass(frozen=True)
class End:
    """How an execution ended that couldn't tell it itself: what a mail about it says, each several lines.

    Attributes:
        to_do, command: what to do, and the next command; a place is for that of a `Remedy`.
    """

    headline: str
    why: str
    to_do: str
    command: str

    def at_work(self, environment: str) -> End:
        """The same where a run is at work even after the last look."""
        wait = _lines("Wait until the run that is at work has ended: a new one would only wait for it. Then:")
        return replace(self, to_do=f"{wait}\n{self.to_do}", command=_watch(environment))

    def parts(self) -> dict[str, str]:
        """The texts by their names."""
        return asdict(self)


def aborted(environment: str, name: str) -> End:
    """Somebody stopped it.

    Args:
        name: the execution's.
    """
    why = "A person or a program stopped the execution, at a terminal or at the console: it did not fail. If a reason "
    why += "was given, it stands below, or on the page of the execution."
    to_do = "Do not fight whoever stopped it: ask first who did it and why. Its log shows how far it came. "
    to_do += f"When all agree that it shall go on, start a new execution. {_SAFE} {_UNDONE}"
    headline = f"A run of migrations on {environment} was stopped before its end."
    command = f"  {_logs(environment).format(name)}"
    return End(_headline(headline), _lines(why), _lines(to_do), command)


def timed_out(environment: str, limit_ms: int) -> End:
    """Its time was over.

    Args:
        limit_ms: all the time that an execution has.
    """
    why = f"An execution may take {_span(limit_ms)} in all (the setting limits.run_timeout). This one had not ended."
    to_do = "If it takes as long again, raise the setting."
    headline = f"A run of migrations on {environment} ran out of time."
    return End(_headline(headline), _lines(why), f"{{}}\n{_lines(to_do)}", "{}")


def broke(environment: str, error: str = "") -> End:
    """It failed where nothing can be caught.

    Args:
        error: its name, if the event tells one.
    """
    said = f"{_PLACE}\n".format(error) if error else ""
    why = "Step Functions itself ended the execution, where its failure branch could not catch it: mostly because of "
    why += "data that do not fit, or a right that is missing. The page of the execution has its words."
    to_do = "If it breaks in the same way again, deploy anew: state machine and functions may not fit each other."
    headline = f"A run of migrations on {environment} broke inside its state machine."
    return End(_headline(headline), said + _lines(why), f"{{}}\n{_lines(to_do)}", "{}")


def ended(environment: str, region: str, paths: Mapping[str, str], look: str, seen: bool) -> Text:
    """An execution was stopped, its time was over, or it broke: seen from outside, by an event with `status`.

    Args:
        paths: of the texts of an `End` by their names, and `started`: who or what started it, in lines.
        look: the state of the database, or why it isn't known.
        seen: whether it is.
    """
    happened = [
        _PLACE,
        *wrapped("A call of a function that was under way goes on to its end, and what it has committed counts."),
    ]
    sections = [
        ("What happened", happened),
        ("Why", ["{}"]),
        ("The database now", _now(seen)),
        ("What to do", ["{}"]),
        ("Next command", ["{}"]),
        ("This execution", _execution(region)),
    ]
    advice = (paths[each] for each in ("to_do", "command", "started"))
    words = (paths["headline"], "$.status", paths["why"], look, *advice, "$.name", "$.executionArn")
    return Text(f"[{environment}] {{}}: migrations ended", body("{}", sections), words, ("$.status",))


def pending(environment: str, region: str, look: str, at_work: bool = False) -> Text:
    """The daily check found migrations that wait.

    Args:
        at_work: whether a run is, even after the last look.
    """
    to_do = "Start a run: that is always safe. One that is at work is waited for."
    if at_work:
        to_do = "Wait until the run that is at work has ended, and see whether it has left anything: a new one would "
        to_do += "only wait for it."
    command = _watch(environment) if at_work else f"  aurora-migrations run --env {environment}"
    sections = [
        ("What happened", wrapped("The daily check found migrations that were deployed and are not applied.")),
        (
            "Why",
            wrapped(f"The event of a deployment was missed, or a run failed and was not started again. {_BETWEEN}"),
        ),
        ("The database now", ["{}", *wrapped("The check changed nothing.")]),
        ("What to do", wrapped(to_do)),
        ("Next command", [command]),
        ("This execution", _execution(region, started_by(DAILY))),
    ]
    headline = f"Migrations are waiting on {environment}."
    return Text(f"[{environment}] Migrations pending", body(headline, sections), (look, _NAME, _ARN))


def started_by(words: str) -> str:
    """Who or what started an execution, as lines of a mail, where that is known in words only."""
    return "\n".join(named([("Started by", words)]))


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


def _execution(region: str, started: str | None = None) -> list[str]:
    return [started or "{}", "  Execution   {}", f"  {_CONSOLE.format(region=region)}"]


def _logs(environment: str) -> str:
    return f"aurora-migrations logs {{}} --env {environment}"


def _status(environment: str) -> str:
    return f"  aurora-migrations status --env {environment}"


def _watch(environment: str) -> str:
    return f"{_status(environment)} --watch"


def _headline(text: str) -> str:
    return "\n".join(wrapped(text, ""))


def _lines(text: str) -> str:
    return "\n".join(wrapped(text))


def _span(milliseconds: int) -> str:
    hours, rest = divmod(milliseconds, 3_600_000)
    return f"{hours} h" if hours and not rest else f"{milliseconds / 60_000:g} min"
