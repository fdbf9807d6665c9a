"""What the pages have a reader type is typed, page by page, against one local cloud that is up.

`--env dev` becomes `--local`, `make VERB` what tasks.py makes of it, and a deployment by the CDK `deploy --local`. A
page says of a command that fails that it does: `# fails ...`. What can't be typed here stands in NOT_RUN, with why.
"""

from __future__ import annotations

import contextlib
import html
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

import tasks
from aurora_migrations import project
from aurora_migrations.cli.main import main
from tests import servers
from tests.cli.conftest import Answer, checked, environment
from tests.examples.examples import examples
from tests.pages import HOW_TO, PAGES, RUNBOOKS, Command, blocks, commands
from tests.workflow.helpers import until
from tests.workflow.test_terminal import Terminal, processes_of
from tools.documents import ROOT
from tools.documents.golden import TERMINAL

pytestmark = pytest.mark.timeout(400)  # each starts clouds, in processes of their own

# By how they begin; each is met in some page. Those of AWS and of the CDK are held against what there is in
# tests/unit/test_commands_of_pages.py.
NOT_RUN = {
    "export AWS_": "is for the commands of AWS after it",
    "aws ": "there is no account; tests/unit looks whether the operation and its options exist",
    "npx aws-cdk@2 bootstrap": "changes an account",
    "npx aws-cdk@2 ls": "npx gets the CDK's command line from npm; tests/cdk calls what it calls, `python -m app`",
    "psql ": "isn't part of the product, and the embedded server brings none",
    "cd ": "leads to the reader's own folder",
    ". activate": "finds the command, which is found here",
    "git ": "tells of the reader's own checkout",
    "pip install ": "tests/wheel installs the package",
    "make up": "is what runs meanwhile: the local cloud that all others find",
    "aurora-migrations up": "as `make up`",
    "make clean": "would remove the set-up that this runs in",
    "make test": "runs this",
    "aurora-migrations adopt": "needs another tool's history; tests/database/test_coming_from.py runs that page",
    "aurora-migrations baseline": "needs a database made by hand; tests/database/test_dump.py does the same",
    'aurora-migrations new "shop" --from-dump': "needs a dump; tests/database/test_dump.py does the same",
    "pg_dump ": "isn't part of the product; tests/database/test_dump.py calls it",
}
# Exit code 2: nobody is there to confirm it.
ASKS = ("aurora-migrations rollback 017", "aurora-migrations resolve 018", "aurora-migrations cancel")
ENDLESS = "aurora-migrations status --watch"
RUNBOOK, TWIN = RUNBOOKS  # what is in one is in the other: tests/unit says so
TUTORIAL = "docs/tutorial.md"
SHOWING = (RUNBOOK, TUTORIAL)  # pages whose blocks of text are what the commands print
ROW = {
    "tenant_id": "test-001",
    "lead_id": None,
    "lead_nome": "O'Neill",
    "lead_telefone": None,
    "lead_email": None,
    "canal_decidido": "whatsapp",
    "motivo_decisao": "the lead prefers it",
    "template_selecionado": None,
    "disparo_seria_executado": False,
    "razao_bloqueio": "outside business hours",
}


