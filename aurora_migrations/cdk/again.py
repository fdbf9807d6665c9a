"""What to do after an execution that ended, and what to type: for a mail that a state machine writes.

Preflight says what asks for the same again (a run up to the same migration; of a rollback, a look), as it says who
started it. Where it couldn't, or is of a version that doesn't, the advice is to look first.
"""

from __future__ import annotations

from dataclasses import asdict

from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk import mail
from aurora_migrations.cdk.conditions import is_text
from aurora_migrations.cdk.texts import Remedy

_EXECUTION = "$$.Execution.Name"


def tell_next(
    scope: Construct, said: str, known: Remedy, unknown: Remedy, into: str, then: sfn.IChainable
) -> sfn.Choice:
    """The states that write a remedy's texts beneath `into`.

    Args:
        said: where a function's command stands, if one could say any.
        known: what to do then.
        unknown: what to do otherwise.
    """
    take = sfn.Pass(scope, "Take what to type", parameters=noted(known, said), result_path=into)
    look = sfn.Pass(scope, "Look first", parameters=noted(unknown), result_path=into)
    take.next(then)
    look.next(then)
    return sfn.Choice(scope, "Said what to type?").when(is_text(said), take).otherwise(look)


def noted(remedy: Remedy, command: str = "") -> dict[str, str]:
    """A remedy as a state writes it.

    Args:
        command: the path to what stands in the place of the remedy's own.
    """
    return mail.parts(asdict(remedy), {"to_do": _EXECUTION, "command": command})
