"""The templates of cdk.json's worked examples, written once for all tests; the package, made once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.cdk.naming import Names, full_name
from aurora_migrations.cdk.package import ARM64, build
from tests.cdk.cloud import Machine, Template, some
from tests.paths import ROOT


def context() -> dict[str, Any]:
    """cdk.json's context, with nothing bundled."""
    data: dict[str, Any] = json.loads((ROOT / "cdk.json").read_text("utf-8"))["context"]
    return {**data, "aws:cdk:bundling-stacks": []}


def synthesised(
    folder: Path, environments: Mapping[str, Any] | None = None, project: str | None = None
) -> dict[str, Template]:
    """By environment; of cdk.json's examples, or of others."""
    import aws_cdk as cdk

    from infra.app import add_stacks

    told = context() | ({} if environments is None else {"environments": dict(environments)})
    told |= {} if project is None else {"project": project}
    app = cdk.App(context=told, outdir=str(folder))
    add_stacks(app)
    written = Path(app.synth().directory)
    stacks = {name: Names(full_name(name, project)).stack for name in told["environments"]}
    return some({name: Template(written / f"{stack}.template.json") for name, stack in stacks.items()})


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Template]:
    """Of cdk.json's examples, by environment."""
    return synthesised(tmp_path_factory.mktemp("cdk.out"))


@pytest.fixture(params=["dev", "prod"])
def environment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def template(environment: str, templates: dict[str, Template]) -> Template:
    """One environment's template; every test that uses it runs once on each."""
    return templates[environment]


@pytest.fixture
def names(environment: str) -> Names:
    return Names(environment)


@pytest.fixture
def workflow(template: Template, names: Names) -> Machine:
    """The state machine that people start."""
    return template.machine(names.of())


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Lambda package for AWS, from the wheels in build/wheels, which are fetched if they aren't there yet."""
    target = tmp_path_factory.mktemp("package") / "lambda"
    build(target, ROOT / "migrations", ARM64)
    return target
