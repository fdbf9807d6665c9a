"""The Lambda package for the CDK: bundled by our own code instead of in Docker, hashed by what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import aws_lambda as lambda_

from aurora_migrations import project
from aurora_migrations.cdk.package.build import ARM64, PackagingError, build
from aurora_migrations.cdk.package.verify import inspect
from aurora_migrations.engine import MigratorError

packaging_errors: list[str] = []
"""Why the package couldn't be built."""


@dataclass(frozen=True)
class Package:
    """What runs in Lambda, and on what. The local cloud puts in another one and leaves the rest of the template."""

    code: lambda_.Code
    runtime: lambda_.Runtime
    architecture: lambda_.Architecture


@jsii.implements(cdk.ILocalBundling)
class _Bundler:
    def __init__(self, migrations: Path) -> None:
        self._migrations = migrations

    def try_bundle(self, output_dir: str, *args: Any, **options: Any) -> bool:
        """Builds the package in the CDK's output directory. Errors are also kept in `packaging_errors`: on its way
        through the CDK's core an exception loses its class and gains pages of frames."""
        try:
            build(Path(output_dir), self._migrations)
            if wrong := inspect(Path(output_dir), ARM64):
                raise PackagingError("\n".join(("The Lambda package is not as it should be:", *wrong)))
        except (PackagingError, MigratorError) as error:
            packaging_errors.append(str(error))
            raise
        return True


def bundled(migrations: Path) -> Package:
    """The package for AWS, with the migrations of a folder: Python 3.14 on ARM, which costs less than on Intel and
    starts as fast."""
    code = lambda_.Code.from_asset(
        str(project.FUNCTIONS),
        asset_hash_type=cdk.AssetHashType.OUTPUT,
        bundling=cdk.BundlingOptions(image=cdk.DockerImage.from_registry("not-used"), local=_Bundler(migrations)),
    )
    return Package(code, lambda_.Runtime.PYTHON_3_14, lambda_.Architecture.ARM_64)
