"""The manifest: what the compiler understood, written and read again; anything that doesn't fit is refused by name."""

from __future__ import annotations

import builtins
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.compiler.compile import compile_text
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.engine import manifest
from aurora_migrations.engine.catalog.change import difference
from aurora_migrations.engine.errors import InvalidManifest
from aurora_migrations.engine.history import State
from aurora_migrations.engine.manifest import DETAILS, FORMAT, Manifest, script_of, script_to_json
from aurora_migrations.engine.migrations import INDEX, Migration, Package, discover
from aurora_migrations.engine.options import Expectation, Options, RowsExpectation
from aurora_migrations.engine.plan import build_plan, read_edits
from aurora_migrations.engine.script import (
    Hazard,
    NontransactionalStatement,
    Outline,
    Script,
    Statement,
    TableLock,
    Unit,
)
from tests.bounds import NO_HANG
from tests.servers import Migrations

BOUNDED = settings(max_examples=100, deadline=None, database=None)


def write(folder: Path) -> str:
    """Writes the manifest of a folder, as `check --write-manifest` does; returns its digest."""
    package = discover(folder)
    return manifest.write(folder, scripts_of(package))


def scripts_of(package: Package) -> dict[Migration, dict[str, Script]]:
    compiler = Compiler(package)
    scripts = {m: {"apply": compiler.script("apply", m)} for m in package.migrations}
    for migration in package.migrations:
        if migration.down:
            scripts[migration]["rollback"] = compiler.script("rollback", migration)
    return scripts


def index(folder: Path) -> Any:
    return json.loads((folder / INDEX).read_bytes())


@pytest.fixture
def folder(migrations: Migrations) -> Path:
    migrations.write("001_a.sql", "-- migration: lock_timeout = 7s\n-- verify: rows a = 0\nCREATE TABLE a (é int);\n")
    migrations.write("001_a.down.sql", "DROP TABLE a;\n")
    migrations.write("001_a.verify.sql", "-- It is there.\nSELECT to_regclass('a') IS NOT NULL;\n")
    migrations.write("002_b.sql", "BEGIN READ WRITE; SELECT 'é'; COMMIT;\nSELECT 2;\n")
    migrations.write("010_c.sql", "-- nothing\n")
    return migrations.dir


# ---- written and read -----------------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_compiler_understood(folder: Path):
    digest = write(folder)
    live, read = Compiler(discover(folder)), Manifest(folder)
    assert read.digest == digest
    assert [m.name for m in read.package.migrations] == ["001_a.sql", "002_b.sql", "010_c.sql"]
    for migration, same in zip(read.package.migrations, live.package.migrations, strict=True):
        assert (migration.sha256, migration.down, migration.verify) == (same.sha256, same.down, same.verify)
        assert read.script("apply", migration) == live.script("apply", same)
        assert read.problems("apply", [migration]) == []
    first = read.package.migrations[0]
    assert read.script("rollback", first) == live.script("rollback", first)


def test_many_files_are_read_at_once_as_each_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch):
    write(folder)
    read = Manifest(folder)
    each = [read.script("apply", migration) for migration in read.package.migrations]
    opened: list[Path] = []
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *given, **named: opened.append(path) or original(path, *given, **named)
    )
    assert list(read.scripts("apply", read.package.migrations)) == each
    assert list(read.outlines(read.package.migrations)) == [Outline(s.file, s.tables, s.options.rows) for s in each]
    assert opened == [folder / DETAILS] * 2


