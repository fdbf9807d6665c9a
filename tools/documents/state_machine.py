"""docs/reference/state-machine.md: diagrams of the state machines, from the synthesized template."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

from aurora_migrations.cdk.naming import Names
from tools.documents import REFERENCE, ROOT, fill

PATH = REFERENCE / "state-machine.md"
ENVIRONMENT = "prod"
_SHAPES = {"Choice": ("{", "}"), "Succeed": ("([", "])"), "Fail": ("([", "])"), "Task": ("[[", "]]")}


def render(machines: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. The state machines' definitions are by name."""
    names = Names(ENVIRONMENT)
    main, notice, daily = (machines[names.of(*part)] for part in ((), ("notice",), ("daily",)))
    return fill(PATH, *map(diagram, (main, notice, daily)))


def definitions() -> dict[str, dict[str, Any]]:
    """The state machines of the example environment, from a template synthesised now."""
    import aws_cdk as cdk

    from infra.app import add_stacks

    context = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(context={**context, "env": ENVIRONMENT, "aws:cdk:bundling-stacks": []}, outdir=folder)
        add_stacks(app)
        template = app.synth().get_stack_by_name(Names(ENVIRONMENT).stack).template
    found = [r["Properties"] for r in template["Resources"].values() if r["Type"] == "AWS::StepFunctions::StateMachine"]
    return {each["StateMachineName"]: json.loads(_flat(each["DefinitionString"])) for each in found}


def _flat(text: Any) -> str:
    """A definition without CloudFormation's functions, of which no state's name or way depends."""
    parts = text["Fn::Join"][1] if isinstance(text, dict) else [text]
    return "".join(part if isinstance(part, str) else "-" for part in parts)


def reachable(states: Mapping[str, Any], start: str) -> list[str]:
    """The states that may follow one, itself included, the nearest first."""
    found = [start]
    for name in found:
        found += dict.fromkeys(after for after, _ in _ways(states[name]) if after not in found)
    return found


def diagram(machine: Mapping[str, Any]) -> str:
    """A machine's states and what follows what, as Mermaid."""
    states = machine["States"]
    names = reachable(states, machine["StartAt"])
    numbers = {name: f"s{number}" for number, name in enumerate(names)}
    shapes = {name: _SHAPES.get(states[name]["Type"], ("[", "]")) for name in names}
    boxes = {name: f'{numbers[name]}{before}"{name}"{behind}' for name, (before, behind) in shapes.items()}

    def box(name: str) -> str:
        """A state with its text where it is named first, later its number alone."""
        return boxes.pop(name, numbers[name])

    arrows = dict.fromkeys((name, *way) for name in names for way in _ways(states[name]))
    lines = [
        f"    {box(name)}{'-.->' if word == 'fails' else f'-->|{word}|' if word else '-->'}{box(after)}"
        for name, after, word in arrows
    ]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def _ways(state: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Where a state may lead to, with a word for the arrow."""
    for choice in state.get("Choices", []):
        words = condition_text(choice)
        yield choice["Next"], words if re.fullmatch(r"[\w ]+", words) else f'"{words}"'  # as Mermaid takes them
    if "Default" in state:
        yield state["Default"], "else"
    if "Next" in state:
        yield state["Next"], ""
    for catch in state.get("Catch", []):
        yield catch["Next"], "fails" if catch["ErrorEquals"] == ["States.ALL"] else catch["ErrorEquals"][0]


def condition_text(choice: Mapping[str, Any]) -> str:
    """What must be so, in a word or two: the rule's comment, or what it compares with."""
    if "Comment" in choice:
        return str(choice["Comment"])
    for test in choice.get("And", [choice]):
        if "StringEquals" in test:
            return str(test["StringEquals"])
        if test.get("StringMatches", "").startswith("{"):
            return "JSON"
    return "yes"
