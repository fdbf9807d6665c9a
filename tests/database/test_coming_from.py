"""docs/how-to/coming-from.md: each tool of its table is adopted, with the file that it names and a second one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aurora_migrations.cli.main import main
from aurora_migrations.engine.adoption.tools import TOOLS
from tests.cli.test_remote_run import Keyboard
from tests.database.foreign_histories import HISTORIES, Foreign, sql
from tests.paths import ROOT
from tests.servers import Database

pytestmark = pytest.mark.usefixtures("replays")
PAGE = ROOT / "docs" / "how-to" / "coming-from.md"
# A row of the table: the tool, its history, its first file, and the folder to import from.
ROW = re.compile(r"(?m)^\| (?P<tool>[\w-]+) \| `(?P<source>[\w.]+)` \| `(?P<file>\S+)` \| (?:`(?P<folder>\S+)` )?\|")
EXAMPLE = re.compile(r"```bash\naurora-migrations (?P<command>.+)\n```\n\n```text\n(?P<shown>[^`]*)```\n")
# How a tool writes a file that has two parts.
FORMS = {
    "dbmate": "-- migrate:up\n{}\n-- migrate:down\n",
    "goose": "-- +goose Up\n{}\n-- +goose Down\n",
    "sql-migrate": "-- +migrate Up\n{}\n-- +migrate Down\n",
    "tern": "{}\n---- create above / drop below ----\n",
    "sqlx": "-- no-transaction\n{}",  # by which its layout is told from ours
    "graphile-migrate": "--! Previous: -\n--! Hash: sha1:1\n\n{}",
}


def rows() -> dict[str, re.Match[str]]:
    return {match["tool"].lower(): match for match in ROW.finditer(PAGE.read_text("utf-8"))}


def test_every_tool_has_a_row() -> None:
    assert sorted(rows()) == sorted(tool.name for tool in TOOLS)


@pytest.mark.parametrize("foreign", HISTORIES, ids=[each.tool for each in HISTORIES])
def test_the_example_works(
    foreign: Foreign,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    row = rows()[foreign.tool]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setattr("sys.stdin", Keyboard("no\n"))
    database.execute(foreign.tables)
    second = foreign.file(2) if row["folder"] is None else re.sub(r"1(?=[_-]|\.(?:up\.)?sql|/)", "2", row["file"])
    assert row["folder"] or row["file"] == foreign.file(1)
    for number, name in enumerate((row["file"], second), 1):
        text = FORMS.get(foreign.tool, "{}").format(sql(number)) if row["folder"] else sql(number)
        path = Path(row["folder"] or "migrations", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        database.execute(sql(number))
        database.execute(foreign.row(number, text))
    command = ["adopt", *(["--from", row["folder"]] if row["folder"] else [])]
    main(command)
    shown = capsys.readouterr()
    assert f" from {row['source']} ({foreign.tool}); no differences\n" in shown.out, shown.err
    example = EXAMPLE.search(PAGE.read_text("utf-8"))
    assert example
    if foreign.tool == "flyway":
        assert (" ".join(command), shown.out) == (example["command"], example["shown"])
    assert main(["adopt", "--confirm", re.findall(r"(\d+), from|to (\d+), from", shown.out)[0][1]]) == 0
