"""The Lambda package: what is in it, what isn't, for which processor; and that it is the same each time."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from aurora_migrations import project
from aurora_migrations.cdk import package as packaging
from aurora_migrations.cdk.package import (
    ARM64,
    CERTIFICATES,
    CERTIFICATES_SHA256,
    LARGEST_ZIP,
    X86_64,
    PackagingError,
    build,
    code,
    inspect,
    locked,
    zipped,
)
from aurora_migrations.cli.verbs.packaging.build import missing_for_deploy
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.engine.manifest import Manifest
from tests.paths import ROOT

MIGRATIONS = ROOT / "migrations"


def names(package: Path) -> list[str]:
    return sorted(path.relative_to(package).as_posix() for path in package.rglob("*"))


def digest(package: Path) -> str:
    """Of names and contents, as the CDK hashes an asset."""
    files = [path for path in sorted(package.rglob("*")) if path.is_file()]
    texts = [path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() for path in files]
    return hashlib.sha256(b"".join(hashlib.sha256(text).digest() for text in texts)).hexdigest()


def test_nothing_is_wrong_with_it(package: Path) -> None:
    assert inspect(package, ARM64) == []


def test_it_is_the_same_when_made_again(package: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    build(again, MIGRATIONS, ARM64)
    assert digest(again) == digest(package)
    assert hashlib.sha256(zipped(again)).hexdigest() == hashlib.sha256(zipped(package)).hexdigest()


def test_nothing_in_it_tells_where_it_was_made(package: Path) -> None:
    """Or another checkout, or another machine, would make another package of the same input."""
    assert list(package.glob("*.dist-info/RECORD")) == []
    places = [str(place).encode() for place in (ROOT, sys.prefix, package)]
    files = [path for path in package.rglob("*") if path.is_file()]
    assert [path for path in files if any(place in path.read_bytes() for place in places)] == []


def test_everybody_may_read_it_whatever_the_builders_umask_says(package: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in package.rglob("*") if path.is_file()}
    folders = {stat.S_IMODE(path.stat().st_mode) for path in package.rglob("*") if path.is_dir()}
    assert (modes, folders) == ({0o644}, {0o755})


def test_it_is_small(package: Path) -> None:
    assert LARGEST_ZIP == 8_000_000
    assert 3_000_000 < len(zipped(package)) < LARGEST_ZIP


def test_it_holds_what_is_locked_in_those_versions_and_no_other_package(package: Path) -> None:
    found = {path.name for path in package.glob("*.dist-info")}
    assert found == {f"{name.replace('-', '_')}-{version}.dist-info" for name, version in locked().items()}
    assert {"psycopg", "psycopg-binary", "aws-lambda-powertools"} <= locked().keys()


def test_it_holds_no_boto3_no_compiler_and_no_test(package: Path) -> None:
    tops = {name.split("/")[0] for name in names(package)}
    assert not tops & {"boto3", "botocore", "infra", "tests", "postgast", "squawk", "bin"}
    ours = {name.split("/")[1] for name in names(package) if name.startswith("aurora_migrations/")}
    assert ours == {"__init__.py", "engine"}
    assert [name for name in names(package) if re.search(r"__pycache__|\.pyc$|(^|/)tests?/|conftest", name)] == []


def test_wheels_are_those_of_lambdas_linux_on_arm(package: Path) -> None:
    tags = {
        tag
        for wheel in package.glob("*.dist-info/WHEEL")
        for tag in re.findall(r"(?m)^Tag: (\S+)", wheel.read_text("utf-8"))
    }
    compiled = {tag for tag in tags if not tag.endswith("-none-any")}
    assert compiled
    assert all(re.fullmatch(r"cp314-cp314-manylinux_2_\d+_aarch64", tag) for tag in compiled)
    libraries = [path for path in package.rglob("*.so*") if path.is_file()]
    assert len(libraries) > 3
    assert {path.read_bytes()[18:20] for path in libraries} == {(183).to_bytes(2, "little")}


def test_handlers_can_be_imported_by_the_names_that_the_template_gives(package: Path) -> None:
    for step in ("preflight", "apply", "verify"):
        assert (package / "functions" / f"{step}.py").is_file()


def test_only_modules_of_our_code_go_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout, tops = tmp_path / "checkout", ("functions", "aurora_migrations")
    for top in tops:
        shutil.copytree(ROOT / top, checkout / top, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("functions/notes.txt", "functions/.venv/site.py", "functions/empty/README", "functions/.#mail.py"):
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).touch()
    monkeypatch.setattr(project, "PACKAGE", checkout / "aurora_migrations")
    monkeypatch.setattr(project, "FUNCTIONS", checkout / "functions")
    ours = [*(ROOT / "functions").rglob("*.py"), *(ROOT / "aurora_migrations" / "engine").rglob("*.py")]
    here = {path.relative_to(ROOT) for path in (*ours, ROOT / "aurora_migrations" / "__init__.py")}
    assert {Path(name) for name in code()} == here


def test_migrations_are_in_it_with_a_manifest_that_fits(package: Path) -> None:
    manifest = Manifest(package / "migrations")
    assert manifest.problems("apply", manifest.package.migrations) == []
    here = {path.name for path in MIGRATIONS.glob("*.sql")}
    assert {path.name for path in (package / "migrations").iterdir()} == {*here, "manifest.json", "manifest.details"}


def test_certificates_are_roots_of_amazon_rds_that_are_valid_for_long(package: Path) -> None:
    text = (package / CERTIFICATES).read_bytes()
    assert hashlib.sha256(text).hexdigest() == CERTIFICATES_SHA256
    certificates = x509.load_pem_x509_certificates(text)
    assert len(certificates) == 81
    for certificate in certificates:
        assert certificate.subject == certificate.issuer
        assert "Amazon RDS" in certificate.subject.rfc4514_string()
        assert certificate.not_valid_after_utc.year > 2060
        assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    context = ssl.create_default_context(cadata=text.decode("ascii"))
    assert context.cert_store_stats()["x509_ca"] >= 81


def test_code_in_it_runs_without_the_compiler(package: Path, tmp_path: Path) -> None:
    """What is pure Python of it, in a Python that has nothing else but psycopg for this machine."""
    for top in ("functions", "aurora_migrations"):
        shutil.copytree(package / top, tmp_path / top)
    code = (
        "import sys; sys.modules['postgast'] = sys.modules['rich'] = None\n"
        "import aurora_migrations.engine, aurora_migrations.engine.manifest as module\n"
        f"assert module.__file__.startswith({str(tmp_path)!r}), module.__file__\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


# ---- what is found, if something is wrong ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def light(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with only the heads of its libraries, which say for which processor they are: it is soon copied and
    zipped."""
    light = tmp_path_factory.mktemp("light") / "lambda"
    shutil.copytree(package, light)
    for library in light.rglob("*.so*"):
        library.write_bytes(library.read_bytes()[:64])
    assert inspect(light, ARM64) == []
    return light