texts = st.text(max_size=20)
numbers = st.integers(0, 2**40)
APART = st.builds(NontransactionalStatement, texts, texts, texts, texts, texts, st.booleans())
UNITS = st.builds(Unit, numbers, numbers, st.tuples(numbers, numbers), texts, st.none() | APART, texts)
OPTIONS = st.builds(
    Options,
    lock_timeout=numbers,
    statement_timeout=numbers,
    transaction=st.sampled_from(["on", "off", None]),
    rows=st.lists(st.builds(RowsExpectation, texts, texts, numbers), max_size=2).map(tuple),
    allow=st.lists(st.tuples(numbers, texts), max_size=2).map(tuple),
)
LOCKS = st.lists(st.builds(TableLock, texts, texts, texts, texts), max_size=2).map(tuple)
FACTS = st.dictionaries(st.tuples(texts, texts), texts, max_size=3)
SCRIPTS = st.builds(
    Script,
    file=texts,
    sha256=texts,
    tokens=texts,
    options=OPTIONS,
    reason=texts,
    units=st.lists(UNITS, max_size=3).map(tuple),
    statements=st.lists(
        st.builds(Statement, numbers, numbers, numbers, numbers, texts, LOCKS, st.none() | texts), max_size=3
    ).map(tuple),
    expectations=st.lists(st.builds(Expectation, texts, texts), max_size=2).map(tuple),
    hazards=st.lists(
        st.builds(Hazard, texts, texts, numbers, numbers, texts, texts, st.none() | texts), max_size=2
    ).map(tuple),
    change=st.none() | st.builds(difference, FACTS, FACTS),
    unreplayed=texts,
)


@BOUNDED
@given(SCRIPTS)
def test_any_script_comes_back_as_it_was(script: Script):
    assert script_of(json.loads(json.dumps(script_to_json(script)))) == script


def test_the_same_files_make_the_same_manifest(folder: Path):
    digest = write(folder)
    before = [(folder / name).read_bytes() for name in (INDEX, DETAILS)]
    assert write(folder) == digest
    assert [(folder / name).read_bytes() for name in (INDEX, DETAILS)] == before
    assert b"\r" not in before[0] + before[1]


def test_index_says_what_it_is(folder: Path):
    digest = write(folder)
    told = index(folder)
    assert (told["name"], told["format"], told["digest"]) == ("aurora-migrations manifest", FORMAT, digest)
    assert [(entry["version"], [*entry["hashes"]]) for entry in told["migrations"]] == [
        (1, ["001_a.sql", "001_a.down.sql", "001_a.verify.sql"]),
        (2, ["002_b.sql"]),
        (10, ["010_c.sql"]),
    ]
    assert len((folder / INDEX).read_bytes().splitlines()) == 1 + 3 + 1  # a line a migration, for people's differences


def test_details_are_one_document_a_line(folder: Path):
    write(folder)
    lines = (folder / DETAILS).read_text("utf-8").splitlines()
    documents = [json.loads(line) for line in lines]
    assert [sorted(document) for document in documents] == [["apply", "rollback"], ["apply"], ["apply"]]


def test_files_that_are_no_migrations_are_none_of_it(folder: Path):
    write(folder)
    (folder / "README.md").write_text("hello")
    assert len(Manifest(folder).package.migrations) == 3


# ---- one digest over everything -------------------------------------------------------------------------------------


