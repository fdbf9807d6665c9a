"""A synthesised template as tests want to ask it: what CloudFormation would put in is put in, by names of ours.

What is asked for is there: a test that says something of each rule or task would pass where there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

Found = TypeVar("Found")
ACCOUNT, REGION = "111122223333", "eu-west-1"  # AWS's own example account
PSEUDO = {"AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::URLSuffix": "amazonaws.com"}


@dataclass(frozen=True)
class Resource:
    """One resource; its properties hold `<Id>` for a Ref to another and `<Id.Arn>` for an attribute of it."""

    id: str
    type: str
    properties: dict[str, Any]


@dataclass(frozen=True)
class Machine:
    """A state machine's definition."""

    definition: dict[str, Any]

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        return self.definition["States"]

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        return some({name: state for name, state in self.states.items() if state["Type"] == "Task"})

    @property
    def calls(self) -> dict[str, dict[str, Any]]:
        """Tasks that call a function."""
        return some({name: task for name, task in self.tasks.items() if task["Resource"].endswith(":lambda:invoke")})

    def after(self, name: str) -> list[str]:
        """Where a state may lead to, its Catches left out."""
        state = self.states[name]
        nexts = [state.get("Next"), state.get("Default"), *(choice["Next"] for choice in state.get("Choices", []))]
        return [each for each in nexts if each]

    def paths(self, start: str) -> list[list[str]]:
        """Every way from a state to an end, each state at most once; Catches left out."""
        return some(list(self._paths([start])))

    def _paths(self, way: list[str]) -> Iterator[list[str]]:
        nexts = [name for name in self.after(way[-1]) if name not in way]
        if not nexts:
            yield way
        for name in nexts:
            yield from self._paths([*way, name])


class Template:
    """One stack's template."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name.removesuffix(".template.json")
        self.body = json.loads(path.read_text("utf-8"))

    @cached_property
    def resources(self) -> list[Resource]:
        return [
            Resource(name, data["Type"], resolved(data.get("Properties", {}), self.body))
            for name, data in self.body["Resources"].items()
        ]

    def of(self, kind: str) -> list[Resource]:
        """Resources of a type, such as `Lambda::Function`."""
        return some([resource for resource in self.resources if resource.type == f"AWS::{kind}"])

    def has(self, kind: str) -> bool:
        """Whether there is a resource of a type."""
        return any(resource.type == f"AWS::{kind}" for resource in self.resources)

    def one(self, kind: str, **properties: Any) -> Resource:
        """The only resource of a type with these properties."""
        (found,) = [each for each in self.of(kind) if properties.items() <= each.properties.items()]
        return found

    def machine(self, name: str) -> Machine:
        found = self.one("StepFunctions::StateMachine", StateMachineName=name)
        return Machine(json.loads(found.properties["DefinitionString"]))

    @property
    def machines(self) -> dict[str, Machine]:
        named = (machine.properties for machine in self.of("StepFunctions::StateMachine"))
        return {each["StateMachineName"]: Machine(json.loads(each["DefinitionString"])) for each in named}

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What a role may and may not do; lists where IAM takes one or many."""
        policies = [p for p in self.of("IAM::Policy") if f"<{role}>" in p.properties["Roles"]]
        found = [s for policy in policies for s in policy.properties["PolicyDocument"]["Statement"]]
        return [{**s, "Action": listed(s["Action"]), "Resource": listed(s["Resource"])} for s in found]


def some(found: Found) -> Found:
    """The same, which isn't empty."""
    assert found
    return found


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def resolved(value: Any, body: dict[str, Any]) -> Any:
    """A value without CloudFormation's functions."""
    if isinstance(value, list):
        return [resolved(each, body) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, argument),) = value.items()
        if name == "Ref" or name.startswith("Fn::"):
            return _function(name, argument, body)
    return {key: resolved(each, body) for key, each in value.items()}


def _function(name: str, argument: Any, body: dict[str, Any]) -> Any:
    if name == "Ref":
        parameter = body.get("Parameters", {}).get(argument)
        return PSEUDO.get(argument) or (parameter or {}).get("Default", f"<{argument}>")
    if name == "Fn::GetAtt":
        return f"<{'.'.join(argument)}>"
    if name == "Fn::ImportValue":
        return f"<import {argument}>"
    if name == "Fn::Join":
        return argument[0].join(str(resolved(part, body)) for part in argument[1])
    if name == "Fn::GetAZs":
        return ["a", "b"]
    return f"<{name} {json.dumps(resolved(argument, body))}>"
