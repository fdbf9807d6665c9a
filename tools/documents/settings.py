"""docs/schemas/cdk.json, the JSON Schema of cdk.json for editors; the table of keys in docs/reference/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.naming import ENVIRONMENT, PROJECT
from tools.documents import REFERENCE, RENEW, ROOT, fill

PATH = REFERENCE / "settings.md"
SCHEMA = ROOT / "docs" / "schemas" / "cdk.json"


class _Plain(GenerateJsonSchema):
    """Without titles that only repeat a key."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema() -> str:
    """Of the whole file: AWS's own keys are left to AWS."""
    environment = Environment.model_json_schema(schema_generator=_Plain)
    definitions = environment.pop("$defs")
    environments = {
        "description": "The environments to deploy to, by name.",
        "type": "object",
        "minProperties": 1,
        "propertyNames": {"pattern": f"^{ENVIRONMENT}$"},
        "additionalProperties": environment,
    }
    project = {
        "description": "The project's name, part of every environment's, so that projects can share an account.",
        "type": "string",
        "pattern": f"^{PROJECT}$",
    }
    properties = {"project": project, "environments": environments}
    context = {"type": "object", "required": ["environments"], "properties": properties}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Made from aurora_migrations/cdk/config by {RENEW}; a test fails when it is stale.",
        "title": "cdk.json",
        "type": "object",
        "required": ["context"],
        "properties": {"context": context},
        "$defs": definitions,
    }
    return json.dumps(whole, indent=2).replace("\\n", " ") + "\n"  # descriptions are wrapped in the code only


def render() -> str:
    whole = json.loads(schema())
    environment = whole["properties"]["context"]["properties"]["environments"]["additionalProperties"]
    return fill(PATH, "\n".join(_entries(environment, whole["$defs"])))


def _entries(model: Mapping[str, Any], definitions: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, field in model["properties"].items():
        inner = field.get("$ref", "").removeprefix("#/$defs/")
        if inner:
            yield from _entries(definitions[inner], definitions, f"{path}{key}.")
            continue
        named = field.get("additionalProperties", {}).get("$ref", "").removeprefix("#/$defs/")
        words = field.get("enum") or field.get("items", {}).get("enum", ())
        default = field.get("default")
        is_beginning = isinstance(default, list) and default == words[: len(default)]
        shown_default = f"the first {len(default)}" if default and is_beginning else f"`{json.dumps(default)}`"
        facts = [
            *(["required"] if key in model.get("required", ()) else []),
            *([] if default in (None, [], {}) else [f"default {shown_default}"]),
        ]
        shown = f" ({', '.join(facts)})" if facts else ""
        text = field["description"]
        is_told = all(f"`{word}`" in text for word in words)
        one_of = "" if is_told else f" One of {', '.join(f'`{word}`' for word in words)}."
        mark = "\\*" if "#/$defs/Export" in json.dumps(field) else ""
        yield f"- `{path}{key}`{mark}{shown}: {text}{one_of}"
        if named:  # only what it has beside the keys of `database`, which are listed
            known = definitions["Database"]["properties"]
            own = {name: each for name, each in definitions[named]["properties"].items() if name not in known}
            yield from _entries(definitions[named] | {"properties": own}, definitions, f"{path}{key}.NAME.")
