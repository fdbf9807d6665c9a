"""What a run would do: compares the package with the history. Reads only.

An applied file that isn't, byte by byte, what was applied is drift: an edit of layout and comments, or a change of
meaning. The token hash separates the two. It is kept with every applied text, and so is the text itself: if the hash
is of an older version, both texts are hashed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from aurora_migrations.engine.diagnostics.redaction import speaks_of_secrets, without_password, without_values
from aurora_migrations.engine.errors import InvalidInput, MigrationChanged, MigrationMissing, NextCommand, OutOfOrder
from aurora_migrations.engine.history import NOTHING_UNDONE, Applied, Done, Progress, State, Undone, read_applied_text
from aurora_migrations.engine.migrations import Migration, Package, read_text
from aurora_migrations.engine.postgres.session import Session

if TYPE_CHECKING:
    from aurora_migrations.engine.script import Source

_SHOWN = 60  # lines of difference in one message


class Edit(NamedTuple):
    """An applied file that was edited since."""

    migration: Migration
    changed: bool  # its meaning changed; otherwise comments, white space or the case of keywords and names
    # A unified diff from the applied text to the file; without values, where the file mentions passwords.
    difference: str


def read_edits(session: Session, source: Source, applied: Mapping[int, Applied]) -> dict[int, Edit]:
    """Every applied file whose bytes have changed, by version. Only the texts of those are read."""
    suspects = [m for m in source.package.migrations if m.version in applied and applied[m.version].sha256 != m.sha256]
    edits: dict[int, Edit] = {}
    for migration in suspects:
        before, hashed = read_applied_text(session, migration.version)
        now = read_text(migration.path)
        current = source.token_hash(now)
        if current and (hashed is None or hashed.partition(":")[0] != current.partition(":")[0]):
            hashed = source.token_hash(before)
        changed = current is None or hashed != current
        edits[migration.version] = Edit(migration, changed, _difference(source, migration.name, before, now))
    return edits


def _difference(source: Source, name: str, before: bytes, now: bytes) -> str:
    old, new = (text.decode(errors="replace") for text in (before, now))
    if speaks_of_secrets(old) or speaks_of_secrets(new):
        if source.token_hash(now) is None:
            return "(not shown, as the file speaks of passwords)"
        old, new = without_values(old, numbers=False), without_values(new, numbers=False)
    import difflib

    found = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{name} (applied)", f"{name} (now)", lineterm="", n=1
    )
    lines = list(found) or ["(it is in a value, and isn't shown, as the file speaks of passwords)"]
    more = [f"... and {len(lines) - _SHOWN} more lines"] if len(lines) > _SHOWN else []
    return "\n".join(lines[:_SHOWN] + more)


class Plan(NamedTuple):
    """What a run would do."""

    target: Migration | None  # the migration to stop after, if one was given
    pending: tuple[Migration, ...]  # what to apply, in order
    applied: Mapping[int, Applied]  # the history, by version
    # Applied migrations above the package's highest version; the package is older than the database.
    ahead: tuple[Applied, ...]
    edits: Mapping[int, Edit]  # applied files whose bytes have changed, though not their meaning
    left: tuple[str, ...] = ()  # names of partly applied files above the package's highest version
    # Applied files whose name has changed, though not their number; each with its record.
    renamed: tuple[tuple[Migration, Applied], ...] = ()

    @property
    def target_applied(self) -> Applied | None:
        """The target's record, if it is applied already."""
        return self.applied.get(self.target.version) if self.target else None

    @property
    def warnings(self) -> list[str]:
        """Warnings: what people should know although nothing is wrong."""
        edited = "was edited since it was applied, in its layout or comments only."
        warnings = [f"{edit.migration.name} {edited}" for edit in self.edits.values()]
        warnings += [f"{migration.name} was applied as {record.name}." for migration, record in self.renamed]
        older = "Is the folder an older one?"
        if self.ahead:
            names = ", ".join(record.name for record in self.ahead)
            warnings.append(f"The database is ahead of this folder: {names} applied, but not here. {older}")
        warnings += [f"{name} is partly applied, but not in this folder. {older}" for name in self.left]
        return warnings