def edit(name: str, before: str, after: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        text = (folder / name).read_text("utf-8")
        assert before in text
        (folder / name).write_text(text.replace(before, after), "utf-8")

    return do


def rename(before: str, after: str) -> Callable[[Path], None]:
    return lambda folder: (folder / before).rename(folder / after) and None


EDITS: dict[str, Callable[[Path], None]] = {
    "a name": rename("010_c.sql", "010_d.sql"),
    "a number": rename("010_c.sql", "011_c.sql"),
    "zeros before a number": rename("010_c.sql", "10_c.sql"),
    "one file more": lambda folder: (folder / "011_d.sql").write_text("SELECT 1") and None,
    "one file less": lambda folder: (folder / "010_c.sql").unlink(),
    "a literal": edit("002_b.sql", "2;", "3;"),
    "a comment": edit("010_c.sql", "nothing", "nothing at all"),
    "an option": edit("001_a.sql", "7s", "8s"),
    "an expectation": edit("001_a.sql", "a = 0", "a = 1"),
    "a promise": edit("001_a.verify.sql", "NOT NULL", "NULL"),
    "a promise's name": edit("001_a.verify.sql", "It is", "This is"),
    "a promise less": lambda folder: (folder / "001_a.verify.sql").unlink(),
    "a down file": edit("001_a.down.sql", "DROP", "DROP  "),
    "a down file less": lambda folder: (folder / "001_a.down.sql").unlink(),
    "a down file more": lambda folder: (folder / "002_b.down.sql").write_text("SELECT 1") and None,
}


@pytest.mark.parametrize("change", EDITS.values(), ids=EDITS)
def test_digest_changes_with_any_change(folder: Path, change: Callable[[Path], None]):
    digest = write(folder)
    change(folder)
    assert write(folder) != digest
    assert Manifest(folder).digest != digest


def test_digest_is_that_of_the_files_themselves(folder: Path):
    assert write(folder) == Compiler(discover(folder)).digest == discover(folder).digest


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        EDITS["a name"],
        EDITS["a number"],
        EDITS["zeros before a number"],
        EDITS["one file more"],
        EDITS["one file less"],
    ],
    ids=["a name", "a number", "zeros before a number", "one file more", "one file less"],
)
def test_manifest_of_other_files_is_refused(folder: Path, change: Callable[[Path], None]):
    write(folder)
    change(folder)
    with pytest.raises(InvalidManifest, match=r"doesn't match its files: (.*01[01]?_|10_c)"):
        Manifest(folder)


@pytest.mark.parametrize("change", ["a down file more", "a down file less", "a verify file more", "a verify file less"])
def test_manifest_of_other_helpers_is_refused(folder: Path, change: str):
    """A down file that the manifest doesn't know can't be run; a verify file that it doesn't know wouldn't be."""
    write(folder)
    if change == "a verify file more":
        (folder / "002_b.verify.sql").write_text("SELECT false;")
    else:
        EDITS[change.replace("verify file", "promise")](folder)
    with pytest.raises(InvalidManifest, match=r"00[12]_[ab]"):
        Manifest(folder)


def test_missing_manifest_is_refused(folder: Path):
    with pytest.raises(InvalidManifest, match="There is no manifest") as caught:
        Manifest(folder)
    assert "check --write-manifest" in caught.value.solution


DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"name": "aurora-migrations manifest", "format": 3,',
    "no object": b"[]",
    "null": b"null",
    "a number": b"1",
    "another product's": b'{"manifest_version": 3}',
    "no text": b"\xff\xfe\x00",
    "a name only": b'{"name": "aurora-migrations manifest"}',
    "wrong kinds": b'{"name": "aurora-migrations manifest", "format": 5, "digest": 1, "migrations": 1}',
    "wrong entries": b'{"name": "aurora-migrations manifest", "format": 5, "digest": "", "migrations": [1]}',
    "entries without names": b'{"name": "aurora-migrations manifest", "format": 5, "digest": "", "migrations": [{}]}',
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)
def test_damaged_index_is_refused(folder: Path, data: bytes):
    write(folder)
    (folder / INDEX).write_bytes(data)
    with pytest.raises(InvalidManifest, match=r"manifest\.json isn't a manifest of this product"):
        Manifest(folder)


def sealed(told: Any) -> bytes:
    """An index with a checksum that fits, as somebody would write it who knows how."""
    rest = f"{json.dumps(told['migrations'])}}}".encode() if "migrations" in told else b"}"
    head = {name: value for name, value in told.items() if name != "migrations"}
    head["checksum"] = hashlib.sha256(rest).hexdigest()
    opening = ', "migrations":' if "migrations" in told else ""
    return f"{json.dumps(head)[:-1]}{opening}\n".encode() + rest


