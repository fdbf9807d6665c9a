"""Discovery: which files make a package, what is refused and how it is told, and what a text is."""

from __future__ import annotations

import codecs
import contextlib
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler.check import check, write_manifest
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import migrations as files
from aurora_migrations.engine.errors import InvalidFile, InvalidInput, InvalidManifest
from aurora_migrations.engine.manifest import DETAILS
from aurora_migrations.engine.migrations import INDEX, Problem, discover, invalid_files, position, read_text
from tests.servers import Migrations

CHUNK = 1 << 16  # what the engine reads at once
SQL = "SELECT 1;\n"
posix = pytest.mark.skipif(sys.platform == "win32", reason="file permissions and symbolic links of POSIX")


def problems(migrations: Migrations) -> list[str]:
    with pytest.raises(InvalidFile) as caught:
        discover(migrations.dir)
    return [str(problem) for problem in caught.value.problems]


def text_problem(path: Path) -> str:
    with pytest.raises(InvalidFile) as caught:
        read_text(path)
    (problem,) = caught.value.problems
    return str(problem)


# ---- what a package is ----------------------------------------------------------------------------------------------


def test_order_is_that_of_the_numbers_whatever_their_width(migrations: Migrations) -> None:
    for name in ("10_j.sql", "9_i.sql", "0100_c.sql", "20260101120000_t.sql", "00_zero.sql"):
        migrations.write(name, SQL)
    package = discover(migrations.dir)
    assert [m.version for m in package.migrations] == [0, 9, 10, 100, 20260101120000]
    assert [m.label for m in package.migrations] == ["00", "9", "10", "0100", "20260101120000"]
    assert package.by_version[100].name == "0100_c.sql"


def test_helpers_belong_to_the_migration_of_the_same_name(migrations: Migrations) -> None:
    for name in ("1_a.sql", "1_a.down.sql", "1_a.verify.sql", "2_b.sql"):
        migrations.write(name, SQL)
    first, second = discover(migrations.dir).migrations
    assert (first.path, first.down, first.verify) == tuple(
        migrations.dir / name for name in ("1_a.sql", "1_a.down.sql", "1_a.verify.sql")
    )
    assert (second.down, second.verify) == (None, None)


@pytest.mark.parametrize("name", ["1_a.sql", "001_add-email.sql", "1_Ação_ß.sql", "1__.sql", "1_2_3.sql", "1_列.sql"])
def test_name_is_accepted(migrations: Migrations, name: str) -> None:
    migrations.write(name, SQL)
    assert [m.name for m in discover(migrations.dir).migrations] == [name]


def test_what_is_no_sql_file_is_none_of_our_business(migrations: Migrations) -> None:
    for name in ("1_a.sql", "README.md", "1_a.sql~", ".gitkeep", "notes.txt", "1_a.sql.swp"):
        migrations.write(name, SQL)
    (migrations.dir / "docs").mkdir()
    (migrations.dir / "docs" / "page.md").write_text("words", encoding="utf-8")
    assert len(discover(migrations.dir).migrations) == 1


# ---- what is refused ------------------------------------------------------------------------------------------------

MISNAMED = [
    ("create_users.sql", "must begin with its version"),
    ("V1__create_users.sql", "must begin with its version"),
    ("_1_a.sql", "must begin with its version"),
    (" 1_a.sql", "must begin with its version"),
    ("-1_a.sql", "must begin with its version"),
    (".sql", "must begin with its version"),
    ("._1_a.sql", "must begin with its version"),
    ("1.sql", "VERSION_description.sql"),
    ("1_.sql", "VERSION_description.sql"),
    ("1-a.sql", "VERSION_description.sql"),
    ("1.5_a.sql", "VERSION_description.sql"),
    ("1_add email.sql", "VERSION_description.sql"),
    ("1_a.up.sql", "VERSION_description.sql"),
    ("1_a.Down.sql", "VERSION_description.sql"),
    ("1_a.down.verify.sql", "VERSION_description.sql"),
    ("1_a (copy).sql", "VERSION_description.sql"),
    ("1_a\n.sql", "VERSION_description.sql"),
    ("٣_a.sql", "VERSION_description.sql"),
    ("1_a.SQL", "rename it to 1_a.sql"),
    ("1_a.Sql", "rename it to 1_a.sql"),
    ("1_a.down.SQL", "rename it to 1_a.down.sql"),
]


@pytest.mark.parametrize(("name", "reason"), MISNAMED, ids=[name.strip() for name, _ in MISNAMED])
def test_misnamed_file_is_refused_and_told_how_to_be_named(migrations: Migrations, name: str, reason: str) -> None:
    migrations.write("7_fine.sql", SQL)
    try:
        migrations.write(name, SQL)
    except OSError:
        pytest.skip("this file system has no such names")
    (problem,) = problems(migrations)
    assert problem.startswith(f"{name}: ")
    assert reason in problem