STRANGERS = (
    *("boto3/__init__.py", "functions/__pycache__/a.pyc", "functions/notes.txt", "aurora_migrations/cli/main.py"),
    *("functions/dump.py", "aurora_migrations/engine/dump.sql", "functions/.env", "requests/__init__.py"),
    *("requests-2.32.0.dist-info/METADATA", "migrations/notes.txt", "six.py"),
    *("psycopg/__pycache__/a.pyc", "bin/jp.py", "psycopg_pool/__init__.py", "README.md"),
)


def put_strangers(package: Path) -> None:
    for name in STRANGERS:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()


def put_folder_of_migrations(package: Path) -> None:
    (package / "migrations" / "sub").mkdir()
    (package / "migrations" / "sub" / "001_a.sql").touch()


def lose_handler(package: Path) -> None:
    (package / "functions" / "apply.py").unlink()


def edit_migration(package: Path) -> None:
    path = next((package / "migrations").glob("*_agente.sql"))
    path.write_bytes(path.read_bytes() + b"SELECT 1;\n")


def lose_manifest(package: Path) -> None:
    (package / "migrations" / "manifest.json").unlink()


def other_version(package: Path) -> None:
    (old,) = package.glob("psycopg-*.dist-info")
    old.rename(package / "psycopg-3.2.13.dist-info")


def edit_certificates(package: Path) -> None:
    (package / CERTIFICATES).write_text("-----BEGIN CERTIFICATE-----\n", "utf-8")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (put_strangers, [f"{name} does not belong into the package." for name in STRANGERS]),
        (put_folder_of_migrations, ["migrations/sub/001_a.sql does not belong into the package."]),
        (lose_handler, ["functions/apply.py is missing"]),
        (edit_migration, ["InvalidManifest: 017_create_dry_run_log_micro_agente.sql was changed"]),
        (lose_manifest, ["InvalidManifest: There is no manifest"]),
        (other_version, ["psycopg is 3.2.13, and lambda.txt says 3.3.9."]),
        (edit_certificates, ["rds-ca.pem is missing, or not what"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_spoilt_package_is_told(spoil: Callable[[Path], None], told: list[str], light: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(light, spoilt)
    spoil(spoilt)
    problems = inspect(spoilt, ARM64)
    assert [each for each in told if not any(problem.startswith(each) for problem in problems)] == [], problems


def test_package_for_another_processor_is_told(package: Path) -> None:
    assert any("is not for Linux on x86_64" in problem for problem in inspect(package, X86_64))


def test_migration_that_cannot_be_run_stops_the_build(tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "001_a.sql").write_text("CREATE TABEL a ();\n", "utf-8")
    with pytest.raises(InvalidFile, match=r"001_a\.sql:1:8"):
        build(tmp_path / "package", folder, ARM64)


def test_build_says_what_it_made(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "aurora_migrations", "build", "--output", "json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    told = json.loads(ran.stdout)
    assert (ran.returncode, told["ok"], told["package"]) == (0, True, "build/lambda")
    assert told["digest"] == Manifest(ROOT / "build" / "lambda" / "migrations").digest
    assert told["zipped_bytes"] < LARGEST_ZIP


# ---- what is missing on the machine ---------------------------------------------------------------------------------


def test_no_network_and_no_wheels_is_told_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(PackagingError, match="The first build needs the package index"):
        build(tmp_path / "package", MIGRATIONS, ARM64, tmp_path / "no-wheels")


def test_python_without_pip_is_told_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_pip(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(arguments, 1, f"{sys.executable}: No module named pip")

    monkeypatch.setattr(packaging, "_try_pip", no_pip)
    with pytest.raises(PackagingError, match=r"This Python has no pip.*python -m tasks build"):
        build(tmp_path / "package", MIGRATIONS, ARM64, tmp_path / "no-wheels")


def test_machine_without_npx_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "Install Node 22 or 24" in missing_for_deploy()
