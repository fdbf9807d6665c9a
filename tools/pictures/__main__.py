"""Runs a migration that fails and then succeeds, on a PostgreSQL of its own, and draws the pictures. Not on Windows."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests import servers
from tools.documents import ROOT
from tools.pictures import state_machine, svg
from tools.pictures.screen import Screen
from tools.pictures.terminal import run

IMAGES = ROOT / "docs" / "img"
COLUMNS = 80
FILES = {
    "001_create_users.sql": """\
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL
);
""",
    "002_add_locale.sql": "ALTER TABLE users ADD COLUMN locale text;\nUPDATE users SET locale = lower(emial);\n",
}
SCENE = (
    "aurora-migrations run",
    "sed -i.bak 's/emial/email/' migrations/002_add_locale.sql",
    "aurora-migrations run",
    "aurora-migrations list",
)


def main() -> None:
    """Writes docs/img/, and prints the names of the files."""
    screen = _play()
    IMAGES.mkdir(exist_ok=True)
    for theme in svg.THEMES:
        _write(f"terminal-{theme.name}.svg", svg.terminal(screen, theme, title="aurora-migrations"))
        _write(f"state-machine-{theme.name}.svg", state_machine.draw(theme))


def _play() -> Screen:
    screen = Screen(COLUMNS)
    with tempfile.TemporaryDirectory() as folder, servers.started(servers.available()[0]) as server:
        Path(folder, "migrations").mkdir()
        for name, text in FILES.items():
            Path(folder, "migrations", name).write_text(text)
        # The prompt, the commands and nothing of this machine: not its PATH, not its user.
        variables = {
            "DATABASE_URL": server.url(),
            "HOME": folder,
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "TERM": "xterm-256color",
        }
        for command in SCENE:
            screen.feed(f"\x1b[1m$ {command}\x1b[0m\r\n")
            screen.feed(run(command, Path(folder), variables, COLUMNS))
            screen.feed("\r\n")
    return screen


def _write(name: str, text: str) -> None:
    (IMAGES / name).write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote docs/img/{name}")


if __name__ == "__main__":
    main()
