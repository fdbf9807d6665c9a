"""What there is to do: the folder held against the history, as tables."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aurora_migrations.engine.errors import (
    InvalidInput,
    MigrationChanged,
    MigrationMissing,
    MigratorError,
    OutOfOrder,
)
from aurora_migrations.engine.history import Applied, Progress, State, Undone
from aurora_migrations.engine.migrations import Package, discover
from aurora_migrations.engine.plan import Edit, Plan, find_target, plan_rollback
from aurora_migrations.engine.plan import build_plan as build_plan_of

WHEN = "2026-11-23T04:00:17Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "migrations"
    made.mkdir()
    return made


def package_of(folder: Path, versions: Iterable[int]) -> Package:
    """A folder with these versions, each with a down file but 5."""
    for version in versions:
        (folder / f"{version:03}_m.sql").write_bytes(b"SELECT %d;" % version)
        if version != 5:
            (folder / f"{version:03}_m.down.sql").write_bytes(b"SELECT -%d;" % version)
    return discover(folder)


def history_of(folder: Path, versions: Iterable[int]) -> dict[int, Applied]:
    """These versions applied as the folder has them; as it hasn't, with a hash of their own."""
    known = discover(folder).by_version
    return {
        v: Applied(v, f"{v:03}_m.sql", known[v].sha256 if v in known else "gone", WHEN, "earlier")
        for v in sorted(versions)
    }


def build_plan(
    package: Package,
    applied: dict[int, Applied],
    target: str | None = None,
    partly: dict[int, Progress] | None = None,
) -> Plan:
    """The plan where every file with another hash has another meaning."""
    known = package.by_version
    edits = {v: Edit(known[v], True, "") for v in applied if v in known and applied[v].sha256 != known[v].sha256}
    return build_plan_of(package, State(applied, partly or {}), edits, target)


@dataclass(frozen=True)
class Case:
    """What a run does: `wanted` is what is pending, or the error."""

    package: tuple[int, ...]
    applied: tuple[int, ...]
    target: str | None
    wanted: tuple[int, ...] | type[MigratorError]
    changed: tuple[int, ...] = ()


