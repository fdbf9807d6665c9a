"""What the templates of `new` write: sound once it is filled in, refused until then, and honest about its locks."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_migrations.cli.verbs.new import TEMPLATES, Draft, draft
from aurora_migrations.compiler.check import Checked, check
from aurora_migrations.compiler.compile import compile_text
from aurora_migrations.compiler.folder_source import Compiler
from aurora_migrations.compiler.locks.effects import Answer, file_effects
from aurora_migrations.compiler.parser import parse
from aurora_migrations.engine.errors import InvalidFile, InvalidInput
from aurora_migrations.engine.migrations import discover
from aurora_migrations.engine.options import Options
from tests.servers import Migrations

USERS = {"table": "users", "column": "mail"}
FILLED = {
    "index": USERS,
    "not-null": USERS,
    "foreign-key": {"table": "orders", "column": "user_id", "references": "users"},
    "rename": USERS | {"to": "email", "type": "text", "key": "id"},
    "backfill": USERS | {"key": "id", "value": "lower(name)"},
}
ODD = {
    "index": {"table": 'app."Order"', "column": "Select"},
    "not-null": {"table": "Order", "column": "user"},
    "foreign-key": {"table": '"odd name".x', "column": '"a""b"', "references": "app.Order"},
    "rename": {"table": "app.Order", "column": '"$$ :to"', "to": "Ação", "type": "varchar(20)", "key": "end"},
    "backfill": {"table": '"a.b"', "column": '"{count}"', "key": '":value"', "value": "':table' || '{key}'"},
}
PARTITIONED = {"table": "app.sale", "column": "at"}
PARTITIONS = ["app.sale_1", 'old."Sale 2"', "sale_3"]
ALL = [*FILLED.items(), *ODD.items()]
IDS = [*FILLED, *(f"{name}, odd names" for name in ODD)]


def write(folder: Migrations, drafts: list[Draft]) -> None:
    """The files as `new` writes them, with the reason that an author adds."""
    steps = list(dict.fromkeys(each.step for each in drafts))
    for each in drafts:
        text = each.text.replace("because ...", "because the table is small")
        folder.write(f"{steps.index(each.step) + 1:03}_x{each.step}{each.role}.sql", text)


def checked(folder: Migrations) -> list[Checked]:
    return check(discover(folder.dir))


@pytest.mark.parametrize(("name", "names"), ALL, ids=IDS)
def test_filled_in_there_is_nothing_wrong_and_no_hazard(migrations: Migrations, name: str, names: dict) -> None:
    drafts = draft(name, names)
    write(migrations, drafts)
    found = checked(migrations)
    assert len(found) == len([each for each in drafts if each.role != ".verify"])
    assert [file.problems for file in found if file.problems] == []
    assert [file.open_hazards for file in found if file.open_hazards] == []
    assert [file.warnings for file in found if file.warnings] == []


@pytest.mark.parametrize(("name", "names"), ALL, ids=IDS)
def test_every_step_has_a_down_file_and_nothing_left_to_fill_in(name: str, names: dict) -> None:
    drafts = draft(name, names)
    assert {each.step for each in drafts} == {each.step for each in drafts if each.role == ".down"}
    assert [each.missing for each in drafts] == [()] * len(drafts)
    assert not any("Fill in" in each.text for each in drafts)


@pytest.mark.parametrize(("name", "names"), ALL, ids=IDS)
def test_locks_in_the_comments_are_those_that_the_compiler_tells(name: str, names: dict) -> None:
    told = set()
    for each in (made for made in draft(name, names) if made.role != ".verify"):
        claimed = {
            (line[1], line[2]) for line in re.finditer(r"(?m)^-- Takes ([A-Z ]+) on (.+?)(?=[,:]| but )", each.text)
        }
        of_this = {(e.lock, e.table) for of_one in file_effects(parse(each.text.encode())).effects for e in of_one}
        assert claimed == of_this, each
        told |= of_this
    assert told


def test_comments_say_who_waits_as_the_compiler_does() -> None:
    """Where a comment says how long or who, it agrees with the lock's strength."""
    blocked: dict[str, set[tuple[bool, bool]]] = {
        "readers and writers continue": set(),
        "writers wait, readers continue": set(),
    }
    every = [made for name, names in ALL for made in draft(name, names)]
    every += draft("index", {**PARTITIONED, "partition": PARTITIONS})
    for each in every:
        for statement, of_one in zip(
            parse(each.text.encode()), file_effects(parse(each.text.encode())).effects, strict=True
        ):
            above = each.text.encode()[: statement.start].decode().rpartition("\n\n")[2]
            for said in blocked:
                if said in above:
                    blocked[said] |= {(effect.reads_blocked, effect.writes_blocked) for effect in of_one}
    assert list(blocked.values()) == [{(False, False)}, {(False, True)}]


