"""The e-mails that would have been sent: what was published to a topic that has e-mail subscribers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from moto.sns.models import sns_backends

from aurora_migrations import project
from aurora_migrations.local.account import ACCOUNT, REGION


@dataclass(frozen=True)
class Mail:
    to: tuple[str, ...]
    subject: str
    body: str


def mails() -> list[Mail]:
    """All mails so far, in order."""
    backend = sns_backends[ACCOUNT][REGION]
    found = []
    for topic in list(backend.topics.values()):
        readers = [s.endpoint for s in backend.subscriptions.values() if s.topic is topic and s.protocol == "email"]
        sent = list(topic.sent_notifications)
        found += [Mail(tuple(readers), subject or "", message) for _, message, subject, *_ in sent if readers]
    return found


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
