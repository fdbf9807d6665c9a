"""The network of the functions, with two ways out: the database's port, and Secrets Manager; and the values of other
stacks that settings refer to."""

from __future__ import annotations

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from aurora_migrations.cdk.config import Environment
from aurora_migrations.cdk.config_fields import Deployed, Export, Parameter, Reference
from aurora_migrations.cdk.naming import Names

HTTPS = 443


class Network(Construct):
    """The runner's security group, opened exactly, in the VPC and the private subnets that the settings name."""

    def __init__(self, scope: Construct, name: str, settings: Environment) -> None:
        super().__init__(scope, name)
        self._settings = settings
        wanted = settings.network
        vpc = resolve(self, wanted.vpc)
        self.vpc = ec2.Vpc.from_vpc_attributes(self, "Vpc", vpc_id=vpc, availability_zones=cdk.Fn.get_azs())
        why = "Nothing here chooses subnets by their zone; the settings name them."
        zones = "@aws-cdk/aws-ec2:vpcAttributeIsListTokenavailabilityZones"
        cdk.Annotations.of(self.vpc).acknowledge_warning(zones, why)
        subnets = []
        for number, reference in enumerate(wanted.subnets, 1):
            subnet = ec2.Subnet.from_subnet_id(self, f"Subnet{number}", resolve(self, reference))
            why = "Nothing here adds routes; a subnet's id is all that a function needs."
            cdk.Annotations.of(subnet).acknowledge_warning("@aws-cdk/aws-ec2:noSubnetRouteTableId", why)
            subnets.append(subnet)
        self.subnets = ec2.SubnetSelection(subnets=subnets)
        self.group = self._group("Runner", "runner", "The migration functions: out to the database and to its secret")
        database = self._existing("Database", settings.security_group)
        port = ec2.Port.tcp(resolve_number(self, settings.database.port))
        self.group.connections.allow_to(database, port, f"migrations of {settings.name}")
        is_ours = wanted.secrets_endpoint == "create"
        made = self._group("Endpoint", "secrets", "Secrets Manager for the runner") if is_ours else None
        secrets = made or self._existing("ExistingEndpoint", wanted.secrets_endpoint)
        self.group.connections.allow_to(secrets, ec2.Port.tcp(HTTPS), f"secret of {settings.name}")
        # The address of our own endpoint; an existing one answers by its name.
        self.secrets_url = self._endpoint(made) if made is not None else None

    def _group(self, construct: str, name: str, description: str) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            self,
            construct,
            vpc=self.vpc,
            security_group_name=Names(self._settings.name).of(name),
            description=description,
            allow_all_outbound=False,
        )

    def _existing(self, construct: str, reference: Reference[str]) -> ec2.ISecurityGroup:
        return ec2.SecurityGroup.from_security_group_id(self, construct, resolve(self, reference))

    def _endpoint(self, group: ec2.SecurityGroup) -> str:
        """Without private DNS, which would lead the whole VPC's traffic to Secrets Manager through it."""
        made = ec2.InterfaceVpcEndpoint(
            self,
            "Secrets",
            vpc=self.vpc,
            service=ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
            subnets=self.subnets,
            security_groups=[group],
            private_dns_enabled=False,
            open=False,
        )
        made.add_to_policy(
            iam.PolicyStatement(
                principals=[iam.AccountPrincipal(cdk.Stack.of(self).account)],
                actions=["secretsmanager:GetSecretValue"],
                resources=[resolve(self, self._settings.database.secret)],
            )
        )
        first = cdk.Fn.select(0, made.vpc_endpoint_dns_entries)  # `Z1ABC:vpce-0a1b-xyz.secretsmanager...`
        return f"https://{cdk.Fn.select(1, cdk.Fn.split(':', first))}"


def resolve(scope: Construct, reference: Reference[str | int]) -> str:
    """The value, or what CloudFormation puts it in place of when it deploys."""
    if isinstance(reference, Export):
        return cdk.Fn.import_value(reference.export)
    if isinstance(reference, Deployed):
        return reference.token
    if isinstance(reference, Parameter):
        return ssm.StringParameter.value_for_string_parameter(scope, reference.parameter)
    return str(reference)


def resolve_number(scope: Construct, reference: Reference[int]) -> int:
    """The same for a number. The CDK represents an unknown number by a token that is a number."""
    return reference if isinstance(reference, int) else int(cdk.Token.as_number(resolve(scope, reference)))
