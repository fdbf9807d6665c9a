"""Layout of mails: plain text in 72 columns, a subject that Amazon SNS takes, and the same for chat. And the mails that
no function writes."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from aurora_migrations.engine.diagnostics.redaction import without_password

WIDTH = 72
LONGEST_SUBJECT = 99  # SNS: ASCII, no control characters, less than 100 characters
_INDENT = "  "
_IN_BACKTICKS = re.compile("`[^`]{1,100}`")  # two that don't belong together may be far apart
_HARD_SPACE = "\u00a0"

# True whatever has failed.
SETTLED = "Nothing needs cleaning up: the next run continues from what is applied."
NO_REDRIVE = "always safe; don't redrive"
UNKNOWN = "Find out what was requested: see the page of the execution. A run would apply again what a rollback undid."

Section = tuple[str, Sequence[str]]
Severity = Literal["high", "low", "info"]  # look at it now; it can wait until morning; nothing to do
NONE = "none"  # the value of an attribute that a mail doesn't have
ATTRIBUTES = ("severity", "error", "migration")
CHAT_LIMIT = 2_200  # bytes that the message for chat takes in the document of an error
_CHAT_STEPS, _CHAT_SIZES = 5, (300, 120, 60)  # steps; characters of one: the first size with which everything fits
_NO_MARKUP = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})  # else a text could mention a whole channel
_NO_ESCAPES = str.maketrans({"&": "+", "<": "(", ">": ")", '"': "'", "\\": "/", "\n": " "})


class Mail(NamedTuple):
    """A mail. The subject is one that SNS takes; `severity`, `error` and `migration` become message attributes, which
    SNS doesn't take empty. `chat` is the message for chat: see `for_chat`."""

    subject: str
    body: str
    severity: Severity = "low"
    error: str = NONE
    migration: str = NONE
    chat: str = ""

    def to_dict(self) -> dict[str, str]:
        """The mail as JSON-able data."""
        return self._asdict()


def subject(environment: str, what: str, details: str = "") -> str:
    """`[prod] Migration FAILED: 018_add_email.sql, column "emial" does not exist`, truncated if it is long."""
    text = f"[{environment}] {what}{f': {details}' if details else ''}"
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).encode("ascii", "replace").decode().split())
    if len(plain) <= LONGEST_SUBJECT:
        return plain
    return f"{plain[: LONGEST_SUBJECT - 3]}..."


def body(verdict: str, sections: Iterable[Section]) -> str:
    """A mail's text. Sections without lines are left out."""
    blocks = [wrapped(verdict, "")]
    blocks += [[title.upper(), *lines] for title, lines in sections if lines]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def numbered(steps: Iterable[str], command: object) -> list[str]:
    """Numbered steps, and under the last one the command that it is about, unwrapped."""
    lines = [line for number, step in enumerate(steps, 1) for line in wrapped(f"{number}. {step}", hang="   ")]
    return [*lines, f"     {command}"]


def wrapped(text: str, indent: str = _INDENT, hang: str = "") -> list[str]:
    """A text's lines, each no wider than a mail, all but the first with `hang`. A line's own indentation stays."""
    lines: list[str] = []
    for line in clean(text).splitlines():
        lead = indent + line[: len(line) - len(line.lstrip())]
        lines += wrap(line.strip(), WIDTH, lead, lead + hang)
    return lines


