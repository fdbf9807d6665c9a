"""What the models of cdk.json consist of: their base, references to other stacks, and texts that must fit what others
read in them; and the messages about mistakes. The patterns are also in the JSON Schema: both Rust and JavaScript must
understand them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import ErrorDetails, to_json

from aurora_migrations.engine.options import parse_duration, write_duration

_T = TypeVar("_T")


class Model(BaseModel):
    """An object of cdk.json. The text below a key describes it in the JSON Schema and in docs/reference/settings.md.
    Messages use its first sentence, or the key's title."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Export(Model):
    """What another stack exports."""

    export: str = Field(pattern="^[A-Za-z0-9:-]{1,255}$")
    """The name of an export (letters, digits, colons, hyphens)."""


class Parameter(Model):
    """A parameter of the SSM parameter store."""

    parameter: str = Field(pattern=r"^((/[A-Za-z0-9_.-]+){1,15}|[A-Za-z0-9_.-]+)$")
    """The name of a parameter (letters, digits, `_.-`; a path begins with a slash)."""


class Deployed(Model):
    """A value of the construct that only CloudFormation knows: a token of the CDK, such as a cluster's endpoint. It
    can't be written in cdk.json."""

    token: str


VALUE, EXPORT, PARAMETER = "<value>", "<export>", "<parameter>"  # pydantic has them in the location of an error
DEPLOYED = "<deployed>"
FORMS: dict[str, type[Model]] = {EXPORT: Export, PARAMETER: Parameter}


def _form(value: Any) -> str:
    if isinstance(value, Deployed):
        return DEPLOYED
    return next((tag for tag in FORMS if isinstance(value, Mapping) and tag.strip("<>") in value), VALUE)


Reference = Annotated[
    Annotated[_T, Tag(VALUE)]
    | Annotated[Export, Tag(EXPORT)]
    | Annotated[Parameter, Tag(PARAMETER)]
    | SkipJsonSchema[Annotated[Deployed, Tag(DEPLOYED)]],
    Discriminator(_form),
]
"""A value, or where CloudFormation finds it when it deploys."""


def _distinct(values: tuple[_T, ...]) -> tuple[_T, ...]:
    """E-mail addresses that differ in case are the same."""
    known = [value.casefold() if isinstance(value, str) and "@" in value else value for value in values]
    for number, value in enumerate(known):
        if value in known[:number]:
            raise ValueError(f"lists {to_json(values[number]).decode()} twice")
    return values


DistinctList = Annotated[tuple[_T, ...], AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})]
"""A service would refuse a value that is listed twice, or do it twice."""


def _milliseconds(value: Any) -> int:
    try:
        return parse_duration(str(value))
    except ValueError as error:
        raise ValueError(f"can't be understood: {error}") from None


Duration = Annotated[
    int, BeforeValidator(_milliseconds), WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9} *(ms|s|min|h)$"})
]
"""Milliseconds, written as a time such as `2s` or `10min`."""

LONGEST_NAME = 63  # bytes that PostgreSQL keeps of a database's name
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_LABEL = _LABEL.replace("0-9", "0-9_")  # names inside a VPC may have underscores
_WORD = "[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_ARN = "^arn:[A-Za-z0-9_-]+:{service}:[A-Za-z0-9_-]+:[0-9]{{12}}:"
# What RDS puts into the names of endpoints that aren't a cluster's writer.
_NOT_THE_WRITER = {
    "cluster-ro": "is the cluster's reader endpoint",
    "cluster-custom": "is a custom endpoint, which may lead to a reader",
    "proxy": "is an endpoint of RDS Proxy, which can't keep a session's lock or cancel a statement",
}
_KIND = re.compile(rf"\.({'|'.join(_NOT_THE_WRITER)})-[a-z0-9]+\.[a-z0-9-]+\.rds\.", re.IGNORECASE)


def _writer(host: str) -> str:
    if other := _KIND.search(host):
        raise ValueError(f"{_NOT_THE_WRITER[other[1].lower()]}: write the cluster's writer endpoint")
    return host


def _kept_whole(name: str) -> str:
    if (length := len(name.encode())) > LONGEST_NAME:
        raise ValueError(f"has {length} bytes, and PostgreSQL keeps {LONGEST_NAME} of a name")
    return name


def _of_a_mailbox(email: str) -> str:
    if email.index("@") > 64:
        raise ValueError("has more than 64 characters before the @")
    return email


Host = Annotated[str, Field(pattern=rf"^{_HOST_LABEL}(\.{_HOST_LABEL})*$", max_length=253), AfterValidator(_writer)]
DatabaseName = Annotated[str, Field(pattern=r"^[^/?#\x00-\x20\x7f]+$"), AfterValidator(_kept_whole)]
SecretArn = Annotated[
    str, Field(pattern=_ARN.format(service="secretsmanager") + "secret:[A-Za-z0-9_/+=.@!-]+-[A-Za-z0-9]{6}$")
]
KeyArn = Annotated[str, Field(pattern=_ARN.format(service="kms") + "key/[A-Za-z0-9_-]+$")]
Email = Annotated[  # the plain form that every mail program knows, with the lengths of RFC 5321
    str,
    Field(pattern=rf"^{_WORD}(\.{_WORD})*@({_LABEL}\.)+[A-Za-z][A-Za-z0-9-]{{0,61}}[A-Za-z0-9]$", max_length=254),
    AfterValidator(_of_a_mailbox),
]


# ---- mistakes: one line for each, with the key as it is in the file and what may be there ----------------------------

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


def describe_mistakes(error: ValidationError, model: type[BaseModel], path: str, where: str = "cdk.json") -> list[str]:
    """A line for each mistake in the object at `path` in cdk.json's context, or in the properties of a construct: then
    `where` names it, and `path` is empty."""
    # Pydantic also calls a list too short where all its items are wrong.
    found = (each for each in error.errors(include_url=False) if each["type"] != "too_short" or not each["input"])
    return [_line(each, model, path, where) for each in found]


def _line(error: ErrorDetails, model: type[BaseModel], path: str, where: str) -> str:
    found = json.dumps(error["input"], default=str)
    found = found if len(found) <= _LONGEST else f"{found[: _LONGEST - 3]}..."
    facts: dict[str, Any] = {"or_reference": "", "found": f", not {found}", **error.get("ctx", {})}
    if error["type"] in _OF_TIMES and VALUE not in error["loc"]:
        facts["found"] = f", not {write_duration(error['input'])}" if error["input"] else ""
    for part in error["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.startswith("<"):  # not a key of the file
            model = FORMS.get(part, model)
            facts["or_reference"] = _OR_REFERENCE if part == VALUE else ""
        else:
            path += f".{part}" if path else part
            facts["known"] = ", ".join(name for name, each in model.model_fields.items() if not each.validation_alias)
            field = model.model_fields.get(part, FieldInfo())
            first = " ".join((field.description or "").split()).partition(". ")[0].rstrip(".")
            facts["description"] = first[:1].lower() + first[1:]
            facts["what"] = field.title or facts["description"]
            if not field.repr:
                facts["found"] = ""
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                model = field.annotation
    return f"{where}: `{path}` {_MESSAGES.get(error['type'], _OTHERWISE).format_map(facts)}."
