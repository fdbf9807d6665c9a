"""Charts of what was measured, as SVG: bars of medians with their goals, and the grid of stalls by operation and tool.

Colours and background follow what the viewer prefers, dark or light, together: a chart is readable on either page.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from benchmarks.stall.scenarios import Seen

Found = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]  # by measurement, side and figure, round by round
Stalls = Mapping[str, Mapping[str, Seen | str]]  # by operation and tool; a sentence where nothing was measured
OURS = "aurora-migrations "  # how the names of our sides begin


@dataclass(frozen=True)
class _Goal:
    """What ours is to hold: so many times the median of the side whose name begins so, or so much."""

    text: str
    times: float
    side: str = ""


@dataclass(frozen=True)
class _Chart:
    """One that is drawn, if what it shows was measured. What isn't here is in the tables only."""

    file: str
    measurement: str
    title: str
    figure: str
    goals: Sequence[_Goal]


_PSQL, _LOOP, _CONNECTING = "psql", "psycopg loop", "psycopg, connect"
_CHARTS = (
    _Chart(
        "applying",
        "applying",
        "1,000 migrations of three statements: wall, s",
        "wall",
        (_Goal("not above dbmate", 1, "dbmate"), _Goal("1.10 x psql (by manifest 1.03)", 1.10, _PSQL)),
    ),
    _Chart(
        "applying-server", "applying", "1,000 migrations: server CPU, s", "server", (_Goal("1.10 x psql", 1.10, _PSQL),)
    ),
    _Chart(
        "applying-client",
        "applying",
        "1,000 migrations: client CPU, s",
        "client",
        (_Goal("1.3 x the loop", 1.3, _LOOP),),
    ),
    _Chart("applying-peak", "applying", "1,000 migrations: peak memory, MB", "peak", (_Goal("45 MB", 45),)),
    _Chart(
        "link",
        "link",
        "1,000 migrations over a link of 1 ms: wall, s",
        "wall",
        (_Goal("0.5 x dbmate", 0.5, "dbmate"), _Goal("0.65 x psql", 0.65, _PSQL)),
    ),
    _Chart(
        "nothing",
        "nothing",
        "Nothing to do, 1,000 applied: wall, s",
        "wall",
        (_Goal("1.10 x connecting and asking for 1", 1.10, _CONNECTING),),
    ),
    _Chart("many", "many", "10,000 applied: wall, s", "wall", (_Goal("list: 1 s", 1), _Goal("verify: 5 s", 5))),
    _Chart("check-one", "check-one", "check of one file: wall, s", "wall", (_Goal("0.25 s", 0.25),)),
    _Chart("memory", "memory", "A file of 20 MB: peak memory, MB", "peak", (_Goal("98 MB", 98),)),
    _Chart("memory-wall", "memory", "A file of 20 MB: wall, s", "wall", (_Goal("1.5 x the loop", 1.5, _LOOP),)),
    _Chart(
        "statements",
        "statements",
        "A file of 100,000 statements: wall, s",
        "wall",
        (_Goal("1.3 x psql", 1.3, _PSQL),),
    ),
    _Chart("round-trips", "round-trips", "Round trips a migration", "number", (_Goal("3", 3),)),
)

_STYLE = """\
<style>
  text { font: 12px sans-serif; fill: #1f2328; stroke: #ffffff; stroke-width: 3px; paint-order: stroke }
  .title { font-size: 16px; font-weight: bold } .small { font-size: 11px }
  .page { fill: #ffffff; stroke: #d0d7de } .rule { stroke: #d0d7de } .range { stroke: #1f2328 }
  .ours { fill: #2563eb } .other { fill: #a3b1c2 } .undone { fill: none; stroke: #a3b1c2 }
  .name { font-weight: bold; fill: #1d4ed8 } .goal { fill: #b42318 } .line { stroke: #b42318; stroke-dasharray: 5 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; stroke: #0d1117 }
    .page { fill: #0d1117; stroke: #30363d } .rule { stroke: #30363d } .range { stroke: #e6edf3 }
    .ours { fill: #3b82f6 } .other { fill: #5b6778 } .undone { stroke: #5b6778 }
    .name { fill: #79b0ff } .goal { fill: #ff8b80 } .line { stroke: #ff8b80 }
  }
</style>"""
_WIDTH, _ROW, _TOP = 820, 26, 44  # pixels
_LETTER = 7.2  # pixels of a letter at most, in common fonts
_CELL, _BAR = 104, 92  # of the grid: a cell and the longest bar in it


def draw(found: Found, folder: Path, note: str) -> None:
    """Writes a file for each chart of which something was measured; the note says when, where and how."""
    for chart in _CHARTS:
        sides = {side: figures[chart.figure] for side, figures in found.get(chart.measurement, {}).items()}
        if any(any(values) for values in sides.values()):  # server CPU is measured on Linux only
            _write(folder / f"{chart.file}.svg", chart.title, note, _WIDTH, list(_bars(sides, chart.goals)))


