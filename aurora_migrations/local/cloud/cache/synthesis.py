"""Writes the template of the environment `local`: `python -m` this module, with FILE and SSLMODE, in its own process.

It is the template of AWS but for asset, runtime and architecture. The file also tells what it was made from, so that
the next start can see whether it is still true. It ends, and Node with it, when its stdin does.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.local.postgres.process_lifetime import end_with_the_parent

_OTHERS = ("aws-cdk-lib", "cdk-nag", "constructs", "jsii", "pydantic")


def main(target: Path, sslmode: str) -> int:
    """Synthesises into a file."""
    end_with_the_parent()
    with tempfile.TemporaryDirectory() as folder:
        template = _synthesise(Path(folder), sslmode)
    document = {"made_from": fingerprint(_loaded()), "versions": versions(), "template": template}
    target.write_text(json.dumps(document), encoding="utf-8")
    return 0


def fingerprint(files: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file, by its path beside the package; empty for one that isn't there."""
    return {name: _hash(project.PACKAGE.parent / name) for name in sorted(files)}


def versions() -> dict[str, str]:
    """The versions of the packages that have a part in a template."""
    return {name: importlib.metadata.version(name) for name in _OTHERS}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _loaded() -> set[str]:
    """Our own modules that had a part in it."""
    files = {Path(file) for module in sys.modules.values() if (file := getattr(module, "__file__", None))}
    return {
        path.relative_to(project.PACKAGE.parent).as_posix() for path in files if path.is_relative_to(project.PACKAGE)
    }


def _synthesise(folder: Path, sslmode: str) -> str:
    import aurora_migrations.cdk  # noqa: F401 - tells the CDK which Node to use, so it comes first

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_lambda as lambda_  # isort: skip

    from aurora_migrations.cdk.package.bundling import Package
    from aurora_migrations.cdk.stack import MigrationsStack
    from aurora_migrations.local.cloud.cache.settings import settings

    app = cdk.App(outdir=str(folder), analytics_reporting=False)
    runtime = lambda_.Runtime(f"python{sys.version_info.major}.{sys.version_info.minor}", lambda_.RuntimeFamily.PYTHON)
    arm = platform.machine().lower() in ("arm64", "aarch64")
    architecture = lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64
    package = Package(lambda_.Code.from_cfn_parameters(), runtime, architecture)
    stack = MigrationsStack(app, settings(sslmode), package)
    app.synth()
    return (folder / f"{stack.stack_name}.template.json").read_text("utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
