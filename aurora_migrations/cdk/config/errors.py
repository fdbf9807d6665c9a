"""What is wrong in cdk.json, one line for each mistake: the key as it is in the file, and what may be there."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from aurora_migrations.cdk.config.fields import FORMS, VALUE
from aurora_migrations.engine.options import write_duration


class SettingsError(Exception):
    """Mistakes in cdk.json, one a line."""


# By pydantic's name of the error.
_MESSAGES = {
    "missing": "is missing: {description}",
    "extra_forbidden": "is unknown; known keys: {known}",
    "literal_error": "must be {expected}{found}",
    "bool_type": "must be true or false{found}",
    "model_type": "must be an object{found}",
    "tuple_type": "must be a list{found}",
    "too_short": "must have at least one item",
    "too_long": "may have {max_length} items at most, and has {actual_length}",
    "value_error": "{error}",
}
_OTHERWISE = "must be {what}{or_reference}{found}"
_OR_REFERENCE = ', or {"export": "NAME"} or {"parameter": "/NAME"}'
_OF_TIMES = ("greater_than_equal", "less_than_equal", "multiple_of")
_LONGEST = 80  # characters shown of a value


def lines(error: ValidationError, model: type[BaseModel], path: str) -> list[str]:
    """A line for each mistake in the object at `path` in cdk.json's context."""
    # Pydantic also calls a list too short where all its items are wrong.
    found = (each for each in error.errors(include_url=False) if each["type"] != "too_short" or not each["input"])
    return [_line(each, model, path) for each in found]


def _line(error: ErrorDetails, model: type[BaseModel], path: str) -> str:
    facts: dict[str, Any] = {"or_reference": "", "found": f", not {_shown(error['input'])}", **error.get("ctx", {})}
    if error["type"] in _OF_TIMES and VALUE not in error["loc"]:
        facts["found"] = f", not {write_duration(error['input'])}" if error["input"] else ""
    for part in error["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.startswith("<"):  # not a key of the file
            model = FORMS.get(part, model)
            facts["or_reference"] = _OR_REFERENCE if part == VALUE else ""
        else:
            path += f".{part}"
            facts["known"] = ", ".join(name for name, each in model.model_fields.items() if not each.validation_alias)
            field = model.model_fields.get(part, FieldInfo())
            first = " ".join((field.description or "").split()).partition(". ")[0].rstrip(".")
            facts["description"] = first[:1].lower() + first[1:]
            facts["what"] = field.title or facts["description"]
            if not field.repr:
                facts["found"] = ""
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                model = field.annotation
    return f"cdk.json: `{path}` {_MESSAGES.get(error['type'], _OTHERWISE).format_map(facts)}."


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
