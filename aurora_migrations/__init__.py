"""Schema migrations for Aurora PostgreSQL: plain .sql files, one transaction per file.

    from pathlib import Path
    from aurora_migrations import Request, apply, source_of

    source = source_of(Path("migrations"))
    result = apply(Request(url="postgresql://app@localhost/shop", source=source, execution="r1", requested_by="ana"))

    engine     runs migrations on a database          compiler   reads, checks and hashes migration files
    cdk        the stack on AWS                       cli        the command `aurora-migrations`
    local      PostgreSQL and AWS on a laptop         adoption   other tools' folders, laid out as ours
    project    where a project and its migrations are

`__all__` is the public interface. Each name is imported when it is first used, so that a Lambda function or a command
loads no more than it needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_migrations.compiler.folder_source import source_of
    from aurora_migrations.engine import (
        Listener,
        Migration,
        MigratorError,
        Package,
        Request,
        RunResult,
        apply,
        discover,
        roll_back,
    )
    from aurora_migrations.engine.options import Limits

__all__ = [
    "Limits",
    "Listener",
    "Migration",
    "MigratorError",
    "Package",
    "Request",
    "RunResult",
    "apply",
    "discover",
    "roll_back",
    "source_of",
]
_ELSEWHERE = {"Limits": "engine.options", "source_of": "compiler.folder_source"}  # all others are of the engine


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'engine')}"), name)