@pytest.mark.parametrize("name", ["not-null", "foreign-key"])
def test_no_strong_lock_is_held_while_a_table_is_read(name: str) -> None:
    """Each unit either takes a lock that blocks, or reads all rows: never both."""
    found_reading = False
    for each in draft(name, FILLED[name]):
        compiled = compile_text("x.sql", each.text.encode(), Options())
        found = file_effects(compiled.statements).effects
        for unit in compiled.script.units:
            inside = [effect for of_one in found[slice(*unit.statements)] for effect in of_one]
            reads = any(effect.scans is Answer.YES for effect in inside)
            assert not (reads and any(effect.writes_blocked for effect in inside)), each
            found_reading |= reads
    assert found_reading


# ---- placeholders ---------------------------------------------------------------------------------------------------


def refusals(folder: Migrations) -> dict[str, str]:
    """What the compiler says against each file, and the engine with it, by the file's name."""
    told = {}
    for file in checked(folder):
        told[file.file] = "; ".join(problem.reason for problem in file.problems)
        compiler = Compiler(discover(folder.dir))
        if not told[file.file]:
            compiler.script(file.action, file.migration)
            continue
        with pytest.raises(InvalidFile):
            compiler.script(file.action, file.migration)
    return told


@pytest.mark.parametrize("name", TEMPLATES)
def test_nothing_filled_in_is_refused_and_says_so(migrations: Migrations, name: str) -> None:
    drafts = draft(name, {})
    write(migrations, drafts)
    told = refusals(migrations)
    for each in drafts:
        assert bool(each.missing) == each.text.startswith("-- Fill in each name that begins with a colon")
    expected = {f"{each.step}{each.role}.sql" for each in drafts if each.missing and each.role != ".verify"}
    refused = [reason for reason in told.values() if reason]
    assert {file.removeprefix(file[:5]) for file, reason in told.items() if reason} == expected
    assert all("variables of psql aren't replaced here; write the value" in reason for reason in refused)


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_single_name_that_is_left_out_is_refused_where_it_is_needed(migrations: Migrations, name: str) -> None:
    for left_out in FILLED[name]:
        drafts = draft(name, {each: value for each, value in FILLED[name].items() if each != left_out})
        write(migrations, drafts)
        told = refusals(migrations)
        up = [each for each in drafts if each.missing and not each.role]
        assert up
        for each in up:
            assert any(each.step in file and reason for file, reason in told.items()), (left_out, each)


@pytest.mark.parametrize("name", TEMPLATES)
def test_filling_in_by_search_and_replace_makes_a_file_that_passes(migrations: Migrations, name: str) -> None:
    """A person fills in some names one after the other: it is refused until the last one is there."""
    drafts = draft(name, {})
    missing = sorted({found for each in drafts for found in each.missing}, key=len, reverse=True)
    texts = {(each.step, each.role): each.text for each in drafts}
    assert missing
    for number, placeholder in enumerate(missing):
        word = placeholder.removeprefix(":")
        texts = {
            key: text.replace(placeholder, FILLED[name].get(word, f"made_up_{word}")) for key, text in texts.items()
        }
        write(migrations, [Draft(*key, text, ()) for key, text in texts.items()])
        refused = any(refusals(migrations).values())
        assert refused == (number + 1 < len(missing))


def test_placeholder_in_a_verify_file_is_refused(migrations: Migrations) -> None:
    drafts = draft("rename", FILLED["rename"])
    (verify,) = [each for each in draft("rename", {}) if each.role == ".verify"]
    write(migrations, [verify if each.role == ".verify" else each for each in drafts])
    refused = {file: reason for file, reason in refusals(migrations).items() if reason}
    assert list(refused) == ["002_x_2_backfill.sql"]


def test_promise_is_called_by_its_own_comment_even_if_the_note_above_stays(migrations: Migrations) -> None:
    """A note right above it would become the name that a run prints."""
    drafts = draft("rename", FILLED["rename"])
    (verify,) = [each for each in draft("rename", {}) if each.role == ".verify"]
    text = verify.text.replace(":table", "users").replace(":to", "email").replace(":column", "mail")
    write(migrations, [Draft(each.step, each.role, text, ()) if each.role == ".verify" else each for each in drafts])
    migration = discover(migrations.dir).migrations[1]
    (promise,) = Compiler(discover(migrations.dir)).script("apply", migration).expectations
    assert promise.name == "Every row has the same value under both names"


