"""The Lambda package: built without Docker, the same bytes from the same input, and verified before it is deployed.

    functions/  aurora_migrations/engine/                               our code
    aws_lambda_powertools/  psycopg/  psycopg_binary/ ...               the locked packages of lambda.txt
    migrations/         the SQL and its manifest, which the compiler writes here, where its grammar is
    rds-ca.pem          root certificates of Amazon RDS

Needs no CDK, so that `aurora-migrations build` starts fast. Wheels come from a folder that the
first build fills from the package index, and the next ones read: after that no network is needed.
"""

from __future__ import annotations

import hashlib
import io
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.compiler.check import Checked, check, write_manifest
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.manifest import Manifest
from aurora_migrations.engine.migrations import Problem, invalid_files
from aurora_migrations.replay.findings import with_replay
from aurora_migrations.replay.history import Replay, replay

MIGRATIONS = "migrations"
CERTIFICATES = "rds-ca.pem"
HANDLERS = ("preflight", "apply", "verify")
PYTHON = "3.14"
LARGEST_ZIP = 8_000_000
CERTIFICATES_SHA256 = "97ecac74d2510c77e971584a857167817d6f2339918922533cfed0882e8b8bc1"
COMPILED = re.compile(r"(?:^|/)__pycache__/|\.pyc$")
MANIFEST = ("manifest.json", "manifest.details")


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


Replays = Callable[[Sequence[Checked]], Replay | None]


class PackagingError(Exception):
    """The package can't be built; the message has the reason and what to do."""


