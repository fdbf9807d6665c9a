"""An app of somebody else's, which uses the construct. Its packages have names that this repository uses, too."""

import aurora_migrations.cdk  # noqa: F401 - before aws_cdk: it sets which Node the CDK uses

import aws_cdk as cdk  # isort: skip
from infra.stacks import Laptop, Orders, Shop  # isort: skip

AWS = cdk.Environment(account="111122223333", region="eu-west-1")
LOCAL = cdk.Environment(account="123456789012", region="us-east-1")

app = cdk.App(outdir="cdk.out")
Shop(app, "ShopProd", env=AWS)
Orders(cdk.Stage(app, "Prod", env=AWS), "Orders")
Laptop(app, "Laptop", env=LOCAL)
app.synth()
