"""GitHub's workflow commands: one line each, whatever stands in a name or a message."""

from __future__ import annotations

import re

import pytest

from aurora_migrations.compiler.check import annotation, of_hazards, of_problems
from aurora_migrations.compiler.hazards import Hazard
from aurora_migrations.engine.migrations import Problem

HAZARD = Hazard("ban-drop-column", "017_x.sql", 3, 7, "It may break clients.", "Drop it later.")
REFUSED = Hazard("concurrently-without-name", "018_y.sql", 1, 1, "No name.", "", refused=True)
ALLOWED = Hazard("ban-drop-table", "019_z.sql", 1, 1, "Gone.", "", allowed_because="nobody reads it")


def undo(line):
    """What GitHub's runner makes of a line (its ActionCommand.cs: the data, then each property, unescaped)."""
    level, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
    pairs = (pair.split("=", 1) for pair in properties.split(","))
    return level, {name: unescape(value) for name, value in pairs}, unescape(message)


def unescape(text):
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_a_command_has_place_title_and_message():
    line = annotation("error", "migrations/017_x.sql", 3, 7, "ban-drop-column", "It may break clients.")
    assert line == "::error file=migrations/017_x.sql,line=3,col=7,title=ban-drop-column::It may break clients."


@pytest.mark.parametrize(
    ("text", "in_message", "in_property"),
    [
        ("100 %", "100 %25", "100 %25"),
        ("%0A", "%250A", "%250A"),
        ("a\r\nb", "a%0D%0Ab", "a%0D%0Ab"),
        ("a: b, c", "a: b, c", "a%3A b%2C c"),
        ("::error::x", "::error::x", "%3A%3Aerror%3A%3Ax"),
        ("é 🐘 = ;", "é 🐘 = ;", "é 🐘 = ;"),
    ],
)
def test_escaping_is_the_documented_one(text, in_message, in_property):
    line = annotation("warning", text, 1, 2, text, text)
    assert line == f"::warning file={in_property},line=1,col=2,title={in_property}::{in_message}"
    assert "\n" not in line
    assert undo(line) == ("warning", {"file": text, "line": "1", "col": "2", "title": text}, text)


def test_a_file_as_a_whole_has_no_line():
    assert annotation("error", "x.sql", 0, 0, "t", "m") == "::error file=x.sql,title=t::m"


@pytest.mark.parametrize(("refuse", "levels"), [(False, ["warning", "error"]), (True, ["error", "error"])])
def test_hazards_warn_or_stop_as_the_environment_says_and_allowed_ones_are_silent(refuse, levels):
    lines = list(of_hazards([HAZARD, REFUSED, ALLOWED], refuse=refuse))
    assert [undo(line)[0] for line in lines] == levels


def test_message_and_help_are_lines_of_one_message():
    (line,) = of_hazards([HAZARD])
    assert undo(line)[2] == "It may break clients.\nDrop it later."
    (line,) = of_hazards([REFUSED])
    assert undo(line)[2] == "No name."


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("", "017_x.sql"),
        (".", "017_x.sql"),
        ("migrations", "migrations/017_x.sql"),
        ("./migrations/", "migrations/017_x.sql"),
        ("db\\migrations", "db/migrations/017_x.sql"),
    ],
)
def test_files_are_named_from_the_repositorys_root(folder, file):
    (line,) = of_hazards([HAZARD], folder)
    assert undo(line)[1]["file"] == file


def test_problems_are_told_the_same_way():
    lines = list(of_problems([Problem("x.sql", "syntax error, at: 5 %", 2, 4), Problem("y", "whole")], "syntax", "m"))
    assert lines == [
        "::error file=m/x.sql,line=2,col=4,title=syntax::syntax error, at: 5 %25",
        "::error file=m/y,title=syntax::whole",
    ]
    assert [undo(line)[0] for line in of_problems([Problem("y", "r", 1, 1)], "t", level="warning")] == ["warning"]
