"""The Lambda package for this machine: the same folders as on AWS, with wheels of this machine's own kind.

Each package stands in a folder named after what it was made from, so it is made once. Its code, which seldom changes,
stands in one of its own, compiled, so that functions start fast with new migrations too.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from infra.packaging import HERE, REQUIREMENTS, ROOT, add_code, add_migrations

KEPT = 5  # packages that are kept, the newest
Tell = Callable[[str], None]


def package(folder: Path, migrations: Path, tell: Tell) -> Path:
    """The folder that holds the package of these migrations, made if need be.

    Args:
        folder: where packages are kept.
        tell: told that it takes a while, if it does.

    Raises:
        PackagingError: pip or the migrations are not as they should be.
        InvalidFile, InvalidInput: the migrations folder can't be read as one.
    """
    code = _code(folder, tell)
    sql = [path for path in sorted(migrations.iterdir()) if path.is_file()] if migrations.is_dir() else []
    digest = _hashed([*_sources("compiler"), *sql], code.name)
    made = _made(folder / f"package-{digest}", lambda making: _put_together(making, code, migrations))
    _forget_old(folder, made)
    return made


def _code(folder: Path, tell: Tell) -> Path:
    """All but the migrations."""

    def make(making: Path) -> None:
        tell("Installing what the functions need ...")
        add_code(making, HERE)
        compileall.compile_dir(making, quiet=1)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _made(folder / f"code-{_hashed([REQUIREMENTS, *_sources('functions')], version)}", make)


def _put_together(making: Path, code: Path, migrations: Path) -> None:
    shutil.copytree(code, making, copy_function=_link)
    add_migrations(making, migrations)


def _made(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made unless it is there; it appears whole or not at all."""
    if folder.is_dir():
        folder.touch()
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    making = folder.with_name(f"{folder.name}.{os.getpid()}")
    shutil.rmtree(making, ignore_errors=True)
    try:
        make(making)
        making.replace(folder)
    except OSError:
        if not folder.is_dir():  # else another process has made it meanwhile
            raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return folder


def _sources(name: str) -> list[Path]:
    return [path for path in sorted((ROOT / name).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def _hashed(files: Iterable[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for path in files:
        digest.update(f"\0{path.name}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _link(source: str, target: str) -> None:
    """A second name for the same file, where the file system can do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _forget_old(folder: Path, made: Path) -> None:
    for kind, kept in (("package-*", KEPT), ("code-*", 2)):
        found = sorted(folder.glob(kind), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[kept:]:
            if path != made:
                shutil.rmtree(path, ignore_errors=True)
