"""cdk-nag's AwsSolutions rules over every stack, and the findings that we live with, each with its reason.

Findings that aren't in this table make the synthesis fail; so does a row that no finding needs, by a test.
"""

from __future__ import annotations

import aws_cdk as cdk
from constructs import Construct, IConstruct

from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.naming import Names

WILDCARD = "AwsSolutions::AwsSolutions-IAM5[Resource::*]"
_INTERFACES = (
    "Lambda makes and removes its network interfaces as the function's role, and demands these EC2 actions on every "
    "resource; a Deny beside them keeps them from the function's own code."
)
_DELIVERY = (
    "CloudWatch's log delivery and X-Ray know no resources: AWS documents these actions with * only. The role's other "
    "rights name one alias, one topic, one key."
)
_STATES = "arn:<AWS::Partition>:states:<AWS::Region>:<AWS::AccountId>"
EXECUTIONS = f"AwsSolutions::AwsSolutions-IAM5[Resource::{_STATES}:execution:{{}}:*]"
_EXECUTIONS = "The executions of one state machine; each has a name of its own, which isn't known before it starts."
_LAST = "It is itself the dead-letter queue, of the rules; an alarm mails as soon as something is in it."

ACKNOWLEDGED: tuple[tuple[str, str, str], ...] = (
    ("Functions/Preflight/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Functions/Apply/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Functions/Verify/Role/DefaultPolicy/Resource", WILDCARD, _INTERFACES),
    ("Workflow/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Notice/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Daily/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Gate/Machine/Role/DefaultPolicy/Resource", WILDCARD, _DELIVERY),
    ("Gate/Function/Role/DefaultPolicy/Resource", EXECUTIONS, _EXECUTIONS),
    ("DeadLetters/Queue/Resource", "AwsSolutions::AwsSolutions-SQS3", _LAST),
)
"""Path within the construct (not every environment has it), exact rule id, reason."""


def check(app: cdk.App) -> None:
    """Checks every synthesis of this app."""
    import cdk_nag  # not needed where the construct is in a stack of others

    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))


def acknowledge(migrations: Construct, settings: Environment) -> None:
    """Suppresses the findings in the table."""
    machine = Names(settings.name).of()
    for path, finding, reason in ACKNOWLEDGED:
        place: IConstruct | None = migrations
        for part in path.split("/"):
            place = place.node.try_find_child(part) if place is not None else None
        if place is not None:
            cdk.Validations.of(place).acknowledge(cdk.Acknowledgment(id=finding.format(machine), reason=reason))
