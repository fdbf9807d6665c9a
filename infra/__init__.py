"""This repository's own deployment: the environments of cdk.json, a stack each."""

import aurora_migrations.cdk  # noqa: F401 - before aws_cdk: it sets which Node the CDK uses
