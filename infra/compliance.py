"""cdk-nag's AwsSolutions rules over every stack, and the findings that we live with, each with its reason.

Findings that aren't in this table make the synthesis fail; so does a row that no finding needs, by a test.
"""

from __future__ import annotations

import aws_cdk as cdk
import cdk_nag

ACKNOWLEDGED: tuple[tuple[str, str, str], ...] = ()
"""Where (a path beneath the stack), the exact id, why."""


def check(app: cdk.App) -> None:
    """Has every synthesis of this app looked through."""
    cdk.Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app))


def acknowledge(stack: cdk.Stack) -> None:
    """Tells cdk-nag of the findings in the table."""
    for path, finding, reason in ACKNOWLEDGED:
        place = stack.node
        for part in path.split("/"):
            found = place.try_find_child(part)
            if found is None:
                break
            place = found.node
        else:
            cdk.Validations.of(found).acknowledge(cdk.Acknowledgment(id=finding, reason=reason))
