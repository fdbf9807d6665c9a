"""cdk-nag's AwsSolutions rules over every stack, and the findings that we live with, each with its reason.

Findings that aren't in this table make the synthesis fail; so does a row that no finding needs, by a test.
"""

from __future__ import annotations

import aws_cdk as cdk
import cdk_nag
from constructs import IConstruct

WILDCARD = "AwsSolutions::AwsSolutions-IAM5[Resource::*]"
_INTERFACES = (
    "Lambda makes and removes its network interfaces as the function's role, and demands these EC2 actions on every "
    "resource; a Deny beside them keeps them from the function's own code."
)
_DELIVERY = (
    "CloudWatch's log delivery and X-Ray know no resources: AWS documents these actions with * only. The role's other "
    "rights name one alias, one topic, one key."
)
_LAST = "It is itself the dead-letter queue, of the rules; an alarm mails as soon as something is in it."

ACKNOWLEDGED: tuple[tuple[str, str, str], ...] = (
    ("Functions/Preflight/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Functions/Apply/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Functions/Verify/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Workflow/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Notice/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Daily/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("DeadLetters/Queue/Resource", "AwsSolutions::AwsSolutions-SQS3", _LAST),
)
"""Path within the stack (not every environment has it), exact rule id, reason."""


def check(app: cdk.App) -> None:
    """Checks every synthesis of this app."""
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))


def acknowledge(stack: cdk.Stack) -> None:
    """Suppresses the findings in the table."""
    for path, finding, reason in ACKNOWLEDGED:
        place: IConstruct | None = stack
        for part in path.split("/"):
            place = place.node.try_find_child(part) if place is not None else None
        if place is not None:
            cdk.Validations.of(place).acknowledge(cdk.Acknowledgment(id=finding, reason=reason))