def build_plan(package: Package, state: State, edits: Mapping[int, Edit], target: str | None = None) -> Plan:
    """What a run would do, up to and including `target`, or all. If the target is applied already, nothing is pending,
    whatever came after it. Raises an error of the family history if a run up to the target would be refused."""
    wanted = find_target(package, target) if target is not None else None
    applied, limit = state.applied, (wanted or package.migrations[-1]).version
    changed = [edit for version, edit in sorted(edits.items()) if edit.changed and version <= limit]
    _check_numbers_taken([edit.migration for edit in changed], applied)
    if changed:
        details = "; ".join(f"{e.migration.name}, applied {applied[e.migration.version].applied_at}" for e in changed)
        raise MigrationChanged(
            f"Changed since {'it was' if len(changed) == 1 else 'they were'} applied: {details}.",
            solution=f"{MigrationChanged.solution} The applied text is in aurora_migrations.applied, column sql.",
            files=[edit.migration.name for edit in changed],
            difference="\n".join(edit.difference for edit in changed),
        )
    _check_renumbered(package, applied, limit)
    highest = package.migrations[-1].version
    gone = [record for v, record in sorted(applied.items()) if v < highest and v not in package.by_version]
    if missing := [record.name for record in gone if record.version <= limit]:
        raise MigrationMissing(f"Applied, but not in {_place(package)}: {', '.join(missing)}.", files=missing)
    left = _check_partly_applied(package, state, limit)
    ahead = tuple(record for version, record in applied.items() if version > highest)
    known = [(m, r) for m in package.migrations if (r := applied.get(m.version))]
    renamed = tuple((migration, record) for migration, record in known if migration.name != record.name)
    pending: tuple[Migration, ...] = ()
    if wanted is None or wanted.version not in applied:
        pending = tuple(m for m in package.migrations if m.version <= limit and m.version not in applied)
        newest = max(applied, default=-1)
        if late := [migration.name for migration in pending if migration.version < newest]:
            what = f"Pending, but older than {applied[newest].name}, which is applied: {', '.join(late)}."
            raise OutOfOrder(what, files=late)
    return Plan(wanted, pending, applied, ahead, edits, left, renamed)


def plan_rollback(
    package: Package,
    applied: Mapping[int, Applied],
    target: str,
    confirm: str | None = None,
    undone: Undone = NOTHING_UNDONE,
) -> list[Migration]:
    """What a rollback to before `target` would undo, newest first; nothing if this execution has undone all of it.
    `confirm` is the newest applied migration before this execution undid anything, `undone` what it has undone."""
    lowest = find_target(package, target).version
    if lowest in undone.versions and lowest not in applied:
        return []
    if lowest not in applied:
        raise InvalidInput(
            f"Migration {target} isn't applied, so it can't be rolled back.",
            cause="It isn't in the history.",
            solution="See `aurora-migrations list` for what is applied.",
        )
    newest = applied[max(applied)]
    again = f"Check the status; to undo everything from {newest.label} down to {target}, confirm {newest.label}."
    if undone.others:
        raise InvalidInput(
            f"The database has been changed since this rollback began: {', '.join(undone.others)}.",
            cause=f"It was interrupted after {len(undone.versions)}; then another run changed the database.",
            solution=again,
            state="What this execution has rolled back stays rolled back; nothing else was changed.",
        )
    if confirm is not None and version_of(confirm) != max(undone.versions | {newest.version}):
        raise InvalidInput(
            f"The confirmation is {confirm[:40]!r}, but the newest applied migration is {newest.name}.",
            cause="The number is wrong, or another migration has been applied since.",
            solution=again,
        )
    found = _with_down_files(package, {version: applied[version].name for version in applied if version >= lowest})
    _check_numbers_taken([m for m in found if m.sha256 != applied[m.version].sha256], applied)
    return found


def plan_undo(
    package: Package, applied: Mapping[int, Applied], done: Sequence[Done], execution: str, undone: Undone
) -> list[Migration]:
    """What of the migrations that an execution has applied (`done`) is to be rolled back, newest first; nothing if all
    of it is. InvalidInput, if it isn't the newest any more: what others have applied may rely on it."""
    if not done:
        return []
    ours, lowest = {each.version for each in done}, min(done, key=lambda each: each.version)
    above = [record for version, record in applied.items() if version >= lowest.version]
    if others := [record.name for record in above if record.version not in ours or record.execution != execution]:
        raise InvalidInput(
            f"Others have been applied since, which may rely on it: {', '.join(others)}.",
            cause="Another run has changed the database after this execution.",
            solution="Roll them back yourself, or mend the database with a new migration.",
        )
    return plan_rollback(package, applied, lowest.label, undone=undone)


def _with_down_files(package: Package, names: Mapping[int, str]) -> list[Migration]:
    """The migrations of these versions and names, newest first. InvalidInput, if one has no down file."""
    chosen = sorted(names, reverse=True)
    found = [m for version in chosen if (m := package.by_version.get(version)) and m.down]
    missing = [names[version] for version in chosen if package.by_version.get(version) not in found]
    if missing:
        raise no_down_files(missing)
    return found


def no_down_files(names: Sequence[str]) -> InvalidInput:
    """The error for migrations that can't be rolled back."""
    return InvalidInput(
        f"There is no down file for: {', '.join(names)}.",
        cause="A migration is rolled back by its file VERSION_description.down.sql.",
        solution="Write the missing down files, or undo the change with a new migration.",
    )


