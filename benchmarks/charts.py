"""Charts of what was measured: for each measurement, bars of the sides' medians, as SVG."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

# What is drawn of a measurement: its title, the figure and its unit. All others are in the tables only.
_DRAWN = {
    "applying": ("1,000 migrations of three statements", "wall", "s"),
    "link": ("1,000 migrations over a link of 1 ms", "wall", "s"),
    "memory": ("One file of 20 MB: peak memory", "peak", "MB"),
    "many": ("10,000 applied", "wall", "s"),
}
_WIDTH, _LABEL, _ROW, _TOP = 760, 280, 26, 44
_OURS, _OTHERS = "#2563eb", "#94a3b8"
_Found = Mapping[str, Mapping[str, Mapping[str, list[float]]]]


def draw(found: _Found, folder: Path) -> None:
    """Writes a file for each measurement of which a chart is drawn."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, figure, unit) in _DRAWN.items():
        if name in found:
            bars = {side: statistics.median(figures[figure]) for side, figures in found[name].items()}
            (folder / f"{name}.svg").write_text("\n".join(_chart(f"{title}, {unit}", bars)) + "\n", encoding="utf-8")


def _chart(title: str, bars: Mapping[str, float]) -> Iterator[str]:
    height, longest = _TOP + _ROW * len(bars) + 12, max(bars.values())
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif">'
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    yield f'<text x="12" y="26" font-size="16" font-weight="bold" fill="#0f172a">{escape(title)}</text>'
    for number, (side, value) in enumerate(bars.items()):
        y, width = _TOP + _ROW * number, (_WIDTH - _LABEL - 80) * value / longest
        colour = _OURS if side.startswith("aurora-migrations") else _OTHERS
        label = f'<text x="{_LABEL - 8}" y="{y + 15}" font-size="12" text-anchor="end" fill="#0f172a">{escape(side)}'
        yield f"{label}</text>"
        yield f'<rect x="{_LABEL}" y="{y + 2}" width="{width:.1f}" height="{_ROW - 8}" rx="2" fill="{colour}"/>'
        yield f'<text x="{_LABEL + width + 6:.1f}" y="{y + 15}" font-size="12" fill="#0f172a">{value:.3g}</text>'
    yield "</svg>"
