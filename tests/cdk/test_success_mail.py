"""With the setting `success_mail`, a run that changed something is mailed; sent or not, it has succeeded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names
from functions import mail
from tests.cdk.cloud import Machine, Template
from tests.cdk.conftest import context
from tests.cdk.running import run
from tests.examples import results
from tests.examples.examples import ARN, ENVIRONMENT, EXECUTION
from tools.documents import golden

APPLIED, ASKED = results.ANSWERS["success"]


@pytest.fixture(scope="module")
def telling(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The state machine of an environment that mails success."""
    import aws_cdk as cdk

    from infra.app import add_stacks

    settings = context()
    environments = {"dev": {**settings["environments"]["dev"], "success_mail": True}}
    folder = tmp_path_factory.mktemp("cdk.out")
    app = cdk.App(context={**settings, "environments": environments}, outdir=str(folder))
    add_stacks(app)
    names = Names("dev")
    return Template(Path(app.synth().directory) / f"{names.stack}.template.json").machine(names.of())


def written() -> dict[str, str]:
    told = mail.success(APPLIED, mail.Run(ENVIRONMENT, "verify", EXECUTION, ARN, ASKED))
    assert told is not None
    return told.to_dict()


def test_success_is_mailed_and_the_answer_is_verifys_without_the_mail(telling: Machine) -> None:
    ran = run(telling, "Success mail written?", {"Payload": {"result": APPLIED, "mail": written()}})
    (told,) = ran.mails
    assert f"Subject: {told[0]}\n\n{told[1]}" == (golden.MAILS / "success.txt").read_text("utf-8")
    assert (ran.status, ran.output) == ("SUCCEEDED", APPLIED)


def test_mail_that_cannot_be_sent_does_not_fail_the_run(telling: Machine) -> None:
    payload = {"result": APPLIED, "mail": written()}
    ran = run(telling, "Success mail written?", {"Payload": payload}, topic=False)
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", APPLIED, [])


@pytest.mark.parametrize(
    ("payload", "output"),
    [({"result": APPLIED, "mail": None}, APPLIED), ({"result": APPLIED}, APPLIED), (APPLIED, APPLIED)],
    ids=["nothing-changed", "no-mail", "an-older-function"],
)
def test_without_a_mail_the_run_succeeds_all_the_same(payload: Any, output: Any, telling: Machine) -> None:
    ran = run(telling, "Success mail written?", {"Payload": payload})
    assert (ran.status, ran.output, ran.mails) == ("SUCCEEDED", output, [])


def test_verify_is_asked_for_the_mail_only_where_it_is_wanted(telling: Machine, workflow: Machine) -> None:
    assert telling.calls["Verify"]["Parameters"]["Payload"]["wants_mail"] is True
    assert "wants_mail" not in workflow.calls["Verify"]["Parameters"]["Payload"]
    assert "Notify success" not in workflow.states


def test_mailing_success_takes_three_states(telling: Machine, workflow: Machine) -> None:
    """Which the limit in test_workflow counts on."""
    assert len(telling.states) - len(workflow.states) == 3


def test_every_way_of_the_success_ends_well(telling: Machine) -> None:
    (caught,) = telling.states["Notify success"]["Catch"]
    assert caught["ErrorEquals"] == ["States.ALL"]
    for start in ("Success mail written?", caught["Next"]):
        assert {telling.states[way[-1]]["Type"] for way in telling.paths(start)} == {"Succeed"}
