"""Values that another stack made: known beforehand, exported by it, or written by it to the parameter store."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from aurora_migrations.cdk.config import Export, Parameter, Reference


def resolve(scope: Construct, reference: Reference[str | int]) -> str:
    """The value, or what CloudFormation puts it in place of when it deploys."""
    if isinstance(reference, Export):
        return cdk.Fn.import_value(reference.export)
    if isinstance(reference, Parameter):
        return ssm.StringParameter.value_for_string_parameter(scope, reference.parameter)
    return str(reference)


def resolve_number(scope: Construct, reference: Reference[int]) -> int:
    """The same for a number. The CDK represents an unknown number by a token that is a number."""
    return reference if isinstance(reference, int) else int(cdk.Token.as_number(resolve(scope, reference)))
