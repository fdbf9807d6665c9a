"""The e-mails that would have been sent: what was published to a topic that has e-mail subscribers."""

from __future__ import annotations

from dataclasses import dataclass

from moto.sns.models import sns_backends

from aurora_migrations.local.cloud.account import ACCOUNT, REGION


@dataclass(frozen=True)
class Mail:
    """A mail as its reader gets it."""

    to: tuple[str, ...]
    subject: str
    body: str


def mails() -> list[Mail]:
    """All mails until now, in order."""
    backend = sns_backends[ACCOUNT][REGION]
    found = []
    for topic in list(backend.topics.values()):
        readers = [s.endpoint for s in backend.subscriptions.values() if s.topic is topic and s.protocol == "email"]
        sent = list(topic.sent_notifications)
        found += [Mail(tuple(readers), subject or "", message) for _, message, subject, *_ in sent if readers]
    return found
