"""`aurora-migrations plan [TARGET]`: what a run would do, file by file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from aurora_migrations.cli import options, where
from aurora_migrations.cli.queries import Data, answer, session
from aurora_migrations.compiler.folder_source import source_of


def main(argv: Sequence[str]) -> int:
    """Runs the verb; returns the exit code."""
    made = options.parser(
        "plan",
        "What a run would do, and changes nothing: every file that it would apply, the locks that it takes on tables "
        "that are there already, and what may hurt. With a TARGET, up to and including it.",
        "plan --env dev",
        "plan 018 --database-url postgresql://app:secret@localhost/shop",
    )
    made.add_argument("target", nargs="?", metavar="TARGET", help="a migration's number, such as 018 (default: all)")
    where.add_where(made)
    arguments = where.parse(made, argv)
    command = f"plan {arguments.target}" if arguments.target else "plan"
    return answer(arguments, {"action": "plan", "target": arguments.target}, _here, _show, command)


def _here(arguments: argparse.Namespace, execution: str) -> Data:
    from aurora_migrations.engine.history import read_state
    from aurora_migrations.engine.plan import build_plan, read_edits
    from aurora_migrations.engine.status import complete_answer, plan_answer

    source = source_of(arguments.migrations)
    with session(arguments, execution) as opened:
        state = read_state(opened)
        plan = build_plan(source.package, state, read_edits(opened, source, state.applied), arguments.target)
        source.problems("apply", plan.pending)
        told = {**plan_answer(source, plan), "warnings": plan.warnings}
        return complete_answer("plan", execution, opened.server, told)


def _show(data: Data, arguments: argparse.Namespace) -> None:
    for warning in data["warnings"]:
        print(f"Warning: {warning}", file=sys.stderr)
    print(data["message"])
    for file in data["pending"]:
        print("", *_lines(file), sep="\n")
    if data["omitted"]:
        print(f"\n... and {data['omitted']} more files")


def _lines(file: Data) -> Iterator[str]:
    parts = "one transaction" if file["parts"] <= 1 else f"{file['parts']} parts that commit by themselves"
    statements = f"{file['statements']} statement{'' if file['statements'] == 1 else 's'}"
    yield f"{file['file']}: {statements}, {parts}"
    for lock in file["locks"]:
        yield f"  {lock['mode']} on {lock['table']}{_work(lock)}"
    for hazard in file["hazards"]:
        yield f"  May hurt: {hazard}"


def _work(lock: Data) -> str:
    """What is done to a table's rows under the lock."""
    told = {"yes": "", "maybe": "perhaps "}
    words = {"rewrites": "writes all its rows anew", "scans": "reads all its rows"}
    done = [f"{told[lock[key]]}{word}" for key, word in words.items() if lock[key] in told]
    return f", {' and '.join(done)}" if done else ""
