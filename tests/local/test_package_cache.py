"""The packages of the local cloud: true to the files they were made from, and there as long as they are used."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations import project
from aurora_migrations.cdk.package import PackagingError
from aurora_migrations.engine.errors import InvalidFile
from aurora_migrations.local.cloud import package_cache as module
from aurora_migrations.local.cloud.artifact_cache import files_in
from aurora_migrations.local.cloud.package_cache import KEPT, package
from tests import servers
from tests.paths import ROOT

USES = """
import sys
from pathlib import Path
from aurora_migrations.local.cloud.package_cache import package

print(package(Path(sys.argv[1]), Path(sys.argv[2]), str), flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where packages are kept: one for all tests here, as the code takes seconds to install."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    made = tmp_path / "migrations"
    made.mkdir()
    return made


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What to do, one after the other, each time a package is made but not yet kept."""
    does: list[Any] = []
    make = module._BUILDERS["package"]

    def then(*paths: Path) -> None:
        make(*paths)
        does.pop(0)() if does else None

    monkeypatch.setitem(module._BUILDERS, "package", then)
    yield does
    assert not does


def quietly(text: str) -> None:
    """Says nothing."""


def write(migrations: Path, number: int) -> None:
    (migrations / "001_first.sql").write_text(f"SELECT {number};\n", encoding="utf-8")


def test_a_package_in_use_is_kept_until_its_process_ends(folder: Path, migrations: Path) -> None:
    write(migrations, 0)
    arguments = [sys.executable, "-c", USES, str(folder), str(migrations)]
    with subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        used = Path(other.stdout.readline().strip())
        for number in range(1, KEPT + 3):
            write(migrations, number)
            package(folder, migrations, quietly)
        assert (used / "migrations" / "001_first.sql").read_text() == "SELECT 0;\n"
        other.kill()
    write(migrations, 100)
    package(folder, migrations, quietly)
    assert not used.exists()
    assert len(list(folder.glob("package-*"))) == KEPT


def test_a_package_made_without_a_replay_is_not_used_with_it(
    folder: Path, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(migrations, 0)
    without = package(folder, migrations, quietly)
    with servers.folder() as home:
        monkeypatch.setenv(project.LOCAL_VARIABLE, str(home))
        monkeypatch.setenv(project.REPLAY_VARIABLE, "on")
        assert package(folder, migrations, quietly) != without
        monkeypatch.setenv(project.REPLAY_VARIABLE, "off")
        assert package(folder, migrations, quietly) == without


def test_what_a_killed_process_left_half_made_is_swept(folder: Path, migrations: Path) -> None:
    write(migrations, 200)
    left = folder / "package-0123456789abcdef.4711"
    left.mkdir(parents=True)
    package(folder, migrations, quietly)
    assert not left.exists()


def test_a_folder_with_sql_is_refused_beside_a_package_that_is_kept(folder: Path, migrations: Path) -> None:
    write(migrations, 250)
    kept = package(folder, migrations, quietly)
    (migrations / "sub").mkdir()
    (migrations / "sub" / "notes.txt").touch()
    assert (package(folder, migrations, quietly) / "migrations").is_dir()
    (migrations / "sub" / "004_z.sql").write_text("SELECT 1;\n", encoding="utf-8")
    with pytest.raises(InvalidFile, match=r"sub: is a folder with \.sql files"):
        package(folder, migrations, quietly)
    shutil.rmtree(migrations / "sub")
    assert package(folder, migrations, quietly) == kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets few people make links")
def test_links_that_lead_nowhere_are_refused_by_name(folder: Path, migrations: Path) -> None:
    write(migrations, 260)
    package(folder, migrations, quietly)
    for name in ("002_link.sql", "003_link.sql"):
        (migrations / name).symlink_to(migrations / "gone.sql")
    with pytest.raises(InvalidFile, match=r"(?s)002_link.sql: can't be read: No such file.*003_link.sql: can't be"):
        package(folder, migrations, quietly)


def test_a_file_saved_while_it_is_packed_is_packed_as_saved(folder: Path, migrations: Path, packing: list[Any]) -> None:
    write(migrations, 300)
    before = set(folder.glob("package-*"))
    packing += [lambda: write(migrations, 301), lambda: None]
    made = package(folder, migrations, quietly)
    assert (made / "migrations" / "001_first.sql").read_text() == "SELECT 301;\n"
    assert set(folder.glob("package-*")) - before == {made}
    write(migrations, 300)
    assert package(folder, migrations, quietly) != made


def test_files_that_never_stay_the_same_are_told(folder: Path, migrations: Path, packing: list[Any]) -> None:
    write(migrations, 400)
    packing += [lambda: write(migrations, 401), lambda: write(migrations, 402)]
    with pytest.raises(PackagingError, match="changed during packaging"):
        package(folder, migrations, quietly)


def test_a_process_older_than_the_sources_has_a_new_one_make_it(
    folder: Path, migrations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(migrations, 500)
    old = package(folder, migrations, quietly)
    changed = tmp_path / "changed.py"
    changed.write_text("since this process began\n")
    monkeypatch.setattr(module, "_SOURCES", (*module._SOURCES, changed))
    monkeypatch.setattr(module, "_BUILDERS", {})  # nothing is made in this process
    made = package(folder, migrations, quietly)
    assert made != old
    assert (made / "migrations" / "manifest.json").read_bytes() == (old / "migrations" / "manifest.json").read_bytes()
    (migrations / "002_broken.sql").write_text("CREATE TABL broken (id int);\n", encoding="utf-8")
    with pytest.raises(InvalidFile, match=r"002_broken.sql:1:8"):
        package(folder, migrations, quietly)


def test_every_module_that_makes_a_package_is_part_of_its_name() -> None:
    loaded = "import sys, aurora_migrations.local.cloud.package_cache\n"
    loaded += "print(*(getattr(m, '__file__', None) for m in sys.modules.values()))"
    said = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ours = {path.relative_to(ROOT) for path in map(Path, said.split()) if path.is_relative_to(ROOT)}
    makers = {
        path
        for path in ours
        if path.parts[:2] != ("aurora_migrations", "local") and path.parts[0] != ".venv" and path.name != "__init__.py"
    }
    assert Path("aurora_migrations/cdk/package.py") in makers
    assert Path("aurora_migrations/compiler/check.py") in makers
    assert makers <= {path.relative_to(ROOT) for maker in module._SOURCES for path in files_in(maker)}


def test_a_folder_that_cant_be_made_is_told(migrations: Path, tmp_path: Path) -> None:
    write(migrations, 1)
    (tmp_path / "file").touch()
    with pytest.raises(PackagingError, match=r"can't be made in .*file"):
        package(tmp_path / "file" / "kept", migrations, quietly)
