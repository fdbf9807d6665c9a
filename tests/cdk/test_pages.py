"""Pages and golden files that are made from the code are as the code makes them now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cdk import retries
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.states import fill
from aurora_migrations.engine.steps.layout import Mail
from tests.cdk.cloud import Template, some
from tools.documents import RENEW, ROOT, golden, pipeline, settings, troubleshooting


def assert_fresh(path: Path, text: str) -> None:
    found = path.read_text("utf-8") if path.is_file() else ""
    name = path.relative_to(ROOT)
    assert found == text, f"{name} is stale. See whether the change is meant, then renew it with {RENEW}."


WANTED = golden.files()


@pytest.mark.parametrize("path", WANTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_file_is_what_the_code_makes(path: Path) -> None:
    assert_fresh(path, WANTED[path])


def test_there_is_no_golden_file_too_many() -> None:
    found = {*golden.MAILS.glob("*")}
    assert found - WANTED.keys() == set(), f"Renew them with {RENEW}."


def test_every_error_has_a_golden_mail() -> None:
    assert {error.__name__ for error in retries.every_error()} <= {path.stem for path in golden.MAILS.glob("*.txt")}


@pytest.mark.parametrize("page", [settings, troubleshooting], ids=["settings", "troubleshooting"])
def test_page_is_what_the_code_makes(page: Any) -> None:
    assert_fresh(page.PATH, page.render())


def test_schema_of_cdk_json_is_what_the_code_makes() -> None:
    assert_fresh(settings.SCHEMA, settings.schema())


def test_troubleshooting_shows_the_first_golden_text_of_every_class() -> None:
    text = troubleshooting.PATH.read_text("utf-8")
    shown = [re.split(r"\n\n# ", path.read_text("utf-8"))[0] for path in golden.TERMINAL.glob("*.txt")]
    assert len(shown) > 40
    assert [words for words in shown if words.partition("\n\n")[2].strip() not in text] == []


def test_troubleshooting_has_an_entry_for_every_error_and_its_links_lead_somewhere() -> None:
    text = troubleshooting.PATH.read_text("utf-8")
    headings = re.findall(r"^###? (.+)$", text, re.MULTILINE)
    assert {error.__name__ for error in retries.every_error()} <= set(headings)
    assert {path.stem.partition("-")[0] for path in golden.TERMINAL.glob("*.txt")} <= set(headings)
    anchors = {heading.lower().replace(" ", "-").replace("'", "") for heading in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors


@pytest.fixture
def environment() -> str:
    return pipeline.ENVIRONMENT


def test_pipeline_shows_the_state_machine_of_the_template(template: Template) -> None:
    machines = {name: machine.definition for name, machine in template.machines.items()}
    assert_fresh(pipeline.PATH, pipeline.render(machines))


def test_ways_out_of_a_choice_are_told_apart(template: Template) -> None:
    for machine in template.machines.values():
        choices = {name: state["Choices"] for name, state in machine.states.items() if state["Type"] == "Choice"}
        for name, ways in some(choices).items():
            words = some([pipeline.condition_text(choice) for choice in ways])
            assert len({*words, "else"}) == len(words) + 1, (name, words)
            assert all(len(each) < 30 for each in words), (name, words)


def test_every_state_of_the_machine_is_in_one_of_the_diagrams(template: Template, names: Names) -> None:
    text = pipeline.PATH.read_text("utf-8")
    states = template.machine(names.of()).states
    assert [name for name in states if f'"{name}"' not in text] == []


def test_every_mail_is_of_72_columns() -> None:
    """But for links and commands, which nobody can wrap."""
    for path, text in some({path: text for path, text in WANTED.items() if path.parent == golden.MAILS}).items():
        odd = [line for line in text.splitlines()[1:] if len(line) > 72 and " " in line.strip()]
        assert [line for line in odd if not line.startswith(("  npx ", "  aurora-migrations "))] == [], path.stem


@pytest.mark.parametrize("character", ["'", "\\"])
def test_text_that_would_break_the_machines_language_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="would end the text"):
        fill(Mail("subject", f"It{character}s {{}}."), "$.failure.Error")


# ---- pages that people write ----------------------------------------------------------------------------------------

WRITTEN = ("quick-reference.md", "runbook.md", "runbook.pt-BR.md", "not-run-on-aws.md")
_NAMED = re.compile(r"[\w/]*aurora-migrations-dev[a-z-]*|AuroraMigrationsRunnerStack-dev")


def names_of(template: Template) -> set[str]:
    """What the things of a stack are called, the stack itself among them."""
    properties = [resource.properties for resource in template.resources]
    return {template.name, *(text for each in properties for key, text in each.items() if key.endswith("Name"))}


@pytest.mark.parametrize("page", WRITTEN)
def test_names_that_a_page_tells_are_those_of_the_template(page: str, templates: dict[str, Template]) -> None:
    names = {text for text in names_of(templates["dev"]) if isinstance(text, str)}
    names |= {group.properties["GroupName"] for group in templates["dev"].of("EC2::SecurityGroup")}
    told = set(_NAMED.findall((ROOT / "docs" / page).read_text("utf-8")))
    assert told
    assert told - names == set()


def test_quick_reference_names_everything_that_the_template_names(templates: dict[str, Template]) -> None:
    text = (ROOT / "docs" / "quick-reference.md").read_text("utf-8")
    names = {name for name in names_of(templates["dev"]) if isinstance(name, str) and _NAMED.fullmatch(name)}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@pytest.mark.parametrize("page", ["runbook.md", "runbook.pt-BR.md"])
def test_outputs_that_the_runbook_shows_are_the_stacks(page: str, templates: dict[str, Template]) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    shown = re.findall(r"(?m)^AuroraMigrationsRunnerStack-dev\.(\w+) = ", text)
    assert shown
    assert set(shown) <= set(templates["dev"].body["Outputs"])
