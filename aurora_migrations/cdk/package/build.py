"""The Lambda package: made without Docker, the same bytes from the same input, and verified before it is deployed.

    functions/  aurora_migrations/engine/                               our code
    aws_lambda_powertools/  psycopg/  psycopg_binary/ ...               the locked packages of lambda.txt
    migrations/         the SQL and its manifest, which the compiler writes here, where its grammar is
    rds-ca.pem          root certificates of Amazon RDS

Needs no CDK, so that `aurora-migrations build` starts fast. Wheels come from a folder that the
first build fills from the package index, and the next ones read: after that no network is needed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.compiler.check import check, write_manifest
from aurora_migrations.engine import discover
from aurora_migrations.engine.migrations import Problem, invalid_files

MIGRATIONS = "migrations"
CERTIFICATES = "rds-ca.pem"
HANDLERS = ("preflight", "apply", "verify")
PYTHON = "3.14"


@dataclass(frozen=True)
class Architecture:
    """A processor. Each platform tag is one kind of wheel that Lambda's Linux (Amazon Linux 2023) runs; with the older
    tag alone, pip silently takes an old psycopg. `python` is the runtime's version; without it, as without
    platforms, the package is for the machine and the Python that make it."""

    name: str
    platforms: tuple[str, ...] = ()
    elf_machine: int = 0
    python: str | None = PYTHON


ARM64 = Architecture("arm64", ("manylinux_2_28_aarch64", "manylinux2014_aarch64"), 183)
X86_64 = Architecture("x86_64", ("manylinux_2_28_x86_64", "manylinux2014_x86_64"), 62)
HERE = Architecture("this machine", python=None)


class PackagingError(Exception):
    """The package can't be built; the message has the reason and what to do."""


def build(target: Path, migrations: Path, architecture: Architecture = ARM64, wheels: Path | None = None) -> str:
    """Makes the package in an empty folder; returns the digest of its migrations.

    Raises:
        PackagingError: pip is missing or found no wheel, or migrations can't be run.
        InvalidFile, InvalidInput: the migrations folder can't be read as one.
    """
    add_code(target, architecture, wheels)
    digest = add_migrations(target, migrations)
    # In Lambda another user reads the files; the umask of the user who built them may have made them private.
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return digest


def add_code(target: Path, architecture: Architecture, wheels: Path | None = None) -> None:
    """Puts everything but the migrations into a folder. Downloaded wheels are in `wheels`, or the project's cache.

    Raises:
        PackagingError: pip is missing or found no wheel.
    """
    _install(target, architecture, wheels or project.cache() / "wheels")
    # Scripts of packages begin with the path of this very Python, and each RECORD holds their hashes.
    shutil.rmtree(target / "bin", ignore_errors=True)
    for record in target.glob("*.dist-info/RECORD"):
        record.unlink()
    _copy_code(target)
    shutil.copyfile(project.CERTIFICATES / CERTIFICATES, target / CERTIFICATES)


def add_migrations(target: Path, migrations: Path) -> str:
    """Puts the migrations and their manifest beside the code; returns their digest.

    Raises:
        PackagingError: migrations can't be run.
        InvalidFile, InvalidInput: the migrations folder can't be read as one.
    """
    target /= MIGRATIONS
    found = [migrations / name for migration in discover(migrations).migrations for name in migration.files]
    unreadable = []  # all of them, as `check` names them: such as a link that leads nowhere
    for path in found:
        try:
            path.open("rb").close()
        except OSError as error:
            unreadable.append(Problem(path.name, f"can't be read: {error.strerror}"))
    if unreadable:
        raise invalid_files(unreadable)
    target.mkdir()
    for path in found:
        shutil.copyfile(path, target / path.name)
    files = check(discover(target))
    wrong = [str(problem) for file in files for problem in file.problems]
    if wrong:
        lines = "\n".join(f"  {line}" for line in wrong)
        raise PackagingError(f"Migrations can't be run as they are; `aurora-migrations check` tells more:\n{lines}")
    return write_manifest(target, files)


def fill(wheels: Path, architecture: Architecture = ARM64) -> None:
    """Fetches the wheels of lambda.txt that aren't there yet.

    Raises:
        PackagingError: pip is missing, or couldn't.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    found = ("--find-links", str(wheels), "--dest", str(wheels))
    _pip("download", *_wanted(architecture), *found, message=_NO_WHEELS)


def _install(target: Path, architecture: Architecture, wheels: Path) -> None:
    install = ("install", "--no-compile", "--target", str(target), *_wanted(architecture))
    offline = ("--no-index", "--find-links", str(wheels))
    if wheels.is_dir() and _try_pip(*install, *offline).returncode == 0:
        return
    shutil.rmtree(target, ignore_errors=True)
    fill(wheels, architecture)
    _pip(*install, *offline, message=_NO_WHEELS)


def _wanted(architecture: Architecture) -> tuple[str, ...]:
    platforms = [word for platform in architecture.platforms for word in ("--platform", platform)]
    kind = ("--implementation", "cp", "--python-version", architecture.python) if architecture.python else ()
    return (
        *platforms,
        *kind,
        "--only-binary",
        ":all:",
        "--no-deps",
        "--require-hashes",
        "--requirement",
        str(project.LAMBDA_REQUIREMENTS),
    )


def _copy_code(target: Path) -> None:
    """Modules only: other files in the folder, such as notes or a dump, aren't code."""
    for name, path in code().items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)


def code() -> dict[str, Path]:
    """The modules that run in Lambda, the functions and the engine, by their names in the package."""
    paths = [project.PACKAGE / "__init__.py", *(project.PACKAGE / "engine").rglob("*.py")]
    tops = [(project.PACKAGE, paths), (project.FUNCTIONS, project.FUNCTIONS.rglob("*.py"))]
    names = {path.relative_to(top.parent): path for top, found in tops for path in sorted(found)}
    return {n.as_posix(): path for n, path in names.items() if not any(part.startswith(".") for part in n.parts)}


# ---- pip ------------------------------------------------------------------------------------------------------------

_NO_PIP = (
    "This Python has no pip, which fetches the packages that go into the Lambda package. "
    'Install it with `pip install "aurora-migrations[cdk]"`; in a checkout, `python -m tasks build` does.'
)
_NO_WHEELS = (
    "pip could not get the packages of lambda.txt (its words are above). The first build needs the "
    "package index; if the network failed, call again. Later builds need no network."
)


def _pip(*arguments: str, message: str) -> None:
    result = _try_pip(*arguments)
    if "No module named pip" in result.stdout:
        raise PackagingError(_NO_PIP)
    if result.returncode:
        print(result.stdout, file=sys.stderr)
        raise PackagingError(message)


# pip, in a process that ends with its stdin, and so with the process that holds the other end, however that one ends
_ENDING_PIP = """
import os, runpy, threading

def end_with_stdin():
    os.read(0, 1)
    os._exit(1)

threading.Thread(target=end_with_stdin, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""


def _try_pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str] = (sys.executable, "-c", _ENDING_PIP, *arguments)
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
    with subprocess.Popen(
        [*command, *quiet], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        output = pip.stdout.read() if pip.stdout else ""
        return subprocess.CompletedProcess(command, pip.wait(), output)
