"""`aurora-migrations synth` with mistakes, shown before it builds. What it writes: tests/cdk/test_examples.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.cli.test_schemas import fits


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> Path:
    """A project that `init` has begun."""
    made = tmp_path / "shop"
    made.mkdir()
    monkeypatch.chdir(made)
    assert call("init", "--project", "shop").code == 0
    return made


@pytest.mark.parametrize(
    ("change", "words", "told"),
    [
        (None, ["--environment", "prod"], "There is no environment 'prod'; `environments` in cdk.json has dev."),
        (("team@example.com", "nonsense"), [], "cdk.json: `environments.dev.emails[0]` must be a plain e-mail address"),
        (('"shop"', '"My Shop"'), [], "cdk.json: `environments.dev` can't be of the project 'My Shop': write up to 15"),
        (("{", "["), [], "cdk.json:2:8: this isn't JSON: "),
    ],
    ids=str,
)
def test_mistake_in_the_settings_is_told(
    call: Call, folder: Path, change: tuple[str, str] | None, words: list[str], told: str
) -> None:
    if change is not None:
        text = (folder / "cdk.json").read_text()
        (folder / "cdk.json").write_text(text.replace(*change, 1))
    answer = call("synth", *words)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("The template could not be written:\n  ")
    assert told in answer.err
    assert not (folder / "aurora-migrations.out").exists()
    document = json.loads(call("synth", *words, "--output", "json").out)
    fits("synth", document)
    assert told in document["problems"][0]
