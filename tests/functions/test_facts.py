"""The actions facts, the schema page by page, and rehearse, which an environment must allow."""

from __future__ import annotations

import json

from aurora_migrations.engine import Session
from aurora_migrations.engine.catalog import pages
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.errors import ActionNotAllowed, InvalidInput
from aurora_migrations.engine.steps.execution import USUAL_ACTIONS
from tests.database.helpers import applied


def test_pages_have_all_facts_and_fit_into_a_state(machine, database, monkeypatch) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int PRIMARY KEY, secret text DEFAULT 'open sesame');")
    machine.write_manifest()
    machine.run()
    database.execute("".join(f"CREATE TABLE t{n} (id bigint PRIMARY KEY, b text, c int);" for n in range(200)))
    with Session(database.url, "x") as session:
        facts = pages.without_secrets(read_facts(session))
    answer = machine.run({"action": "facts"})
    assert (answer["page"], answer["pages"], answer["count"]) == (1, 1, len(facts))
    assert pages.read_page(answer["facts"]) == facts
    assert answer["digest"] == pages.digest(facts)
    assert answer["message"] == f"{len(facts)} facts of the catalogue, page 1 of 1"
    assert "sesame" not in json.dumps(answer) + str(facts)
    monkeypatch.setattr(pages.write_pages, "__defaults__", (2_000,))
    answers = [
        machine.run({"action": "facts", "page": number})
        for number in range(1, machine.run({"action": "facts"})["pages"] + 1)
    ]
    assert len(answers) > 2
    assert {key: text for each in answers for key, text in pages.read_page(each["facts"]).items()} == facts
    assert max(len(json.dumps(each)) for each in answers) < 3_000
    refused = machine.refused("preflight", InvalidInput, {"action": "facts", "page": 99})
    assert refused["message"] == f"There is no page 99 of the facts: there are {len(answers)}."


def test_a_page_is_far_below_the_limit_of_a_state() -> None:
    assert pages.PAGE < 0.75 * 256 * 1024


def test_rehearsal_runs_only_where_an_environment_allows_it(machine, database) -> None:
    machine.migrations.write("001_a.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1);")
    machine.write_manifest()
    answer = machine.run({"action": "rehearse"})
    (file,) = answer["rehearsal"]["files"]
    assert (file["result"], file["rows"]) == ("done", ["public.a: 1 inserted"])
    assert answer["pending"][0]["file"] == "001_a.sql"
    assert (answer["rehearsal"]["files_omitted"], answer["rehearsal"]["sequences"]) == (0, [])
    assert applied(database) == []
    machine.variables["ALLOWED_ACTIONS"] = ",".join(USUAL_ACTIONS)
    refused = machine.refused("preflight", ActionNotAllowed, {"action": "rehearse"})
    assert "rehearse isn't allowed in this environment" in refused["message"]
