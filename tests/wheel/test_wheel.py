"""The wheel, installed into an environment of its own and used from a directory that has packages of its own.

The environment holds what the wheel and its extras require and nothing else: the distributions are linked from the one
that runs the tests, so nothing is downloaded.
"""

from __future__ import annotations

import contextlib
import importlib.metadata as metadata
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from aurora_migrations.embedded.server import Server
from tests.database.helpers import until
from tests.paths import ROOT
from tests.servers import Database
from tests.wheel.shop import neighbours

PIP = (sys.executable, "-m", "pip", "--quiet")
FOREIGN = ("cli", "infra", "functions", "local", "compiler", "tests", "documents", "engine", "cdk")
MAIN = "import sys; from aurora_migrations.cli.main import main; sys.exit(main())"
TABLE = "CREATE TABLE wheel_test (id int PRIMARY KEY);\n"
SYNTHESIS = """
import aurora_migrations.cdk as migrations  # before aws_cdk: it tells the CDK which Node to use
import sys
from pathlib import Path

import aws_cdk as cdk

environments = {"dev": {
    "account": "123456789012", "region": "eu-west-1", "emails": ["team@example.com"],
    "network": {"vpc": "vpc-1", "subnets": ["subnet-1", "subnet-2"], "database_security_group": "sg-1",
                "secrets_endpoint": "create"},
    "database": {"host": "db.example.internal", "name": "shop", "secret": sys.argv[1]},
}}
app = cdk.App(outdir="own.out")
(settings,) = migrations.read_environments(environments)
migrations.MigrationsStack(app, settings, migrations.bundled(Path("migrations")))
app.synth()
"""
# Both in one process, as to load the CDK takes long; its Node stays in the first folder.
SYNTH_EACH = """
import os, sys
from pathlib import Path
from aurora_migrations.cli.main import main

top, out = Path.cwd(), []
for name in sys.argv[1:]:
    os.chdir(top / name)
    assert main(["synth", *out]) == 0
    out = ["--out", str(top / sys.argv[-1] / "aurora-migrations.out")]
"""
SECRET = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop-AbCdEf"


class Installed:
    """An environment with the wheel, and a project of somebody else's to stand in."""

    def __init__(self, folder: Path, wheel: Path, extras: Sequence[str]) -> None:
        self.project = folder / "shop"
        self.home = folder / "environment"
        venv.create(self.home, with_pip=False, symlinks=True)
        self.site = Path(self.python("import sysconfig; print(sysconfig.get_paths()['purelib'])").stdout.strip())
        subprocess.run(
            [*PIP, "install", "--no-deps", "--no-index", "--target", str(self.site), str(wheel)],
            check=True,
            capture_output=True,
        )
        self.add(extras)
        (self.project / "migrations").mkdir(parents=True)
        (self.project / "migrations" / "001_wheel_test.sql").write_text(TABLE)
        for name in FOREIGN:
            (self.project / name).mkdir()
            (self.project / name / "__init__.py").write_text(f"raise ImportError('{name} of the project was loaded')\n")

    def add(self, extras: Sequence[str]) -> None:
        """Links what the wheel requires, with these extras, out of the tests' own environment."""
        (own,) = (each for each in metadata.distributions(path=[str(self.site)]) if each.name == "aurora-migrations")
        for name in sorted(required(own, extras)):
            distribution = metadata.distribution(name)
            for file in distribution.files or ():
                top = file.parts[0]
                source = Path(str(file.locate() if top == ".." else distribution.locate_file(top)))
                place = self.home / "bin" / file.name if top == ".." else self.site / top
                if top != "__pycache__" and not place.exists():
                    place.symlink_to(source)

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Calls the command, as its console script would."""
        return self.python(MAIN, *words, **variables)

    def python(self, program: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a program as a script in the project would be run: with the project first on the path."""
        command = [str(self.home / "bin" / "python"), "-c", program, *words]
        here = self.project if self.project.is_dir() else None
        return subprocess.run(command, cwd=here, env=self.variables(**variables), capture_output=True, text=True)

    def variables(self, **more: str) -> dict[str, str]:
        kept = ("PATH", "HOME", "LANG", "TMPDIR")
        return {**{name: os.environ[name] for name in kept if name in os.environ}, **more}


