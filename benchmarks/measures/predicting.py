"""The locks and rewrites that `check` predicts for a folder of migrations, compared with those that the server shows.

    python -m benchmarks.measures.predicting DIR

Each file that is one transaction is run after all files before it, on a database that was empty, in a transaction in
which pg_locks and the tables' relfilenodes are read before it is rolled back. Compared are tables that were there
before the file, and locks that block the application. Prints precision (of what was predicted, how much was seen) and
recall (of what was seen, how much was predicted).
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from aurora_migrations.compiler.check import check
from aurora_migrations.engine import MigratorError, discover
from aurora_migrations.engine.interface import Listener
from aurora_migrations.engine.migrations import Migration
from aurora_migrations.engine.postgres.protocol import Command, Row
from aurora_migrations.engine.postgres.session import Session
from aurora_migrations.engine.runner import apply
from aurora_migrations.engine.script import Action, Script
from aurora_migrations.replay import server
from aurora_migrations.replay.down import is_one_transaction, run_within, undone
from aurora_migrations.replay.history import Step, _job, _request, _Scripts, steps_of
from aurora_migrations.replay.reasons import MISSING_ROLE

_STRENGTH = ("SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE")  # those that block readers or writers
_TABLES = """
    SELECT c.oid, relfilenode FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
     WHERE relkind IN ('r', 'p', 'm') AND nspname !~ '^pg_'
       AND nspname NOT IN ('information_schema', 'aurora_migrations')
"""
_LOCKS = """
    SELECT relation, upper(regexp_replace(replace(mode, 'Lock', ''), '([a-z])([A-Z])', '\\1 \\2', 'g'))
      FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation' AND granted
"""


class _Comparison(Listener):
    def __init__(self, session: Session, steps: list[Step]) -> None:
        self._session, self._steps = session, {step.migration.version: step for step in steps}
        self.seen: Counter[str] = Counter()

    def executing(self, action: Action, migration: Migration) -> None:
        job = _job("apply", self._steps[migration.version])
        if is_one_transaction(job):
            with contextlib.suppress(MigratorError), undone(self._session):
                before = _nodes(self._session.execute(Command(_TABLES))[0])
                predicted = self._predicted(job.script, set(before))
                run_within(self._session, job)
                rows = self._session.execute(*self._session.reset_commands, Command(_LOCKS), Command(_TABLES))
                self._compare(before, predicted, rows[-2], _nodes(rows[-1]))

    def _predicted(self, script: Script, tables: set[str]) -> dict[str, tuple[int, set[str]]]:
        """By table the strongest blocking lock, and what is predicted about a rewrite."""
        found: dict[str, tuple[int, set[str]]] = {}
        for lock in (lock for statement in script.statements for lock in statement.locks):
            oid = self._session.execute(Command("SELECT to_regclass($1)::oid", [lock.table]))[0][0][0]
            if oid in tables:
                strength, rewrites = found.get(str(oid), (0, set()))
                own = _STRENGTH.index(lock.mode) + 1 if lock.mode in _STRENGTH else 0
                found[str(oid)] = max(strength, own), rewrites | {lock.rewrites}
        return found

    def _compare(
        self,
        before: Mapping[str, str],
        predicted: Mapping[str, tuple[int, set[str]]],
        locks: Sequence[Row],
        after: Mapping[str, str],
    ) -> None:
        """Counts. `before` and `after` are the relfilenodes of the tables."""
        held = Counter[str]()
        for oid, mode in ((str(oid), str(mode)) for oid, mode in locks):
            if oid in before and mode in _STRENGTH:
                held[oid] = max(held[oid], _STRENGTH.index(mode) + 1)
        self.seen["files"] += 1
        for oid, node in before.items():
            strength, rewrites = predicted.get(oid, (0, set()))
            self.seen["locks predicted"] += strength > 0
            self.seen["locks held"] += held[oid] > 0
            self.seen["of them exactly so"] += strength == held[oid] > 0
            rewritten = oid in after and after[oid] != node
            self.seen["rewrites predicted"] += "yes" in rewrites
            self.seen["rewrites perhaps"] += "maybe" in rewrites and "yes" not in rewrites
            self.seen["rewrites seen"] += rewritten
            self.seen["of them predicted"] += rewritten and "yes" in rewrites
            self.seen["of them perhaps"] += rewritten and "maybe" in rewrites and "yes" not in rewrites


def _nodes(rows: Sequence[Row]) -> dict[str, str]:
    return {str(oid): str(node) for oid, node in rows}


def main(folder: str) -> None:
    """Compares, and prints what was counted."""
    steps = steps_of(check(discover(Path(folder))))
    with server.embedded() as found:
        url = found.url(found.create())
        with Session(url, "predicting", "trial") as session:
            comparison = _Comparison(session, steps)
            role: re.Match[str] | None = None
            while True:  # as often as a role is missing
                try:
                    apply(_request(url, _Scripts(steps), comparison))
                    break
                except MigratorError as error:
                    role = MISSING_ROLE.search(error.message)
                    if role is None:
                        print(f"up to: {error.message}")
                        break
                    found.make_role(role[1])
    seen = comparison.seen
    for name, count in seen.items():
        print(f"{count:6}  {name}")
    exact, hit, perhaps = (seen[f"of them {what}"] for what in ("exactly so", "predicted", "perhaps"))
    _print("locks", exact, seen["locks predicted"], exact, seen["locks held"])
    _print("rewrites", hit, seen["rewrites predicted"], hit + perhaps, seen["rewrites seen"])


def _print(what: str, right: int, predicted: int, found: int, seen: int) -> None:
    print(f"{what}: precision {right / max(1, predicted):.3f}, recall {found / max(1, seen):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
