"""The commands of the pages that can't run here are such as exist; PowerShell's are bash's; the runbooks are twins."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import botocore.session
import pytest
from botocore import xform_name

from aurora_migrations.cdk.naming import Names
from tests.pages import PAGES, RUNBOOKS, Block, Command, blocks, commands, read
from tools.documents import ROOT

EVERY = [command for page in PAGES for command in commands(page)]
AWS = [command for command in EVERY if command.words[0] == "aws"]
CDK = [command for command in EVERY if command.words[0] == "npx"]

# ---- AWS's own command line -----------------------------------------------------------------------------------------

# What every command takes, with how many words after it.
GLOBAL = {"--region": 1, "--profile": 1, "--output": 1, "--query": 1, "--endpoint-url": 1, "--no-cli-pager": 0}
# Commands that are the AWS CLI's own, and no operation of a service: its reference, version 2.
OWN = {
    ("logs", "tail"): {"--follow": 0, "--since": 1, "--format": 1, "--filter-pattern": 1},
}
PLAIN = {("logs", "tail"): 1}  # words without an option before them: the log group


def options_of(service: str, operation: str) -> Mapping[str, int]:
    """The options of an operation, by botocore's model of its service; a flag takes no word."""
    if (service, operation) in OWN:
        return OWN[service, operation]
    model = botocore.session.get_session().get_service_model(service)
    names = {xform_name(name, "-"): name for name in model.operation_names}
    assert operation in names, f"{service} has no operation {operation}"
    shape = model.operation_model(names[operation]).input_shape
    members = shape.members if shape else {}
    return {f"--{xform_name(name, '-')}": int(each.type_name != "boolean") for name, each in members.items()}


def split(command: Command) -> tuple[list[str], list[str]]:
    """The plain words and the options of a command of AWS; each option with as many words as it takes."""
    plain: list[str] = []
    given: list[str] = []
    rest = command.words[1:]
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            plain.append(word)
            continue
        given.append(word)
        known = GLOBAL | dict(options_of(*plain[:2]) if len(plain) > 1 else {})
        assert word in known, f"{command}: there is no {word}"
        for _ in range(known[word]):
            assert rest, f"{command}: {word} lacks its value"
            rest.pop(0)
    return plain, given


@pytest.mark.parametrize("command", AWS, ids=str)
def test_command_of_aws_has_an_operation_and_options_that_exist(command: Command) -> None:
    plain, given = split(command)
    service, operation, *more = plain
    options_of(service, operation)
    assert len(more) == PLAIN.get((service, operation), 0), f"{command}: {more}"
    if (service, operation) not in OWN:
        model = botocore.session.get_session().get_service_model(service)
        name = next(name for name in model.operation_names if xform_name(name, "-") == operation)
        shape = model.operation_model(name).input_shape
        required = {f"--{xform_name(member, '-')}" for member in (shape.required_members if shape else ())}
        assert required <= set(given), f"{command}: {required - set(given)} must be given"


@pytest.mark.parametrize(
    "text",
    [
        "aws stepfunctions start-executions --input x",
        "aws stepfunctions start-execution --state-machine x",
        "aws logs tail /aws/lambda/x --folow",
        "aws stepfunctions start-execution --input",
    ],
)
def test_wrong_command_of_aws_is_found(text: str) -> None:
    """So that the test above can fail."""
    with pytest.raises(AssertionError):
        split(Command("x", 1, text))


# ---- the CDK's ------------------------------------------------------------------------------------------------------

CDK_VERBS = {
    "ls": (),
    "synth": ("--quiet",),
    "bootstrap": (),
    "deploy": ("--context",),
    "destroy": ("--context",),
    "diff": ("--context",),
}


@pytest.mark.parametrize("command", CDK, ids=str)
def test_command_of_the_cdk_names_a_stack_and_an_environment_that_exist(command: Command) -> None:
    program, verb, *rest = command.words[1:]
    assert program == "aws-cdk@2", "later ones can't read what version 2 of the library writes"
    environments = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]["environments"]
    contexts = [rest[number + 1] for number, word in enumerate(rest) if word == "--context"]
    assert set(contexts) <= {f"env={name}" for name in environments}
    known = {Names(name).stack for name in environments}
    assert {word for word in rest if word.startswith("Aurora")} <= known
    assert {word for word in rest if word.startswith("--")} <= set(CDK_VERBS[verb])


# ---- PowerShell -----------------------------------------------------------------------------------------------------

_SYNTH = re.compile(r' --app "py -3\.11 -m tasks synth"')
_SET = re.compile(r"\A\$env:(\w+) = '([^']*)'")
_TASKS = re.compile(r"\Apy -3\.11 -m tasks (\w+)")
_ACTIVATE = ".venv\\Scripts\\Activate.ps1"


def as_bash(command: Command) -> list[str]:
    """What the same command is in bash: other paths, other names for Python and make."""
    text = _SET.sub(r"export \1=\2", _SYNTH.sub("", command.text)).replace(_ACTIVATE, ". .venv/bin/activate")
    text = _TASKS.sub(r"make \1", text).replace(".venv\\Scripts\\", ".venv/bin/").replace("\\", "/")
    text = re.sub(r"\Anpx\.cmd ", "npx ", text)
    return shlex.split(re.sub(r"(?<= )C:(?=/)", "", text))


