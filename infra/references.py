"""Values that another stack made: known beforehand, exported by it, or written by it to the parameter store."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.settings import Reference


def resolve(scope: Construct, reference: Reference) -> str:
    """The value, or what CloudFormation puts it in place of when it deploys."""
    if reference.kind == "export":
        return cdk.Fn.import_value(reference.text)
    if reference.kind == "parameter":
        return ssm.StringParameter.value_for_string_parameter(scope, reference.text)
    return reference.text


def resolve_number(scope: Construct, reference: Reference) -> int:
    """The same of a number. What isn't known yet is a number to the CDK that stands for it."""
    return int(reference.text) if reference.kind == "value" else int(cdk.Token.as_number(resolve(scope, reference)))
