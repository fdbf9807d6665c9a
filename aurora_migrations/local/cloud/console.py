"""What the local cloud offers beside AWS's services: its inbox, and deployments asked for by another command."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_migrations.cdk.package.build import PackagingError
from aurora_migrations.engine import MigratorError
from aurora_migrations.local.cloud.discovery import DEPLOY, FILES
from aurora_migrations.local.cloud.services.eventbridge import Sent
from aurora_migrations.local.cloud.services.inbox import Mail

PREFIX = "/local/"
INBOX, DAILY = f"{PREFIX}inbox", f"{PREFIX}daily"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}"
    "article{border:1px solid #bbb;border-radius:6px;padding:0 1rem;margin:1rem 0}h2{font-size:1rem}"
    "pre{white-space:pre-wrap}"
)


@dataclass(frozen=True)
class Page:
    """An answer over HTTP."""

    status: str
    kind: str
    text: str


@dataclass(frozen=True)
class Console:
    """What can be asked for; each the cloud's own."""

    deploy: Callable[[], Sent]
    daily: Callable[[], Sent]
    mails: Callable[[], Sequence[Mail]]
    files: Callable[[], str]

    def answer(self, method: str, path: str) -> Page:
        """Shows the inbox or the fingerprint of what is deployed (GET), or does something (POST) and tells in JSON
        which executions that has started."""
        if (method, path) == ("GET", INBOX):
            return Page("200 OK", "text/html", inbox(self.mails()))
        if (method, path) == ("GET", FILES):
            return _json("200 OK", {"fingerprint": self.files()})
        does = {DEPLOY: self.deploy, DAILY: self.daily}.get(path)
        if does is None or method != "POST":
            return Page("404 Not Found", "text/plain", f"There is nothing here. The mails are at {INBOX}.\n")
        return _done(does)


def _done(does: Callable[[], Sent]) -> Page:
    """What it has started; else why not: 409 where files are to be corrected, 500 for everything that no one expects,
    as whoever asks isn't where the traceback would be."""
    try:
        return _json("200 OK", {"started": does().started})
    except (PackagingError, MigratorError) as error:
        return _json("409 Conflict", {"error": type(error).__name__, "message": str(error)})
    except Exception as error:
        return _json("500 Internal Server Error", {"error": type(error).__name__, "message": str(error)})


def _json(status: str, document: dict[str, Any]) -> Page:
    return Page(status, "application/json", json.dumps(document))


def inbox(mails: Sequence[Mail]) -> str:
    """A page of mails, the newest first."""
    articles = "".join(map(_article, reversed(mails))) or "<p>No mail has been sent yet.</p>"
    meta = "<meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    head = f"{meta}<title>Inbox</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'>{head}<h1>Inbox of the local cloud</h1>{articles}</html>\n"


def _article(mail: Mail) -> str:
    to, subject, body = (html.escape(text) for text in (", ".join(mail.to), mail.subject, mail.body))
    return f"<article><h2>{subject}</h2><p>To {to}</p><pre>{body}</pre></article>"
