"""`aurora-migrations synth`: writes the CloudFormation template and the package, to deploy them without the CDK."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from aurora_migrations import project
from aurora_migrations.cdk.package import ARM64, PackagingError, build, inspect, zipped
from aurora_migrations.cli import options
from aurora_migrations.cli.output import note, print_json, show
from aurora_migrations.engine import MigratorError

if TYPE_CHECKING:
    import aws_cdk as cdk

    from aurora_migrations.cdk.config import Environment
    from aurora_migrations.cdk.functions import Package

_OUT = "aurora-migrations.out"
_BUCKET = "PackageBucket"  # the template's parameter


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    parser = options.make_parser(
        "synth",
        "Writes each environment's CloudFormation template, and the functions' package as a zip file, for SAM, "
        "Terraform or plain CloudFormation. Reads cdk.json. Needs no AWS account.",
        "synth --environment prod",
    )
    parser.add_argument("--environment", metavar="NAME", help="only this environment of cdk.json (default: all)")
    parser.add_argument("--out", metavar="DIR", default=_OUT, help=f"the folder to write to (default: {_OUT}/)")
    arguments = parser.parse_args(argv)
    out = Path(arguments.out)
    try:
        from aurora_migrations.cdk.config import SettingsError, read_context, read_environments

        try:
            context = read_context(project.root() / "cdk.json")
            name = context.get("project")
            environments = read_environments(context.get("environments"), arguments.environment, name)
            folders = {each.name: each.folder(arguments.migrations, project.root()) for each in environments}
        except SettingsError as error:
            raise PackagingError(str(error)) from error
        written = {folder: _write_package(folder, out) for folder in dict.fromkeys(folders.values())}
        packages = {each: written[folder].name for each, folder in folders.items()}
        templates = _write_templates(environments, name, out, packages)
    except ModuleNotFoundError as error:
        problem = f'{error.name} isn\'t installed here: pip install "aurora-migrations[cdk]"'
    except (PackagingError, OSError) as error:
        problem = str(error)
    except MigratorError as error:
        return options.fail(error, "check", arguments, options.execution_name())
    else:
        _report(arguments.output, list(dict.fromkeys(written.values())), templates)
        return 0
    if arguments.output == "json":
        print_json({"ok": False, "problems": problem.splitlines()})
    else:
        note("The template could not be written:", *(f"  {line}" for line in problem.splitlines()))
    return 1


def _write_package(migrations: Path, out: Path) -> Path:
    """Builds the package; its name holds its digest, so that another one is another object in a bucket."""
    building = project.cache() / "lambda"
    shutil.rmtree(building, ignore_errors=True)
    build(building, migrations, ARM64)
    if wrong := inspect(building, ARM64):
        raise PackagingError("\n".join(("The Lambda package is not as it should be:", *wrong)))
    content = zipped(building)
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"aurora-migrations-{hashlib.sha256(content).hexdigest()[:16]}.zip"
    path.write_bytes(content)
    return path


def _write_templates(
    environments: Sequence[Environment], owner: str | None, out: Path, packages: Mapping[str, str]
) -> list[Path]:
    """Writes the templates of a project's environments; returns their paths. `packages` are the names of the zip files,
    by the environment's."""
    import aurora_migrations.cdk  # noqa: F401 - sets the CDK's Node, so it comes first

    import aws_cdk as cdk  # isort: skip
    from aws_cdk import aws_lambda as lambda_  # isort: skip
    from aws_cdk import aws_s3 as s3  # isort: skip

    from aurora_migrations.cdk.functions import Package
    from aurora_migrations.cdk.stack import MigrationsStack, by_stack

    def package(stack: cdk.Stack, settings: Environment) -> Package:
        key, bucket = packages[settings.name], stack.node.try_find_child("Packages")
        if bucket is None:  # the first database's
            given = cdk.CfnParameter(stack, _BUCKET, type="String", description=f"The S3 bucket that has {key}.")
            bucket = s3.Bucket.from_bucket_name(stack, "Packages", given.value_as_string)
        # The key is written out: CloudFormation makes a new version of a function only where the template changes.
        code = lambda_.Code.from_bucket(cast("s3.IBucket", bucket), key)
        return Package(code, lambda_.Runtime.PYTHON_3_14, lambda_.Architecture.ARM_64)

    written = []
    app = cdk.App(outdir=str(out / "assembly"), analytics_reporting=False)
    for found in by_stack(environments):
        name = found[0].stack
        command = f"aws cloudformation deploy --stack-name {name} --template-file {name}.template.json"
        settings = [each.model_copy(update={"deploy": command}) for each in found]
        synthesizer = cdk.DefaultStackSynthesizer(generate_bootstrap_version_rule=False)
        stack = MigrationsStack(app, settings, package, owner, synthesizer=synthesizer)
        written.append(out / f"{stack.stack_name}.template.json")
    app.synth()
    for path in written:
        shutil.copyfile(out / "assembly" / path.name, path)
    shutil.rmtree(out / "assembly")
    return written


def _report(output: str, packages: Sequence[Path], templates: Sequence[Path]) -> None:
    if output == "json":
        zips = [str(path) for path in packages]
        print_json({"ok": True, "package": zips[0], "packages": zips, "templates": [str(path) for path in templates]})
        return
    show(*(f"Wrote {path}" for path in packages), *(f"Wrote {path}" for path in templates))
    first = templates[0]
    stack = first.name.removesuffix(".template.json")
    show(
        "To deploy, with a bucket of yours:",
        *(f"  aws s3 cp {options.quoted(str(path))} s3://BUCKET/" for path in packages),
        f"  aws cloudformation deploy --stack-name {stack} --template-file {options.quoted(str(first))} \\",
        "    --s3-bucket BUCKET \\",
        f"    --parameter-overrides {_BUCKET}=BUCKET --capabilities CAPABILITY_IAM",
    )
