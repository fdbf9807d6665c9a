from typing import Any

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_rds as rds
from constructs import Construct

from aurora_migrations.cdk import AuroraMigrations


class Shop(cdk.Stack):
    """With a cluster of its own, for which the deployment waits."""

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        version = rds.AuroraPostgresEngineVersion.VER_16_4
        cluster = rds.DatabaseCluster(
            self,
            "Database",
            engine=rds.DatabaseClusterEngine.aurora_postgres(version=version),
            vpc=ec2.Vpc(self, "Vpc", max_azs=2),
            writer=rds.ClusterInstance.serverless_v2("Writer"),
            default_database_name="shop",
        )
        AuroraMigrations(
            self,
            "Migrations",
            cluster=cluster,
            migrations="db/shop",
            alert_emails=["team@example.com"],
            deployment="waits",
        )


class Orders(cdk.Stack):
    """Two databases of an imported cluster, each with a folder of its own."""

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)
        for name in ("shop", "orders"):
            AuroraMigrations(
                self,
                f"{name.capitalize()}Migrations",
                host="shop.cluster-c1a2b3d4e5f6.eu-west-1.rds.amazonaws.com",
                database_name=name,
                secret="arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop-AbCdEf",
                vpc="vpc-0123456789abcdef0",
                subnets=["subnet-0123456789abcdef0"],
                security_group="sg-0123456789abcdef0",
                migrations=f"db/{name}",
                alert_emails=["team@example.com"],
            )


class Laptop(cdk.Stack):
    """With all that differs between machines in the parameter store, as the local cloud has it."""

    def __init__(self, scope: Construct, id: str, **options: Any) -> None:
        super().__init__(scope, id, **options)

        def parameter(name: str) -> dict[str, str]:
            return {"parameter": f"/aurora-migrations/local/{name}"}

        AuroraMigrations(
            self,
            "Migrations",
            host=parameter("host"),
            port=parameter("port"),
            database_name=parameter("database"),
            secret=parameter("secret"),
            vpc=parameter("vpc"),
            subnets=[parameter("subnet")],
            security_group=parameter("group"),
            secrets_endpoint=parameter("group"),
            migrations="db/shop",
            alert_emails=["team@example.com"],
            log_retention_days=1,
        )