def test_each_version_is_there_once(migrations: Migrations) -> None:
    for name in ("1_a.sql", "001_b.sql", "01_c.sql", "2_d.sql"):
        migrations.write(name, SQL)
    assert problems(migrations) == [
        "01_c.sql: has the same version as 001_b.sql; give one of them another",
        "1_a.sql: has the same version as 001_b.sql; give one of them another",
    ]


@pytest.mark.parametrize("role", ["down", "verify"])
@pytest.mark.parametrize("stem", ["1_b", "01_a", "2_a"])
def test_helper_without_its_migration_is_refused(migrations: Migrations, stem: str, role: str) -> None:
    migrations.write("1_a.sql", SQL)
    migrations.write(f"{stem}.{role}.sql", SQL)
    (problem,) = problems(migrations)
    assert problem == f"{stem}.{role}.sql: there is no {stem}.sql that this .{role} file belongs to"


@pytest.mark.parametrize("inside", ["2_b.sql", "2_B.SQL"])
def test_sub_folder_with_sql_files_is_refused(migrations: Migrations, inside: str) -> None:
    migrations.write("1_a.sql", SQL)
    (migrations.dir / "later").mkdir()
    migrations.write(f"later/{inside}", SQL)
    (problem,) = problems(migrations)
    assert problem.startswith("later: is a folder with .sql files")


@pytest.mark.parametrize("name", ["2_b.sql", "2_B.SQL"])
def test_folder_that_is_named_like_a_file_is_refused(migrations: Migrations, name: str) -> None:
    migrations.write("1_a.sql", SQL)
    (migrations.dir / name).mkdir()
    (problem,) = problems(migrations)
    assert problem.startswith(f"{name}: is a folder")


def test_all_problems_are_told_at_once(migrations: Migrations) -> None:
    for name in ("1_a.sql", "01_b.sql", "2_c.down.sql", "bad.sql", "3_d.SQL"):
        migrations.write(name, SQL)
    (migrations.dir / "old").mkdir()
    migrations.write("old/4_e.sql", SQL)
    with pytest.raises(InvalidFile) as caught:
        discover(migrations.dir)
    named = {problem.file for problem in caught.value.problems}
    assert named == {"1_a.sql", "2_c.down.sql", "bad.sql", "3_d.SQL", "old"}
    first, *lines = caught.value.message.splitlines()
    assert first == "5 problems:"
    assert {line.partition(":")[0] for line in lines} == named
    assert {fact["file"] for fact in caught.value.facts["files"]} == named


def test_message_stays_readable_with_very_many_problems() -> None:
    error = invalid_files(Problem(f"{n}.sql", "is wrong") for n in range(1_000))
    assert error.message.splitlines()[0] == "1000 problems:"
    assert error.message.splitlines()[-1] == "... and 900 more"
    assert len(error.message.splitlines()) == 102


def test_one_problem_is_told_in_one_line() -> None:
    assert invalid_files([Problem("a.sql", "is wrong", 3, 4)]).message == "a.sql:3:4: is wrong"


def test_folder_without_a_migration_is_an_error(migrations: Migrations) -> None:
    migrations.write("README.md", "nothing here yet")
    with pytest.raises(InvalidInput, match="contains no migration") as caught:
        discover(migrations.dir)
    assert str(migrations.dir) in caught.value.message


def test_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be read: No such file") as caught:
        discover(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in caught.value.message


def test_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "migrations").write_text(SQL, encoding="utf-8")
    with pytest.raises(InvalidInput, match="can't be read"):
        discover(tmp_path / "migrations")


# ---- files that can't be read ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def as_somebody_without_rights() -> Iterator[None]:
    """Root may read everything; as root this is somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Migrations]:
    """A folder that everybody can get to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Migrations(Path(folder))


@posix
def test_unreadable_file_is_a_named_error(public: Migrations) -> None:
    public.write("1_a.sql", SQL).chmod(0)
    with as_somebody_without_rights():
        (migration,) = discover(public.dir).migrations
        assert text_problem(migration.path) == "1_a.sql: can't be read: Permission denied"
        with pytest.raises(InvalidFile, match=r"1_a\.sql: can't be read"):
            _ = migration.sha256


@posix
def test_unreadable_folder_is_a_named_error(public: Migrations) -> None:
    public.dir.chmod(0)
    with as_somebody_without_rights(), pytest.raises(InvalidInput, match="can't be read: Permission denied"):
        discover(public.dir)


