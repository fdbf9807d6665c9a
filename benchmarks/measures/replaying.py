"""Replays of a long history: from nothing, and with one new file on top."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aurora_migrations import project
from aurora_migrations.compiler.check import Checked, check
from aurora_migrations.engine import discover
from aurora_migrations.engine.catalog.facts import read_facts
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.replay import cache, server
from aurora_migrations.replay.history import replay

FILES = 500


def write_history(folder: Path, number: int) -> Path:
    """That many migrations in groups of four: a table, columns, a view and a function, an index and a constraint. Half
    of them have a down file."""
    folder.mkdir()
    for i in range(number):
        name, up, down = f"{i + 1:04}_step", *_step(i // 4, i % 4)
        (folder / f"{name}.sql").write_text(up)
        if down:
            (folder / f"{name}.down.sql").write_text(down)
    return folder


def _step(n: int, kind: int) -> tuple[str, str]:
    return (
        (
            f"CREATE TABLE thing_{n} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant text NOT NULL,\n"
            f"    created_at timestamptz NOT NULL DEFAULT now());\nCREATE INDEX ON thing_{n} (tenant, created_at);\n",
            f"DROP TABLE thing_{n};\n",
        ),
        (
            f"ALTER TABLE thing_{n} ADD COLUMN note text, ADD COLUMN amount numeric(12, 2) NOT NULL DEFAULT 0;\n",
            f"ALTER TABLE thing_{n} DROP COLUMN note, DROP COLUMN amount;\n",
        ),
        (
            f"CREATE VIEW view_{n} AS SELECT id, tenant FROM thing_{n};\n"
            f"CREATE FUNCTION function_{n}() RETURNS int LANGUAGE sql AS 'SELECT {n}';\n",
            "",
        ),
        (
            f"CREATE INDEX thing_{n}_note ON thing_{n} (note);\n"
            f"ALTER TABLE thing_{n} ADD CONSTRAINT positive_{n} CHECK (amount >= 0) NOT VALID;\n",
            "",
        ),
    )[kind]


def _seconds(files: Sequence[Checked]) -> float:
    began = time.monotonic()
    found = replay(files)
    assert not found.problem, found.problem
    assert not found.unavailable, found.unavailable
    return time.monotonic() - began


def main() -> None:
    """Measures, and prints a line for each."""
    with tempfile.TemporaryDirectory(prefix="replaying-") as folder:
        os.environ[project.LOCAL_VARIABLE] = folder
        Path(folder).chmod(0o711)
        migrations = write_history(Path(folder) / "migrations", FILES)
        print(f"{FILES} files from nothing, with a new server: {_seconds(check(discover(migrations))):.1f} s")
        shutil.rmtree(cache.folder() / "outcomes")
        with server.embedded() as found:
            found.clean()
        print(f"{FILES} files from nothing:                    {_seconds(check(discover(migrations))):.1f} s")
        for n in range(3):
            (migrations / f"{FILES + 1 + n:04}_new.sql").write_text(f"CREATE TABLE new_{n} (id int);\n")
            files = check(discover(migrations))
            print(f"one new file on top:                        {_seconds(files):.2f} s")
        print(f"nothing new:                                {_seconds(check(discover(migrations))):.2f} s")
        with server.embedded() as found:
            (name, *_) = found._template_names().values()
            copy = found.create(name)
            with Session(found.url(copy), "benchmark") as session:
                began = time.monotonic()
                facts = [len(read_facts(session)) for _ in range(5)][-1]
                print(f"reading {facts} facts:                        {(time.monotonic() - began) * 200:.0f} ms")


if __name__ == "__main__":
    main()