def test_any_member_that_is_changed_or_gone_is_refused(folder: Path):
    """By the index, or at the latest by the details that it leads to; never by a crash, never unnoticed."""
    write(folder)
    whole = index(folder)
    changes: list[Any] = [(None, name) for name in whole] + [(0, name) for name in whole["migrations"][0]]
    unnoticed = []
    for place, name in changes:
        for value in (None, "", "zz", -1, 7, 10**9, [], {}, "gone"):
            if name == "replayed_on" and value in (None, 7, 10**9):
                continue  # what it may be
            told = json.loads(json.dumps(whole))
            inside = told if place is None else told["migrations"][place]
            if value == "gone":
                del inside[name]
            else:
                inside[name] = value
            (folder / INDEX).write_bytes(sealed(told) if name != "checksum" else json.dumps(told).encode())
            try:
                read = Manifest(folder)
                read.script("apply", read.package.migrations[0])
            except InvalidManifest:
                continue
            except Exception as error:
                unnoticed.append(f"{name} = {value!r}: {error!r}")
            else:
                if name != "tokens" or not isinstance(value, str):  # a text: what it should be only a grammar knows
                    unnoticed.append(f"{name} = {value!r}: nothing")
    assert not unnoticed, "\n".join(unnoticed)


def test_manifest_of_a_later_format_is_refused(folder: Path):
    write(folder)
    told = index(folder)
    told["format"] = FORMAT + 1
    (folder / INDEX).write_text(json.dumps(told))
    with pytest.raises(InvalidManifest, match=rf"has format {FORMAT + 1}; this version .* reads {FORMAT}"):
        Manifest(folder)


@pytest.mark.parametrize("change", ["one byte", "cut", "longer before", "gone", "another's line"])
def test_changed_details_are_refused(folder: Path, change: str):
    write(folder)
    path = folder / DETAILS
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    changed = {
        "one byte": data.replace(b"CreateStmt", b"createStmt"),
        "cut": data[:50],
        "longer before": b" " + data,
        "another's line": b"".join([lines[1], lines[0], lines[2]]),
    }
    path.unlink() if change == "gone" else path.write_bytes(changed[change])
    read = Manifest(folder)
    with pytest.raises(InvalidManifest, match=r"manifest\.details"):
        read.script("apply", read.package.migrations[0])


def test_details_of_others_do_not_matter(folder: Path):
    write(folder)
    path = folder / DETAILS
    path.write_bytes(path.read_bytes().replace(b"CreateStmt", b"createStmt"))
    read = Manifest(folder)
    assert read.script("apply", read.package.migrations[1]).file == "002_b.sql"


# ---- token hashes without a grammar ---------------------------------------------------------------------------------


def test_token_hash_is_known_of_the_packages_own_texts(folder: Path):
    write(folder)
    read = Manifest(folder)
    text = (folder / "002_b.sql").read_bytes()
    assert read.token_hash(text) == compile_text("x", text, Options()).script.tokens
    assert read.token_hash(text + b"--") is None


# ---- many -----------------------------------------------------------------------------------------------------------

MANY = 2_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of very many migrations with its manifest, all of one text."""
    folder = tmp_path_factory.mktemp("many")
    script = compile_text("x", b"SELECT 1;\n", Options()).script
    for version in range(1, MANY + 1):
        (folder / f"{version:04}_x.sql").write_bytes(b"SELECT 1;\n")
    package = discover(folder)
    manifest.write(
        folder, {m: {"apply": script_of(script_to_json(script) | {"file": m.name})} for m in package.migrations}
    )
    return folder


@NO_HANG
def test_reading_a_large_manifest_reads_no_details_and_no_file(many: Path, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    original = builtins.open
    path_open = Path.open
    monkeypatch.setattr(builtins, "open", lambda *a, **k: opened.append(str(a[0])) or original(*a, **k))
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self.name) or path_open(self, *a, **k))
    read = Manifest(many)
    plan = build_plan(read.package, State({}, {}), {})
    assert len(plan.pending) == MANY
    assert sum(len(migration.sha256) for migration in plan.pending) == MANY * 64
    assert [Path(name).name for name in opened if INDEX not in name] == []
    assert read.digest


@NO_HANG
def test_script_of_one_among_many_is_found_at_once(many: Path):
    read = Manifest(many)
    some = read.package.migrations[::100]
    assert [read.script("apply", migration).file for migration in some] == [migration.name for migration in some] != []


def test_nothing_applied_means_no_edits(many: Path):
    assert read_edits(None, Manifest(many), {}) == {}  # type: ignore[arg-type]
