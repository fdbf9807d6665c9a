"""The Lambda package for this machine: the same folders as on AWS, with wheels of this machine's own kind.

Each package stands in a folder named after what it was made from, so it is made once.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.packaging import HERE, REQUIREMENTS, ROOT, add_ours, install

_SOURCES = ("functions", "compiler")  # code that is copied, and code that reads the migrations
_NOT_CODE = ("__pycache__", ".pyc")
KEPT = 5  # packages that are kept, the newest


def package(folder: Path, migrations: Path, tell: Callable[[str], None]) -> Path:
    """The folder that holds the package of these migrations, made if need be.

    Args:
        folder: where packages are kept.
        tell: told that it takes a while, if it does.

    Raises:
        PackagingError: pip or the migrations are not as they should be.
        InvalidFile, InvalidInput: the migrations folder can't be read as one.
    """
    made = folder / f"package-{_digest(migrations)}"
    if made.is_dir():
        made.touch()
        return made
    making = folder / f"{made.name}.{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    try:
        shutil.copytree(_layer(folder, tell), making, copy_function=_link)
        add_ours(making, migrations)
        making.replace(made)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    _forget_old(folder, made)
    return made


def _layer(folder: Path, tell: Callable[[str], None]) -> Path:
    """The packages of requirements/lambda.txt, by themselves: they change seldom."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    made = folder / f"layer-{_hashed([REQUIREMENTS], version)}"
    if made.is_dir():
        return made
    tell("Installing what the functions need ...")
    making = folder / f"{made.name}.{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    making.parent.mkdir(parents=True, exist_ok=True)
    try:
        install(making, HERE)
        making.replace(made)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return made


def _digest(migrations: Path) -> str:
    code = [
        path
        for source in _SOURCES
        for path in sorted((ROOT / source).rglob("*"))
        if path.is_file() and not any(word in str(path) for word in _NOT_CODE)
    ]
    sql = [path for path in sorted(migrations.iterdir()) if path.is_file()] if migrations.is_dir() else []
    return _hashed([REQUIREMENTS, *code, *sql], f"{sys.version_info.major}.{sys.version_info.minor}")


def _hashed(files: Iterable[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for path in files:
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _link(source: str, target: str) -> None:
    """A second name for the same file, where the file system can do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _forget_old(folder: Path, made: Path) -> None:
    packages = sorted(folder.glob("package-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in packages[KEPT:]:
        if path != made:
            shutil.rmtree(path, ignore_errors=True)
