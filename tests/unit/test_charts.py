"""Charts of the benchmarks: nothing is cut off, ours and the goals are marked."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import charts
from benchmarks.stall.latency import Query, summarise
from benchmarks.stall.scenarios import Seen

SVG = "{http://www.w3.org/2000/svg}"
LETTER = 6.5  # pixels at least, of sans-serif at 12
SIDES = {
    "aurora-migrations run, by its manifest, not replayed": {"wall": [1.0, 2.0, 9.0], "peak": [50.0]},
    "psql, one process": {"wall": [1.0, 1.0, 1.0], "peak": [8.0]},
    "a peer with a name of forty-two letters <&>": {"wall": [4.0], "peak": [9.0]},
}


def _drawn(path: Path) -> ElementTree.Element:
    return ElementTree.fromstring(path.read_text("utf-8"))


def _assert_nothing_is_cut(root: ElementTree.Element) -> None:
    width = float(root.attrib["viewBox"].split()[2])
    for text in root.iter(f"{SVG}text"):
        x, length = float(text.attrib["x"]), LETTER * len(text.text or "")
        left = x - length if text.attrib["text-anchor"] == "end" else x
        assert 0 <= left <= width - length, text.text
    for bar in root.iter(f"{SVG}rect"):
        assert 0 <= float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width


def test_bars_show_medians_ours_and_the_goals_of_what_was_measured(tmp_path: Path) -> None:
    charts.draw({"link": {**SIDES}}, tmp_path, "today")

    assert [path.name for path in tmp_path.iterdir()] == ["link.svg"]
    root = _drawn(tmp_path / "link.svg")
    _assert_nothing_is_cut(root)
    texts = {text.text: text.attrib["class"] for text in root.iter(f"{SVG}text")}
    assert texts["run, by its manifest, not replayed"] == texts["2"] == "name"
    assert texts["psql, one process"] == texts["1"] == ""
    assert [text for text in texts if text and "goal" in text] == ["goal: 0.65 x psql"]  # dbmate wasn't measured
    bars = {bar.attrib["class"]: float(bar.attrib["width"]) for bar in root.iter(f"{SVG}rect")}
    assert bars["ours"] == pytest.approx(bars["other"] / 2, abs=0.1)  # the last of the others is four
    assert "today" in texts


def test_what_was_not_measured_is_not_drawn(tmp_path: Path) -> None:
    charts.draw(
        {"applying": {side: {**of, "server": [0.0], "client": [1.0]} for side, of in SIDES.items()}}, tmp_path, ""
    )

    assert {path.stem for path in tmp_path.iterdir()} == {"applying", "applying-client", "applying-peak"}


def test_the_grid_shows_each_operation_and_tool(tmp_path: Path) -> None:
    row: dict[str, Seen | str] = {
        name: Seen(summarise([Query(1.0, 1.0 + longest)]), done=done)
        for name, longest, done in (("ours", 0.1, True), ("psql", 4.0, True), ("postgres-migrations", 0.02, False))
    }
    row["yoyo"] = "can't be had"
    charts.draw_operations({"index, concurrently": row, "backfill": row}, tmp_path, "today")

    root = _drawn(tmp_path / "operations.svg")
    _assert_nothing_is_cut(root)
    texts = [text.text for text in root.iter(f"{SVG}text")]
    for text in ("0.10", "4.00", "0.02, not done", "not measured"):
        assert texts.count(text) == 2
    assert texts[1:5] == list(row)
    kinds = [bar.attrib["class"] for bar in root.iter(f"{SVG}rect")]
    assert kinds == ["page", *["ours", "other", "undone"] * 2]
