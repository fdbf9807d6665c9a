"""How the next migration's file is called, and that what is written for it is fit for use."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from aurora_migrations.cli.verbs.new import next_label, slug
from aurora_migrations.engine.errors import InvalidFile, InvalidInput
from aurora_migrations.engine.migrations import discover
from tests.servers import Migrations

SLUGS = [
    ("add email to users", "add_email_to_users"),
    ('Add e-mail to "users"!', "add_e_mail_to_users"),
    ("  add   email  ", "add_email"),
    ("add\temail\nnow", "add_email_now"),
    ("Ação nº 3", "ação_nº_3"),
    ("__add__", "add"),
    ("drop; table", "drop_table"),
    ("../../etc/passwd", "etc_passwd"),
    ("a.down", "a_down"),
    ("x" * 200, "x" * 200),
]


@pytest.mark.parametrize(("description", "made"), SLUGS)
def test_description_becomes_a_name(description: str, made: str) -> None:
    assert slug(description) == made


@pytest.mark.parametrize("description", ["", " ", "!!", "___", "-", "😀", "x" * 201, "ç" * 101])
def test_description_that_can_name_nothing_is_refused(description: str) -> None:
    with pytest.raises(InvalidInput, match="can't name a file") as caught:
        slug(description)
    assert len(caught.value.message) < 200


@given(st.text())
@example("İstanbul")
@example("ẞ ǅ ﬁ ²")
def test_any_name_that_is_made_is_one_that_discovery_accepts(description: str) -> None:
    try:
        made = slug(description)
    except InvalidInput:
        assume(False)
        return
    assert re.fullmatch(r"[\w-]+", made)
    assert len(f"00000000000000_{made}.verify.sql".encode()) < 255


LABELS = [
    ([], "001"),
    (["001_a.sql"], "002"),
    (["9_a.sql"], "10"),
    (["009_a.sql"], "010"),
    (["999_a.sql"], "1000"),
    (["0017_a.sql", "0003_b.sql"], "0018"),
    (["017_a.sql", "17000_b.sql"], "17001"),
    (["1_a.sql", "02_b.sql"], "03"),
    (["00_a.sql"], "01"),
]


@pytest.mark.parametrize(("names", "label"), LABELS)
def test_next_number_follows_the_highest_and_is_as_wide(migrations: Migrations, names: list[str], label: str) -> None:
    for name in names:
        migrations.write(name, "")
    assert next_label(migrations.dir) == label


def test_folder_that_numbers_by_time_gets_the_time(migrations: Migrations) -> None:
    migrations.write("20260101120000_a.sql", "")
    before, label = time.strftime("%Y%m%d%H%M%S", time.gmtime()), next_label(migrations.dir)
    assert before <= label <= time.strftime("%Y%m%d%H%M%S", time.gmtime())


def test_number_by_time_is_above_one_from_the_future(migrations: Migrations) -> None:
    migrations.write("29991231235959_a.sql", "")
    assert next_label(migrations.dir) == "29991231235960"


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        next_label(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["bad.sql", "1_a.SQL", "1_a.down.sql"])
def test_folder_with_a_misnamed_file_is_refused(migrations: Migrations, name: str) -> None:
    migrations.write(name, "")
    with pytest.raises(InvalidFile):
        next_label(migrations.dir)


def test_made_names_are_accepted_by_discovery(migrations: Migrations) -> None:
    for _ in range(12):
        migrations.write(f"{next_label(migrations.dir)}_{slug('add a thing')}.sql", "")
    assert [m.label for m in discover(migrations.dir).migrations] == [f"{n:03}" for n in range(1, 13)]
