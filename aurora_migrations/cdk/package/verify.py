"""Verifies a finished package: complete, of the right versions and architecture, and nothing else."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.cdk.package.build import CERTIFICATES, HANDLERS, MIGRATIONS, PYTHON, Architecture, code
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.manifest import Manifest

LARGEST_ZIP = 8_000_000
CERTIFICATES_SHA256 = "97ecac74d2510c77e971584a857167817d6f2339918922533cfed0882e8b8bc1"

COMPILED = re.compile(r"(?:^|/)__pycache__/|\.pyc$")
MANIFEST = ("manifest.json", "manifest.details")


def inspect(package: Path, architecture: Architecture) -> list[str]:
    """The problems of a package, as sentences; empty if there are none."""
    files = sorted(path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file())
    return [
        *(f"{name} does not belong into the package." for name in _strangers(package, files)),
        *_missing(files),
        *_versions(package),
        *_processor(package, files, architecture),
        *_migrations(package / MIGRATIONS),
        *_certificates(package / CERTIFICATES),
        *_size(package),
    ]


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
    except MigratorError:  # it is reported by `_migrations`
        migrations |= {path.name for path in (package / MIGRATIONS).glob("*.sql")}
    modules = code()
    for name in files:
        top, _, rest = name.partition("/")
        ours = name == CERTIFICATES or name in modules or (top == MIGRATIONS and rest in migrations)
        if COMPILED.search(name) or not (ours or top in wheels):
            yield name


def _missing(files: list[str]) -> Iterator[str]:
    for handler in HANDLERS:
        if f"functions/{handler}.py" not in files:
            yield f"functions/{handler}.py is missing: the function {handler} would have nothing to run."
    if "aurora_migrations/engine/__init__.py" not in files:
        yield "aurora_migrations/engine is missing: the functions have no engine."


def _versions(package: Path) -> Iterator[str]:
    found = dict(path.name.removesuffix(".dist-info").split("-", 1) for path in package.glob("*.dist-info"))
    wanted = {name.replace("-", "_"): version for name, version in locked().items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            yield f"{name} is {found.get(name, 'missing')}, and lambda.txt says {wanted.get(name, 'no')}."


def _processor(package: Path, files: list[str], architecture: Architecture) -> Iterator[str]:
    libraries = [name for name in files if re.search(r"\.so(\.\d+)*$", name)]
    for name in libraries:
        with (package / name).open("rb") as file:
            head = file.read(20)
        if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != architecture.elf_machine:
            yield f"{name} is not for Linux on {architecture.name}."
    tag = f".cpython-{PYTHON.replace('.', '')}-"
    if not any(tag in name for name in libraries if name.startswith("psycopg_binary/")):
        yield f"psycopg's compiled part for Python {PYTHON} is missing."


def _migrations(folder: Path) -> Iterator[str]:
    try:
        manifest = Manifest(folder)
        manifest.problems("apply", manifest.package.migrations)
    except MigratorError as error:
        yield f"{error.name}: {error.message}"


def _certificates(path: Path) -> Iterator[str]:
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != CERTIFICATES_SHA256:
        yield f"{CERTIFICATES} is missing, or not what aurora_migrations/cdk/certificates/README.md says it is."


def _size(package: Path) -> Iterator[str]:
    size = len(zipped(package))
    if size > LARGEST_ZIP:
        yield f"The package has {size / 1e6:.1f} MB zipped; more than {LARGEST_ZIP / 1e6:.0f} MB start too slowly."
