"""SVG of a terminal, and the colours of light and dark pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from xml.sax.saxutils import escape, quoteattr

from tools.pictures.screen import Screen, Style

MONOSPACE = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_SIZE, _WIDTH, _HEIGHT = 14, 8.43, 20  # of the font; of a cell, in which every font is made to fit
_MARGIN, _BAR = 16, 34


@dataclass(frozen=True)
class Theme:
    """Colours that can be read on a light or on a dark page. `palette` holds the terminal's 16."""

    name: str
    background: str
    border: str
    text: str
    faint: str
    accent: str
    success: str
    failure: str
    palette: tuple[str, ...]


_LIGHT = ("#24292f", "#cf222e", "#116329", "#7d4e00", "#0550ae", "#8250df", "#1b7c83", "#57606a")
_LIGHT_BRIGHT = ("#57606a", "#a40e26", "#1a7f37", "#953800", "#0969da", "#6639ba", "#3192aa", "#24292f")
_DARK = ("#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4")
_DARK_BRIGHT = ("#6e7681", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#f0f6fc")
THEMES = (
    Theme("light", "#ffffff", "#d0d7de", "#24292f", "#57606a", "#0969da", "#1a7f37", "#cf222e", _LIGHT + _LIGHT_BRIGHT),
    Theme("dark", "#0d1117", "#30363d", "#e6edf3", "#8b949e", "#58a6ff", "#3fb950", "#ff7b72", _DARK + _DARK_BRIGHT),
)


def terminal(screen: Screen, theme: Theme, title: str) -> str:
    """A window with what is on the screen."""
    rows = screen.text().count("\n") + 1
    width, height = round(screen.columns * _WIDTH + 2 * _MARGIN), _BAR + rows * _HEIGHT + _MARGIN
    parts = [
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8" '
        f'fill="{theme.background}" stroke="{theme.border}"/>',
        *(f'<circle cx="{18 + 16 * n}" cy="17" r="5" fill="{theme.border}"/>' for n in range(3)),
        f'<text x="{width / 2}" y="22" text-anchor="middle" fill="{theme.faint}">{escape(title)}</text>',
        *_rows(screen, theme, rows),
    ]
    return document(width, height, title, parts, f'font-family="{MONOSPACE}" font-size="{_SIZE}"')


def _rows(screen: Screen, theme: Theme, rows: int) -> Iterator[str]:
    for row, line in enumerate(screen.lines[:rows]):
        y, column = _BAR + row * _HEIGHT + _SIZE, 0
        for style, cells in groupby(line, key=lambda cell: cell.style):
            text = "".join(cell.text for cell in cells)
            # Spaces that aren't written can't be collapsed: each word group has a place of its own.
            for words in re.finditer(r"\S+(?: \S+)*", text):
                x, length = _MARGIN + (column + words.start()) * _WIDTH, len(words[0]) * _WIDTH
                attributes = f'x="{x:.1f}" y="{y}" textLength="{length:.1f}" lengthAdjust="spacingAndGlyphs"'
                yield f"<text {attributes} {_look(style, theme)}>{escape(words[0])}</text>"
            column += len(text)


def _look(style: Style, theme: Theme) -> str:
    color = theme.palette[style.color] if isinstance(style.color, int) else style.color or theme.text
    look = {"fill": theme.faint if style.dim and style.color is None else color}
    if style.bold:
        look["font-weight"] = "bold"
    if style.underline:
        look["text-decoration"] = "underline"
    return " ".join(f"{name}={quoteattr(value)}" for name, value in look.items())


def document(width: int, height: int, title: str, parts: list[str], attributes: str) -> str:
    """An SVG document of these parts."""
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label={quoteattr(title)} {attributes}>'
    return "\n".join([head, *parts, "</svg>", ""])