def required(own: metadata.Distribution, extras: Sequence[str]) -> set[str]:
    """The names of all distributions that this one needs, and those need."""
    found: set[str] = set()
    left = [(own, frozenset(extras))]
    while left:
        distribution, wanted = left.pop()
        for text in distribution.requires or ():
            requirement = Requirement(text)
            marks = (
                [requirement.marker.evaluate({"extra": extra}) for extra in ("", *wanted)]
                if requirement.marker
                else [True]
            )
            if not any(marks):
                continue
            if requirement.name == own.name:  # an extra that holds another one
                left.append((own, frozenset(requirement.extras)))
            elif requirement.name not in found:
                found.add(requirement.name)
                left.append((metadata.distribution(requirement.name), frozenset(requirement.extras)))
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    checkout = copied(folder / "checkout")
    built = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(checkout)],
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


def copied(target: Path) -> Path:
    """What is in the repository; a build writes beside the sources."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if not name.startswith(("tests/", "docs/", "benchmarks/")) and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel without extras."""
    return Installed(tmp_path_factory.mktemp("base"), wheel, ())


def test_it_installs_one_package(base: Installed) -> None:
    ours = {path.name for path in base.site.iterdir() if not path.is_symlink()}
    assert {name for name in ours if not name.endswith(".dist-info")} - {"bin", "__pycache__"} == {"aurora_migrations"}
    package = base.site / "aurora_migrations"
    for name in ("functions/apply.py", "lambda.txt", "cdk/certificates/rds-ca.pem", "py.typed"):
        assert (package / name).is_file(), name