CASES = {
    "nothing applied, all": Case((1, 2, 3), (), None, (1, 2, 3)),
    "nothing applied, up to one": Case((1, 2, 3), (), "2", (1, 2)),
    "some applied, all": Case((1, 2, 3), (1,), None, (2, 3)),
    "some applied, up to one": Case((1, 2, 3), (1,), "2", (2,)),
    "all applied": Case((1, 2, 3), (1, 2, 3), None, ()),
    "gaps are fine": Case((1, 17, 90), (1,), None, (17, 90)),
    "zero is a version": Case((0, 1), (), "0", (0,)),
    "zero applied": Case((0, 1), (0,), None, (1,)),
    "leading zeros don't count": Case((1, 2), (), "0002", (1, 2)),
    "target applied": Case((1, 2, 3), (1, 2), "2", ()),
    "target applied, later ones too": Case((1, 2, 3), (1, 2, 3), "1", ()),
    "target applied, an earlier one not": Case((1, 2, 3), (2,), "2", ()),
    "target out of order": Case((1, 2, 3), (1, 3), "2", OutOfOrder),
    "out of order, all": Case((1, 2, 3, 4), (1, 3), None, OutOfOrder),
    "out of order below the target": Case((1, 2, 3, 4), (1, 3), "4", OutOfOrder),
    "out of order below an applied target": Case((1, 2, 3, 4), (1, 3), "3", ()),
    "below all that is applied": Case((1, 2), (2,), "1", OutOfOrder),
    "unknown target": Case((1, 2), (), "3", InvalidInput),
    "unknown target that was applied once": Case((1, 2), (1, 2, 3), "3", InvalidInput),
    "changed": Case((1, 2, 3), (1, 2), None, MigrationChanged, changed=(1,)),
    "changed, nothing else to do": Case((1, 2), (1, 2), None, MigrationChanged, changed=(2,)),
    "target changed": Case((1, 2), (1, 2), "2", MigrationChanged, changed=(2,)),
    "changed below the target": Case((1, 2, 3), (1, 2), "3", MigrationChanged, changed=(1,)),
    "changed above the target": Case((1, 2, 3), (1, 2, 3), "1", (), changed=(2, 3)),
    "changed but not applied": Case((1, 2), (1,), None, (2,)),
    "missing in the middle": Case((1, 3), (1, 2), None, MigrationMissing),
    "missing at the beginning": Case((2, 3), (1, 2), None, MigrationMissing),
    "missing in the middle, all applied": Case((1, 3), (1, 2, 3), None, MigrationMissing),
    "missing below the target": Case((1, 3, 4), (1, 2), "3", MigrationMissing),
    "missing above the target": Case((1, 2, 4), (1, 2, 3, 4), "1", ()),
    "changed comes before missing": Case((1, 3), (1, 2, 3), None, MigrationChanged, changed=(3,)),
    "history ahead": Case((1, 2), (1, 2, 3), None, ()),
    "history ahead, with a target": Case((1, 2), (1, 2, 3), "1", ()),
    "history ahead, and one pending": Case((1, 2), (1, 3), None, OutOfOrder),
    "another folder altogether": Case((1, 2), (7, 8), None, OutOfOrder),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_plan(folder: Path, case: Case) -> None:
    package = package_of(folder, case.package)
    applied = history_of(folder, case.applied)
    for version in case.changed:
        applied[version] = applied[version]._replace(sha256="other")
    if isinstance(case.wanted, tuple):
        plan = build_plan(package, applied, case.target)
        assert tuple(m.version for m in plan.pending) == case.wanted
        assert (plan.target.version if plan.target else None) == (int(case.target) if case.target else None)
    else:
        with pytest.raises(case.wanted):
            build_plan(package, applied, case.target)


# ---- what is told ---------------------------------------------------------------------------------------------------


def test_history_ahead_is_a_warning_that_names_it(folder: Path) -> None:
    plan = build_plan(package_of(folder, [1, 2]), history_of(folder, [1, 2, 3, 4]))
    assert plan.pending == ()
    (warning,) = plan.warnings
    assert "003_m.sql, 004_m.sql" in warning
    assert [record.version for record in plan.ahead] == [3, 4]


def test_plan_without_anything_odd_warns_of_nothing(folder: Path) -> None:
    assert build_plan(package_of(folder, [1, 2]), history_of(folder, [1])).warnings == []


def test_target_that_is_applied_says_since_when(folder: Path) -> None:
    plan = build_plan(package_of(folder, [1, 2]), history_of(folder, [1, 2]), "1")
    assert plan.target_applied is not None
    assert plan.target_applied.applied_at == WHEN


def test_changed_files_are_all_named_with_the_time(folder: Path) -> None:
    package = package_of(folder, [1, 2, 3])
    applied = {v: record._replace(sha256="other") for v, record in history_of(folder, [1, 2, 3]).items()}
    with pytest.raises(MigrationChanged) as caught:
        build_plan(package, applied, "2")
    assert caught.value.message == (
        f"Changed since they were applied: 001_m.sql, applied {WHEN}; 002_m.sql, applied {WHEN}."
    )
    assert caught.value.facts["files"] == ["001_m.sql", "002_m.sql"]
    assert "aurora_migrations.applied" in caught.value.solution


def test_missing_files_are_all_named(folder: Path) -> None:
    with pytest.raises(MigrationMissing, match=r"002_m\.sql, 003_m\.sql") as caught:
        build_plan(package_of(folder, [1, 4]), history_of(folder, [1, 2, 3]))
    assert caught.value.facts["files"] == ["002_m.sql", "003_m.sql"]


def test_files_out_of_order_are_all_named_and_what_they_are_older_than(folder: Path) -> None:
    with pytest.raises(OutOfOrder) as caught:
        build_plan(package_of(folder, [1, 2, 3, 4]), history_of(folder, [3]))
    assert "001_m.sql, 002_m.sql" in caught.value.message
    assert "003_m.sql" in caught.value.message
    assert caught.value.facts["files"] == ["001_m.sql", "002_m.sql"]


NO_NUMBERS = ["", " ", "abc", "017_m", "017_m.sql", "-1", "+1", "1.0", "0x1", "1 ", "all", "٣", "²", "1_0"]


@pytest.mark.parametrize("target", [*NO_NUMBERS, "9" * 5_000])
def test_target_that_is_no_number_is_refused(folder: Path, target: str) -> None:
    with pytest.raises(InvalidInput, match="isn't a migration's number"):
        find_target(package_of(folder, [1, 3, 10, 17]), target)


@pytest.mark.parametrize("target", ["2", "99", "9" * 30])
def test_unknown_target_is_refused_and_told_what_there_is(folder: Path, target: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        find_target(package_of(folder, [1, 17]), target)
    assert "001 to 017" in caught.value.message
    assert len(caught.value.message) < 500


def test_target_is_found_with_or_without_leading_zeros(folder: Path) -> None:
    package = package_of(folder, [1, 17])
    assert {find_target(package, target).name for target in ("17", "017", "00017")} == {"017_m.sql"}


# ---- rolling back ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Back:
    """What a rollback does: `wanted` is what is undone, in order, or a part of the message that refuses it."""

    applied: tuple[int, ...]
    target: str
    confirm: str | None
    wanted: tuple[int, ...] | str


BACK = {
    "the newest": Back((1, 2, 3), "3", "3", (3,)),
    "down to the first": Back((1, 2, 3), "1", "003", (3, 2, 1)),
    "leading zeros don't count": Back((1, 2, 3), "002", "0003", (3, 2)),
    "what isn't applied is left out": Back((1, 3), "1", "3", (3, 1)),
    "only a look": Back((1, 2), "1", None, (2, 1)),
    "not applied": Back((1, 2), "3", "2", "isn't applied"),
    "nothing applied": Back((), "1", "1", "isn't applied"),
    "unknown": Back((1, 2), "9", "2", "There is no migration 9"),
    "no number": Back((1, 2), "last", "2", "isn't a migration's number"),
    "confirmed by an older number": Back((1, 2, 3), "2", "2", "newest applied migration is 003_m.sql"),
    "confirmed by a number that isn't applied": Back((1, 2), "2", "3", "newest applied migration is 002_m.sql"),
    "confirmed by a word": Back((1, 2), "2", "yes", "newest applied migration is 002_m.sql"),
    "confirmed by nothing": Back((1, 2), "2", "", "newest applied migration is 002_m.sql"),
    "confirmed by far too much": Back((1, 2), "2", "9" * 5_000, "newest applied migration is 002_m.sql"),
    "no down file": Back((1, 5), "1", "5", "no down file for: 005_m.sql"),
    "no down file above": Back((4, 5), "4", "5", "no down file for: 005_m.sql"),
    "no down file below": Back((5, 6), "6", "6", (6,)),
    "not in the folder": Back((1, 8), "1", "8", "no down file for: 008_m.sql"),
}


@pytest.mark.parametrize("case", BACK.values(), ids=BACK.keys())
def test_rollback(folder: Path, case: Back) -> None:
    package = package_of(folder, [1, 2, 3, 4, 5, 6])
    applied = history_of(folder, case.applied)
    if isinstance(case.wanted, tuple):
        chosen = plan_rollback(package, applied, case.target, case.confirm)
        assert tuple(m.version for m in chosen) == case.wanted
    else:
        with pytest.raises(InvalidInput) as caught:
            plan_rollback(package, applied, case.target, case.confirm)
        assert case.wanted in caught.value.message


def test_a_built_package_is_not_told_by_its_folder(folder: Path) -> None:
    package = package_of(folder, [1, 2])
    built = discover(folder, {name: "" for migration in package.migrations for name in migration.files})
    with pytest.raises(InvalidInput, match=r"There is no migration 9 in the package \(2 files, 001 to 002\)"):
        find_target(built, "9")
    with pytest.raises(InvalidInput, match=f"There is no migration 9 in {re.escape(str(folder))} "):
        find_target(package, "9")


AGAIN = {
    "goes on": ((1, 2, 3), Undone(frozenset({5, 4})), (3, 2)),
    "all of it is undone": ((1,), Undone(frozenset({5, 4, 3, 2})), ()),
    "all of it is undone, and others went on": ((1, 6), Undone(frozenset({5, 4, 3, 2}), ("006_m.sql",)), ()),
    "others went on": ((1, 2, 3, 6), Undone(frozenset({5, 4}), ("006_m.sql",)), "since this rollback began: 006_m.sql"),
    "others did the same again": ((1, 2, 3, 4), Undone(frozenset({5, 4}), ("004_m.sql",)), "began: 004_m.sql"),
    "history that nobody wrote": ((1, 2, 6), Undone(frozenset({5, 4})), "newest applied migration is 006_m.sql"),
    "confirmed another one": ((1, 2, 3), Undone(frozenset({4})), "newest applied migration is 003_m.sql"),
    "nothing was undone": ((1, 2, 3), Undone(), "newest applied migration is 003_m.sql"),
}


@pytest.mark.parametrize(("left", "undone", "wanted"), AGAIN.values(), ids=AGAIN.keys())
def test_rollback_that_was_interrupted(folder: Path, left: tuple[int, ...], undone: Undone, wanted: Any) -> None:
    """Of 2 to 5, confirmed as 5."""
    package = package_of(folder, [1, 2, 3, 4, 5, 6])
    if isinstance(wanted, tuple):
        chosen = plan_rollback(package, history_of(folder, left), "2", "5", undone)
        assert tuple(m.version for m in chosen) == wanted
    else:
        with pytest.raises(InvalidInput) as caught:
            plan_rollback(package, history_of(folder, left), "2", "5", undone)
        assert wanted in caught.value.message


# ---- files of several parts that are in, or out, in part ------------------------------------------------------------


def partly(version: int, action: str = "apply", parts: int = 1) -> dict[int, Progress]:
    return {version: Progress(action, "failed", ("1:a",) * parts, f"{version:03}_m.sql")}


def test_file_that_is_partly_in_is_pending(folder: Path) -> None:
    package = package_of(folder, (1, 2, 3))
    plan = build_plan(package, history_of(folder, (1,)), partly=partly(2))
    assert ([m.version for m in plan.pending], plan.warnings) == ([2, 3], [])


@pytest.mark.parametrize("target", [None, "3"])
def test_file_that_is_partly_in_and_gone_is_missed(folder: Path, target: str | None) -> None:
    package = package_of(folder, (1, 3))
    with pytest.raises(MigrationMissing, match=r"002_m\.sql is partly applied \(2 units\)") as caught:
        build_plan(package, history_of(folder, (1,)), target, partly(2, parts=2))
    assert "002" in caught.value.solution


def test_file_that_is_partly_in_and_above_the_target_is_nobodys_business(folder: Path) -> None:
    package = package_of(folder, (1, 3))
    assert build_plan(package, {}, "1", partly(2)).pending == package.migrations[:1]


def test_file_that_is_partly_in_and_newer_than_the_package_is_told_of(folder: Path) -> None:
    plan = build_plan(package_of(folder, (1, 2)), {}, None, partly(3))
    assert len(plan.pending) == 2
    assert "003_m.sql is partly applied, but not in this folder" in plan.warnings[0]


@pytest.mark.parametrize("target", [None, "2", "3"])
def test_nothing_is_applied_over_a_file_that_is_partly_rolled_back(folder: Path, target: str | None) -> None:
    """Least of all is it applied already."""
    package = package_of(folder, (1, 2, 3))
    with pytest.raises(MigrationChanged, match=r"002_m\.sql is partly rolled back") as caught:
        build_plan(package, history_of(folder, (1, 2)), target, partly(2, "rollback"))
    assert str(caught.value.next_command) == "aurora-migrations rollback 002 --confirm 2"


def test_file_that_is_partly_rolled_back_and_above_the_target_is_nobodys_business(folder: Path) -> None:
    package = package_of(folder, (1, 2))
    assert build_plan(package, history_of(folder, (1, 2)), "1", partly(2, "rollback")).target_applied is not None


# ---- files that were renamed ----------------------------------------------------------------------------------------


def renamed(folder: Path, before: int, after: str) -> Package:
    (folder / f"{before:03}_m.down.sql").unlink()
    (folder / f"{before:03}_m.sql").rename(folder / after)
    return discover(folder)


@pytest.mark.parametrize("target", [None, "1", "2"])
def test_applied_file_with_another_name_is_told_of(folder: Path, target: str | None) -> None:
    package_of(folder, (1, 2, 3))
    applied = history_of(folder, (1, 2))
    plan = build_plan(renamed(folder, 2, "0002_n.sql"), applied, target)
    assert plan.warnings == ["0002_n.sql was applied as 002_m.sql."]
    assert [m.version for m in plan.pending] == ([] if target else [3])


@pytest.mark.parametrize("after", ["004_m.sql", "000_m.sql"])
@pytest.mark.parametrize("version", [1, 3])
def test_applied_file_with_another_number_is_not_applied_again(folder: Path, version: int, after: str) -> None:
    package_of(folder, (1, 2, 3))
    applied = history_of(folder, (1, 2, 3))
    with pytest.raises(MigrationMissing) as caught:
        build_plan(renamed(folder, version, after), applied)
    assert caught.value.message == f"Applied under another number: {after} is 00{version}_m.sql, applied {WHEN}."
    assert f"{after} to 00{version}_m.sql" in caught.value.solution
    assert caught.value.facts["files"] == [after]


def test_applied_file_with_another_number_above_the_target_is_nobodys_business(folder: Path) -> None:
    package_of(folder, (1, 2, 3))
    applied = history_of(folder, (1, 2, 3))
    assert build_plan(renamed(folder, 3, "004_m.sql"), applied, "1").target_applied is not None
    with pytest.raises(MigrationMissing, match="Applied under another number"):
        build_plan(discover(folder), applied, "4")


def test_copy_of_an_applied_file_that_is_still_there_is_a_migration_like_others(folder: Path) -> None:
    package_of(folder, (1, 2))
    applied = history_of(folder, (1, 2))
    (folder / "003_m.sql").write_bytes((folder / "002_m.sql").read_bytes())
    assert [m.version for m in build_plan(discover(folder), applied).pending] == [3]


def test_other_file_with_the_number_of_an_applied_one_is_neither_changed_nor_rolled_back(folder: Path) -> None:
    package = package_of(folder, (1, 2, 3))
    applied = {
        v: record._replace(name=f"{v:03}_other.sql", sha256="other") for v, record in history_of(folder, (1, 2)).items()
    }
    said = f"002_m.sql has the number of 002_other.sql, applied {WHEN}"
    for work in (lambda: build_plan(package, applied), lambda: plan_rollback(package, applied, "2", "2")):
        with pytest.raises(MigrationChanged, match=re.escape(said)) as caught:
            work()
        assert "a number above 002" in caught.value.solution
    assert [m.version for m in plan_rollback(package, {1: applied[1]._replace(name="001_m.sql")}, "1", "1")] == [1]
