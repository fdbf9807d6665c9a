"""What the models of cdk.json consist of: their base, references to other stacks, and texts that must fit what others
read in them. The patterns are also in the JSON Schema: both Rust and JavaScript must understand them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema
from pydantic_core import to_json

from aurora_migrations.engine.options import parse_duration

_T = TypeVar("_T")


class Model(BaseModel):
    """An object of cdk.json. The text below a key describes it in the JSON Schema and in docs/settings.md. Messages use
    its first sentence, or the key's title."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Export(Model):
    """What another stack exports."""

    export: str = Field(pattern="^[A-Za-z0-9:-]{1,255}$")
    """The name of an export (letters, digits, colons, hyphens)."""


class Parameter(Model):
    """A parameter of the SSM parameter store."""

    parameter: str = Field(pattern=r"^((/[A-Za-z0-9_.-]+){1,15}|[A-Za-z0-9_.-]+)$")
    """The name of a parameter (letters, digits, `_.-`; a path begins with a slash)."""


VALUE, EXPORT, PARAMETER = "<value>", "<export>", "<parameter>"  # pydantic has them in the location of an error
FORMS: dict[str, type[Model]] = {EXPORT: Export, PARAMETER: Parameter}


def _form(value: Any) -> str:
    return next((tag for tag in FORMS if isinstance(value, Mapping) and tag.strip("<>") in value), VALUE)


Reference = Annotated[
    Annotated[_T, Tag(VALUE)] | Annotated[Export, Tag(EXPORT)] | Annotated[Parameter, Tag(PARAMETER)],
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
