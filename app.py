"""Writes the CloudFormation templates: `npx aws-cdk@2 synth`. Needs no AWS account and no credentials."""

from __future__ import annotations

import sys

from infra.app import main

if __name__ == "__main__":
    sys.exit(main())
