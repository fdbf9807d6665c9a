"""The state machine in seven boxes. docs/reference/state-machine.md has every state."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from tools.pictures.svg import Theme, document

_WIDTH, _HEIGHT = 860, 300
_BOX = (150, 64)
_SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"


@dataclass(frozen=True)
class Box:
    """A state; `column` and `row` are its place, `color` is a field of Theme."""

    state: str
    what: str
    column: int
    row: int
    color: str = "accent"

    @property
    def x(self) -> int:
        return 130 + self.column * 195

    @property
    def y(self) -> int:
        return 40 + self.row * 170

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + _BOX[0] / 2, self.y + _BOX[1] / 2


PREFLIGHT = Box("Preflight", "secret, login, pending", 0, 0)
APPLY = Box("Apply", "a transaction per file", 1, 0)
VERIFY = Box("Verify", "tables, rows, indexes", 2, 0)
SUCCEEDED = Box("Succeeded", "the result", 3, 0, "success")
WRITE = Box("Write the mail", "cause, state, remedy", 1, 1)
NOTIFY = Box("Notify failure", "Amazon SNS, e-mail", 2, 1)
FAILED = Box("Failed", "the original error", 3, 1, "failure")
BOXES = (PREFLIGHT, APPLY, VERIFY, SUCCEEDED, WRITE, NOTIFY, FAILED)


def draw(theme: Theme) -> str:
    """The picture."""
    bus = 165  # where the ways out of the three steps meet, above the second row
    parts = [_marker("arrow", theme.faint), _marker("failing", theme.failure)]
    for before, after in ((PREFLIGHT, APPLY), (APPLY, VERIFY), (VERIFY, SUCCEEDED), (WRITE, NOTIFY), (NOTIFY, FAILED)):
        parts.append(_arrow(f"M{before.x + _BOX[0]} {before.middle[1]} H{after.x - 2}", theme.faint))
    for step in (PREFLIGHT, APPLY, VERIFY):
        parts.append(_line(f"M{step.middle[0]} {step.y + _BOX[1]} V{bus}", theme.failure))
    parts.append(_line(f"M{PREFLIGHT.middle[0]} {bus} H{VERIFY.middle[0]}", theme.failure))
    parts.append(_arrow(f"M{WRITE.middle[0]} {bus} V{WRITE.y - 2}", theme.failure, "failing"))
    parts.append(_text(PREFLIGHT.x, bus + 20, "any failure", theme.failure, 13, "start"))
    x, y = APPLY.middle[0], APPLY.y
    parts.append(_arrow(f"M{x + 30} {y} C{x + 30} {y - 32} {x - 30} {y - 32} {x - 30} {y - 2}", theme.faint))
    parts.append(_text(x, y - 28, "more files", theme.faint, 13))
    for number, start in enumerate(("deployment", "console", "terminal")):
        parts.append(_text(88, PREFLIGHT.middle[1] - 16 + 20 * number, start, theme.text, 13, "end"))
    parts.append(_arrow(f"M96 {PREFLIGHT.middle[1]} H{PREFLIGHT.x - 2}", theme.faint))
    for box in BOXES:
        parts += _box(box, theme)
    return document(_WIDTH + 30, _HEIGHT, "The state machine", parts, f'font-family="{_SANS}"')


def _box(box: Box, theme: Theme) -> list[str]:
    x, y = box.middle
    return [
        f'<rect x="{box.x}" y="{box.y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="8" fill="{theme.background}" '
        f'stroke="{getattr(theme, box.color)}" stroke-width="2"/>',
        _text(x, y - 4, box.state, theme.text, 15, weight="600"),
        _text(x, y + 17, box.what, theme.faint, 12),
    ]


def _text(x: float, y: float, text: str, color: str, size: int, anchor: str = "middle", weight: str = "400") -> str:
    place = f'x="{x}" y="{y}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" font-weight="{weight}" fill="{color}">{escape(text)}</text>'


def _line(path: str, color: str) -> str:
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _arrow(path: str, color: str, marker: str = "arrow") -> str:
    return f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.5" marker-end="url(#{marker})"/>'


def _marker(name: str, color: str) -> str:
    shape = f'<path d="M0 0 L8 4 L0 8 Z" fill="{color}"/>'
    size = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"'
    return f'<marker id="{name}" {size}>{shape}</marker>'