@dataclass
class Reader(Terminal):
    """Somebody who types what a page says, in a folder with the repository's migrations.

    Attributes:
        said: all that was printed since the page began.
    """

    database: str = ""
    inbox: str = ""
    said: str = ""
    _deployed: dict[str, bytes] = field(default_factory=dict)
    _built: str = ""

    def begin(self, patch: pytest.MonkeyPatch) -> None:
        """An empty database, and the folder as the repository has it, deployed."""
        self.said = ""
        patch.chdir(self.folder)
        patch.delenv("DATABASE_URL", raising=False)
        patch.setenv("AURORA_MIGRATIONS_LOCAL", str(self.home))
        self._clear()
        if self._deployed != self._files():
            assert main(self._deploy()) == 0
            self._clear()

    def _clear(self) -> None:
        shutil.rmtree(self.migrations, ignore_errors=True)
        shutil.copytree(ROOT / "migrations", self.migrations)
        with psycopg.connect(self.database, autocommit=True) as connection:
            for schema in ("public", "aurora_migrations"):
                connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE".encode())
            connection.execute("CREATE SCHEMA public")

    def _files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.migrations.glob("*.sql")}

    def _deploy(self) -> list[str]:
        self._deployed = self._files()
        return ["deploy", "--local"]

    def mails(self) -> str:
        """What the inbox of the local cloud shows."""
        with urllib.request.urlopen(self.inbox) as page:
            return html.unescape(re.sub(r"<[^>]*>", "\n", page.read().decode()))

    def words_of(self, command: Command) -> list[str] | None:
        """What of `aurora-migrations` a command is here; None for nothing to do."""
        words = command.words
        if words[0] == "npx" and words[2] == "deploy":  # of the same files: as the first one, it starts nothing
            return self._deploy() if self._files() != self._deployed else None
        if words[0] == "make":
            return made(words[1], [word.removeprefix("ARGS=") for word in words[2:]])
        words = words[1:]
        if "--env" in words:
            at = words.index("--env")
            words[at : at + 2] = ["--local"]
        if "--replay-url" in words:  # the page's server for tests is the local cloud's
            words[words.index("--replay-url") + 1] = self.database
        return self._deploy() if words[0] == "deploy" else words

    def do(self, words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> Answer:
        """Types it. The package is built once, as it is the same each time."""
        if list(words) == ["build"] and self._built:
            self.said += self._built
            return Answer(0, self._built, "")
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        self.said += told.out + told.err
        if list(words) == ["build"]:
            self._built = told.out
        return checked(Answer(code, told.out, told.err))


def made(verb: str, arguments: Sequence[str]) -> list[str]:
    """What of `aurora-migrations` tasks.py hands over for a verb."""
    handed: list[tuple[str, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "set_up", lambda kind: None)
        patch.setattr(tasks, "hand_over", lambda *what: handed.append(what) or 0)
        assert tasks.main([verb, *arguments]) == 0
    ((program, *words),) = handed
    assert program == "aurora_migrations"
    return words


@pytest.fixture(scope="module")
def reading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """The local cloud is up for all pages but the tutorial."""
    with local_cloud(tmp_path_factory.mktemp("pages")) as reader:
        yield reader


@contextlib.contextmanager
def local_cloud(folder: Path) -> Iterator[Reader]:
    """A reader in this folder, with a local cloud in a process with this environment."""
    with servers.folder() as home:
        reader = Reader(folder, home)
        shutil.copytree(ROOT / "migrations", reader.migrations)
        _, said = reader.up()
        reader.database, reader.inbox = said["Database"], said["Inbox"]
        reader._deployed = reader._files()
        yield reader
        reader.close()
        until(lambda: not processes_of(home), "the end of the local PostgreSQL")


@pytest.fixture
def reader(reading: Reader, monkeypatch: pytest.MonkeyPatch) -> Reader:
    reading.begin(monkeypatch)
    return reading


def is_run(command: Command) -> bool:
    """Whether a command is run here."""
    plain = command.text.replace(".venv/bin/", "")
    return not any(f"{plain} ".startswith(begins) for begins in NOT_RUN)


def plain(words: Sequence[str]) -> str:
    return f"aurora-migrations {' '.join(word for word in words if word != '--local')}"


@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", [page for page in PAGES if page not in (TWIN, TUTORIAL)])
def test_what_a_page_says_can_be_typed(
    page: str, reader: Reader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if page in HOW_TO and page != RUNBOOK:  # these begin where the tutorial ends
        assert main(["run", "--local"]) == 0
    type_page(page, reader, monkeypatch, capsys)


def test_what_the_tutorial_says_can_be_typed_with_the_replay_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As for its readers; tests/conftest.py switches the replay off."""
    monkeypatch.setenv(project.REPLAY_VARIABLE, "on")
    with local_cloud(tmp_path) as reader:
        reader.begin(monkeypatch)
        type_page(TUTORIAL, reader, monkeypatch, capsys)
        assert (reader.home / "replay").is_dir(), "nothing was replayed"


def type_page(page: str, reader: Reader, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Types all commands of a page, writes its SQL, and compares what it shows."""
    for block in blocks(page, "bash", "sql"):
        if block.language == "sql":
            write(block.text, reader.folder)
            continue
        for command in filter(is_run, block.commands()):
            run(command, reader, monkeypatch, capsys)
    if page in SHOWING:
        assert_shown(page, reader.said + reader.mails())


def run(command: Command, reader: Reader, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Types one command, which ends as its page says."""
    first = command.words[0]
    if first == "export":
        assert command.words[1].startswith("DATABASE_URL="), command
        patch.setenv("DATABASE_URL", reader.database)
        return
    words = reader.words_of(command)
    if words is None:
        return
    if plain(words) == ENDLESS:
        watch(reader, words)
        return
    answer = reader.do(words, capsys)
    asks = plain(words).startswith(ASKS) and "--confirm" not in words
    expected = 1 if command.fails else 2 if asks else 0
    assert answer.code == expected, f"{command}\n{answer.out}\n{answer.err}"


def write(text: str, folder: Path) -> None:
    """SQL whose first line names a file is what the reader has in it from now on."""
    named = re.match(r"-- (migrations/\S+\.sql)\n", text)
    if named:
        path = folder / named[1]
        assert path.is_file(), f"{named[1]}: the page must have made it before"
        path.write_text(text, encoding="utf-8")


def watch(reader: Reader, words: Sequence[str]) -> None:
    """Looks until Ctrl-C."""
    variables = environment(AURORA_MIGRATIONS_LOCAL=str(reader.home))
    command = [sys.executable, "-m", "aurora_migrations", *words]
    with subprocess.Popen(command, cwd=reader.folder, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert any(line.startswith("Applied") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_every_command_is_run_or_has_a_reason_not_to_be() -> None:
    """And each reason is still needed."""
    every = [command for page in PAGES for command in commands(page)]
    known = ("aurora-migrations", ".venv/bin/aurora-migrations", "make", "npx", "export")
    assert [str(command) for command in every if is_run(command) and command.words[0] not in known] == []
    skipped = [f"{command.text.replace('.venv/bin/', '')} " for command in every if not is_run(command)]
    assert [begins for begins in NOT_RUN if not any(text.startswith(begins) for text in skipped)] == []
    assert sum(map(is_run, every)) > 60


# ---- what the runbook shows -----------------------------------------------------------------------------------------


VARYING = [
    (r"requested_by \S+", "requested_by SOMEBODY"),
    (r"\b[0-9a-f]{12}\b", "DIGEST"),
    (r"cli-\d{8}T\d{6}Z-[0-9a-f]{6}", "EXECUTION"),
    (r"\d+(\.\d+)? (ms|s)\b", "TIME"),
    (r"\d+", "N"),
]
# Blocks that show something else: CloudFormation's outputs, single errors (tested by themselves), the checklist.
NOT_PRINTED = ("AuroraMigrationsRunnerStack", "DatabaseUnreachable", "SecretNotFound", "MigrationFailed", "[ ]")
ELSEWHERE = (  # lines of expected results that don't come from the local cloud, as the page says
    "On branch main",
    "nothing to commit, working tree clean",
    "warn    last run      Nothing has been run yet",  # pages before this one have run something
)


def masked(text: str) -> list[str]:
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text)
    return [line.rstrip() for line in text.splitlines()]


def assert_shown(page: str, said: str) -> None:
    """Every line that a page shows as printed was printed; it may have gone on."""
    printed = masked(said)
    for block in blocks(page, "text"):
        if block.text.startswith(NOT_PRINTED):
            continue
        shown = [line for line in masked(block.text) if line and line not in ELSEWHERE]
        assert [line for line in shown if not any(each.startswith(line) for each in printed)] == [], block.line


def test_errors_that_the_runbook_shows_are_what_is_told_of_them(
    reader: Reader, capsys: pytest.CaptureFixture[str]
) -> None:
    (reader.migrations / "018_create_dry_run_log_again.sql").write_text("CREATE TABLE dry_run_log (id bigint);\n")
    assert main(["run", "--database-url", reader.database]) == 1
    told = [*capsys.readouterr().err.splitlines(), *(TERMINAL / "SecretNotFound.txt").read_text("utf-8").splitlines()]
    told += [f"{example.error.name}: {example.error.message}" for example in examples()]
    shown = [block.text.strip() for block in blocks(RUNBOOK, "text") if re.match(r"\w+: .+\n\Z", block.text)]
    assert len(shown) == 3
    assert [line for line in shown if line not in told] == []


# ---- the agent's code -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", RUNBOOKS)
def test_agents_code_writes_a_row(page: str, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["run", "017", "--database-url", reader.database]) == 0
    monkeypatch.setenv("ENV", "dev")
    monkeypatch.setenv("MICRO_AGENT_DISPARO_ENABLED", "true")
    (python,) = blocks(page, "python")
    names: dict[str, object] = {}
    exec(compile(python.text, page, "exec"), names)
    with psycopg.connect(reader.database) as connection:
        names["log_dry_run"](connection, ROW)  # type: ignore[operator]
    (typescript,) = blocks(page, "typescript")
    statement = re.search(r"`(INSERT .*?)`", typescript.text, re.DOTALL)
    assert statement
    columns = re.search(r"\((.*?)\)", statement[1], re.DOTALL)
    assert columns
    order = [name.strip() for name in columns[1].split(",")]
    values = [{**ROW, "ambiente": "dev", "feature_flag_enabled": True}[name] for name in order]
    with psycopg.connect(reader.database) as connection:
        psycopg.RawCursor(connection).execute(statement[1].encode(), values)
        rows = connection.execute(f"SELECT DISTINCT {', '.join(order)} FROM dry_run_log".encode()).fetchall()
        assert rows == [tuple(values)]
        assert connection.execute("SELECT count(*) FROM dry_run_log").fetchone() == (2,)