def draw_operations(found: Stalls, folder: Path, note: str) -> None:
    """Writes the grid: by operation and tool the longest query, and whether the operation was done."""
    title = "The application's longest query during a migration, s"
    width = _label_width(found) + _CELL * len(next(iter(found.values()))) + 12
    _write(folder / "operations.svg", title, note, width, list(_grid(found)))


def _write(path: Path, title: str, note: str, width: float, rows: Sequence[str]) -> None:
    """Each row is the elements in one line of the chart, from 0 to _ROW."""
    height = _TOP + _ROW * len(rows) + 30
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height}" width="{width:g}" role="img">',
        f"<title>{escape(title)}</title>",
        _STYLE,
        f'<rect class="page" x="0.5" y="0.5" width="{width - 1:g}" height="{height - 1}" rx="6"/>',
        _text(14, 28, title, "title"),
        *(f'<g transform="translate(0 {_TOP + _ROW * number})">{row}</g>' for number, row in enumerate(rows)),
        _text(14, height - 12, note, "small"),
        "</svg>",
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _bars(sides: Mapping[str, Sequence[float]], goals: Sequence[_Goal]) -> Iterator[str]:
    """First a row for each goal, from which its line goes down through all bars; a bar is a median, the line at its
    end goes from the lowest to the highest value."""
    medians = {side: statistics.median(values) for side, values in sides.items()}
    at = [(value, goal.text) for goal in goals if (value := _value(goal, medians)) is not None]
    at.sort()  # so that no line crosses the text of another
    left = _label_width([side.removeprefix(OURS) for side in sides])
    scale = (_WIDTH - left - 64) / max([*(value for value, _ in at), *(max(values) for values in sides.values())])
    for value, text in at:
        before = left + value * scale + _LETTER * len(text) + 50 > _WIDTH
        x, anchor = (left + value * scale - 6, "end") if before else (left + value * scale + 6, "start")
        yield _text(x, 15, f"goal: {text}", "goal", anchor)
    lines = "".join(  # drawn with the last bar, over all of them
        f'<path class="line" d="M{left + value * scale:.1f} {_ROW}V{4 - _ROW * (len(sides) + len(at) - 1 - number)}"/>'
        for number, (value, _) in enumerate(at)
    )
    for number, (side, values) in enumerate(sides.items(), 1):
        ours, middle = side.startswith(OURS), medians[side] * scale
        low, high = min(values) * scale, max(values) * scale
        yield (
            _text(left - 8, 17, side.removeprefix(OURS), "name" if ours else "", "end")
            + _rect("ours" if ours else "other", left, middle)
            + (f'<path class="range" d="M{left + low:.1f} 13H{left + high:.1f}"/>' if high > low else "")
            + (lines if number == len(sides) else "")
            + _text(left + max(middle, high) + 6, 17, f"{medians[side]:.3g}", "name" if ours else "")
        )


def _value(goal: _Goal, medians: Mapping[str, float]) -> float | None:
    """Where its line is; nowhere if what it is compared with wasn't measured."""
    if not goal.side:
        return goal.times
    return next((goal.times * value for side, value in medians.items() if side.startswith(goal.side)), None)


def _grid(found: Stalls) -> Iterator[str]:
    left, tools = _label_width(found), list(next(iter(found.values())))
    seen = [each for row in found.values() for each in row.values() if isinstance(each, Seen)]
    longest = max((each.latency.longest for each in seen), default=1.0)
    yield "".join(
        _text(left + _CELL * i, 17, tool, "name small" if i == 0 else "small") for i, tool in enumerate(tools)
    )
    for operation, row in found.items():
        line = f'<path class="rule" d="M14 0H{left + _CELL * len(tools) - 2}"/>' + _text(14, 17, operation)
        for number, (tool, each) in enumerate(row.items()):
            x, ours = left + _CELL * number, tool == "ours"
            if isinstance(each, str):
                line += _text(x, 17, "not measured", "small")
                continue
            seconds = each.latency.longest
            kind = "undone" if not each.done else "ours" if ours else "other"
            line += _rect(kind, x, max(1.5, _BAR * seconds / longest), 17, 6)
            line += _text(x, 14, f"{seconds:.2f}{'' if each.done else ', not done'}", "name" if ours else "")
        yield line


def _label_width(labels: Iterable[str]) -> int:
    return round(_LETTER * max(map(len, labels))) + 22


def _rect(kind: str, x: float, width: float, y: float = 4, height: float = 18) -> str:
    return f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:g}" rx="2"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
