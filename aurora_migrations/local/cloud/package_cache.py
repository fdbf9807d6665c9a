"""The Lambda package for this machine: the same folders as on AWS, with wheels for this machine's platform.

Its code, which seldom changes, is an artifact of its own, compiled, so that functions start fast after each change of
a migration too. If our sources have changed since this process imported them, a new process builds: `python -m` this
module.
"""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.cdk.package import HERE, PackagingError, add_code, add_migrations
from aurora_migrations.embedded.processes import end_with_the_parent, run_python
from aurora_migrations.local.cloud import artifact_cache
from aurora_migrations.local.cloud.artifact_cache import SourcesChanged, digest_of, fingerprint

KEPT = 5  # the newest packages that are kept, beside those in use
_PARTS = ("compiler", "embedded", "engine", "replay", "cdk/package.py", "cdk/certificates", "project.py", "__init__.py")
_SOURCES = (*(project.PACKAGE / part for part in _PARTS), project.FUNCTIONS, Path(__file__))
_INVALID_FILE = 3  # exit code of the process that builds
_IMPORTED = digest_of(_SOURCES)  # the sources that this process runs


def package(folder: Path, migrations: Path, tell: Callable[[str], None]) -> Path:
    """The folder with the package of these migrations, in the cache. It stays for as long as this process lives.

    Raises:
        PackagingError: pip failed, or the package can't be written.
        InvalidFile, InvalidInput: the migrations folder isn't valid.
        ServerError: another process has kept the cache locked for too long.
    """

    def build_code(building: Path) -> None:
        tell("Installing what the functions need ...")
        _build("code", building)

    def digest_of_code() -> str:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return digest_of([project.LAMBDA_REQUIREMENTS, *_SOURCES], version)

    try:
        with artifact_cache.exclusive(folder):
            code = artifact_cache.get_or_build(folder, "code", digest_of_code, build_code)
            made = artifact_cache.get_or_build(
                folder,
                "package",
                lambda: digest_of([], code.name, fingerprint(migrations), f"replays: {project.replays()}"),
                lambda building: _build("package", building, code, migrations),
            )
            artifact_cache.keep_in_use(made, KEPT)
            artifact_cache.prune(folder, "package", KEPT)
            artifact_cache.prune(folder, "code", 2)
    except SourcesChanged as error:
        raise PackagingError("Migrations or sources changed during packaging. Deploy again.") from error
    except OSError as error:
        raise PackagingError(f"The package can't be made in {folder}: {error}. Check space and permissions.") from error
    return made


def _build(what: str, *paths: Path) -> None:
    if digest_of(_SOURCES) == _IMPORTED:
        _BUILDERS[what](*paths)
        return
    arguments = (str(path.absolute()) for path in paths)
    finished = run_python("-m", "aurora_migrations.local.cloud.package_cache", what, *arguments)
    if finished.returncode == _INVALID_FILE:
        from aurora_migrations.engine.errors import InvalidFile

        raise InvalidFile(finished.stderr.strip())
    if finished.returncode:
        raise PackagingError(finished.stderr.strip())


def _build_code(building: Path) -> None:
    add_code(building, HERE)
    compileall.compile_dir(building, quiet=1)


def _build_package(building: Path, code: Path, migrations: Path) -> None:
    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # a file system without hard links
            shutil.copy2(source, target)

    shutil.copytree(code, building, copy_function=link)
    add_migrations(building, migrations)


_BUILDERS: dict[str, Callable[..., None]] = {"code": _build_code, "package": _build_package}


def main(what: str, *paths: str) -> int:
    """Builds with the sources as they are now; prints what is wrong."""
    from aurora_migrations.engine import MigratorError
    from aurora_migrations.engine.errors import InvalidFile

    end_with_the_parent()
    try:
        _BUILDERS[what](*map(Path, paths))
    except (PackagingError, MigratorError) as error:
        print(error, file=sys.stderr)
        return _INVALID_FILE if isinstance(error, InvalidFile) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
