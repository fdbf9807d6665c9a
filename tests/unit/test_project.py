"""Where a project's migrations are found, from wherever one stands in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurora_migrations import project
from aurora_migrations.cli.main import main
from aurora_migrations.engine.errors import InvalidInput

TABLE = '[tool.aurora-migrations]\nmigrations = "db/changes"\n'


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, from whose subfolder `src/app` one calls."""
    monkeypatch.delenv(project.MIGRATIONS_VARIABLE, raising=False)
    monkeypatch.delenv(project.LOCAL_VARIABLE, raising=False)
    below = tmp_path / "src" / "app"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return tmp_path


def test_without_a_table_it_is_the_current_folder(shop: Path) -> None:
    (shop / "pyproject.toml").write_text("[project]\nname = 'shop'  # uses aurora-migrations\n")
    assert project.root() == Path.cwd()
    assert project.migrations() == Path("migrations")
    assert project.local() == Path.cwd() / ".local"


def test_the_nearest_table_upwards_says_where(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "pyproject.toml").write_text(TABLE)
    assert project.root() == shop
    assert project.migrations() == shop / "db" / "changes"
    assert project.local() == shop / ".local"
    monkeypatch.chdir(shop)
    assert project.migrations() == Path("db/changes"), "as short as it can be typed"
    inner = shop / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.aurora-migrations]\n")
    monkeypatch.chdir(inner)
    assert project.migrations() == Path("migrations")


def test_the_variables_go_before_it(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shop / "pyproject.toml").write_text(TABLE)
    monkeypatch.setenv(project.MIGRATIONS_VARIABLE, "elsewhere")
    monkeypatch.setenv(project.LOCAL_VARIABLE, str(shop / "kept"))
    assert project.migrations() == Path("elsewhere")
    assert project.local() == shop / "kept"


def test_git_ignores_the_local_folder_that_is_made_and_no_other(shop: Path) -> None:
    project.make(shop / "elsewhere")
    project.make(project.local() / "replay")
    assert (project.local() / ".gitignore").read_text() == "*\n"
    (project.local() / ".gitignore").unlink()
    project.make(project.local() / "cache")
    assert [path.name for path in shop.rglob(".gitignore")] == []
    assert (project.local() / "cache").is_dir()


MISTAKES = [
    ("[tool.aurora-migrations]\nfolder = 'x'\n", "unknown key 'folder'; it may have: migrations"),
    (
        "[tool.aurora-migrations]\nmigrations = 3\n",
        "migrations in [tool.aurora-migrations] must be the name of a folder",
    ),
    ("[tool.aurora-migrations]\nmigrations = ' '\n", "must be the name of a folder"),
    ("[tool]\naurora-migrations = 1\n", "tool.aurora-migrations must be a table"),
    ("[tool.aurora-migrations\n", "can't be read"),
    ("tool = 3  # aurora-migrations\n", "`tool` must be a table"),
    (f"# aurora-migrations\nx = {'[' * 5_000}\n", "can't be read"),
]


@pytest.mark.parametrize(("text", "told"), MISTAKES)
def test_a_mistake_in_the_table_names_the_file_and_what_it_may_say(
    shop: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        project.migrations()
    assert str(shop / "pyproject.toml") in caught.value.message
    assert told in caught.value.message
    assert main(["check"]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "Correct the file, or name the folder with --migrations or AURORA_MIGRATIONS_DIR." in said


def test_a_named_folder_or_an_environment_needs_no_readable_table(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (shop / "pyproject.toml").write_text("[tool.black\n# aurora-migrations\n")
    (shop / "db").mkdir()
    (shop / "db" / "001_a.sql").write_text("CREATE TABLE a (id int);\n")
    assert main(["check", "--migrations", str(shop / "db")]) == 0
    monkeypatch.setenv(project.MIGRATIONS_VARIABLE, str(shop / "db"))
    assert main(["check"]) == 0
    monkeypatch.delenv(project.MIGRATIONS_VARIABLE)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(shop / "none"))
    assert main(["list", "--env", "dev", "--profile", "none"]) == 1
    assert "There is no such AWS profile" in capsys.readouterr().err


def test_a_table_may_begin_with_a_byte_order_mark_and_a_blank_variable_is_none(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shop / "pyproject.toml").write_bytes(b"\xef\xbb\xbf" + TABLE.encode())
    monkeypatch.setenv(project.MIGRATIONS_VARIABLE, " ")
    assert project.migrations() == shop / "db" / "changes"


def test_a_deleted_current_folder_is_named(shop: Path) -> None:
    Path.cwd().rmdir()
    with pytest.raises(InvalidInput, match="The current folder can't be found"):
        project.migrations()


def test_check_reads_the_migrations_of_the_project_from_below(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "pyproject.toml").write_text(TABLE)
    (shop / "db" / "changes").mkdir(parents=True)
    (shop / "db" / "changes" / "001_a.sql").write_text("CREATE TABLE a (id int);\n")
    assert main(["check", "--locks"]) == 0
    assert "001_a.sql" in capsys.readouterr().out
    assert main(["new", "b"]) == 0
    assert (shop / "db" / "changes" / "002_b.sql").is_file()
