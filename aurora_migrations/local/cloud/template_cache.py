"""The CloudFormation template of the environment `local`, synthesized again when something it is made from changed.

It is the template of AWS except for asset, runtime and architecture. The synthesis runs in a process of its own,
`python -m` this module, so that no command loads the CDK and Node. That process ends when its stdin does, and Node
with it.
"""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_migrations import project
from aurora_migrations.embedded.errors import ServerError
from aurora_migrations.embedded.processes import end_with_the_parent, run_python
from aurora_migrations.local.account import ACCOUNT, ENVIRONMENT, PARAMETERS, REGION
from aurora_migrations.local.cloud import artifact_cache
from aurora_migrations.local.cloud.artifact_cache import SourcesChanged, digest_of

if TYPE_CHECKING:
    from aurora_migrations.cdk.config import Environment

KEPT = 5  # templates: one for each sslmode in use, and those of a few branches
_NAME = "template.json"
_PARTS = ("cdk", "engine", "compiler", "embedded", "replay", "local/account.py", "project.py", "__init__.py")
_SOURCES = (*(project.PACKAGE / part for part in _PARTS), project.FUNCTIONS, Path(__file__))
_PACKAGES = ("aws-cdk-lib", "cdk-nag", "constructs", "jsii", "pydantic")
_SYNTHESIS = ("-m", "aurora_migrations.local.cloud.template_cache")


def template(folder: Path, sslmode: str, tell: Callable[[str], None]) -> str:
    """The template's text, for an sslmode of libpq's.

    Raises:
        ServerError: it could not be synthesized or kept.
    """

    def digest() -> str:
        versions = [f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES]
        return digest_of(_SOURCES, sslmode, f"{sys.version_info.major}.{sys.version_info.minor}", *versions)

    def build(building: Path) -> None:
        tell("Synthesising the template (the first time, and after changes) ...")
        _synthesize(building.absolute(), sslmode)

    try:
        with artifact_cache.exclusive(folder):
            made = artifact_cache.get_or_build(folder, "template", digest, build)
            artifact_cache.prune(folder, "template", KEPT)
            return (made / _NAME).read_text("utf-8")
    except SourcesChanged as error:
        raise ServerError(
            "The template isn't of the files that are here: they change while it is made.", todo="start again."
        ) from error
    except OSError as error:
        raise ServerError(
            f"The template can't be kept in {folder}: {error}.", todo="check the folder's permissions and free space."
        ) from error


def _synthesize(building: Path, sslmode: str) -> None:
    temporary = building / "temporary"  # for the CDK's files too, so that nothing is left elsewhere
    temporary.mkdir(parents=True)
    jsii = building.parent / "jsii"  # where jsii keeps what it unpacks, if it can't in the person's home

    def run() -> subprocess.CompletedProcess[str]:
        variables = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary))
        if jsii.is_dir():
            variables["JSII_RUNTIME_PACKAGE_CACHE_ROOT"] = str(jsii)
        return run_python(*_SYNTHESIS, str(building / _NAME), sslmode, **variables)

    finished = run()
    if "Cannot use the jsii package cache" in finished.stderr and not jsii.is_dir():
        jsii.mkdir()
        finished = run()
    if finished.returncode != 0:
        raise ServerError(
            "The template could not be synthesised.",
            output=finished.stderr or finished.stdout,
            todo="see its output above; `make synth` does the same for AWS.",
        )
    shutil.rmtree(temporary, ignore_errors=True)


# ---- in the process of the synthesis --------------------------------------------------------------------------------


def main(target: Path, sslmode: str) -> None:
    """Synthesizes into a file."""
    end_with_the_parent()
    synthesize(target, sslmode)


def synthesize(target: Path, sslmode: str, **settings: str) -> None:
    """Writes the template. `settings` are keys of cdk.json that differ from those of the local cloud."""
    import aurora_migrations.cdk  # noqa: F401 - sets the CDK's Node, so it comes first

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_lambda as lambda_  # isort: skip

    from aurora_migrations.cdk.functions import Package
    from aurora_migrations.cdk.stack import MigrationsStack

    runtime = lambda_.Runtime(f"python{sys.version_info.major}.{sys.version_info.minor}", lambda_.RuntimeFamily.PYTHON)
    arm = platform.machine().lower() in ("arm64", "aarch64")
    architecture = lambda_.Architecture.ARM_64 if arm else lambda_.Architecture.X86_64
    package = Package(lambda_.Code.from_cfn_parameters(), runtime, architecture)
    with tempfile.TemporaryDirectory() as folder:
        app = cdk.App(outdir=folder, analytics_reporting=False)
        stack = MigrationsStack(app, _environment(sslmode, settings), package)
        app.synth()
        shutil.copyfile(Path(folder) / f"{stack.stack_name}.template.json", target)


def _environment(sslmode: str, changes: Mapping[str, str]) -> Environment:
    """The settings of the environment `local`, as cdk.json would have them. What differs from machine to machine is
    left to SSM parameters, so that one template fits them all."""
    from aurora_migrations.cdk.config import read_environments
    from aurora_migrations.engine.steps.execution import ACTIONS

    def parameter(name: str) -> dict[str, str]:
        return {"parameter": f"{PARAMETERS}/{name}"}

    settings = {
        "account": ACCOUNT,
        "region": REGION,
        "network": {
            "vpc": parameter("vpc"),
            "subnets": [parameter("subnet")],
            "database_security_group": parameter("group"),
            "secrets_endpoint": parameter("group"),
        },
        "database": {
            "host": parameter("host"),
            "port": parameter("port"),
            "name": parameter("database"),
            "secret": parameter("secret"),
        },
        "emails": ["you@example.com"],
        "allowed_actions": ACTIONS,
        "log_retention_days": 1,
        **changes,
    }
    (made,) = read_environments({"laptop": settings})
    # No environment of cdk.json may have this name, or an sslmode without TLS.
    database = made.database.model_copy(update={"sslmode": sslmode})
    return made.model_copy(update={"name": ENVIRONMENT, "database": database})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
