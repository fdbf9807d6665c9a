"""Conditions of a Choice that look before they compare: a path that leads nowhere can't be caught."""

from __future__ import annotations

from aws_cdk import aws_stepfunctions as sfn


def is_text(path: str, *more: sfn.Condition) -> sfn.Condition:
    """Whether a text stands there; and what else is to be so, which may rely on it."""
    return sfn.Condition.and_(sfn.Condition.is_present(path), sfn.Condition.is_string(path), *more)


def says(path: str, word: str, *more: sfn.Condition) -> sfn.Condition:
    """Whether just this stands there; and what else is to be so."""
    return is_text(path, sfn.Condition.string_equals(path, word), *more)