@posix
def test_symbolic_link_is_the_file_it_leads_to(migrations: Migrations, tmp_path: Path) -> None:
    (tmp_path / "shared.txt").write_text(SQL, encoding="utf-8")
    (migrations.dir / "1_a.sql").symlink_to(tmp_path / "shared.txt")
    (migration,) = discover(migrations.dir).migrations
    assert read_text(migration.path) == SQL.encode()


@posix
@pytest.mark.parametrize("target", ["gone.txt", "1_a.sql"], ids=["dangling", "loop"])
def test_symbolic_link_to_nowhere_is_a_named_error(migrations: Migrations, target: str) -> None:
    (migrations.dir / "1_a.sql").symlink_to(migrations.dir / target)
    (migration,) = discover(migrations.dir).migrations
    assert text_problem(migration.path).startswith("1_a.sql: can't be read: ")
    with pytest.raises(InvalidFile, match="can't be read"):
        _ = migration.sha256


@posix
@pytest.mark.parametrize("name", ["1_a.sql", "1_a.down.sql", "1_a.verify.sql"])
def test_what_is_no_regular_file_is_refused_before_it_is_read(
    migrations: Migrations, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    migrations.write("1_a.sql", SQL)
    (migrations.dir / name).unlink(missing_ok=True)
    os.mkfifo(migrations.dir / name)
    (migrations.dir / "2_b.sql").symlink_to("/dev/zero")
    monkeypatch.chdir(migrations.dir)  # a socket's path may not be long
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("3_c.sql")
    remedy = "not a regular file; put the text into a file of this name"
    assert problems(migrations) == [
        f"{name}: is a FIFO (named pipe), {remedy}",
        f"2_b.sql: is a device, {remedy}",
        f"3_c.sql: is a socket, {remedy}",
    ]


@posix
@pytest.mark.parametrize("index", [INDEX, DETAILS])
def test_manifest_that_is_no_regular_file_is_refused_before_it_is_read(migrations: Migrations, index: str) -> None:
    migrations.write("1_a.sql", SQL)
    write_manifest(migrations.dir, check(discover(migrations.dir)))
    (migrations.dir / index).unlink()
    os.mkfifo(migrations.dir / index)
    with pytest.raises(InvalidManifest, match=f"{index}.*: it isn't a regular file"):
        source_of(migrations.dir).script("apply", discover(migrations.dir).migrations[0])


@posix
@pytest.mark.parametrize("path", ["/dev/zero", "fifo", "x" * 5_000], ids=["device", "FIFO", "over-long"])
def test_folder_that_can_be_none_is_an_error(tmp_path: Path, path: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput, match=r"can't be read: (Not a directory|File name too long)"):
        source_of(tmp_path / path)


def test_file_deleted_meanwhile_is_a_named_error(migrations: Migrations) -> None:
    path = migrations.write("1_a.sql", SQL)
    package = discover(migrations.dir)
    path.unlink()
    with pytest.raises(InvalidFile, match=r"1_a\.sql: can't be read"):
        _ = package.digest


def test_hash_is_that_of_the_first_reading_until_the_file_is_read_again(migrations: Migrations) -> None:
    migrations.write("1_a.sql", SQL)
    (migration,) = discover(migrations.dir).migrations
    first = migration.sha256
    migrations.write("1_a.sql", f"{SQL}-- more\n")
    assert migration.sha256 == first
    assert migration.folder.read_sha256("1_a.sql") != first
    (again,) = discover(migrations.dir).migrations
    assert again.sha256 == migration.folder.read_sha256("1_a.sql")


def test_hash_that_a_manifest_knows_is_taken_from_it(migrations: Migrations) -> None:
    migrations.write("1_a.sql", SQL)
    migrations.write("1_a.down.sql", SQL)
    known = {"1_a.sql": "one", "1_a.down.sql": "two"}
    (migration,) = discover(migrations.dir, known).migrations
    assert (migration.sha256, migration.hashes) == ("one", known)


# ---- what a text is -------------------------------------------------------------------------------------------------


def test_hash_and_text_are_those_of_lf_without_byte_order_mark(migrations: Migrations) -> None:
    plain = b"SELECT 'a';\n-- b\n\nSELECT '\xc3\xa7';"
    for number, data in enumerate((plain, codecs.BOM_UTF8 + plain, plain.replace(b"\n", b"\r\n"))):
        (migrations.dir / f"{number}_a.sql").write_bytes(data)
    package = discover(migrations.dir)
    assert {read_text(m.path) for m in package.migrations} == {plain}
    assert len({m.sha256 for m in package.migrations}) == 1


def test_lone_carriage_return_and_a_second_mark_stay(migrations: Migrations) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes(codecs.BOM_UTF8 * 2 + b"a\rb\r")
    assert read_text(path) == codecs.BOM_UTF8 + b"a\rb\r"


@pytest.mark.parametrize("before", range(-2, 3))
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "marked"])
def test_line_end_split_between_two_reads_is_one_line_end(migrations: Migrations, before: int, mark: bytes) -> None:
    head = b"-" * (CHUNK - len(mark) + before)
    path = migrations.dir / "1_a.sql"
    path.write_bytes(mark + head + b"\r\nSELECT 1;\r\n")
    assert read_text(path) == head + b"\nSELECT 1;\n"
    (migration,) = discover(migrations.dir).migrations
    windows = migration.sha256
    path.write_bytes(head + b"\nSELECT 1;\n")
    (migration,) = discover(migrations.dir).migrations
    assert migration.sha256 == windows


