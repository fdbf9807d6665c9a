"""With the setting `chat`, subscribers by HTTPS get the form that Amazon Q Developer shows; mails stay as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from aurora_migrations.engine.errors import MigrationFailed
from aurora_migrations.engine.steps import layout
from functions import mail
from functions.entrypoint import document
from tests.cdk.cloud import Machine, Template
from tests.cdk.conftest import context, synthesised
from tests.cdk.running import run
from tests.cdk.test_failure_branch import BRANCH, SHORT, golden_mail, raised
from tests.examples.examples import ARN, EXECUTION
from tools.documents import golden

SENDERS = {"": ["Notify failure", "Notify success"], "notice": ["Send"], "daily": ["Notify failure", "Send"]}


@pytest.fixture(scope="module")
def chatting(tmp_path_factory: pytest.TempPathFactory) -> Template:
    """The template of an environment with `chat`."""
    settings = {**context()["environments"]["dev"], "success_mail": True, "chat": True}
    return synthesised(tmp_path_factory.mktemp("cdk.out"), {"dev": settings})["dev"]


@pytest.fixture
def machine(chatting: Template) -> Machine:
    return chatting.machine(Names("dev").of())


def published(told: tuple[str, str]) -> dict[str, str]:
    """What each protocol gets of a message whose structure is JSON."""
    message: dict[str, str] = json.loads(told[1])
    return message


def test_mail_stays_as_it_is_and_chat_gets_its_form(machine: Machine) -> None:
    error = MigrationFailed('column "emial" does not exist', migration="018", file="018_a.sql")
    written = mail.failure(error, mail.Run("dev", "apply", EXECUTION, ARN, golden.ASKED))
    ran = run(machine, BRANCH, raised(error.name, document(error, written.to_dict(), execution=EXECUTION)))
    (told,) = ran.mails
    assert told[0] == written.subject
    assert published(told) == {"default": written.body, "https": written.chat}
    assert (ran.status, ran.attributes[0]["error"]) == ("FAILED", "MigrationFailed")


def test_short_mail_of_the_machine_itself_has_the_form_too(machine: Machine) -> None:
    (caught,) = machine.states["Write the mail"]["Catch"]
    data = {"failure": {"Error": 'Odd "\\ {}', "Cause": "why"}, "unwritten": {}}
    (told,) = run(machine, caught["Next"], data).mails
    parts = published(told)
    assert 'Reported error: Odd "\\ {}' in parts["default"]
    content = json.loads(parts["https"])["content"]
    assert content["title"] == golden_mail(SHORT, "dev")[0]
    assert content["nextSteps"][-1].endswith("`aurora-migrations status --env dev`")


@pytest.mark.parametrize("part", SENDERS)
def test_every_state_that_sends_knows_both_forms(part: str, chatting: Template) -> None:
    machine = chatting.machine(Names("dev").of(*filter(None, [part])))
    sending = {name: s["Parameters"] for name, s in machine.states.items() if "sns:publish" in s.get("Resource", "")}
    assert sorted(sending) == SENDERS[part]
    for parameters in sending.values():
        assert parameters["MessageStructure"] == "json"
        assert sorted(parameters["Message"]) == ["default.$", "https.$"]


def test_without_the_setting_a_message_is_the_mail(workflow: Machine) -> None:
    parameters = workflow.states["Notify failure"]["Parameters"]
    assert "MessageStructure" not in parameters
    assert parameters["Message.$"].endswith(".mail.body")


@pytest.mark.parametrize("path", sorted(golden.CHAT.glob("*.json")), ids=lambda path: path.stem)
def test_message_has_what_the_schema_of_custom_notifications_demands(path: Path) -> None:
    """https://docs.aws.amazon.com/chatbot/latest/adminguide/custom-notifs.html, as read in 2025."""
    message: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert (message["version"], message["source"]) == ("1.0", "custom")
    content = message["content"]
    assert content["textType"] == "client-markdown"
    assert content.keys() <= {"textType", "title", "description", "nextSteps", "keywords"}
    assert all(isinstance(each, str) and each for each in (content["title"], content["description"]))
    assert all(isinstance(each, str) and each for each in content.get("nextSteps", ["a success has none"]))
    context = message["metadata"]["additionalContext"]
    assert context.keys() == {"environment", *layout.ATTRIBUTES}
    assert all(isinstance(value, str) for value in context.values())


def test_text_cannot_mention_a_channel() -> None:
    written = layout.for_chat(layout.Mail("<!channel> & <@U1>", ""), "dev", "<!here>", ["<!everyone>"], "x")
    content = json.loads(written.chat)["content"]
    assert content["title"] == "&lt;!channel&gt; &amp; &lt;@U1&gt;"
    assert (content["description"], content["nextSteps"]) == ("&lt;!here&gt;", ["&lt;!everyone&gt; `x`"])


def test_last_step_stays_however_many_there_are() -> None:
    written = layout.for_chat(layout.Mail("s", ""), "dev", "v", [f"step {n}" for n in range(40)], "x")
    steps = json.loads(written.chat)["content"]["nextSteps"]
    assert (len(steps), steps[-1]) == (5, "step 39 `x`")
    assert written._replace(chat="") == layout.Mail("s", "")
