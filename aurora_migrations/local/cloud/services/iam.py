"""What a role may do, by its policies: an IAM of the size that the template needs.

The functions' calls are held against the policies of the template that was deployed, so a right that the template
forgot is missed here as it would be on AWS. What isn't understood (a condition's operator, say) never grants.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aurora_migrations.local.cloud.services.calls import Call

_OPERATORS = {"StringEquals": False, "ArnEquals": True, "ArnLike": True, "StringLike": True}  # with wildcards or not


def allows(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Mapping[str, str]) -> bool:
    """Whether policies allow an action on a resource: some statement does, and none denies.

    Args:
        context: keys of conditions and their values, as AWS would tell them.
    """
    effects = [
        statement["Effect"]
        for policy in policies
        for statement in _many(policy["Statement"])
        if _speaks_of(statement, action, resource) and _holds(statement, context)
    ]
    return "Allow" in effects and "Deny" not in effects


def resource_of(call: Call, account: str) -> str:
    """The resource that a call is about, as AWS's service authorization reference names it for its action; `*` where
    it names none."""
    asked = call.parameters
    if call.service == "secretsmanager":
        return str(asked.get("SecretId", "*"))
    if call.service == "logs" and "logGroupName" in asked:
        group = f"arn:aws:logs:{call.region}:{account}:log-group:{asked['logGroupName']}"
        stream = asked.get("logStreamName") if call.action == "PutLogEvents" else None
        return f"{group}:log-stream:{stream}" if stream else f"{group}:*"
    return "*"


def granted(policies: Iterable[Mapping[str, Any]]) -> set[str]:
    """The actions that some statement allows."""
    statements = [statement for policy in policies for statement in _many(policy["Statement"])]
    return {action for each in statements if each["Effect"] == "Allow" for action in _many(each["Action"])}


def _speaks_of(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    actions, resources = _many(statement["Action"]), _many(statement["Resource"])
    return any(_like(action.lower(), each.lower()) for each in actions) and any(_like(resource, r) for r in resources)


def _holds(statement: Mapping[str, Any], context: Mapping[str, str]) -> bool:
    for operator, wanted in statement.get("Condition", {}).items():
        if operator not in _OPERATORS:
            return bool(statement["Effect"] == "Deny")
        for key, values in wanted.items():
            if key not in context or not any(_equal(context[key], value, operator) for value in _many(values)):
                return False
    return True


def _equal(value: str, wanted: str, operator: str) -> bool:
    return _like(value, wanted) if _OPERATORS[operator] else value == wanted


def _like(value: str, pattern: str) -> bool:
    """IAM's wildcards: `*` and `?`."""
    return re.fullmatch(fnmatch.translate(pattern.replace("[", "[[]")), value) is not None


def _many(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