PAIRS = [
    (bash, shell)
    for page in PAGES
    for bash, shell in zip(blocks(page, "bash", "powershell"), blocks(page, "bash", "powershell")[1:], strict=False)
    if shell.language == "powershell"
]


@pytest.mark.parametrize(("bash", "shell"), PAIRS, ids=[f"{b.page}:{b.line}" for b, _ in PAIRS])
def test_powershell_block_says_the_same_as_the_bash_block_before_it(bash: Block, shell: Block) -> None:
    assert bash.language == "bash"
    assert [as_bash(command) for command in shell.commands()] == [command.words for command in bash.commands()]


def test_blocks_of_the_runbooks_are_in_both_shells_or_the_same_in_both() -> None:
    for page in RUNBOOKS:
        paired = [bash for bash, _ in PAIRS if bash.page == page]
        assert len(paired) == len(blocks(page, "powershell"))
        text = read(page)
        assert text.count("**bash**\n\n```bash\n") == text.count("**PowerShell**\n\n```powershell\n") == len(paired)
        alike = [command for block in blocks(page, "bash") if block not in paired for command in block.commands()]
        assert alike
        assert {command.words[0] for command in alike} <= {"aurora-migrations", "aws", "git"}
        assert [str(command) for command in alike if re.search(r"['\\{$]", command.text)] == []


def test_every_cdk_line_for_windows_names_how_to_synthesise() -> None:
    """`cdk.json` calls python3, which Windows hasn't got."""
    lines = [c for page in PAGES for b in blocks(page, "powershell") for c in b.commands() if "aws-cdk" in c.text]
    assert lines
    assert {command.words[0] for command in lines} == {"npx.cmd"}, "Windows' default policy blocks npx.ps1"
    assert all(_SYNTH.search(command.text) for command in lines)


# ---- the runbook in two languages -----------------------------------------------------------------------------------


def structure(page: str) -> list[str]:
    """A page without its words: the levels of its headings, list items, table rows and blocks with their text."""
    text = re.sub(r"(?ms)^( *)```(?!text\n\[)(\w*)\n.*?^\1```$", lambda block: f"CODE {block[0]!r}", read(page))
    kept = (r"#+ ", r"CODE .*", r"\s*- \[ \] ", r"\s*- ", r"\s*\d+\. ", r"\|")
    return [found[0] for line in text.splitlines() if (found := re.match("|".join(kept), line))]


def test_runbooks_have_the_same_structure_and_the_same_commands() -> None:
    english, portuguese = map(structure, RUNBOOKS)
    assert english == portuguese
    assert sum(each.startswith("#") for each in english) >= 15


def test_runbooks_name_the_same_things_and_lead_to_the_same_pages() -> None:
    def named(page: str) -> set[str]:
        found = set(re.findall(r"(?<!`)`([^`\n]+)`(?!`)", read(page)))
        links = set(re.findall(r"\]\((?!#)([^)]+)\)", read(page)))
        return found | links - {path.rpartition("/")[2] for path in RUNBOOKS}

    assert named(RUNBOOKS[0]) == named(RUNBOOKS[1])


# ---- all pages ------------------------------------------------------------------------------------------------------


def anchors(page: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"(?m)^#+ (.+)$", read(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = ((ROOT / page).parent / path if path else ROOT / page).resolve()
    return target.exists() and (not anchor or anchor in anchors(target.relative_to(ROOT).as_posix()))


def test_links_of_all_pages_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!http)([^)\s]+)\)", read(page))]
    assert len(links) > 50
    assert [each for each in links if not leads_somewhere(*each)] == []


def test_tests_that_show_a_guarantee_exist() -> None:
    named = re.findall(r"`(tests/[\w/.]+)`", read("docs/guarantees.md"))
    assert len(named) > 40
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_readme_is_short() -> None:
    assert len(read("README.md").splitlines()) <= 120


def test_nobody_is_told_what_the_predecessor_was_called() -> None:
    gone = ("lambda-src", ".ps1", "FibonacciStack", "operational-dashboard", "aurora-migrations-runner-dev")
    for page in PAGES:
        text = read(page).replace("Activate.ps1", "").replace("✓", "")  # Python's own, and what `run` prints
        assert [word for word in gone if word in text] == []
        assert not re.search("[\u2600-\u27bf\U0001f300-\U0001faff]", text), page


def as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def test_every_input_that_a_page_shows_is_one_that_the_functions_take() -> None:
    from aurora_migrations.engine.steps.execution import ACTIONS, read_input

    shown = [
        data
        for page in PAGES
        for text in re.findall(r"`(\{[^`\n]*\})`", read(page))
        if isinstance(data := as_json(text), dict) and ("action" in data or not data)
    ]
    assert len(shown) > 8
    for data in shown:
        read_input(data, "any", ACTIONS)
