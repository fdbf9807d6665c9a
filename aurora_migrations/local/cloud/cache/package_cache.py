"""The Lambda package for this machine: the same folders as on AWS, with wheels of this machine's own kind.

Each package stands in a folder named after what it was made from, so it is made once. Its code, which seldom changes,
stands in one of its own, compiled, so that functions start fast with new migrations too.

Where our sources have changed since this process read them, a new process makes it: `python -m` this module.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.cdk.package.build import (
    HERE,
    PackagingError,
    add_code,
    add_migrations,
)
from aurora_migrations.local.cloud.cache import kept
from aurora_migrations.local.cloud.cache.contents import fingerprint
from aurora_migrations.local.postgres.process_lifetime import end_with_the_parent, lifeline

KEPT = 5  # packages that are kept, the newest, beside those in use
Tell = Callable[[str], None]
_ROOMS = ("compiler", "engine", "cdk/package", "cdk/certificates", "project.py", "__init__.py")
_MAKERS = (*(project.PACKAGE / room for room in _ROOMS), project.FUNCTIONS, Path(__file__))


def package(folder: Path, migrations: Path, tell: Tell) -> Path:
    """The folder that holds the package of these migrations, made if need be. It stays as long as this process.

    Args:
        folder: where packages are kept.
        tell: told that it takes a while, if it does.

    Raises:
        PackagingError: pip or the migrations are not as they should be.
        InvalidFile, InvalidInput: the migrations folder can't be read as one.
        ServerError: another process is at work there for too long.
    """
    try:
        with kept.alone(folder):
            made = _package(folder, migrations, tell)
            kept.use(made, KEPT)
            kept.forget_old(folder, "package", KEPT)
            kept.forget_old(folder, "code", 2)
    except kept.Changing as error:
        raise PackagingError("Migrations or sources change while they are packed. Deploy again.") from error
    except OSError as error:
        raise PackagingError(f"The package can't be made in {folder}: {error}. See to room and rights.") from error
    return made


def _package(folder: Path, migrations: Path, tell: Tell) -> Path:
    def make_code(making: Path) -> None:
        tell("Installing what the functions need ...")
        _make("code", making)

    def digest() -> str:
        return _hashed([], f"{code.name} {fingerprint(migrations)}")

    code = kept.made(folder, "code", _digest_of_code, make_code)
    return kept.made(folder, "package", digest, lambda making: _make("package", making, code, migrations))


def _digest_of_code() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _hashed([project.LAMBDA_REQUIREMENTS], f"{version} {_digest_of_makers()}")


def _digest_of_makers() -> str:
    return _hashed([path for maker in _MAKERS for path in _sources(maker)], "")


def _sources(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [each for each in found if each.is_file() and "__pycache__" not in each.parts]


def _hashed(files: Iterable[Path], more: str) -> str:
    digest = hashlib.sha256(more.encode())
    for path in files:
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


# ---- making it ------------------------------------------------------------------------------------------------------

_IMPORTED = _digest_of_makers()  # what runs here


def _make(what: str, *paths: Path) -> None:
    if _digest_of_makers() == _IMPORTED:
        _MAKES[what](*paths)
    else:
        _make_anew([what, *(str(path.absolute()) for path in paths)])


def _make_code(making: Path) -> None:
    add_code(making, HERE)
    compileall.compile_dir(making, quiet=1)


def _put_together(making: Path, code: Path, migrations: Path) -> None:
    shutil.copytree(code, making, copy_function=_link)
    add_migrations(making, migrations)


_MAKES: dict[str, Callable[..., None]] = {"code": _make_code, "package": _put_together}


def _link(source: str, target: str) -> None:
    """A second name for the same file, where the file system can do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _make_anew(arguments: Sequence[str]) -> None:
    """In a process that reads the sources as they are now."""
    with lifeline() as stdin:
        command = [sys.executable, "-m", "aurora_migrations.local.cloud.cache.package_cache", *arguments]
        finished = subprocess.run(command, cwd=project.PACKAGE.parent, stdin=stdin, capture_output=True, text=True)
    if finished.returncode:
        raise PackagingError(finished.stderr.strip())


def main(what: str, *paths: str) -> int:
    """Makes it, with the sources that are here now; says what is wrong."""
    from aurora_migrations.engine import MigratorError

    end_with_the_parent()
    try:
        _MAKES[what](*map(Path, paths))
    except (PackagingError, MigratorError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
