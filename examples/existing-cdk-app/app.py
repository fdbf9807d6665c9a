"""A shop's infrastructure: a VPC, an Aurora cluster that scales to zero, and its migrations."""

from typing import Any

from aurora_migrations.cdk import AuroraMigrations

import aws_cdk as cdk  # isort: skip
from aws_cdk import aws_ec2 as ec2  # isort: skip
from aws_cdk import aws_rds as rds  # isort: skip
from constructs import Construct  # isort: skip


class Shop(cdk.Stack):
    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=0,
            subnet_configuration=[
                ec2.SubnetConfiguration(name="database", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            ],
        )
        cluster = rds.DatabaseCluster(
            self,
            "Database",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=rds.AuroraPostgresEngineVersion.VER_16_4),
            vpc=vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PRIVATE_ISOLATED),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            serverless_v2_min_capacity=0,
            serverless_v2_max_capacity=2,
            default_database_name="shop",
            storage_encrypted=True,
        )
        AuroraMigrations(
            self,
            "Migrations",
            cluster=cluster,
            migrations="db/migrations",
            alert_emails=["team@example.com"],
            deployment="waits",
        )


app = cdk.App()
Shop(app, "ShopProd")
app.synth()