def wrap(line: str, width: int, first: str = "", others: str = "") -> list[str]:
    """A line broken between words. What is to be copied stays whole, however long: what has no space in it, such as a
    link, and a command in backticks."""
    whole = _IN_BACKTICKS.sub(lambda match: match[0].replace(" ", _HARD_SPACE), line)
    lines = textwrap.wrap(
        whole,
        width,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [each.replace(_HARD_SPACE, " ") for each in lines]


def named(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """`Name   value`, with the values under each other. Those without a value are left out."""
    shown = [(name, value) for name, value in pairs if value]
    wide = max((len(name) for name, _ in shown), default=0) + 2
    return [line for name, value in shown for line in wrapped(f"{name:<{wide}}{value}", hang=" " * wide)]


def listed(items: Sequence[str], most: int, count: int | None = None) -> str:
    """The first items with commas between them, and how many there are beyond those; `count` is how many there are in
    all, if `items` holds only the first."""
    shown, total = list(items[:most]), max(len(items), count or 0)
    return ", ".join(shown) + (f" and {total - len(shown)} more" if total > len(shown) else "")


def quoted(text: str, most: int) -> list[str]:
    """Lines of code, unwrapped, each cut at a mail's width; at most `most` of them."""
    lines = clean(text).splitlines()
    more = [f"... ({len(lines) - most} more lines)"] if len(lines) > most else []
    whole = (f"{_INDENT}{_INDENT}{line}".rstrip() for line in (*lines[:most], *more))
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..." for line in whole]


def pointed(excerpt: str) -> list[str]:
    """A line of code and the caret under it; of a long line the part around the caret."""
    line, _, caret = clean(excerpt).partition("\n")
    room = WIDTH - 2 * len(_INDENT)
    first = max(0, len(caret) - room * 2 // 3) if len(line) > room else 0
    return quoted("\n".join(part[first : first + room] for part in (line, caret)), 2)


def cut(text: str, most: int) -> str:
    """A text, truncated to `most` characters, with how many were cut."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text) - most} more characters)"


def in_a_line(text: str) -> str:
    """A user's text for display: one line of at most 100 characters, without a password."""
    return " ".join(clean(without_password(text)).split())[:100]


def clean(text: str) -> str:
    """A text without what isn't printable, but for line ends."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def for_chat(
    mail: Mail, environment: str, verdict: str, steps: Sequence[str] = (), command: object = "", link: str = ""
) -> Mail:
    """The mail, with its message for chat: JSON as Amazon Q Developer in chat applications reads it, with the subject,
    the verdict, the link and the steps, the last of which is about `command`.

    https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html
    """
    steps = [*steps[: _CHAT_STEPS - 1], *steps[_CHAT_STEPS - 1 :][-1:]]

    def write(most: int, shown: Callable[[str], str]) -> str:
        lines = [shown(cut(step, most)) for step in steps]
        content: dict[str, object] = {"textType": "client-markdown", "title": shown(mail.subject)}
        content["description"] = "\n".join(filter(None, [shown(verdict), link]))
        if lines:
            content["nextSteps"] = [*lines[:-1], f"{lines[-1]} `{command}`"]
        context = {"environment": environment} | {name: getattr(mail, name) for name in ATTRIBUTES}
        message = {"version": "1.0", "source": "custom", "content": content}
        return json.dumps({**message, "metadata": {"additionalContext": context}})

    for most in _CHAT_SIZES:
        text = write(most, lambda each: each.translate(_NO_MARKUP))
        if len(json.dumps(text)) <= CHAT_LIMIT:
            return mail._replace(chat=text)
    plain = write(_CHAT_SIZES[-1], lambda each: each.translate(_NO_ESCAPES).encode("ascii", "replace").decode())
    return mail._replace(chat=plain)


def unwritten(environment: str, region: str, what: str) -> Mail:
    """What a state machine mails where preflight could not write the mail either. Its body has two places: for what
    failed, and the execution's ARN."""
    from aurora_migrations.engine.steps.execution import console_page

    verdict = "Look at this now if the application does not work; otherwise it can wait until morning. The state of "
    verdict += "the database is unknown, because the function that reads it failed too."
    steps = [UNKNOWN, "See what is applied, then start the same action again:"]
    command = f"aurora-migrations status --env {environment}"
    sections: list[Section] = [
        ("What to do", numbered(steps, command)),
        ("What happened", ["  Reported error: {}"]),
        ("Database", wrapped(SETTLED)),
        ("Execution", [f"  {console_page(region)}{{}}"]),
    ]
    mail = Mail(subject(environment, what, "the cause is not known yet"), body(verdict, sections), "high")
    return for_chat(mail, environment, verdict, steps, command)


def never_started(environment: str, queue: str) -> str:
    """The description of the dead-letter queue's alarm. CloudWatch puts it into its mail, cut at 1024 bytes."""
    steps = [
        "Read the message: SQS console, Send and receive messages, Poll for messages. ERROR_MESSAGE is the reason, "
        "often a missing permission.",
        "Fix the reason, then delete the message.",
        "Start a run, which makes up for what was missed:",
    ]
    lost = (
        "The rule in RULE_ARN shows what is missing: the run after a deployment (on-deploy), the mail about a run that "
    )
    lost += "ended early (on-end), or the daily check (daily)."
    sections: list[Section] = [
        ("What to do", numbered(steps, f"aurora-migrations run --env {environment}")),
        ("What happened", wrapped(f"EventBridge put an event into the queue {queue}. {lost}")),
    ]
    verdict = f"Can wait until morning, unless {environment} was just deployed: an event could not start its state "
    return body(f"{verdict}machine. It changed nothing in the database.", sections)
