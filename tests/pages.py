"""What the pages tell a reader to type: their fenced blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tools.documents import ROOT

_FOUND = (*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "migrations" / "README.md")
_EVERY = sorted(path.relative_to(ROOT).as_posix() for path in _FOUND)
PAGES = tuple(page for page in _EVERY if not page.startswith("docs/decisions/"))
HOW_TO = tuple(page for page in PAGES if page.startswith("docs/how-to/"))
RUNBOOKS = ("docs/how-to/deploy-on-aws.md", "docs/how-to/runbook.pt-BR.md")
_FENCE = re.compile(r"(?ms)^( *)```(\w*)\n(.*?)^\1```$")
_ENDS = {"bash": "\\", "powershell": "`"}  # what joins a line to the next
_COMMENT = re.compile(r"\s+#\s.*\Z")


@dataclass(frozen=True)
class Command:
    """One command, with its lines joined and its comment aside."""

    page: str
    line: int
    text: str
    comment: str = ""

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)

    @property
    def fails(self) -> bool:
        """Whether the page says so."""
        return self.comment.startswith("fails")

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A fenced block; `line` is that of its first line."""

    page: str
    line: int
    language: str
    text: str

    def commands(self) -> list[Command]:
        """What is typed, line by line."""
        return list(self._commands())

    def _commands(self) -> Iterator[Command]:
        begun, first = "", 0
        for number, line in enumerate(self.text.splitlines(), self.line):
            if not begun and (not line.strip() or line.lstrip().startswith("#")):
                continue
            first = first if begun else number
            if line.endswith(_ENDS[self.language]):
                begun += line[:-1].strip() + " "
                continue
            whole, begun = begun + line.strip(), ""
            comment = _COMMENT.search(whole)
            yield Command(self.page, first, _COMMENT.sub("", whole), comment[0].strip(" #") if comment else "")


def read(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def blocks(page: str, *languages: str) -> list[Block]:
    """A page's blocks of these languages, in order."""
    text = read(page)
    found = (
        Block(page, text.count("\n", 0, match.start(3)) + 1, match[2], _dedented(match[3], len(match[1])))
        for match in _FENCE.finditer(text)
    )
    return [block for block in found if block.language in languages]


def commands(page: str) -> list[Command]:
    """Everything that a page has a reader type in bash."""
    return [command for block in blocks(page, "bash") for command in block.commands()]


def _dedented(text: str, width: int) -> str:
    return "".join(line[width:] if line[:width].isspace() else line for line in text.splitlines(keepends=True))
