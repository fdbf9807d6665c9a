"""How the state machines call the functions: what they send, how long they wait, what they try again."""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from aurora_migrations.cdk.config import TASK_MARGIN_MS
from aurora_migrations.cdk.functions import Functions
from aurora_migrations.cdk.states import try_again


def ask(
    scope: Construct,
    name: str,
    functions: Functions,
    kind: str,
    *,
    into: str,
    only: bool = False,
    package: str = "",
    so_far: Any = None,
    input: Any = None,
    wants_mail: bool = False,
    ended: str = "",
) -> tasks.LambdaInvoke:
    """A call of a function; its answer stands in `Payload` beneath `into`.

    Args:
        only: whether nothing but the answer is left of the state.
        package: a path to the digest that the run began with; empty where it begins.
        so_far: a path to what the run has done before this call.
        input: instead of the execution's own.
        wants_mail: its answer is `result`, and with it the `mail` that tells it.
        ended: a path to what an event says of an execution that ended; it is put into words.
    """
    task = tasks.LambdaInvoke(
        scope,
        name,
        lambda_function=functions.aliases[kind],
        payload=sfn.TaskInput.from_object(
            {
                "execution": sfn.JsonPath.execution_name,
                "execution_arn": sfn.JsonPath.execution_id,
                "started_at": sfn.JsonPath.execution_start_time,
                "input": sfn.JsonPath.object_at("$$.Execution.Input") if input is None else input,
                "package": sfn.JsonPath.string_at(package) if package else "",
                "so_far": sfn.JsonPath.object_at(so_far) if so_far else {},
                **({"wants_mail": True} if wants_mail else {}),
                **({"ended": sfn.JsonPath.object_at(ended)} if ended else {}),
            }
        ),
        result_selector={"Payload": sfn.JsonPath.object_at("$.Payload")},  # without the call's HTTP headers
        result_path=into,
        output_path=into if only else None,
        task_timeout=sfn.Timeout.duration(cdk.Duration.millis(functions.timeouts[kind] + TASK_MARGIN_MS)),
        retry_on_service_exceptions=False,  # without jitter or cap, and blind to throttling: ours come next
    )
    try_again(task, *functions.retries)
    return task
