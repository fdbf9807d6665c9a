"""Where things are: this package's own files, and the project of whoever uses it.

A project is the nearest folder, from the current one upwards, whose `pyproject.toml` has a table
`[tool.aurora-migrations]`; without one it is the current folder. If a `pyproject.toml` on the way can't be read, or its
table is wrong, all functions here raise InvalidInput.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aurora_migrations.engine.errors import InvalidInput

PACKAGE = Path(__file__).resolve().parent
# The wheel carries what the functions are made of in the package; a checkout has it beside the package.
IS_CHECKOUT = not (PACKAGE / "functions").is_dir()
_SOURCES = PACKAGE.parent if IS_CHECKOUT else PACKAGE
FUNCTIONS = _SOURCES / "functions"
LAMBDA_REQUIREMENTS = (_SOURCES / "requirements" if IS_CHECKOUT else PACKAGE) / "lambda.txt"
CERTIFICATES = PACKAGE / "cdk" / "certificates"

MIGRATIONS_VARIABLE = "AURORA_MIGRATIONS_DIR"
LOCAL_VARIABLE = "AURORA_MIGRATIONS_LOCAL"
REPLAY_VARIABLE = "AURORA_MIGRATIONS_REPLAY"
_TABLE = "tool.aurora-migrations"
_KEYS = ("migrations",)


def root() -> Path:
    """The project's folder."""
    return _find()[0]


def migrations() -> Path:
    """The folder of the migrations: AURORA_MIGRATIONS_DIR, or `migrations` of the project's table, or `migrations/` in
    the project; relative to the current folder where it is below that."""
    named = os.environ.get(MIGRATIONS_VARIABLE, "").strip()
    if named:
        return Path(named)
    folder, table = _find()
    return readable(folder / table.get("migrations", "migrations"))


def local() -> Path:
    """The folder that is kept between local runs: AURORA_MIGRATIONS_LOCAL, or `.local/` of the project."""
    named = os.environ.get(LOCAL_VARIABLE)
    return (Path(named) if named else root() / ".local").absolute()


def make(folder: Path) -> None:
    """Makes a folder, mostly in `local()`. Git ignores that, if it wasn't there before."""
    ours = local()
    is_new = not ours.exists()
    folder.mkdir(parents=True, exist_ok=True)
    if is_new and folder.is_relative_to(ours):
        (ours / ".gitignore").write_text("*\n", encoding="utf-8")


def cache() -> Path:
    """The folder of everything that is made again if it is gone: downloaded wheels, templates, packages."""
    return PACKAGE.parent / "build" if IS_CHECKOUT else local() / "cache"


def replays() -> bool:
    """Whether histories are replayed: unless AURORA_MIGRATIONS_REPLAY is `off`.

    Raises:
        InvalidInput: it is neither `on` nor `off`.
    """
    value = os.environ.get(REPLAY_VARIABLE, "").strip().lower() or "on"
    if value not in ("on", "off"):
        raise InvalidInput(
            f"{REPLAY_VARIABLE} is neither `on` nor `off`.",
            cause="The environment variable says whether migrations are replayed on an embedded PostgreSQL.",
            solution=f"Set {REPLAY_VARIABLE} to `on` or `off`, or remove it.",
        )
    return value == "on"


def readable(path: Path) -> Path:
    """The path, relative if it is below the current folder."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _find() -> tuple[Path, dict[str, str]]:
    try:
        here = Path.cwd()
    except OSError as error:
        raise InvalidInput(
            f"The current folder can't be found: {error.strerror}.",
            cause="It was deleted, or may not be read.",
            solution="Change to a folder that is there.",
        ) from error
    for folder in (here, *here.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            table = _read_table(path)
            if table is not None:
                return folder, table
    return here, {}


def _read_table(path: Path) -> dict[str, str] | None:
    """The table of a pyproject.toml; None if it has none."""
    try:
        text = path.read_text("utf-8-sig")
        if "aurora-migrations" not in text:  # somebody else's file, whatever is in it
            return None
        import tomllib  # few commands come to a project's file

        document: dict[str, Any] = tomllib.loads(text)
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no TOML
        raise _wrong(path, f"can't be read: {error}") from error
    except RecursionError as error:
        raise _wrong(path, "can't be read: it is nested too deep") from error
    tools = document.get("tool", {})
    if not isinstance(tools, dict):
        raise _wrong(path, "`tool` must be a table")
    table = tools.get("aurora-migrations")
    if table is None:
        return None
    if not isinstance(table, dict):
        raise _wrong(path, f"{_TABLE} must be a table")
    for key, value in table.items():
        if key not in _KEYS:
            raise _wrong(path, f"[{_TABLE}] has an unknown key {key!r}; it may have: {', '.join(_KEYS)}")
        if not isinstance(value, str) or not value.strip():
            raise _wrong(path, f"{key} in [{_TABLE}] must be the name of a folder")
    return table


def _wrong(path: Path, reason: str) -> InvalidInput:
    return InvalidInput(
        f"{path}: {reason}.",
        cause=f"The table [{_TABLE}] of pyproject.toml sets where a project's migrations are.",
        solution=f"Correct the file, or name the folder with --migrations or {MIGRATIONS_VARIABLE}.",
        state="Nothing was changed.",
    )
