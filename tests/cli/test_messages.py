"""What a terminal shows of each error: what happened and where, why, in what state the database is, what to do.

The texts stand in tests/golden/terminal, one file a class, to be read as a whole. After a change of words:
`GOLDEN=write python -m tasks test tests/cli/test_messages.py`, and read the difference.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.loaders import create_loader

from aurora_migrations.embedded.server import Server
from aurora_migrations.engine import errors as engine
from aurora_migrations.engine.errors import MigratorError
from tests import servers
from tests.cli import places
from tests.cli.conftest import Answer, calling
from tests.cli.scenes import SCENES, Scene
from tests.cli.scenes.unseen import UNSEEN
from tests.cli.stage import Theatre
from tests.cli.test_remote_errors import CLASSES
from tests.servers import Database, Migrations, Roles
from tools.documents.golden import TERMINAL

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems word their errors otherwise")
RENEW = "See whether the change is meant, then GOLDEN=write python -m tasks test tests/cli/test_messages.py"
# What differs from run to run and from machine to machine.
VARYING = [
    (r"postgresql://\w+:[^@\s]*@127\.0\.0\.1:\d+/(test_\d+_\d+|postgres|no_such_database)", "URL"),
    (r"test_\d+_\d+", "DATABASE"),
    (r"role_\d+_\d+|role_\w+", "ROLE"),
    (r"127\.0\.0\.1:\d{4,5}\b", "127.0.0.1:PORT"),
    (r"\bport \d{4,5}\b", "port PORT"),
    (r"\bpid \d+", "pid PID"),
    (r"\(process \d+\)", "(process PID)"),
    (r"pg_terminate_backend\(\d+\)", "pg_terminate_backend(PID)"),
    (r"cluster-test-\w{6}", "cluster-test-SUFFIX"),
    (r"Tried \d+ times", "Tried N times"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\d\d:\d\d:\d\dZ", "TIME"),
    (r"(cli|read)-\d{8}T\d{6}Z-[0-9a-f]{6}", "EXECUTION"),
    (r"\b[0-9a-f]{64}\b", "DIGEST"),
    (r"\.py:\d+", ".py:LINE"),
    (r"(\.sql:\d+):\d{3,}", r"\1:COLUMN"),
    (r"\b\d+(\.\d+)? (ms|s)\b", "N s"),
]
_COMPLETE = re.compile(r"\A\S+: .+\n(.*\n)*  Why    .+\n  State  .+\n  Do     .+\n  Next   \S.+\n\Z")
_seen: set[str] = set()
_played: set[str] = set()


@pytest.fixture(scope="module")
def server(any_server: Server) -> Server:
    """One is enough: nothing here depends on PostgreSQL's version."""
    return any_server


@pytest.fixture(scope="module")
def standby(server: Server) -> Iterator[Database]:
    """A standby of it, which takes some seconds to make."""
    with servers.standby_of(server) as reader:
        yield Database(reader, "postgres")


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Every call of the command line would read AWS's models anew. And moto writes each execution that fails to its
    log, with all that it knows, which takes longer than to run it."""
    log, loader = logging.getLogger("moto"), create_loader()
    before = log.level
    log.setLevel(logging.CRITICAL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", lambda path=None: loader)
        yield
    log.setLevel(before)


@pytest.fixture
def theatre(
    here: Migrations, roles: Roles, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Theatre:
    return Theatre(calling(capsys), here, roles, lambda: request.getfixturevalue("standby"))


def shown(answer: Answer, kind: str) -> str:
    """The error out of what stands on stderr. Of an execution that failed it has the name that this ended with."""
    name = r"[A-Z][\w.]+" if kind == "ExecutionFailed" else kind
    found = re.search(rf"(?:\A|\n)({name}: .*)", answer.err, re.DOTALL)
    assert found, f"{kind} isn't in\n{answer.err}"
    return re.sub(r"(?m)^Saved to .*\n", "", found[1])


def named(text: str, here: Path) -> str:
    """What varies, named."""
    text = text.replace(str(here), "HERE")
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return text


def played(theatre: Theatre, kind: str, scene: Scene) -> str:
    """A scene's part of the golden file: its heading, what was typed, and what was told."""
    heading, play = scene
    with theatre.stage() as stage, places.noted(stage.patch) as reached:
        answer = play(stage)
    assert answer.code in (1, 2), (heading, answer)
    told = shown(answer, kind)
    assert _COMPLETE.match(told), (heading, told)
    assert not reached.unknown, "makes errors in a way that tests.cli.places doesn't see"
    _seen.update(reached.shown_in(told))
    return named(f"# {heading}\n$ {stage.typed}\n\n{told}", theatre.folder.dir.parent)


def test_every_class_has_a_scene_and_a_text() -> None:
    kinds = [kind for kind in vars(engine).values() if isinstance(kind, type) and issubclass(kind, MigratorError)]
    names = {kind.__name__ for kind in (*kinds, *CLASSES)} - {"MigratorError", "CloudError"}
    assert set(SCENES) == names
    assert {path.stem for path in TERMINAL.glob("*")} == names


@pytest.mark.parametrize("kind", SCENES)
def test_terminal_shows_the_error_as_it_is_written_down(theatre: Theatre, kind: str) -> None:
    told = "\n".join(played(theatre, kind, scene) for scene in SCENES[kind])
    _played.add(kind)
    path = TERMINAL / f"{kind}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text(told, encoding="utf-8", newline="\n")
    assert told == (path.read_text("utf-8") if path.is_file() else ""), f"{path.name} is stale. {RENEW}"


def test_every_place_that_makes_an_error_is_seen_in_a_scene_or_has_a_reason() -> None:
    if _played != set(SCENES):
        pytest.skip("only some scenes were chosen, and this speaks of all: run the whole file")
    names = {place.name for place in places.places().values()}
    _none(names - _seen - set(UNSEEN), "Give these a scene, or the reason why they have none to scenes/unseen.py:")
    _none(set(UNSEEN) - names, "These are no places any more:")
    _none(set(UNSEEN) & _seen, "These have a scene now:")


def _none(found: set[str], why: str) -> None:
    assert not found, "\n".join([why, *sorted(found)])