# ---- the index of a partitioned table -------------------------------------------------------------------------------


def test_index_of_a_partitioned_table_is_built_on_each_partition_and_attached(migrations: Migrations) -> None:
    up, down = drafts = draft("index", {**PARTITIONED, "partition": PARTITIONS})
    statements = [statement.text.decode() for statement in parse(up.text.encode())]
    assert statements == [
        "CREATE INDEX sale_at_idx ON ONLY app.sale (at)",
        "CREATE INDEX CONCURRENTLY sale_1_at_idx ON app.sale_1 (at)",
        "ALTER INDEX app.sale_at_idx ATTACH PARTITION app.sale_1_at_idx",
        'CREATE INDEX CONCURRENTLY "Sale 2_at_idx" ON old."Sale 2" (at)',
        'ALTER INDEX app.sale_at_idx ATTACH PARTITION old."Sale 2_at_idx"',
        "CREATE INDEX CONCURRENTLY sale_3_at_idx ON sale_3 (at)",
        "ALTER INDEX app.sale_at_idx ATTACH PARTITION sale_3_at_idx",
    ]
    assert [statement.text for statement in parse(down.text.encode())] == [b"DROP INDEX app.sale_at_idx"]
    write(migrations, drafts)
    assert [(file.problems, file.open_hazards, file.warnings) for file in checked(migrations)] == [((), (), ())] * 2
    assert len(compile_text("x.sql", up.text.encode(), Options()).script.units) == len(statements)


def test_locks_of_a_partitioned_index_are_those_that_the_compiler_tells() -> None:
    for each in draft("index", {**PARTITIONED, "partition": PARTITIONS}):
        claimed = re.findall(r"(?m)^-- Takes ([A-Z ]+) on (.+?)(?=[,:])", each.text)
        alone = [parse(statement.text) for statement in parse(each.text.encode())]
        assert claimed == [(e.lock, e.table) for statements in alone for e in file_effects(statements).effects[0]]


def test_partitions_that_are_not_named_stay_to_be_filled_in(migrations: Migrations) -> None:
    drafts = draft("index", {**PARTITIONED, "partitioned": True})
    assert [each.missing for each in drafts] == [(":partition", ":partition_index"), ()]
    write(migrations, drafts)
    told = refusals(migrations)
    assert "write the value" in told["001_x.sql"]
    write(migrations, [Draft(e.step, e.role, e.text.replace(":partition", "sale_1"), ()) for e in drafts])
    assert not any(refusals(migrations).values())


def test_only_an_index_is_of_a_partitioned_table() -> None:
    with pytest.raises(InvalidInput, match="The template not-null doesn't take --partitioned"):
        draft("not-null", {"partitioned": True})
    with pytest.raises(InvalidInput, match="--partition 'a b' is not a name"):
        draft("index", {"partition": ["a b"]})


# ---- names ----------------------------------------------------------------------------------------------------------

QUOTED = [
    ("users", "users"),
    ("Users", '"Users"'),
    ("order", '"order"'),
    ("app.users", "app.users"),
    ("App.user", '"App"."user"'),
    ('"my table"', '"my table"'),
    ('"a.b"', '"a.b"'),
    ('app."a""b"', 'app."a""b"'),
    ("ação", '"ação"'),
    ("a$b", '"a$b"'),
    ("x" * 63, "x" * 63),
]


@pytest.mark.parametrize(("given_name", "written"), QUOTED)
def test_names_are_quoted_where_they_must_be(given_name: str, written: str) -> None:
    up = draft("index", {"table": given_name, "column": "c"})[0].text
    assert f" ON {written} (c);\n" in up


NO_NAMES = [
    *[
        "",
        " ",
        ".",
        "a.",
        ".a",
        "a..b",
        "a.b.c",
        "a b",
        "1a",
        "a-b",
        "users; drop table users",
        '"',
        '""',
        '"a',
        'a"b"',
    ],
    *["a\nb", '"a\nb"', '"a\0b"', "x" * 64, "ç" * 32, '"\udce9"', "users(id)", "a.b."],
]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("option", ["table", "column", "references"])
def test_what_is_no_name_is_refused(option: str, name: str) -> None:
    with pytest.raises(InvalidInput, match="is not a name"):
        draft("foreign-key", {option: name})


def test_column_has_no_schema() -> None:
    with pytest.raises(InvalidInput, match=r"--column 'users\.email' is not a name"):
        draft("index", {"column": "users.email"})