def test_the_command_works_in_a_project_with_packages_of_the_same_names(base: Installed, database: Database) -> None:
    at = {"DATABASE_URL": database.url}
    version = base.call("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith(f"aurora-migrations {metadata.version('aurora-migrations')}")
    assert base.call("new", "add a note").returncode == 0
    (made,) = (base.project / "migrations").glob("002_*.sql")
    made.write_text("ALTER TABLE wheel_test ADD COLUMN note text;\n")
    for words in (["check", "--no-replay"], ["run"], ["list"]):
        said = base.call(*words, **at)
        assert said.returncode == 0, words
        assert said.stderr == "" or (words == ["run"] and "wasn't compared with a replay" in said.stderr), words
    listed = base.call("list", "--output", "json", **at)
    assert [entry["state"] for entry in json.loads(listed.stdout)["migrations"]] == ["applied", "applied"]
    public = base.python("import aurora_migrations as a; print(*(getattr(a, name) for name in a.__all__))")
    assert public.returncode == 0, public.stderr


def test_a_repository_of_ones_own_is_begun_with_the_wheel(base: Installed, tmp_path: Path) -> None:
    begun = base.python(f"import os; os.chdir({str(tmp_path)!r}); {MAIN}", "init", "--project", "shop")
    assert (begun.returncode, begun.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} >= {"cdk.json", "app.py", "migrations"}
    synthesised = base.call("synth")
    assert synthesised.returncode == 1
    assert 'pip install "aurora-migrations[cdk]"' in synthesised.stderr


def test_what_an_extra_is_for_says_so_where_it_is_missing(base: Installed) -> None:
    said = base.call("run", "--local")
    assert said.returncode == 1
    assert 'pip install "aurora-migrations[local]"' in said.stderr


def share_wheels(installed: Installed) -> None:
    """What the tests' own cache has of the functions' packages needn't be downloaded."""
    cache = installed.project / ".local" / "cache"
    cache.mkdir(parents=True)
    (ROOT / "build" / "wheels").mkdir(parents=True, exist_ok=True)
    (cache / "wheels").symlink_to(ROOT / "build" / "wheels")


@contextlib.contextmanager
def up(installed: Installed) -> Iterator[None]:
    said = installed.project / "up.txt"
    with said.open("wb") as file:
        process = subprocess.Popen(
            [str(installed.home / "bin" / "python"), "-m", "aurora_migrations", "up"],
            cwd=installed.project,
            env=installed.variables(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        until(lambda: "The local cloud is up." in said.read_text() or process.poll() is not None, "it is up", 100)
        assert process.poll() is None, said.read_text()
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.mark.skipif(sys.platform == "win32", reason="its processes are ended by signals")
def test_the_local_cloud_runs_the_functions_of_the_wheel(shop: Installed) -> None:
    with up(shop):
        deployed = shop.call("deploy", "--local")
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert "Migration 001 executed successfully" in deployed.stdout
        listed = shop.call("list", "--local", "--output", "json")
        assert [entry["state"] for entry in json.loads(listed.stdout)["migrations"]] == ["applied"]


def test_a_stack_with_the_projects_migrations_is_synthesised(synthesised: Installed) -> None:
    out = synthesised.project / "own.out"
    (template,) = out.glob("*.template.json")
    assert re.search(r'"Handler": ?"functions\.apply\.handler"', template.read_text())
    packed = list(out.glob("asset.*/migrations/*.sql"))
    assert [path.name for path in packed] == ["001_wheel_test.sql"]


@pytest.fixture(scope="module")
def synthesised(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A project with the extra `cdk`: an app of somebody else's that uses the construct, and one of our stack; and what
    they have synthesised, in one process, as to load the CDK takes long."""
    installed = Installed(tmp_path_factory.mktemp("shop"), wheel, ("cdk",))
    share_wheels(installed)
    shutil.copytree(ROOT / "tests" / "wheel" / "shop", installed.project, dirs_exist_ok=True)
    for name in ("shop", "orders"):
        (installed.project / "db" / name).mkdir(parents=True)
        (installed.project / "db" / name / f"001_{name}.sql").write_text(TABLE)
    made = installed.python(f"import runpy; runpy.run_path('app.py')\n{SYNTHESIS}", SECRET)
    assert made.returncode == 0, made.stderr
    return installed


@pytest.fixture(scope="module")
def shop(synthesised: Installed) -> Installed:
    """The same project, by now with the extra `local`."""
    synthesised.add(("local",))
    return synthesised


def test_the_construct_packs_the_folder_of_each(synthesised: Installed) -> None:
    out = synthesised.project / "cdk.out"
    for path, expected in (
        (out / "ShopProd.template.json", {"shop-prod": "001_shop.sql"}),
        (
            next((out / "assembly-Prod").glob("*.template.json")),
            {"prod-orders-shop-migrations": "001_shop.sql", "prod-orders-orders-migrations": "001_orders.sql"},
        ),
    ):
        functions = [
            each["Properties"]
            for each in json.loads(path.read_text())["Resources"].values()
            if each["Type"] == "AWS::Lambda::Function" and each["Properties"]["Handler"] == "functions.apply.handler"
        ]
        packed = {
            each["FunctionName"].removeprefix("aurora-migrations-").removesuffix("-apply"): [
                file.name for file in out.glob(f"asset.{each['Code']['S3Key'].removesuffix('.zip')}/migrations/*.sql")
            ]
            for each in functions
        }
        assert packed == {name: [file] for name, file in expected.items()}


@pytest.mark.skipif(sys.platform == "win32", reason="its processes are ended by signals")
def test_a_stack_with_the_construct_migrates_in_the_local_cloud(shop: Installed, database: Database) -> None:
    ran = shop.python("import runpy; runpy.run_path('laptop.py')", database.url)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["machine"].endswith(":aurora-migrations-laptop")
    assert told["status"] == "SUCCEEDED", told
    assert told["output"]["message"] == "Migration 001 executed successfully"
    assert database.query("SELECT count(*) FROM wheel_test") == [(0,)]


@pytest.mark.skipif(sys.platform == "win32", reason="its processes are ended by signals")
def test_two_projects_migrate_side_by_side_in_one_account(shop: Installed, server: Server) -> None:
    """Both have an environment `prod`, and each deployment starts its own project's run only."""
    at = {"AURORA_MIGRATIONS_LOCAL": str(shop.project / ".local")}
    for name in neighbours.PROJECTS:
        (shop.project / name).mkdir()
        begun = shop.python(f"import os; os.chdir({name!r}); {MAIN}", "init", "--project", name, **at)
        assert begun.returncode == 0, begun.stderr
        context = {"project": name, "environments": neighbours.settings(name)}
        (shop.project / name / "cdk.json").write_text(json.dumps({"app": "python app.py", "context": context}))
        (shop.project / name / "migrations" / f"002_{name}.sql").write_text(f"CREATE TABLE of_{name} (id int);\n")
    synthesised = shop.python(SYNTH_EACH, *neighbours.PROJECTS, **at)
    assert synthesised.returncode == 0, synthesised.stderr
    databases = [Database(server, name) for name in neighbours.PROJECTS]
    try:
        for database in databases:
            database.create()
        ran = shop.python("import runpy; runpy.run_path('neighbours.py', run_name='__main__')", server.url())
        assert ran.returncode == 0, ran.stderr
        told = json.loads(ran.stdout.splitlines()[-1])
        for database in databases:
            (execution,) = told["started"][f"AuroraMigrationsRunnerStack-{database.name}-prod"]
            assert execution.split(":")[-2] == f"aurora-migrations-{database.name}-prod"
            assert told["ended"][execution] == ["SUCCEEDED", None]
            tables = database.query("SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^(of_|example)'")
            assert sorted(tables) == [("example",), (f"of_{database.name}",)]
        assert told["refused"] == []
    finally:
        for database in databases:
            database.drop()
