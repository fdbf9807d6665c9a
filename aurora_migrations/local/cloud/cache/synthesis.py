"""Writes the template of the environment `local`: `python -m aurora_migrations.local.cloud.cache.synthesis FILE SSLMODE`, a process of its own.

It is the template of AWS but for asset, runtime and architecture. The file also tells what it was made from, so that
the next start can see whether it is still true. It ends, and Node with it, when its stdin does.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from aurora_migrations.local.postgres.process_lifetime import end_with_the_parent

ROOT = Path(__file__).resolve().parents[4]


def main(target: Path, sslmode: str) -> int:
    """Synthesises into a file."""
    end_with_the_parent()
    with tempfile.TemporaryDirectory() as folder:
        template = _synthesise(Path(folder), sslmode)
    document = {"made_from": fingerprint(_loaded()), "template": template}
    target.write_text(json.dumps(document), encoding="utf-8")
    return 0


def fingerprint(files: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of each file, by its path beneath the repository; empty for one that isn't there."""
    return {name: _hash(ROOT / name) for name in sorted(files)}


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _loaded() -> set[str]:
    """Our own modules that had a part in it, and the locked versions of all others."""
    files = {Path(file) for module in sys.modules.values() if (file := getattr(module, "__file__", None))}
    ours = {path.relative_to(ROOT).as_posix() for path in files if path.is_relative_to(ROOT)}
    return {name for name in ours if not name.startswith((".venv/", "build/"))} | {"requirements/infra.txt"}


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
