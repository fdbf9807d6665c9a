"""Pages and golden files that are made from the code are as the code makes them now."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cdk import retries
from aurora_migrations.cdk.machines.failure_branch import SETTLE
from aurora_migrations.cdk.machines.states import fill
from aurora_migrations.cdk.machines.watchdogs import GRACE, HOUR
from aurora_migrations.cdk.naming import Names
from aurora_migrations.cdk.workflow import STARTS
from aurora_migrations.cli import main as command_line
from aurora_migrations.engine.steps.layout import Mail
from tests.cdk.cloud import Template, some
from tests.pages import RUNBOOKS
from tools.documents import RENEW, ROOT, cli, errors, golden, rules, settings
from tools.documents import state_machine as diagrams
from tools.pictures import state_machine


def assert_fresh(path: Path, text: str) -> None:
    found = path.read_text("utf-8") if path.is_file() else ""
    name = path.relative_to(ROOT)
    assert found == text, f"{name} is stale. See whether the change is meant, then renew it with {RENEW}."


WANTED = golden.files()


@pytest.mark.parametrize("path", WANTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_golden_file_is_what_the_code_makes(path: Path) -> None:
    assert_fresh(path, WANTED[path])


def test_there_is_no_golden_file_too_many() -> None:
    found = {*golden.MAILS.glob("*"), *golden.CHAT.glob("*")}
    assert found - WANTED.keys() == set(), f"Renew them with {RENEW}."


def test_every_error_has_a_golden_mail() -> None:
    assert {error.__name__ for error in retries.every_error()} <= {path.stem for path in golden.MAILS.glob("*.txt")}


@pytest.mark.parametrize("page", [cli, errors, rules, settings], ids=["cli", "errors", "rules", "settings"])
def test_page_is_what_the_code_makes(page: Any) -> None:
    assert_fresh(page.PATH, page.render())


def test_schema_of_cdk_json_is_what_the_code_makes() -> None:
    assert_fresh(settings.SCHEMA, settings.schema())


def test_errors_page_has_an_entry_for_every_error() -> None:
    """Of the engine, and of the command line: a terminal has shown each of them."""
    entries = set(re.findall(r"(?m)^### (\w+)$", errors.PATH.read_text("utf-8")))
    kinds = {path.stem.partition("-")[0] for path in golden.TERMINAL.glob("*.txt")}
    assert len(kinds) > 40
    assert {error.__name__ for error in retries.every_error()} | kinds <= entries


def test_numbers_on_the_page_about_the_state_machines_are_those_of_the_template() -> None:
    text = diagrams.PATH.read_text("utf-8")
    for words in (
        f"It begins at most {STARTS} times.",
        f"the machine waits {SETTLE.to_seconds()} seconds",
        f"It waits {GRACE.to_seconds()} seconds",
        f"starts at {HOUR.zfill(2)}:00 UTC",
    ):
        assert words in text


def test_every_command_is_on_the_page_with_its_options() -> None:
    """In its own entry, or among the shared options below a line that names the command."""
    text = cli.PATH.read_text("utf-8")
    shared: dict[str, set[str]] = {verb: set() for verb in command_line.VERBS}
    verbs: set[str] = set()
    for line in text.partition("\n## Options of several")[2].partition("\n## ")[0].splitlines():
        if option := re.match(r"- `(--[\w-]+)", line):
            for verb in verbs:
                shared[verb].add(option[1])
            continue
        if line.startswith("**"):
            names = set(re.findall(r"[\w-]+", line))
            verbs = set(command_line.VERBS) - names if "all" in names else names
    for verb in command_line.VERBS:
        entry = text.partition(f"\n## {verb}\n")[2].partition("\n## ")[0]
        actions = [each for each in command_line.parser_of(verb)._actions if each.help != argparse.SUPPRESS]
        options = {word for action in actions for word in action.option_strings[-1:]}
        assert shared[verb] | set(re.findall(r"(?m)^- `(--[\w-]+)", entry)) == options - {"--help"}, verb


@pytest.fixture
def environment() -> str:
    return diagrams.ENVIRONMENT


def test_page_shows_the_state_machines_of_the_template(template: Template) -> None:
    machines = {name: machine.definition for name, machine in template.machines.items()}
    assert_fresh(diagrams.PATH, diagrams.render(machines))


def test_ways_out_of_a_choice_are_told_apart(template: Template) -> None:
    for machine in template.machines.values():
        choices = {name: state["Choices"] for name, state in machine.states.items() if state["Type"] == "Choice"}
        for name, ways in some(choices).items():
            words = some([diagrams.condition_text(choice) for choice in ways])
            assert len({*words, "else"}) == len(words) + 1, (name, words)
            assert all(len(each) < 30 for each in words), (name, words)


def test_every_state_of_the_machine_is_in_one_of_the_diagrams(template: Template, names: Names) -> None:
    text = diagrams.PATH.read_text("utf-8")
    states = template.machine(names.of()).states
    assert [name for name in states if f'"{name}"' not in text] == []


def test_every_box_of_the_picture_is_a_state_of_the_machine(template: Template, names: Names) -> None:
    assert {box.state for box in state_machine.BOXES} <= set(template.machine(names.of()).states)
    assert len(state_machine.BOXES) == 7


def test_every_mail_is_of_72_columns() -> None:
    """But for links and commands, which nobody can wrap."""
    for path, text in some({path: text for path, text in WANTED.items() if path.parent == golden.MAILS}).items():
        odd = [line for line in text.splitlines()[1:] if len(line) > 72 and " " in line.strip()]
        assert [x for x in odd if not x.strip(" `").startswith(("npx ", "aurora-migrations "))] == [], path.stem


@pytest.mark.parametrize("character", ["'", "\\"])
def test_text_that_would_break_the_machines_language_is_refused(character: str) -> None:
    with pytest.raises(ValueError, match="would end the text"):
        fill(Mail("subject", f"It{character}s {{}}."), "$.failure.Error")


# ---- pages that people write ----------------------------------------------------------------------------------------

WRITTEN = (*RUNBOOKS, "docs/how-to/monitor.md", "docs/explanation/not-run-on-aws.md")
_NAMED = re.compile(r"[\w/]*aurora-migrations-dev[a-z-]*|AuroraMigrationsRunnerStack-dev")


def names_of(template: Template) -> set[str]:
    """What the things of a stack are called, the stack itself among them."""
    properties = [resource.properties for resource in template.resources]
    return {template.name, *(text for each in properties for key, text in each.items() if key.endswith("Name"))}


@pytest.mark.parametrize("page", WRITTEN)
def test_names_that_a_page_tells_are_those_of_the_template(page: str, templates: dict[str, Template]) -> None:
    names = {text for text in names_of(templates["dev"]) if isinstance(text, str)}
    names |= {group.properties["GroupName"] for group in templates["dev"].of("EC2::SecurityGroup")}
    told = set(_NAMED.findall((ROOT / page).read_text("utf-8")))
    assert told
    assert told - names == set()


def test_monitor_names_everything_that_the_template_names(templates: dict[str, Template]) -> None:
    text = (ROOT / "docs" / "how-to" / "monitor.md").read_text("utf-8")
    names = {name for name in names_of(templates["dev"]) if isinstance(name, str) and _NAMED.fullmatch(name)}
    assert sorted(name for name in names if f"`{name}`" not in text) == []


@pytest.mark.parametrize("page", RUNBOOKS)
def test_outputs_that_the_runbook_shows_are_the_stacks(page: str, templates: dict[str, Template]) -> None:
    text = (ROOT / page).read_text("utf-8")
    shown = re.findall(r"(?m)^AuroraMigrationsRunnerStack-dev\.(\w+) = ", text)
    assert shown
    assert set(shown) <= set(templates["dev"].body["Outputs"])