@settings(deadline=None)
@given(
    data=st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\xc3\xa7"])).map(b"".join),
    marked=st.booleans(),
    chunk=st.integers(4, 6),
)
def test_text_does_not_depend_on_where_reads_end(data: bytes, marked: bool, chunk: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "1_a.sql"
        path.write_bytes((codecs.BOM_UTF8 if marked else b"") + data)
        patch.setattr(files, "_CHUNK", chunk)
        assert read_text(path) == data.replace(b"\r\n", b"\n")


def test_empty_file_is_an_empty_text(migrations: Migrations) -> None:
    assert read_text(migrations.write("1_a.sql", "")) == b""
    path = migrations.dir / "2_b.sql"
    path.write_bytes(codecs.BOM_UTF8)
    assert read_text(path) == b""


NOT_UTF8 = [
    (b"caf\xe9", "1:4", "0xe9"),
    (b"SELECT 1;\n-- \xc3\xa7\xc3\xa7 \xff", "2:7", "0xff"),
    (b"\xc3", "1:1", "0xc3"),
    (b"\r\n\r\nab\xc3(", "3:3", "0xc3"),
    (b"\xed\xa0\x80", "1:1", "0xed"),
    (codecs.BOM_UTF8 + b"\xff", "1:1", "0xff"),
    (codecs.BOM_UTF16_LE, "1:1", "0xff"),
]


@pytest.mark.parametrize(("data", "place", "byte"), NOT_UTF8, ids=[repr(data) for data, _, _ in NOT_UTF8])
def test_invalid_utf8_is_told_with_line_and_column(migrations: Migrations, data: bytes, place: str, byte: str) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes(data)
    assert text_problem(path) == f"1_a.sql:{place}: isn't UTF-8 (byte {byte}); save it as UTF-8"


@pytest.mark.parametrize("before", range(-4, 3))
def test_invalid_utf8_is_found_across_two_reads(migrations: Migrations, before: int) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes(b"-" * (CHUNK + before - 1) + b"\n" + b"\xe2\x82x")
    assert text_problem(path) == "1_a.sql:2:1: isn't UTF-8 (byte 0xe2); save it as UTF-8"


@pytest.mark.parametrize("before", range(-4, 3))
def test_valid_utf8_across_two_reads_is_fine(migrations: Migrations, before: int) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes(b"-" * (CHUNK + before) + "€😀".encode())
    assert read_text(path).decode().endswith("€😀")


def test_nul_byte_is_refused_with_line_and_column(migrations: Migrations) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes(b"SELECT 1;\nSELECT '\xc3\xa7\0';\n")
    assert text_problem(path).startswith("1_a.sql:2:10: contains a NUL byte")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_utf16_is_refused_and_recognised(migrations: Migrations, encoding: str) -> None:
    path = migrations.dir / "1_a.sql"
    path.write_bytes("SELECT 1;\n".encode(encoding))
    problem = text_problem(path)
    assert problem.startswith("1_a.sql:1:")
    assert "is it UTF-16? save it as UTF-8" in problem


def test_position_counts_characters_from_one() -> None:
    text = "ç€\n\n😀x".encode()
    assert position(text, 0) == (1, 1)
    assert position(text, 5) == (1, 3)
    assert position(text, text.index(b"x")) == (3, 2)
    assert position(text, len(text)) == (3, 3)


# ---- the package's digest -------------------------------------------------------------------------------------------


def test_digest_changes_with_names_and_texts_and_with_nothing_else(migrations: Migrations) -> None:
    migrations.write("1_a.sql", SQL)
    path = migrations.write("2_b.sql", SQL)
    first = discover(migrations.dir).digest
    path.write_bytes(SQL.replace("\n", "\r\n").encode())
    assert discover(migrations.dir).digest == first
    path.write_bytes(b"SELECT 2;\n")
    assert discover(migrations.dir).digest != first
    path.unlink()
    migrations.write("2_c.sql", SQL)
    assert discover(migrations.dir).digest != first
