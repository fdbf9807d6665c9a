"""`aurora-migrations plan [TARGET]`: what a run would do, file by file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence

from aurora_migrations.cli import options
from aurora_migrations.cli.output import plural, print_warnings
from aurora_migrations.cli.queries import Data, answer, read_directly
from aurora_migrations.compiler.folder_source import source_of
from aurora_migrations.engine import Session
from aurora_migrations.engine.history import read_state
from aurora_migrations.engine.plan import build_plan, read_edits
from aurora_migrations.engine.status import plan_answer


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "plan",
        "What a run would do, and changes nothing: every file that it would apply, the locks that it takes on tables "
        "that are there already, and what may hurt. With a TARGET, up to and including it.",
        "plan --env dev",
        "plan 018 --database-url postgresql://app:secret@localhost/shop",
    )
    options.add_target(parser, "018")
    options.add_where(parser)
    return answer(options.parse(parser, argv), "plan", _read, _show)


def _read(arguments: argparse.Namespace, execution: str) -> Data:
    source = source_of(arguments.migrations)

    def read(session: Session) -> dict[str, object]:
        state = read_state(session)
        plan = build_plan(source.package, state, read_edits(session, source, state.applied), arguments.target)
        source.problems("apply", plan.pending)
        return {**plan_answer(source, plan), "warnings": plan.warnings}

    return read_directly(arguments, execution, "plan", read)


def _show(data: Data, arguments: argparse.Namespace) -> None:
    print_warnings(data["warnings"])
    print(data["message"])
    for file in data["pending"]:
        print("", *_lines(file), sep="\n")
    if data["omitted"]:
        print(f"\n... and {data['omitted']} more files")


def _lines(file: Data) -> Iterator[str]:
    parts = "one transaction" if file["parts"] <= 1 else f"{file['parts']} parts that commit by themselves"
    yield f"{file['file']}: {plural(file['statements'], 'statement')}, {parts}"
    doubt = {"yes": "", "maybe": "perhaps "}
    words = {"rewrites": "writes all its rows anew", "scans": "reads all its rows"}
    for lock in file["locks"]:
        work = " and ".join(f"{doubt[lock[key]]}{word}" for key, word in words.items() if lock[key] in doubt)
        yield f"  {lock['mode']} on {lock['table']}{f', {work}' if work else ''}"
    for hazard in file["hazards"]:
        yield f"  May hurt: {hazard}"