@pytest.mark.parametrize("option", ["type", "value"])
@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\0"])
def test_expression_that_fits_no_line_is_refused(option: str, text: str) -> None:
    with pytest.raises(InvalidInput, match="can't be written into a file"):
        draft("rename" if option == "type" else "backfill", {option: text})


words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and len(text.encode()) <= 60
)


def in_quotes(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@settings(max_examples=60, deadline=None)
@given(table=words, column=words, to=words)
def test_any_name_in_quotes_stays_that_name(table: str, column: str, to: str) -> None:
    names = {"table": in_quotes(table), "column": in_quotes(column), "to": in_quotes(to), "type": "int", "key": "id"}
    expand = draft("rename", names)[0].text
    compiled = compile_text("x.sql", expand.encode(), Options())
    assert compiled.problems == ()
    added, function, *triggers = [statement.node for statement in compiled.statements]
    assert added.relation.relname == table
    assert getattr(added.cmds[0].alter_table_cmd, "def").column_def.colname == to
    body = function.options[1].def_elem.arg.list.items[0].string.sval
    assert in_quotes(column) in body or column in body
    assert [each.relation.relname for each in triggers] == [table, table]
    assert all(len(each.trigname.encode()) <= 63 for each in triggers)


LONG = [("t" * 63, "c"), ("t", "c" * 63), ("t" * 63, "c" * 63), ("ç" * 31, "é" * 31)]


@pytest.mark.parametrize(("table", "column"), LONG)
@pytest.mark.parametrize("name", TEMPLATES)
def test_made_up_names_are_not_longer_than_postgresql_keeps(name: str, table: str, column: str) -> None:
    drafts = draft(name, FILLED[name] | {"table": table, "column": column})
    found = re.findall(r"\w+_(?:idx|not_null|fkey|batches|sync\w*)\b", "\n".join(each.text for each in drafts))
    assert found
    assert max(len(each.encode()) for each in found) in (62, 63)


# ---- what it is asked for ------------------------------------------------------------------------------------------

UNKNOWN = [("indx", "Did you mean index?"), ("not_nul", "not-null"), ("Foreign_Key", "foreign-key"), ("zzz", "none")]


@pytest.mark.parametrize(("name", "told"), UNKNOWN)
def test_unknown_template_tells_what_is_near(name: str, told: str) -> None:
    with pytest.raises(InvalidInput, match="There is no template") as caught:
        draft(name, {})
    assert told in caught.value.cause
    assert ", ".join(TEMPLATES) in caught.value.solution


def test_name_that_a_template_has_no_use_for_is_refused() -> None:
    with pytest.raises(InvalidInput, match="The template index doesn't take --to, --batches") as caught:
        draft("index", {"table": "users", "to": "x", "batches": 3})
    assert "It takes --table, --column, --partitioned, --partition;" in caught.value.solution


@pytest.mark.parametrize("batches", [0, -1, 1_001])
def test_senseless_number_of_batches_is_refused(batches: int) -> None:
    with pytest.raises(InvalidInput, match="must be from 1 to 1000"):
        draft("backfill", {"batches": batches})


@pytest.mark.parametrize("batches", [1, 2, 25])
def test_each_batch_is_a_unit_of_its_own(batches: int) -> None:
    up = draft("backfill", FILLED["backfill"] | {"batches": batches})[0]
    units = compile_text("x.sql", up.text.encode(), Options()).script.units
    assert len(units) == batches + 2  # and what makes and drops the table of batches


def test_texts_are_installed_with_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["aurora_migrations.cli"]
    texts = [path.name for path in (files("aurora_migrations.cli") / "templates").iterdir() if path.is_file()]
    assert sorted(texts) == sorted(
        f"{name.replace('-', '_')}.sql" for name in ("empty", "index-partitioned", *TEMPLATES)
    )
    assert all(any(fnmatch(f"templates/{text}", pattern) for pattern in patterns) for text in texts)


def test_texts_say_when_a_step_may_be_deployed() -> None:
    of_all = [[each for each in draft(name, FILLED[name]) if not each.role] for name in TEMPLATES]
    several = [each for steps in of_all for each in steps if len(steps) > 1]
    assert several
    assert all("-- Deploy it " in each.text for each in several)


def test_lines_are_no_longer_than_the_house_has_them() -> None:
    every = [made for each in TEMPLATES for made in draft(each, FILLED[each])]
    every += draft("index", {**PARTITIONED, "partition": PARTITIONS})
    lines = [line for made in every for line in made.text.splitlines()]
    assert max(map(len, lines)) <= 120