def build(
    target: Path,
    migrations: Path,
    architecture: Architecture = ARM64,
    wheels: Path | None = None,
    replays: Replays | None = None,
) -> str:
    """Makes the package in an empty folder; returns the digest of its migrations. `replays` is how they are replayed;
    by default on the embedded PostgreSQL, if there is one.

    Raises:
        PackagingError: pip is missing or found no wheel.
        InvalidFile, InvalidInput: migrations can't be read or can't be run.
    """
    add_code(target, architecture, wheels)
    digest = add_migrations(target, migrations, replays)
    # In Lambda another user reads the files; the umask of the user who built them may have made them private.
    for path in (target, *target.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return digest


def add_code(target: Path, architecture: Architecture, wheels: Path | None = None) -> None:
    """Puts everything but the migrations into a folder. Downloaded wheels are in `wheels`, or the project's cache.

    Raises:
        PackagingError: pip is missing or found no wheel.
    """
    wheels = wheels or project.cache() / "wheels"
    install = ("install", "--no-compile", "--target", str(target), *_wanted(architecture))
    offline = ("--no-index", "--find-links", str(wheels))
    if not wheels.is_dir() or _try_pip(*install, *offline).returncode:
        shutil.rmtree(target, ignore_errors=True)
        fill(wheels, architecture)
        _pip(*install, *offline, message=_NO_WHEELS)
    # Scripts of packages begin with the path of this very Python, and each RECORD holds their hashes.
    shutil.rmtree(target / "bin", ignore_errors=True)
    for record in target.glob("*.dist-info/RECORD"):
        record.unlink()
    for name, path in code().items():
        place = target / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    shutil.copyfile(project.CERTIFICATES / CERTIFICATES, target / CERTIFICATES)


def add_migrations(target: Path, migrations: Path, replays: Replays | None = None) -> str:
    """Puts the migrations and their manifest beside the code; returns their digest. See `build`.

    Raises:
        InvalidFile, InvalidInput: migrations can't be read or can't be run.
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
    _refuse(files)
    replayed_on = None
    if replays or project.replays():
        shown = (replays or replay)(files)
        if shown is not None:
            files, replayed_on = with_replay(files, shown), shown.major
    _refuse(files)
    return write_manifest(target, files, replayed_on)


def _refuse(files: Sequence[Checked]) -> None:
    wrong = [problem for file in files for problem in file.problems]
    if wrong:
        raise invalid_files(wrong)


def fill(wheels: Path, architecture: Architecture = ARM64) -> None:
    """Fetches the wheels of lambda.txt that aren't there yet.

    Raises:
        PackagingError: pip is missing, or couldn't.
    """
    project.make(wheels)
    found = ("--find-links", str(wheels), "--dest", str(wheels))
    _pip("download", *_wanted(architecture), *found, message=_NO_WHEELS)


def _wanted(architecture: Architecture) -> tuple[str, ...]:
    platforms = [word for platform in architecture.platforms for word in ("--platform", platform)]
    kind = ("--implementation", "cp", "--python-version", architecture.python) if architecture.python else ()
    exact = ("--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement")
    return (*platforms, *kind, *exact, str(project.LAMBDA_REQUIREMENTS))


def code() -> dict[str, Path]:
    """The modules that run in Lambda, the functions and the engine, by their names in the package. Other files of their
    folders, such as notes or a dump, aren't code."""
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
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check")
    command = [sys.executable, "-c", _ENDING_PIP, *arguments, *quiet]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        output = pip.stdout.read() if pip.stdout else ""
        return subprocess.CompletedProcess(command, pip.wait(), output)


# ---- what a finished package holds ----------------------------------------------------------------------------------


def inspect(package: Path, architecture: Architecture) -> list[str]:
    """The problems of a package, as sentences; empty if there are none."""
    files = sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file())
    problems = [f"{name} does not belong into the package." for name in _strangers(package, files)]
    for handler in HANDLERS:
        if f"functions/{handler}.py" not in files:
            what = f"the function {handler} would have nothing to run"
            problems.append(f"functions/{handler}.py is missing: {what}.")
    if "aurora_migrations/engine/__init__.py" not in files:
        problems.append("aurora_migrations/engine is missing: the functions have no engine.")
    found = dict(path.name.removesuffix(".dist-info").split("-", 1) for path in package.glob("*.dist-info"))
    wanted = {name.replace("-", "_"): version for name, version in locked().items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            version = wanted.get(name, "no")
            problems.append(f"{name} is {found.get(name, 'missing')}, and lambda.txt says {version}.")
    problems += _of_another_processor(package, files, architecture)
    try:
        manifest = Manifest(package / MIGRATIONS)
        manifest.problems("apply", manifest.package.migrations)
    except MigratorError as error:
        problems.append(f"{error.name}: {error.message}")
    certificates, source = package / CERTIFICATES, "aurora_migrations/cdk/certificates/README.md"
    if not certificates.is_file() or hashlib.sha256(certificates.read_bytes()).hexdigest() != CERTIFICATES_SHA256:
        problems.append(f"{CERTIFICATES} is missing, or not what {source} says it is.")
    size = len(zipped(package))
    if size > LARGEST_ZIP:
        limit = f"more than {LARGEST_ZIP / 1e6:.0f} MB start too slowly"
        problems.append(f"The package has {size / 1e6:.1f} MB zipped; {limit}.")
    return problems


def zipped(package: Path) -> bytes:
    """The package as one archive; the same bytes from the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in sorted(package.rglob("*")):
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(package).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                made.writestr(entry, path.read_bytes())
    return archive.getvalue()


def locked() -> dict[str, str]:
    """The packages of lambda.txt and their versions."""
    return dict(re.findall(r"(?m)^([\w.-]+)==([^\s;]+)", project.LAMBDA_REQUIREMENTS.read_text("utf-8")))


def _strangers(package: Path, files: list[str]) -> Iterator[str]:
    """Everything but our modules, the migrations, the certificates, and what the locked packages consist of."""
    versions = {name.replace("-", "_"): version for name, version in locked().items()}
    wheels = {  # the top-level folders of each: package, shared libraries, metadata
        top
        for name, version in versions.items()
        for top in (name, f"{name}.py", f"{name}.libs", f"{name}-{version}.dist-info")
    }
    migrations = {*MANIFEST}
    try:
        migrations |= {name for each in discover(package / MIGRATIONS).migrations for name in each.files}
    except MigratorError:  # reported by `inspect`
        migrations |= {path.name for path in (package / MIGRATIONS).glob("*.sql")}
    modules = code()
    for name in files:
        top, _, rest = name.partition("/")
        ours = name == CERTIFICATES or name in modules or (top == MIGRATIONS and rest in migrations)
        if COMPILED.search(name) or not (ours or top in wheels):
            yield name


def _of_another_processor(package: Path, files: list[str], architecture: Architecture) -> Iterator[str]:
    libraries = [name for name in files if re.search(r"\.so(\.\d+)*$", name)]
    for name in libraries:
        with (package / name).open("rb") as file:
            head = file.read(20)
        if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != architecture.elf_machine:
            yield f"{name} is not for Linux on {architecture.name}."
    tag = f".cpython-{PYTHON.replace('.', '')}-"
    if not any(tag in name for name in libraries if name.startswith("psycopg_binary/")):
        yield f"psycopg's compiled part for Python {PYTHON} is missing."
