"""docs/how-to/coming-from.md: each section's example is run, with the files that it lists. GOLDEN=write renews what it
shows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from aurora_migrations.cli.main import main
from aurora_migrations.engine.adoption.tools import TOOLS
from tests.cli.test_remote_run import Keyboard
from tests.database.foreign_histories import HISTORIES, Foreign, sql
from tests.paths import ROOT
from tests.servers import Database

PAGE = ROOT / "docs" / "how-to" / "coming-from.md"
# A section: its title, its files, its command, and what that prints.
SECTION = re.compile(
    r"^## (?P<title>.+)\n\n(?:(?!^##|^```).*\n)+\n```text\n(?P<files>[^`]+)```\n\n"
    r"```bash\n(?P<command>.+)\n```\n\n```text\n(?P<shown>[^`]*)```\n",
    re.MULTILINE,
)
# How a tool writes a file that has two parts.
FORMS = {
    "dbmate": "-- migrate:up\n{}\n-- migrate:down\n",
    "goose": "-- +goose Up\n{}\n-- +goose Down\n",
    "sql-migrate": "-- +migrate Up\n{}\n-- +migrate Down\n",
    "tern": "{}\n---- create above / drop below ----\n",
    "sqlx": "-- no-transaction\n{}",  # by which its layout is told from ours
    "graphile-migrate": "--! Previous: -\n--! Hash: sha1:1\n\n{}",
}


def sections() -> dict[str, re.Match[str]]:
    return {match["title"].lower(): match for match in SECTION.finditer(PAGE.read_text("utf-8"))}


def test_every_tool_has_a_section() -> None:
    assert sorted(sections()) == sorted(tool.name for tool in TOOLS)


@pytest.mark.parametrize("foreign", HISTORIES, ids=[each.tool for each in HISTORIES])
def test_the_example_works(
    foreign: Foreign,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    section = sections()[foreign.tool]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setattr("sys.stdin", Keyboard("no\n"))
    database.execute(foreign.tables)
    names = section["files"].split()
    for number, name in enumerate(names, 1):
        text = FORMS.get(foreign.tool, "{}").format(sql(number)) if "--from" in section["command"] else sql(number)
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
        database.execute(sql(number))
        database.execute(foreign.row(number, text))
    program, *words = section["command"].split()
    assert program == "aurora-migrations"
    main(words)
    shown = capsys.readouterr()
    if os.environ.get("GOLDEN") == "write":
        text, (start, end) = PAGE.read_text("utf-8"), section.span("shown")
        PAGE.write_text(text[:start] + shown.out + text[end:], "utf-8")
        return
    assert (shown.out, "no differences\n" in shown.out) == (section["shown"], True), shown.err
    assert main(["adopt", "--confirm", re.findall(r"(\d+), from|to (\d+), from", shown.out)[0][1]]) == 0
