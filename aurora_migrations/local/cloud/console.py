"""The local cloud's own HTTP API beside AWS's services: deployments, the daily check, and the inbox.

The inbox has the e-mails that would have been sent: what was published to a topic that has e-mail subscribers.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.sns.models import sns_backends

from aurora_migrations import project
from aurora_migrations.cdk.package import PackagingError
from aurora_migrations.engine import MigratorError
from aurora_migrations.engine.steps.execution import console_page
from aurora_migrations.local.account import ACCOUNT, REGION
from aurora_migrations.local.cloud.services.eventbridge import Sent
from aurora_migrations.local.cloud.services.iam import DEPLOY, FILES

PREFIX = "/local/"
_CONSOLE = re.compile(re.escape(console_page(REGION)) + r"\S+:([^\s:]+)")
INBOX, DAILY = f"{PREFIX}inbox", f"{PREFIX}daily"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "article{border:1px solid #bbb;border-radius:6px;padding:0 1rem;margin:1rem 0}h2{font-size:1rem}"
    "pre{white-space:pre-wrap}"
)


@dataclass(frozen=True)
class Page:
    """An HTTP response."""

    status: str
    kind: str
    text: str


@dataclass(frozen=True)
class Mail:
    to: tuple[str, ...]
    subject: str
    body: str


@dataclass(frozen=True)
class Console:
    """The operations that the API offers. `files` returns the fingerprint of the deployed files."""

    deploy: Callable[[], Sent]
    daily: Callable[[], Sent]
    mails: Callable[[], Sequence[Mail]]
    files: Callable[[], str]

    def answer(self, method: str, path: str) -> Page:
        """GET: the inbox, or the fingerprint of the deployed files. POST: deploys or runs the daily check, and answers
        with the executions that this started."""
        if (method, path) == ("GET", INBOX):
            return Page("200 OK", "text/html", _inbox(self.mails()))
        if (method, path) == ("GET", FILES):
            return _json("200 OK", {"fingerprint": self.files()})
        operation = {DEPLOY: self.deploy, DAILY: self.daily}.get(path)
        if operation is None or method != "POST":
            return Page("404 Not Found", "text/plain", f"There is nothing here. The mails are at {INBOX}.\n")
        try:
            return _json("200 OK", {"started": operation().started})
        except Exception as error:  # of any kind: the client doesn't see a traceback that is printed here
            correctable = isinstance(error, (PackagingError, MigratorError))
            status = "409 Conflict" if correctable else "500 Internal Server Error"
            return _json(status, {"error": type(error).__name__, "message": str(error)})


def _json(status: str, document: dict[str, Any]) -> Page:
    return Page(status, "application/json", json.dumps(document))


# ---- the inbox ------------------------------------------------------------------------------------------------------


def mails() -> list[Mail]:
    """All mails so far, in order."""
    backend = sns_backends[ACCOUNT][REGION]
    found = []
    for topic in list(backend.topics.values()):
        readers = [s.endpoint for s in backend.subscriptions.values() if s.topic is topic and s.protocol == "email"]
        sent = list(topic.sent_notifications)
        found += [Mail(tuple(readers), subject or "", _local(message)) for _, message, subject, *_ in sent if readers]
    return found


def _local(text: str) -> str:
    """A mail's text with commands in the place of links: the account that the links lead to doesn't exist."""
    return _CONSOLE.sub(lambda found: f"aurora-migrations logs {found[1]} --env local", text)


def save_mails(mails: Sequence[Mail], folder: Path, tell: Callable[[str], None]) -> None:
    """Keeps the mails of a cloud that ends as files, and reports the subject and the file of each."""
    for mail in mails:
        text = f"To: {', '.join(mail.to)}\nSubject: {mail.subject}\n\n{mail.body}\n"
        try:
            where = str(project.readable(_save(text, folder)))
        except OSError as error:
            where = f"It can't be kept in {project.readable(folder)} ({error}), so here it is:\n{text}"
        tell(f"Mail to {', '.join(mail.to)}: {mail.subject}\n  {where}")


def _save(text: str, folder: Path) -> Path:
    """Writes a mail under the next number that no other process takes."""
    folder.mkdir(parents=True, exist_ok=True)
    number = max((int(path.stem) for path in folder.glob("*.txt") if path.stem.isdecimal()), default=0)
    while True:
        number += 1
        path = folder / f"{number:03}.txt"
        with contextlib.suppress(FileExistsError), path.open("x", encoding="utf-8") as file:
            file.write(text)
            return path


def _inbox(mails: Sequence[Mail]) -> str:
    """An HTML page of mails, the newest first."""
    articles = ""
    for mail in reversed(mails):
        to, subject, body = (html.escape(text) for text in (", ".join(mail.to), mail.subject, mail.body))
        articles += f"<article><h2>{subject}</h2><p>To {to}</p><pre>{body}</pre></article>"
    articles = articles or "<p>No mail has been sent yet.</p>"
    meta = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head = f"{meta}<title>Inbox</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'>{head}<h1>Inbox of the local cloud</h1>{articles}</html>\n"