def version_of(text: str) -> int | None:
    """The number in a text, `017` or `17`; None if it isn't a number, or is longer than a file's name can be."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 256 else None


def check_number(key: str, given: str) -> None:
    """Refuses a `target` or `confirm` that isn't a migration's number."""
    if version_of(given) is None:
        raise InvalidInput(
            f"The {key} {without_password(given)[:60]!r} isn't a migration's number.",
            cause=f"A {key} is the number at the beginning of a file's name.",
            solution="Use a number, such as 017; `aurora-migrations list` shows them.",
        )


def find_target(package: Package, target: str) -> Migration:
    """The migration with a number, written `17` or `017`."""
    check_number("target", target)
    found = package.by_version.get(int(target))
    if found is None:
        first, last = package.migrations[0].label, package.migrations[-1].label
        built = _is_built(package)
        raise InvalidInput(
            f"There is no migration {target[:40]} in {_place(package)} "
            f"({len(package.migrations)} files, {first} to {last}).",
            cause=f"The number is wrong, or the file isn't {'deployed' if built else 'in this folder'}.",
            solution="Correct the number. If the migration is new, deploy it first."
            if built
            else "See `aurora-migrations list`. If the file is missing there, set its folder with --migrations DIR.",
        )
    return found


def _is_built(package: Package) -> bool:
    """Whether it was built, with a manifest."""
    return any(migration.folder.is_built for migration in package.migrations)


def _place(package: Package) -> str:
    """Its folder, or `the package` if it was built: nobody knows the folder of a built one."""
    return "the package" if _is_built(package) else str(package.folder)


def _check_numbers_taken(changed: Sequence[Migration], applied: Mapping[int, Applied]) -> None:
    """Refuses changed files whose name has changed, too: most likely they are other migrations."""
    others = [(m, record) for m in changed if m.name != (record := applied[m.version]).name]
    if others:
        highest = applied[max(applied)]
        details = "; ".join(f"{m.name} has the number of {r.name}, applied {r.applied_at}" for m, r in others)
        raise MigrationChanged(
            f"A number is taken: {details}.",
            cause="Two migrations have the same number, often from two branches; or a file was renamed and edited.",
            solution=f"Give the file here a number above {highest.label}, and restore the applied one: its text is "
            "in aurora_migrations.applied, column sql. If both are the same migration, restore its name and its text.",
            files=[migration.name for migration, _ in others],
        )


def _check_renumbered(package: Package, applied: Mapping[int, Applied], limit: int) -> None:
    """Refuses a pending file with the text of an applied one whose number isn't in the folder any more."""
    gone = {record.sha256: record for version, record in applied.items() if version not in package.by_version}
    pending = [m for m in package.migrations if m.version not in applied] if gone else []
    found = [(m, r) for m in pending if (r := gone.get(m.sha256)) and min(m.version, r.version) <= limit]
    if found:
        details = "; ".join(f"{m.name} is {r.name}, applied {r.applied_at}" for m, r in found)
        raise MigrationMissing(
            f"Applied under another number: {details}.",
            cause="The file was renamed. The history identifies migrations by number, so this one would run again.",
            solution=f"Rename it back: {', '.join(f'{m.name} to {r.name}' for m, r in found)}. To run the same "
            "statements once more, keep both files.",
            files=[migration.name for migration, _ in found],
        )


def _check_partly_applied(package: Package, state: State, limit: int) -> tuple[str, ...]:
    """Refuses a partly rolled back file, and a partly applied one that isn't in the folder. Returns the names of partly
    applied files above the package's highest version: there, an older package is the likely reason."""
    below = {v: progress for v, progress in sorted(state.unfinished.items()) if v <= limit}
    for version, progress in below.items():
        if progress.action == "rollback" and version in state.applied:
            raise MigrationChanged(
                f"{progress.name} is partly rolled back: {count_units(progress)} of its down file ran, the next one "
                "failed.",
                cause="Its down file has several units, which commit separately, and did not finish.",
                solution="Finish the rollback; it continues where it failed.",
                next_command=NextCommand("rollback", (progress.label, "--confirm", str(max(state.applied)))),
                files=[progress.name],
            )
        if progress.action == "apply" and version not in state.applied and version not in package.by_version:
            raise partly_missing(progress)
    highest = package.migrations[-1].version
    return tuple(
        progress.name
        for version, progress in sorted(state.unfinished.items())
        if version > highest and progress.action == "apply" and version not in state.applied
    )


def partly_missing(progress: Progress, instead: str | None = None) -> MigrationMissing:
    """The error of a partly applied file that isn't in the folder, or has another number there."""
    begins = f", and {instead} begins with the same units" if instead else ""
    return MigrationMissing(
        f"{progress.name} is partly applied ({count_units(progress)}), but not in this folder{begins}.",
        cause="The file was renumbered or removed after an attempt had failed halfway through it.",
        solution=f"Restore it with its number {progress.label}; the run then continues where it failed.",
        files=[progress.name],
    )


def count_units(progress: Progress) -> str:
    """Its committed units, for messages: `1 unit`, `2 units`."""
    return f"{len(progress.units)} unit{'' if len(progress.units) == 1 else 's'}"
