"""`aurora-migrations diff`: how the schemas of two databases differ, whoever made them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_migrations.cli import options
from aurora_migrations.cli.output import plural, print_json, print_table, show
from aurora_migrations.engine import MigratorError, Session
from aurora_migrations.engine.catalog.compare import Deviation, deviations
from aurora_migrations.engine.catalog.facts import Facts, read_facts
from aurora_migrations.engine.postgres.session import Server


@dataclass(frozen=True)
class _Side:
    """One of the two databases."""

    server: Server
    facts: Facts

    def describe(self) -> dict[str, object]:
        return {"database": self.server.database, "server_version": self.server.version, "facts": len(self.facts)}


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "diff",
        "Compares the schemas of two databases, object by object: everything that migrations make, without rows, "
        "owners and privileges; queries of views only between servers of one major version. Exits with 1 if they "
        "differ.",
        "diff --database-url postgresql://app:secret@one/shop --database-url postgresql://app:secret@other/shop",
    )
    url = "a database's URL; give it twice"
    parser.add_argument("--database-url", metavar="URL", type=str, action="append", default=[], dest="urls", help=url)
    parser.set_defaults(migrations=Path("migrations"), hurry=False)  # none are read
    arguments = options.parse(parser, argv)
    if len(arguments.urls) != 2:
        parser.error(f"two databases are compared, but --database-url was given {plural(len(arguments.urls), 'time')}")
    execution = options.execution_name(options.READ_ONLY)
    try:
        first, second = (_read(each, execution) for each in arguments.urls)
    except MigratorError as error:
        return options.fail(error, "diff", arguments, execution)
    same_major = first.server.major == second.server.major
    found = list(_compare(first.facts, second.facts, same_major))
    if arguments.output == "json":
        print_json(
            {
                "same": not found,
                "first": first.describe(),
                "second": second.describe(),
                "queries_compared": same_major,
                "differences": [_to_dict(each) for each in found],
            }
        )
        return int(bool(found))
    for name, side in (("First", first), ("Second", second)):
        show(f"{name + ':':8} {side.server.database} (PostgreSQL {side.server.version}), {len(side.facts)} facts")
    if not same_major:
        show("The queries of views, and expressions with a query, aren't compared: the major versions differ.")
    if found:
        print_table(
            ("Object", "First", "Second"), ((each.name, *each.in_words()) for each in found), ("First", "Second")
        )
    show(f"{plural(len(found), 'difference')}" if found else "The schemas are the same.")
    return int(bool(found))


def _read(url: str, execution: str) -> _Side:
    with Session(url, execution) as session:
        return _Side(session.server, read_facts(session))


def _compare(first: Facts, second: Facts, same_major: bool) -> Iterator[Deviation]:
    """What differs, and what only one of them has; of a table that only one has, not all that belongs to it."""
    found = list(deviations(first, (), second, same_major))
    found += [
        Deviation(each.key, None, each.expected)
        for each in deviations(second, (), first, same_major)
        if each.found is None
    ]
    return iter(sorted(found, key=lambda each: each.key))


def _to_dict(each: Deviation) -> dict[str, object]:
    expected, found = each.in_words()
    return {
        "kind": each.key[0],
        "object": each.key[1],
        "first": expected if each.expected is not None else None,
        "second": found if each.found is not None else None,
    }
