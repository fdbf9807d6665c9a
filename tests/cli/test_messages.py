"""What a terminal shows of each error: what happened and where, why, in what state the database is, what to do.

The texts stand in tests/golden/terminal, one file a class and some with more, to be read as a whole;
docs/troubleshooting.md shows them. After a change of words: `GOLDEN=write python -m tasks test
tests/cli/test_messages.py`, read the difference, and `python -m tasks docs`.
"""

from __future__ import annotations

import os
import re

import pytest

from documents.golden import TERMINAL
from functions.migrator import errors as engine
from functions.migrator.errors import MigratorError
from local.postgres import Server
from tests.cli.cloud import Cloud
from tests.cli.conftest import Call
from tests.cli.scenes import SCENES, Stage
from tests.cli.test_remote_errors import CLASSES
from tests.servers import Database, Migrations, Roles

RENEW = "See whether the change is meant, then GOLDEN=write python -m tasks test tests/cli/test_messages.py"
# What differs from run to run and from machine to machine.
VARYING = [
    (r"test_\d+_\d+", "DATABASE"),
    (r"role_\d+_\d+|role_\w+", "ROLE"),
    (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:PORT"),
    (r"\bport \d{4,5}\b", "port PORT"),
    (r"\bpid \d+", "pid PID"),
    (r"pg_terminate_backend\(\d+\)", "pg_terminate_backend(PID)"),
    (r"cluster-test-\w{6}", "cluster-test-SUFFIX"),
    (r"Tried \d+ times", "Tried N times"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d\d:\d\d:\d\dZ", "TIME"),
    (r"(cli|look)-\d{8}T\d{6}Z-[0-9a-f]{6}", "EXECUTION"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"/\S*/migrations", "FOLDER"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "N s"),
]


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


@pytest.fixture
def stage(
    call: Call, two: Migrations, database: Database, roles: Roles, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> Stage:
    return Stage(call, two, database, roles, cloud, monkeypatch)


def shown(text: str, name: str) -> str:
    """The error out of what stands on stderr, with what varies named."""
    start = text.find(f"\n{name}: ")
    told = text[start + 1 :] if start >= 0 else text
    told = re.sub(r"(?m)^Saved to .*\n", "", told)
    for pattern, word in VARYING:
        told = re.sub(pattern, word, told)
    return told


def kind_of(scene: str) -> str:
    """The class of a scene's error: `MigrationFailed-partly-in` is one more of MigrationFailed."""
    return scene.partition("-")[0]


def test_every_class_has_a_scene_and_a_text() -> None:
    kinds = [kind for kind in vars(engine).values() if isinstance(kind, type) and issubclass(kind, MigratorError)]
    names = {kind.__name__ for kind in (*kinds, *CLASSES)} - {"MigratorError", "CloudError"}
    assert {kind_of(scene) for scene in SCENES} == names
    assert {path.stem for path in TERMINAL.glob("*")} == set(SCENES)


@pytest.mark.parametrize("name", SCENES)
def test_terminal_shows_the_error_as_it_is_written_down(stage: Stage, name: str) -> None:
    answer = SCENES[name](stage)
    assert answer.code in (1, 2)
    told = shown(answer.err, "Lambda.Unknown" if name == "ExecutionFailed" else kind_of(name))
    path = TERMINAL / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(told, encoding="utf-8", newline="\n")
    assert told == (path.read_text("utf-8") if path.is_file() else ""), f"{path.name} is stale. {RENEW}"
    assert re.search(r"\A\S+: .+\n(.*\n)*  Why    .+\n  State  .+\n  Do     .+\n  Next   \S.+\n\Z", told)
