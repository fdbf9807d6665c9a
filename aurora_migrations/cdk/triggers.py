"""Triggers: the end of a deployment starts the state machine, and an alarm for events that started nothing."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from aurora_migrations.cdk.alerts import Alerts
from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.naming import Names
from aurora_migrations.engine.steps.layout import never_started

DEAD_LETTERS = "dead-letters"  # name of the queue and the alarm
DEPLOYED = ["CREATE_COMPLETE", "UPDATE_COMPLETE"]


class DeadLetters(Construct):
    """Events that started nothing: each means that a run, a mail or a check is missing, so an alarm mails it.

    The alarm counts messages sent, so that it goes off again while older ones are still in the queue. The metric of an
    idle queue may be 15 minutes late; so the alarm evaluates 20 minutes, in which it goes off once.
    """

    def __init__(self, scope: Construct, name: str, *, settings: Environment, alerts: Alerts, key: kms.Key) -> None:
        super().__init__(scope, name)
        names = Names(settings.name)
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=names.of(DEAD_LETTERS),
            encryption=sqs.QueueEncryption.KMS,
            encryption_master_key=key,
            enforce_ssl=True,
            retention_period=cdk.Duration.days(14),
        )
        alarm = cloudwatch.Alarm(
            self,
            "Alarm",
            alarm_name=names.of(DEAD_LETTERS),
            alarm_description=never_started(settings.name, names.of(DEAD_LETTERS)),
            metric=self.queue.metric_number_of_messages_sent(period=cdk.Duration.minutes(1), statistic="Sum"),
            threshold=1,
            evaluation_periods=20,
            datapoints_to_alarm=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(actions.SnsAction(alerts.topic))


class DeployTrigger(Construct):
    """Starts the machine when our own stack, which carries the SQL, or one of those watched has been deployed."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Environment,
        machine: sfn.StateMachine,
        dead_letters: DeadLetters,
    ) -> None:
        super().__init__(scope, name)
        names = Names(settings.name)
        own = [settings.stack] if settings.deployment == "starts" else []  # else the deployment has waited for its run
        # A stack's ARN ends in `stack/NAME/ID`: the slash keeps out stacks with a longer name. In AWS's documented
        # event it ends in `stack/NAME`, so that is matched too, as a whole.
        arns = [
            cdk.Stack.of(self).format_arn(service="cloudformation", resource="stack", resource_name=stack)
            for stack in (*own, *settings.watch_stacks)
        ]
        if not arns:
            return
        whole = [events.Match.exact_string(arn) for arn in arns]
        events.Rule(
            self,
            "Rule",
            rule_name=names.of("on-deploy"),
            description="Runs what is pending after a deployment that succeeded.",
            event_pattern=events.EventPattern(
                source=["aws.cloudformation"],
                detail_type=["CloudFormation Stack Status Change"],
                resources=events.Match.any_of(*whole, *(events.Match.prefix(f"{arn}/") for arn in arns)),
                detail={"status-details": {"status": DEPLOYED}},
            ),
            targets=[
                start(
                    machine,
                    dead_letters,
                    events.RuleTargetInput.from_object(
                        {"trigger": "deploy", "requested_by": events.EventField.from_path("$.detail.stack-id")}
                    ),
                )
            ],
        )


def start(
    machine: sfn.StateMachine, dead_letters: DeadLetters, input: events.RuleTargetInput
) -> targets.SfnStateMachine:
    """A rule's target that starts a machine, for a day if need be, and keeps the event if it can't."""
    return targets.SfnStateMachine(
        machine,
        input=input,
        dead_letter_queue=dead_letters.queue,
        max_event_age=cdk.Duration.hours(24),
        retry_attempts=185,
    )
