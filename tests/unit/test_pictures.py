"""The pictures of the pages: what a terminal shows is drawn as it looks there, and README shows files that exist."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from tests.pages import read
from tools.documents import ROOT
from tools.pictures.screen import Screen, Style
from tools.pictures.svg import THEMES, Theme, terminal


def shown(*printed: str, columns: int = 20) -> Screen:
    screen = Screen(columns)
    for text in printed:
        screen.feed(text)
    return screen


@pytest.mark.parametrize(
    ("printed", "style"),
    [
        ("x", Style()),
        ("\x1b[31mx", Style(1)),
        ("\x1b[1;92mx", Style(10, bold=True)),
        ("\x1b[38;5;9mx", Style(9)),
        ("\x1b[38;5;208mx", Style("#ff8700")),
        ("\x1b[38;5;244mx", Style("#808080")),
        ("\x1b[38;2;1;2;3mx", Style("#010203")),
        ("\x1b[48;5;9;4mx", Style(underline=True)),
        ("\x1b[2;31m\x1b[22mx", Style(1)),
        ("\x1b[1;31m\x1b[39mx", Style(bold=True)),
        ("\x1b[1;31m\x1b[0mx", Style()),
        ("\x1b[1;31m\x1b[mx", Style()),
    ],
)
def test_colour_of_a_character_is_what_the_terminal_was_told(printed: str, style: Style) -> None:
    assert shown(printed).lines[0][0].style == style


@pytest.mark.parametrize(
    ("printed", "text"),
    [
        ("one\r\ntwo\r\n", "one\ntwo"),
        ("12 s\r13 s", "13 s"),
        ("waiting ...\r\x1b[2Kdone", "done"),
        ("one\r\ntwo\r\n\x1b[2A\x1b[Jthree", "three"),
        ("a\x1b[3Cb\x1b[2Dc\x1b[1Gd", "d  cb"),
        ("\x1b[?25lshown\x1b[?25h", "shown"),
        ("\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("123456789012345678901234", "12345678901234567890\n1234"),
    ],
)
def test_screen_shows_what_a_terminal_would(printed: str, text: str) -> None:
    assert shown(printed).text() == text


@pytest.mark.parametrize("theme", THEMES, ids=lambda theme: theme.name)
def test_picture_has_every_word_at_its_place_and_in_its_colour(theme: Theme) -> None:
    picture = ElementTree.fromstring(terminal(shown("a  <b>\r\n\x1b[31m  red"), theme, "title"))
    words = {text.text: text for text in picture.iter("{http://www.w3.org/2000/svg}text")}
    assert set(words) == {"title", "a", "<b>", "red"}
    assert words["red"].get("fill") == theme.palette[1]
    assert float(words["<b>"].get("x", 0)) > float(words["red"].get("x", 0)) > float(words["a"].get("x", 0))


@pytest.mark.parametrize("page", ["README.md", "README.pt-BR.md"])
def test_pictures_of_a_readme_exist_for_light_and_dark_pages(page: str) -> None:
    found = re.findall(r'(?:src|srcset)="([^"]+)"', read(page))
    assert found
    assert [path for path in found if not (ROOT / path).is_file()] == []
    assert {path.replace("-dark", "-light") for path in found} == {path for path in found if "-light" in path}
