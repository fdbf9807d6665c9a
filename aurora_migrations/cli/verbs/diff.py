"""`aurora-migrations diff`: how the schemas of two databases differ, whoever made them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aurora_migrations import project
from aurora_migrations.cli import options
from aurora_migrations.cli.output import Display, note, plural, print_json, print_table, show
from aurora_migrations.engine import MigratorError, Session
from aurora_migrations.engine.catalog.compare import Deviation, deviations
from aurora_migrations.engine.catalog.facts import Facts, read_facts
from aurora_migrations.engine.catalog.pages import digest, read_page, without_secrets
from aurora_migrations.engine.errors import AnotherRunInProgress

_ATTEMPTS = 3  # to read the pages of an environment's facts, whose schema may change meanwhile


@dataclass(frozen=True)
class _Side:
    """One of the two databases."""

    name: str  # as people know it
    database: str
    version: str
    facts: Facts

    @property
    def major(self) -> int:
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def describe(self) -> dict[str, object]:
        return {"database": self.database, "server_version": self.version, "facts": len(self.facts)}


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "diff",
        "Compares the schemas of two databases, object by object: everything that migrations make, without rows, "
        "owners and privileges; queries of views only between servers of one major version; with an environment, no "
        "values beside words such as password. Exits with 1 if they differ.",
        "diff dev prod",
        "diff --database-url postgresql://app:secret@one/shop --database-url postgresql://app:secret@other/shop",
    )
    named = "an environment on AWS, such as dev, or local, the local cloud; it must allow the action facts"
    parser.add_argument("environments", metavar="ENV", nargs="*", type=options.environment, help=named)
    url = "a database's URL, in place of an environment, or twice"
    parser.add_argument("--database-url", metavar="URL", type=str, action="append", default=[], dest="urls", help=url)
    both = "of your AWS configuration; once for all environments, or once for each, in their order"
    parser.add_argument(
        "--profile", metavar="NAME", action="append", default=[], dest="profiles", help=f"the profile {both}"
    )
    parser.add_argument(
        "--region", metavar="NAME", action="append", default=[], dest="regions", help="the region; likewise"
    )
    parser.set_defaults(migrations=Path("migrations"), hurry=False)  # read only for a local cloud
    arguments = options.parse(parser, argv)
    names, urls = arguments.environments, arguments.urls
    if len(names) + len(urls) != 2:
        given = f"{plural(len(names), 'environment')} and {plural(len(urls), 'URL')} were given"
        parser.error(f"two databases are compared, but {given}: name two environments, or give --database-url for one")
    on_aws = sum(name != options.LOCAL for name in names)
    for option, values in (("--profile", arguments.profiles), ("--region", arguments.regions)):
        if len(values) not in (0, min(1, on_aws), on_aws):
            parser.error(f"{option} was given {plural(len(values), 'time')} for {plural(on_aws, 'environment')} on AWS")
    sides = []
    places = [_place(arguments, names, number) for number in range(len(names))] + [None] * len(urls)
    for place, found in zip(places, [*names, *urls], strict=True):
        execution = options.execution_name(options.READ_ONLY)
        try:
            sides.append(_read(found, execution) if place is None else _read_environment(place, found, execution))
        except MigratorError as error:
            command = f"diff {' '.join(names)}".rstrip() if place is None else "status"
            return options.fail(error, command, place or arguments, execution)
    if names:
        sides = [_Side(each.name, each.database, each.version, without_secrets(each.facts)) for each in sides]
    return _print(sides[0], sides[1], arguments)


def _print(first: _Side, second: _Side, arguments: argparse.Namespace) -> int:
    same_major = first.major == second.major
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
        show(f"{name + ':':8} {side.name} (PostgreSQL {side.version}), {len(side.facts)} facts")
    if not same_major:
        show("The queries of views, and expressions with a query, aren't compared: the major versions differ.")
    if found:
        print_table(
            ("Object", "First", "Second"), ((each.name, *each.in_words()) for each in found), ("First", "Second")
        )
    show(f"{plural(len(found), 'difference')}" if found else "The schemas are the same.")
    return int(bool(found))


def _place(arguments: argparse.Namespace, names: Sequence[str], number: int) -> argparse.Namespace:
    """The arguments with which a verb would work in one of the environments."""
    if names[number] == options.LOCAL:
        return argparse.Namespace(**{**vars(arguments), "local": True})
    given = {"env": names[number]}
    for key, values in (("profile", arguments.profiles), ("region", arguments.regions)):
        if values:
            given[key] = values[number if len(values) > 1 else 0]
    return argparse.Namespace(**{**vars(arguments), **given})


def _read(url: str, execution: str) -> _Side:
    with Session(url, execution) as session:
        server = session.server
        return _Side(server.database, server.database, server.version, read_facts(session))


def _read_environment(place: argparse.Namespace, name: str, execution: str) -> _Side:
    """The facts of an environment's database, page by page, by executions of its state machine."""
    from aurora_migrations.cli.remote.client import execute_in
    from aurora_migrations.cli.remote.environment import open_environment

    if place.local and place.migrations == Path("migrations"):
        place.migrations = project.migrations()
    with open_environment(place) as environment:
        if place.output == "text":
            note(environment.introduction)
        asked = {"action": "facts"}
        first = execute_in(environment, place, execution, asked, Display())
        for _ in range(_ATTEMPTS):
            facts, number = _page(first, execution), 1
            while number < first["pages"]:
                number += 1
                execution = options.execution_name(options.READ_ONLY)
                page = execute_in(environment, place, execution, {**asked, "page": str(number)}, Display())
                facts |= _page(page, execution)
            if digest(facts) == first["digest"]:
                return _Side(f"{name}: {first['database']}", first["database"], first["server_version"], facts)
            execution = options.execution_name(options.READ_ONLY)
            first = execute_in(environment, place, execution, asked, Display())
    raise AnotherRunInProgress(
        f"The schema of {name} changes while it is read.",
        cause=f"It was read {_ATTEMPTS} times, and was another one each time.",
        solution="Wait until the run that changes it has ended.",
    )


def _page(answer: Mapping[str, Any], execution: str) -> Facts:
    """The facts of an answer. ExecutionFailed, if a state machine of another version has answered differently."""
    from aurora_migrations.cli.remote.aws_errors import contract_broken

    try:
        _ = answer["digest"], answer["database"], answer["server_version"], answer["pages"] + 0
        return read_page(answer["facts"])
    except (LookupError, TypeError, ValueError) as error:
        raise contract_broken(execution, "its answer has no facts that can be read") from error


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
